"""Margined positions under every order type and engine setting."""

from __future__ import annotations

import datetime as dt
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.market.margin import MaintenanceTiers

FLAT = (100.0, 100.0, 100.0, 100.0)
LOOSE = MaintenanceTiers.flat(0.0)


class Mixed(bt.Strategy):
    """Every order type at random, small against the account, so that nothing is refused or liquidated."""

    params = (("seed", 0), ("size", 1.0))

    def __init__(self) -> None:
        self.rng = np.random.default_rng(self.p.seed)
        self.values: list[float] = []
        self.fills: list[tuple[Any, ...]] = []
        self.done: list[tuple[Any, ...]] = []
        self.first_ref: int | None = None

    def notify_order(self, order: Any) -> None:
        if self.first_ref is None:
            self.first_ref = order.ref
        if not order.alive():
            executed = order.executed
            self.done.append((len(self), order.ref - self.first_ref, order.status, executed.size, executed.price))

    def next(self) -> None:
        self.values.append(self.broker.getvalue())
        rng = self.rng
        if rng.random() > 0.3:
            return
        close = float(self.data.close[0])
        send = self.buy if rng.random() < 0.5 else self.sell
        near = close * (1 + float(rng.normal(0, 0.01)))
        valid = dt.timedelta(hours=int(rng.integers(2, 20)))
        size = float(rng.choice([0.5, 1.0, 2.0])) * self.p.size
        draw = rng.integers(9)
        order_types = bt.Order
        if draw == 0:
            send(size=size)
        elif draw == 1:
            send(size=size, exectype=order_types.Limit, price=near, valid=valid)
        elif draw == 2:
            send(size=size, exectype=order_types.Stop, price=near, valid=valid)
        elif draw == 3:
            limit = near * (1 + float(rng.normal(0, 0.003)))
            send(size=size, exectype=order_types.StopLimit, price=near, plimit=limit, valid=valid)
        elif draw == 4:
            send(size=size, exectype=order_types.StopTrail, trailpercent=0.01, valid=valid)
        elif draw == 5:
            send(
                size=size,
                exectype=order_types.StopTrailLimit,
                price=near,
                plimit=near,
                trailamount=close * 0.01,
                valid=valid,
            )
        elif draw == 6:
            send(size=size, exectype=order_types.Close)
        elif draw == 7:
            first = self.buy(size=size, exectype=order_types.Limit, price=close * 0.99, valid=valid)
            self.sell(size=size, exectype=order_types.Limit, price=close * 1.01, oco=first, valid=valid)
        else:
            self.close()


SETTINGS = (
    {},
    {"slip_perc": 0.001, "slip_open": True},
    {"slip_fixed": 0.05, "slip_match": False, "slip_limit": False},
    {"coc": True},
    {"filler": bt.broker.fillers.FixedBarPerc(perc=20)},
)


@pytest.mark.parametrize("seed", range(10))
def test_every_order_type_fills_as_on_backbroker_while_nothing_is_liquidated(
    seed: int, feed: Any, run: Any, random_bars: Any
) -> None:
    columns = random_bars(np.random.default_rng(seed), 250, sigma=0.006)
    settings = SETTINGS[seed % len(SETTINGS)]
    scheme = {"leverage": 2.0, "commission": 0.0005}
    params = {"seed": seed, "size": 10.0}
    theirs, ours = (
        run(broker, feed(columns), strategy=Mixed, params=params, cash=1e6, commission=scheme).strategy
        for broker in (
            bt.brokers.BackBroker(shortcash=False, **settings),
            LeverageBroker(tiers=LOOSE, **settings),
        )
    )
    # Margined market orders go first in a bar, so compare the bars' orders without their sequence.
    assert sorted(ours.done) == sorted(theirs.done)
    assert len(ours.done) > 30
    assert ours.values == pytest.approx(theirs.values, rel=1e-12)


ENGINES = (
    {"runonce": False},
    {"preload": False},
    {"runonce": False, "preload": False},
    {"exactbars": -1},
    {"exactbars": -2},
)


class Gambler(bt.Strategy):
    """Levered brackets at random: liquidations, funding, stops."""

    params = (("seed", 0), ("stop", 0.03))

    def __init__(self) -> None:
        self.rng = np.random.default_rng(self.p.seed)
        self.log: list[Any] = []

    def notify_trade(self, trade: Any) -> None:
        self.log.append(("trade", trade.status, trade.pnl, trade.pnlcomm))

    def notify_liquidation(self, record: Any) -> None:
        self.log.append(("liquidation", record))

    def next(self) -> None:
        broker, rng = self.broker, self.rng
        self.log.append((broker.getcash(), broker.getvalue(), [broker.margin_ratio(data) for data in self.datas]))
        data = self.datas[rng.integers(len(self.datas))]
        if not self.getposition(data).size and rng.random() < 0.4:
            leverage = float(rng.choice([2, 10, 50]))
            close = data.close[0]
            sign = 1 if rng.random() < 0.5 else -1
            (self.buy_bracket if sign > 0 else self.sell_bracket)(
                data=data, size=broker.getcash() * 0.3 * leverage / close, exectype=bt.Order.Market, leverage=leverage,
                stopprice=close * (1 - sign * self.p.stop), limitprice=close * (1 + sign * 0.05),
            )  # fmt: skip
        elif self.getposition(data).size and rng.random() < 0.05:
            self.close(data=data)


def _gamble(feed: Any, run: Any, random_bars: Any, mode: str, count: int = 2, **engine: Any) -> list[Any]:
    feeds = []
    for seed, step in ((1, 1), (2, 4))[:count]:
        columns = random_bars(np.random.default_rng(seed), 240 // step, sigma=0.012 * step**0.5)
        rates = np.where(np.arange(240 // step) % (8 // step) == 0, 0.0005, 0.0)
        feeds.append(feed(columns, freq=f"{step}h", funding_rate=rates))
    broker = LeverageBroker(margin_mode=mode, liquidation_fee=0.002)
    params = {"seed": 3, "stop": 0.03 if mode == "isolated" else 0.5}
    ran = run(
        broker, feeds, strategy=Gambler, params=params, cash=10_000.0, commission={"commission": 0.0004}, **engine
    )
    return list(ran.strategy.log)


@pytest.mark.parametrize("mode", ["isolated", "cross"])
def test_every_engine_mode_gives_the_same_run_on_two_feeds_of_different_speed(
    mode: str, feed: Any, run: Any, random_bars: Any
) -> None:
    expected = _gamble(feed, run, random_bars, mode)
    assert sum(entry[0] == "liquidation" for entry in expected) >= (5 if mode == "isolated" else 1)
    for engine in ENGINES:
        found = _gamble(feed, run, random_bars, mode, **engine)
        assert found == expected, engine


def test_the_least_memory_gives_the_same_run_on_one_feed(feed: Any, run: Any, random_bars: Any) -> None:
    # With two feeds of different speed exactbars=1 loses the slow one's bar, under every broker.
    expected = _gamble(feed, run, random_bars, "isolated", count=1)
    assert sum(entry[0] == "liquidation" for entry in expected) >= 2
    assert _gamble(feed, run, random_bars, "isolated", count=1, exactbars=1) == expected


def test_optstrategy_runs_the_broker_in_worker_processes(feed: Any, random_bars: Any) -> None:
    def outcomes(workers: int) -> list[Any]:
        cerebro = bt.Cerebro(stdstats=False, maxcpus=workers, optreturn=True)
        cerebro.broker = LeverageBroker(leverage=5, tiers={"d0": MaintenanceTiers.flat(0.01)}, liquidation_fee=0.001)
        cerebro.broker.setcash(10_000.0)
        cerebro.broker.setcommission(commission=0.0005)
        columns = random_bars(np.random.default_rng(4), 120, sigma=0.012)
        frame = bt.feeds.PandasData(dataname=_frame(columns))
        cerebro.adddata(frame, name="d0")
        cerebro.optstrategy(Levered, leverage=[2.0, 10.0, 40.0])
        cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
        cerebro.addanalyzer(Kept, _name="kept")
        return [(run[0].params.leverage, run[0].analyzers.kept.get_analysis()) for run in cerebro.run()]

    serial, parallel = outcomes(1), outcomes(2)
    assert parallel == serial
    assert len({repr(result) for _, result in serial}) == 3


def _frame(columns: dict[str, Any]) -> Any:
    import pandas as pd

    index = pd.date_range("2024-01-01", periods=len(columns["open"]), freq="h")
    return pd.DataFrame({key: np.asarray(values, dtype=float) for key, values in columns.items()}, index=index)


class Levered(bt.Strategy):
    """In and out every ten bars."""

    params = (("leverage", 1.0),)

    def next(self) -> None:
        if len(self) % 10 == 1:
            self.buy(size=self.broker.getcash() * 0.5 * self.p.leverage / self.data.close[0], leverage=self.p.leverage)
        elif len(self) % 10 == 8:
            self.close()


class Kept(bt.Analyzer):
    """What the broker has to say at the end."""

    def stop(self) -> None:
        broker = self.strategy.broker
        self.rets = {"value": broker.getvalue(), "liquidations": list(broker.liquidations)}

    def get_analysis(self) -> Any:
        return self.rets


def test_an_order_of_next_open_fills_at_that_open_and_is_at_risk_in_that_bar(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 85, 88), FLAT]
    broker = LeverageBroker(leverage=10)
    # next_open sees the new bar's open; len() still counts the bars closed.
    ran = run(broker, feed(rows), params={"opening": {2: lambda s: s.buy(size=10)}}, cheat_on_open=True)
    assert ran.strategy.statuses(0)[-1] == "Completed"
    assert [record.bar_time.hour for record in broker.liquidations] == [2]


def test_next_open_on_a_slow_feed_waits_for_its_next_bar(feed: Any, run: Any) -> None:
    slow = [(100, 101, 99, 100), (120, 121, 119, 120), (130, 131, 129, 130)]
    feeds = [feed([FLAT] * 9, freq="6h"), feed(slow, freq="D")]
    ran = run(
        LeverageBroker(leverage=2), feeds, params={"opening": {2: lambda s: s.buy(data=s.data1, size=1)}},
        cheat_on_open=True,
    )  # fmt: skip
    assert [order[4] for order in ran.orders if order[2] == "Completed"] == [120.0]


def test_an_order_at_the_last_close_is_exposed_to_the_whole_next_bar_its_gap_included(feed: Any, run: Any) -> None:
    rows = [FLAT, (88, 95, 88, 95), FLAT]
    ran = run(LeverageBroker(leverage=10, coc=True), feed(rows), {1: lambda s: s.buy(size=10)})
    record = ran.broker.liquidations[0]
    assert (record.entry_price, record.price, record.reason) == (100.0, 90.0, "gap")


def test_a_position_filled_in_parts_posts_margin_for_each_part(feed: Any, run: Any) -> None:
    broker = LeverageBroker(leverage=4, filler=bt.broker.fillers.FixedSize(size=3))
    margins: list[float] = []
    plan = {1: lambda s: s.buy(size=8)} | {
        bar: (lambda s: margins.append(s.broker.position_margin(s.data))) for bar in range(2, 6)
    }
    ran = run(broker, feed([FLAT] * 6), plan)
    assert margins == [75, 150, 200, 200]
    assert ran.strategy.statuses(0) == ["Submitted", "Accepted", "Partial", "Partial", "Completed"]


def test_a_liquidation_is_not_left_to_the_filler(feed: Any, run: Any) -> None:
    broker = LeverageBroker(leverage=10, filler=bt.broker.fillers.FixedSize(size=10))
    rows = [FLAT, FLAT, FLAT, FLAT, (100, 100, 80, 85), FLAT]
    ran = run(broker, feed(rows), {1: lambda s: s.buy(size=25)})
    assert ran.broker.getposition(ran.strategy.data).size == 0
    assert len(broker.liquidations) == 1


def test_a_reduce_only_order_is_cut_to_the_position_and_dropped_without_one(feed: Any, run: Any) -> None:
    def shrink(s: Any) -> None:
        s.sell(size=50, reduce_only=True)
        s.sell(size=1, reduce_only=True)

    ran = run(LeverageBroker(leverage=2), feed([FLAT] * 6), {1: lambda s: s.buy(size=4), 3: shrink})
    assert [order[3] for order in ran.orders if order[2] == "Completed"] == [4, -4]
    assert ran.strategy.statuses(2)[-1] == "Canceled"


def test_an_expired_or_cancelled_bracket_takes_its_children_with_it(feed: Any, run: Any) -> None:
    def enter(s: Any) -> None:
        s.buy_bracket(size=5, price=90, stopprice=80, limitprice=120, valid=dt.timedelta(hours=2))

    ran = run(LeverageBroker(leverage=5), feed([FLAT] * 8), {1: enter})
    assert ran.strategy.statuses(0)[-1] == "Expired"
    assert {ran.strategy.statuses(number)[-1] for number in (1, 2)} == {"Canceled"}
    assert not ran.broker.pending


@pytest.mark.parametrize("side", [1, -1])
def test_a_trailing_stop_saves_a_position_from_its_liquidation(side: int, feed: Any, run: Any) -> None:
    path = [100, 100, 106, 112, 100, 88, 80]
    rows = [
        (path[max(0, i - 1)], max(path[max(0, i - 1)], p), min(path[max(0, i - 1)], p), p) for i, p in enumerate(path)
    ]
    if side < 0:
        rows = [(200 - o, 200 - low, 200 - high, 200 - c) for o, high, low, c in rows]

    def enter(s: Any) -> None:
        (s.buy if side > 0 else s.sell)(size=10)

    def trail(s: Any) -> None:
        (s.sell if side > 0 else s.buy)(size=10, exectype=bt.Order.StopTrail, trailamount=5)

    saved = run(LeverageBroker(leverage=10), feed(rows), {1: enter, 2: trail})
    assert not saved.broker.liquidations
    assert saved.trades[0].pnl == pytest.approx(10 * (107 - 100))
    assert run(LeverageBroker(leverage=10), feed(rows), {1: enter}).broker.liquidations


def test_resampled_bars_are_traded_and_liquidated_and_pay_the_stamp_at_their_end(feed: Any, run: Any) -> None:
    hours = [FLAT] * 40 + [(100, 100, 85, 86)] + [(86,) * 4] * 20
    base = feed(hours)
    broker = LeverageBroker(leverage=10, funding=0.0001)

    def resample(cerebro: bt.Cerebro) -> None:
        cerebro.resampledata(base, timeframe=bt.TimeFrame.Minutes, compression=240, name="four hours")

    class OnFour(bt.Strategy):
        def __init__(self) -> None:
            self.paid: list[tuple[Any, float]] = []

        def next(self) -> None:
            self.paid.append((self.data.datetime.datetime(), self.broker.funding_paid()))
            if len(self) == 1:
                self.buy(size=10)

    ran = run(broker, [], strategy=OnFour, params={}, add=resample)
    assert len(broker.liquidations) == 1
    charged = [
        moment.hour
        for (moment, now), (_, before) in zip(ran.strategy.paid[1:], ran.strategy.paid, strict=False)
        if now > before
    ]
    # Labels are the bars' ends: the stamp at a bar's end is settled as the next bar begins, four hours later.
    assert set(charged) <= {4, 12, 20}
    assert len(charged) >= 3


def test_a_replayed_bar_is_checked_tick_by_tick_not_against_what_came_before_the_entry(feed: Any, run: Any) -> None:
    # Low of 80 in the first hour of the day, entry in the sixth: the day's low says nothing about the position.
    hours = [(100, 100, 80, 100)] + [FLAT] * 30 + [(100, 100, 85, 86)] + [(86,) * 4] * 10
    base = feed(hours)
    broker = LeverageBroker(leverage=10)

    def replay(cerebro: bt.Cerebro) -> None:
        cerebro.replaydata(base, timeframe=bt.TimeFrame.Days, compression=1, name="day")

    class OnDay(bt.Strategy):
        def __init__(self) -> None:
            self.ticks = 0

        def next(self) -> None:
            self.ticks += 1
            if self.ticks == 5:
                self.buy(size=10)

    run(broker, [], strategy=OnDay, params={}, add=replay)
    assert [record.bar_time for record in broker.liquidations] == [dt.datetime(2024, 1, 2, 7)]
