"""Cross margin: the account's equity against the sum of the maintenance margins."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.brokers.cross import Leg, bankruptcy_share, equity_at, liquidation_share
from ai_backtrader.errors import SettingsError
from ai_backtrader.market.margin import MaintenanceTiers, liquidation_price

FLAT = (100.0, 100.0, 100.0, 100.0)
FLAT_TIERS = MaintenanceTiers.flat(0.005)
STEEP = MaintenanceTiers([(0, 500, 0.01, 0, 50), (500, 2_000, 0.05, None, 20), (2_000, 1e9, 0.2, None, 5)])


def _cross(**settings: Any) -> LeverageBroker:
    return LeverageBroker(margin_mode="cross", **settings)


def test_free_cash_stands_behind_a_position_and_gives_its_liquidation_price(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 70, 75), (75, 75, 60, 61), FLAT]
    ran = run(_cross(leverage=10), feed(rows), {1: lambda s: s.buy(size=20), 2: lambda s: s.kept.update(
        price=s.broker.liquidation_price(s.data), gone=s.broker.bankruptcy_price(s.data))}, cash=800.0)  # fmt: skip
    expected = liquidation_price(side="long", entry_price=100, size=20, margin=800, tiers=FLAT_TIERS)
    assert ran.strategy.kept["price"] == pytest.approx(expected)
    assert ran.strategy.kept["gone"] == pytest.approx(60)
    record = ran.broker.liquidations[0]
    assert record.bar_time.hour == 3
    assert record.price == pytest.approx(expected, rel=1e-12)
    assert record.reason == "cross"
    assert record.loss > record.margin  # that is what cross margin means
    assert ran.broker.getcash() == pytest.approx(800 - record.loss)
    assert ran.broker.getcash() >= 0


def test_the_same_position_dies_earlier_in_isolated_mode(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 70, 75), FLAT]
    assert not run(_cross(leverage=10), feed(rows), {1: lambda s: s.buy(size=20)}).broker.liquidations
    assert run(LeverageBroker(leverage=10), feed(rows), {1: lambda s: s.buy(size=20)}).broker.liquidations


def test_the_liquidation_price_counts_the_other_positions_at_their_marks(feed: Any, run: Any) -> None:
    second = [FLAT, FLAT, (100, 100, 100, 90), (90,) * 4]

    def enter(s: Any) -> None:
        s.buy(data=s.data0, size=10)
        s.buy(data=s.data1, size=5)

    def look(s: Any) -> None:
        s.kept["price"] = s.broker.liquidation_price(s.data0)
        s.kept["ratio"] = s.broker.maintenance_ratio(s.data0), s.broker.maintenance_ratio(s.data1)
        s.kept["share"] = s.broker.margin_ratio(s.data0)

    ran = run(_cross(leverage=10, tiers=STEEP), [feed([FLAT] * 4), feed(second)], {1: enter, 3: look}, cash=600.0)
    # Wallet 600, other position: loss 50, notional 450 with maintenance 4.5.
    expected = liquidation_price(side="long", entry_price=100, size=10, margin=600 - 50 - 4.5, tiers=STEEP)
    assert ran.strategy.kept["price"] == pytest.approx(expected)
    equity, owed = 550.0, STEEP.maintenance(1000) + 4.5
    assert ran.strategy.kept["ratio"] == pytest.approx((owed / equity,) * 2)
    at_entry = 600 - STEEP.maintenance(1000) - STEEP.maintenance(500)
    assert ran.strategy.kept["share"] == pytest.approx(1 - (equity - owed) / at_entry)


def test_all_positions_close_together_and_a_plain_one_stays(feed: Any, run: Any) -> None:
    crash = [FLAT, FLAT, (100, 100, 50, 55), FLAT]
    calm = [FLAT, FLAT, (100, 101, 99, 100), FLAT]

    def enter(s: Any) -> None:
        s.buy(data=s.data0, size=20, leverage=10)
        s.sell(data=s.data1, size=5, leverage=5)
        s.buy(data=s.data2, size=1)
        s.sell(data=s.data1, size=1, exectype=bt.Order.Limit, price=200)

    ran = run(_cross(), [feed(crash), feed(calm), feed(calm)], {1: enter}, cash=1100.0)
    assert [record.data_name for record in ran.broker.liquidations] == ["d0", "d1"]
    assert [ran.broker.getposition(data).size for data in ran.strategy.datas] == [0, 0, 1]
    assert not ran.broker.pending
    # At the joint way's end equity equals the sum of the maintenance margins.
    prices = [record.price for record in ran.broker.liquidations]
    equity = 1100 - 100 + 20 * (prices[0] - 100) - 5 * (prices[1] - 100)
    assert equity == pytest.approx(0.005 * (20 * prices[0] + 5 * prices[1]), rel=1e-9)
    assert ran.broker.getcash() == pytest.approx(equity)


def test_a_hedge_survives_where_isolated_legs_would_not(feed: Any, run: Any) -> None:
    up = [FLAT, FLAT, (100, 130, 100, 130), (130,) * 4, (130,) * 4]

    def enter(s: Any) -> None:
        s.buy(data=s.data0, size=10)
        s.sell(data=s.data1, size=10)

    def leave(s: Any) -> None:
        s.close(data=s.data0)
        s.close(data=s.data1)

    plan = {1: enter, 4: leave}
    isolated = run(LeverageBroker(leverage=10), [feed(up), feed(up)], plan)
    assert len(isolated.broker.liquidations) == 1
    cross = run(_cross(leverage=10), [feed(up), feed(up)], plan)
    assert not cross.broker.liquidations
    assert cross.broker.getcash() == pytest.approx(1000)


def test_extremes_of_one_bar_are_taken_to_come_together(feed: Any, run: Any) -> None:
    # Long and short in the same bar: each alone survives its extreme, both together do not.
    def enter(s: Any) -> None:
        s.buy(data=s.data0, size=10)
        s.sell(data=s.data1, size=10)

    wild = [FLAT, FLAT, (100, 140, 60, 100), FLAT]
    assert len(run(_cross(leverage=10), [feed(wild), feed(wild)], {1: enter}, cash=700.0).broker.liquidations) == 2
    calm = [FLAT, FLAT, (100, 140, 100, 100), FLAT]
    assert not run(
        _cross(leverage=10), [feed(wild), feed(calm)], {1: lambda s: s.buy(size=10)}, cash=700.0
    ).broker.liquidations


@pytest.mark.parametrize(("opening", "left"), [(62.0, 40.0), (10.0, 0.0)])
def test_a_gap_is_taken_at_the_open_but_the_account_never_owes(
    opening: float, left: float, feed: Any, run: Any
) -> None:
    tiers = MaintenanceTiers.flat(0.05)
    rows = [FLAT, FLAT, FLAT, (opening, 65, opening, 60), FLAT]
    ran = run(_cross(leverage=10, tiers=tiers), feed(rows), {1: lambda s: s.buy(size=20)}, cash=800.0)
    record = ran.broker.liquidations[0]
    assert ran.broker.getcash() == pytest.approx(left, abs=1e-9)
    assert ran.broker.getcash() >= 0.0
    assert record.price == pytest.approx(100 - (800 - left) / 20)


def test_fees_of_the_liquidation_are_capped_by_the_equity_of_the_account(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 55, 60), FLAT]
    ran = run(
        _cross(leverage=10, liquidation_fee=0.1), feed(rows), {1: lambda s: s.buy(size=20)}, cash=800.0,
        commission={"commission": 0.001},
    )  # fmt: skip
    assert ran.broker.getcash() == pytest.approx(0.0, abs=1e-9)
    assert ran.broker.getcash() >= 0.0
    assert ran.trades[0].pnlcomm == pytest.approx(-800)


def test_unrealised_profit_opens_further_positions(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 150, 100, 150), (150,) * 4, (150,) * 4]
    plan = {1: lambda s: s.buy(size=90), 3: lambda s: s.buy(size=20)}
    cross = run(_cross(leverage=10), feed(rows), plan)
    assert cross.broker.getposition(cross.strategy.data).size == 110
    isolated = run(LeverageBroker(leverage=10), feed(rows), plan)
    assert isolated.broker.getposition(isolated.strategy.data).size == 90


def test_a_stop_on_the_way_to_the_liquidation_saves_the_account(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, FLAT, (100, 100, 50, 55), FLAT]

    def enter(s: Any) -> None:
        s.buy_bracket(size=20, exectype=bt.Order.Market, stopprice=70, limitprice=150)

    saved = run(_cross(leverage=10), feed(rows), {1: enter}, cash=800.0)
    assert not saved.broker.liquidations
    assert saved.trades[0].pnl == pytest.approx(-600)
    lost = run(_cross(leverage=10), feed(rows), {1: enter}, cash=500.0)
    assert len(lost.broker.liquidations) == 1


def test_funding_is_paid_by_the_account(feed: Any, run: Any) -> None:
    rates = np.where(np.arange(8) == 4, 0.02, 0.0)
    ran = run(_cross(leverage=10), feed([FLAT] * 8, funding_rate=rates), {1: lambda s: s.buy(size=10)}, cash=105.0)
    assert ran.broker.getcash() == pytest.approx(5 - 20)
    assert ran.broker.getvalue() == pytest.approx(85)
    assert ran.broker.position_margin(ran.strategy.data) == 100


def test_cash_is_the_start_plus_the_trades_over_random_cross_runs(
    feed: Any, run: Any, random_bars: Any, scripted: Any
) -> None:
    class Gambler(scripted):  # type: ignore[misc]
        params = (("seed", 0),)

        def next(self) -> None:
            super().next()
            rng = self.kept.setdefault("rng", np.random.default_rng(self.p.seed))
            data = self.datas[rng.integers(3)]
            held, close = self.getposition(data).size, data.close[0]
            if rng.random() < 0.15:
                size = self.broker.getvalue() * 0.5 / close * rng.random() * 20
                (self.buy if rng.random() < 0.5 else self.sell)(
                    data=data, size=size, leverage=float(rng.choice([2, 5, 20]))
                )
            elif held and rng.random() < 0.05:
                self.close(data=data)

    total = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        feeds = [feed(random_bars(rng, 400, sigma=0.012)) for _ in range(3)]
        broker = _cross(liquidation_fee=0.004, tiers=MaintenanceTiers.flat(0.01), funding=0.0002)
        ran = run(
            broker, feeds, strategy=Gambler, params={"seed": seed}, cash=10_000.0, commission={"commission": 0.0005}
        )
        total += len(broker.liquidations)
        assert min(bar[1] for bar in ran.bars) >= -1e-6
        if not any(broker.getposition(data).size for data in ran.strategy.datas):
            assert broker.getcash() == pytest.approx(10_000 + sum(trade.pnlcomm for trade in ran.trades), abs=1e-6)
    assert total > 20


def test_the_share_of_the_way_is_where_a_scan_finds_it() -> None:
    rng = np.random.default_rng(11)
    met = 0
    for _ in range(400):
        legs = []
        for _ in range(int(rng.integers(1, 5))):
            start = float(rng.uniform(50, 150))
            units = float(rng.normal(0, 8))
            end = start * (1 - np.sign(units) * rng.uniform(0, 0.7))
            legs.append(Leg(units=units, entry=start * rng.uniform(0.9, 1.1), start=start, end=float(end), tiers=STEEP))
        wallet = float(rng.uniform(100, 3000))

        def buffer(share: float, legs: list[Leg] = legs, wallet: float = wallet) -> float:
            owed = sum(STEEP.maintenance(abs(leg.units) * leg.price(share)) for leg in legs)
            return equity_at(wallet, legs, share) - owed

        found = liquidation_share(wallet, legs, 0.0)
        grid = [buffer(share) for share in np.linspace(0, 1, 101)]
        if found is None:
            assert min(grid) > 0
        elif found == 0.0:
            assert grid[0] <= 0
        else:
            met += 1
            assert buffer(found) == pytest.approx(0.0, abs=1e-9 * 3000)
            first = int(np.argmax(np.array(grid) <= 0))
            assert (first - 1) / 100 <= found <= first / 100 + 1e-12
            end = bankruptcy_share(wallet, legs)
            assert end >= found
            assert equity_at(wallet, legs, end) >= -1e-9
    assert met > 60


def test_partial_liquidation_is_for_isolated_margin() -> None:
    with pytest.raises(SettingsError, match="partial_liquidation needs"):
        LeverageBroker(margin_mode="cross", partial_liquidation=True)
