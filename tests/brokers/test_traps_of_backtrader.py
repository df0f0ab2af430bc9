"""Each trap of Backtrader's own broker: shown there, absent from LeverageBroker above leverage 1."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker

BackBroker = bt.brokers.BackBroker
FLAT = (100.0, 100.0, 100.0, 100.0)


def _levered(leverage: float) -> dict[str, Any]:
    """Leverage as BackBroker knows it: in the commission scheme, which LeverageBroker honours too."""
    return {"leverage": leverage}


def _position(ran: Any, number: int = 0) -> float:
    return float(ran.broker.getposition(ran.strategy.datas[number]).size)


def test_a_long_that_lost_everything_is_closed(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (80,) * 4, (50,) * 4, (110,) * 4]
    plan = {1: lambda s: s.buy(size=100)}
    theirs = run(BackBroker(), feed(rows), plan, commission=_levered(10))
    assert [bar[1] for bar in theirs.bars] == [1000, 1000, -1000, -4000, 2000]
    ours = run(LeverageBroker(), feed(rows), plan, commission=_levered(10))
    assert [bar[1] for bar in ours.bars] == [1000, 1000, 0, 0, 0]


def test_a_short_of_a_thousand_times_the_equity_is_refused(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.sell(size=10_000)}
    assert _position(run(BackBroker(), feed([FLAT] * 4), plan, commission=_levered(10))) == -10_000
    ours = run(LeverageBroker(), feed([FLAT] * 4), plan, commission=_levered(10))
    assert (_position(ours), ours.broker.rejections) == (0, {"cash": 1})


def test_leverage_acts_on_shorts_too(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.sell(size=10)}
    assert run(BackBroker(), feed([FLAT] * 4), plan, commission=_levered(10)).bars[-1][0] == 2000
    assert run(LeverageBroker(), feed([FLAT] * 4), plan, commission=_levered(10)).bars[-1][0] == 900


def test_a_shorts_value_does_not_rise_above_twice_its_entry(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (190,) * 4, (210,) * 4, (300,) * 4]
    plan = {1: lambda s: s.sell(size=5)}
    theirs = run(BackBroker(shortcash=False), feed(rows), plan)
    assert [bar[1] for bar in theirs.bars] == [1000, 1000, 550, 550, 1000]
    ours = run(LeverageBroker(margin_always=True), feed(rows), plan)
    assert [bar[1] for bar in ours.bars] == [1000, 1000, 550, 500, 500]


def test_the_value_of_one_short_is_its_exposure_so_targets_are_met(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (90,) * 4, (90,) * 4, (90,) * 4]
    plan = {1: lambda s: s.sell(size=5), 3: lambda s: s.order_target_value(target=-450)}
    assert _position(run(BackBroker(shortcash=False), feed(rows), plan, commission=_levered(2))) != -5
    assert _position(run(LeverageBroker(), feed(rows), plan, commission=_levered(2))) == pytest.approx(-5)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_bracket_children_need_no_cash_of_their_own(side: str, feed: Any, run: Any) -> None:
    up = 1 if side == "buy" else -1

    def enter(s: Any) -> None:
        send = s.buy_bracket if up > 0 else s.sell_bracket
        send(size=95, exectype=bt.Order.Market, stopprice=100 - 2 * up, limitprice=100 + 20 * up)

    if up > 0:
        theirs = run(BackBroker(shortcash=False), feed([FLAT] * 4), {1: enter}, commission=_levered(10))
        assert _position(theirs) == 0
    ours = run(LeverageBroker(), feed([FLAT] * 4), {1: enter}, commission=_levered(10))
    assert _position(ours) == 95 * up


def test_a_child_that_outlives_its_position_does_not_open_another(feed: Any, run: Any) -> None:
    # The child comes before the market order in the queue: both fill, and the position is reversed.
    rows = [FLAT, FLAT, FLAT, (95, 120, 80, 100), FLAT, FLAT]
    plan = {
        1: lambda s: s.buy_bracket(size=5, exectype=bt.Order.Market, stopprice=90, limitprice=150),
        3: lambda s: s.close(),
    }
    assert _position(run(BackBroker(), feed(rows), plan, commission=_levered(2))) == -5
    ours = run(LeverageBroker(), feed(rows), plan, commission=_levered(2))
    assert _position(ours) == 0
    assert ours.trades[0].pnl == pytest.approx(-25)  # closed at the open, as a market order is
    assert not ours.broker.pending


def test_an_insolvent_short_is_closed(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (250,) * 4, (250,) * 4, (250,) * 4]
    plan = {1: lambda s: s.sell(size=10), 3: lambda s: s.close()}
    theirs = run(BackBroker(), feed(rows), plan, commission=_levered(2))
    assert (_position(theirs), theirs.strategy.statuses(1)[-1]) == (-10, "Margin")
    ours = run(LeverageBroker(), feed(rows), plan, commission=_levered(2))
    assert _position(ours) == 0
    assert ours.broker.getvalue() == 500


def test_a_refused_order_does_not_take_the_cash_of_the_next(feed: Any, run: Any) -> None:
    plan = {1: lambda s: (s.buy(size=500), s.buy(size=1))}
    assert _position(run(BackBroker(), feed([FLAT] * 4), plan, commission=_levered(10))) == 0
    assert _position(run(LeverageBroker(), feed([FLAT] * 4), plan, commission=_levered(10))) == 1


def test_a_target_is_not_rounded_to_nothing_where_one_unit_costs_more_than_the_cash(feed: Any, run: Any) -> None:
    plan = {1: lambda s: s.order_target_percent(target=0.5)}
    dear = [(95_000.0,) * 4] * 4
    assert _position(run(BackBroker(), feed(dear), plan, cash=10_000.0, commission=_levered(2))) == 0
    ours = run(LeverageBroker(), feed(dear), plan, cash=10_000.0, commission=_levered(2))
    assert _position(ours) * 95_000 == pytest.approx(5_000)


def test_a_target_with_leverage_does_not_oscillate(feed: Any, run: Any) -> None:
    plan = {bar: (lambda s: s.order_target_percent(target=0.2)) for bar in range(1, 7)}
    theirs = run(BackBroker(), feed([FLAT] * 8), plan, commission=_levered(10))
    assert {bar[3] for bar in theirs.bars} >= {0, 20, -160}
    ours = run(LeverageBroker(), feed([FLAT] * 8), plan, commission=_levered(10))
    assert {bar[3] for bar in ours.bars} == {0, 2}


class _OnSlow(bt.Strategy):
    """Orders on the slow feed between two of its bars."""

    params = (("orders", None),)

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.log.append((len(self.data0), len(self.data1), order.executed.price))

    def next(self) -> None:
        if len(self.data1) == 2:
            self.p.orders(self)


SLOW = [(100, 110, 50, 100), (100, 101, 99, 100), (100, 101, 94, 100)]


@pytest.mark.parametrize(
    ("exectype", "price"), [(bt.Order.Limit, 95.0), (bt.Order.Stop, 105.0), (bt.Order.StopTrail, 95.0)]
)
def test_the_bar_that_was_complete_before_the_order_existed_fills_nothing(
    exectype: int, price: float, feed: Any, run: Any
) -> None:
    def order(s: Any) -> None:
        s.buy(data=s.data0, size=1, exectype=exectype, price=price, trailamount=5.0)

    def go(broker: Any) -> Any:
        feeds = [feed(SLOW, freq="D"), feed([FLAT] * 9, freq="6h")]
        return run(broker, feeds, strategy=_OnSlow, params={"orders": order}, commission=_levered(2)).strategy.log

    assert go(BackBroker())[0][0] == 1
    ours = go(LeverageBroker())
    assert all(slow_bars >= 2 for slow_bars, _, _ in ours)


def test_the_old_bar_of_a_slow_feed_liquidates_nothing(feed: Any, run: Any) -> None:
    feeds = [feed(SLOW, freq="D"), feed([FLAT] * 12, freq="6h")]
    orders = {"orders": lambda s: s.buy(data=s.data0, size=1)}
    ran = run(LeverageBroker(), feeds, strategy=_OnSlow, params=orders, commission=_levered(10))
    assert ran.broker.getposition(ran.strategy.data0).size == 1
    assert not ran.broker.liquidations


def test_changing_the_leverage_of_a_scheme_creates_no_cash(feed: Any, run: Any) -> None:
    def change(s: Any) -> None:
        s.broker.setcommission(leverage=2.0)

    plan = {1: lambda s: s.buy(size=10), 3: change, 4: lambda s: s.close()}
    assert run(BackBroker(), feed([FLAT] * 7), plan, commission=_levered(10)).bars[-1][0] == 1400
    assert run(LeverageBroker(), feed([FLAT] * 7), plan, commission=_levered(10)).bars[-1][0] == 1000


@pytest.mark.parametrize(
    ("scheme", "wrong"),
    [
        (
            {
                "margin": 1.0,
                "automargin": 0.1,
                "stocklike": False,
                "commtype": bt.CommInfoBase.COMM_PERC,
                "leverage": 5.0,
            },
            True,
        ),
        ({"margin": 50.0, "leverage": 5.0}, True),
    ],
)
def test_futures_like_schemes_are_valued_right_with_leverage(
    scheme: dict[str, Any], wrong: bool, feed: Any, run: Any
) -> None:
    rows = [FLAT, FLAT, (100, 110, 100, 110), (120,) * 4, (120,) * 4]
    plan = {1: lambda s: s.buy(size=10)}
    right = [1000, 1000, 1100, 1200, 1200]
    theirs = run(BackBroker(), feed(rows), plan, commission=scheme)
    assert ([bar[1] for bar in theirs.bars] != pytest.approx(right)) is wrong
    ours = run(LeverageBroker(), feed(rows), plan, commission=scheme)
    assert [bar[1] for bar in ours.bars] == pytest.approx(right)


def test_a_contract_multiplier_counts_in_margin_profit_and_liquidation(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 91, 92), (100, 100, 85, 85), FLAT]
    ran = run(LeverageBroker(), feed(rows), {1: lambda s: s.buy(size=2)}, commission={"leverage": 10.0, "mult": 5.0})
    assert ran.bars[1][0] == 900
    assert ran.bars[2][1] == pytest.approx(1000 - 2 * 5 * 8)
    assert ran.broker.liquidations[0].price == pytest.approx(90 / 0.995)
    assert ran.broker.getcash() == pytest.approx(1000 - 10 * (100 - 90 / 0.995))


def test_interest_is_booked_and_eats_the_margin_where_cash_is_short(feed: Any, run: Any) -> None:
    daily = feed([FLAT] * 12, freq="D", timeframe=bt.TimeFrame.Days, compression=1)
    scheme = {"leverage": 10.0, "interest": 0.73}
    plan = {1: lambda s: s.sell(size=10), 8: lambda s: s.close()}
    ran = run(LeverageBroker(), daily, plan, commission=scheme, cash=105.0)
    days = 6
    paid = days * 1000 * 0.73 / 365
    daily = feed([FLAT] * 12, freq="D", timeframe=bt.TimeFrame.Days, compression=1)
    theirs = run(BackBroker(shortcash=False), daily, plan, commission=scheme)
    assert ran.trades[0].pnlcomm == pytest.approx(theirs.trades[0].pnlcomm)
    assert ran.broker.getcash() == pytest.approx(105 + ran.trades[0].pnlcomm)
    assert min(bar[0] for bar in ran.bars) == 0.0
    assert ran.trades[0].commission >= paid


def test_interest_that_begins_later_counts_from_there(feed: Any, run: Any) -> None:
    daily = feed([FLAT] * 12, freq="D", timeframe=bt.TimeFrame.Days, compression=1)
    plan = {
        1: lambda s: s.sell(size=10),
        5: lambda s: s.broker.setcommission(leverage=10.0, interest=0.365),
        9: lambda s: s.close(),
    }
    ran = run(LeverageBroker(), daily, plan, commission={"leverage": 10.0})
    # The scheme is in force from bar 6, the position is closed in bar 10: four nights of 0.1 %.
    assert ran.trades[0].commission == pytest.approx(4 * 0.001 * 1000)


def test_strategies_on_one_feed_and_trade_ids_are_each_told_of_their_part(feed: Any, run: Any) -> None:
    def enter(s: Any) -> None:
        s.buy(size=6, tradeid=1)
        s.buy(size=4, tradeid=2)

    rows = [FLAT, FLAT, (100, 100, 80, 85), FLAT]
    ran = run(LeverageBroker(leverage=10), feed(rows), {1: enter})
    assert sorted((trade.tradeid, trade.pnl) for trade in ran.trades) == [
        (1, pytest.approx(-6 * (100 - 90 / 0.995))),
        (2, pytest.approx(-4 * (100 - 90 / 0.995))),
    ]
    assert len(ran.broker.liquidations) == 1
    assert np.isclose(ran.broker.getcash(), 1000 + sum(trade.pnlcomm for trade in ran.trades))
