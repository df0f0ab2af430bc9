"""Patterns of strategies that others write, untouched, on AISizer with LeverageBroker and with Backtrader's broker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.market import MarketData

Run = Callable[..., Any]


class Crossing(bt.Strategy):
    """Base: a fast and a slow average, and what was sent."""

    params = (("fast", 10), ("slow", 30))

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=self.p.fast), bt.ind.SMA(period=self.p.slow))
        self.statuses: list[str] = []

    def notify_order(self, order: Any) -> None:
        self.statuses.append(order.getstatusname())


class OneOrderAtATime(Crossing):
    """The state machine of every tutorial: no order while one is pending."""

    def __init__(self) -> None:
        super().__init__()
        self.order: Any = None
        self.bought: float | None = None

    def notify_order(self, order: Any) -> None:
        super().notify_order(order)
        if order.status in (order.Submitted, order.Accepted):
            return
        if order.status == order.Completed:
            self.bought = order.executed.price if order.isbuy() else None
        self.order = None

    def next(self) -> None:
        if self.order:
            return
        if not self.position:
            if self.cross[0] > 0:
                self.order = self.buy()
        elif self.cross[0] < 0:
            self.order = self.sell()


class HandMadeBracket(Crossing):
    """Entry and children sent one by one with transmit=False, remembered by reference."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[int] = []
        self.groups: list[list[Any]] = []

    def notify_order(self, order: Any) -> None:
        super().notify_order(order)
        if not order.alive() and order.ref in self.references:
            self.references.remove(order.ref)

    def next(self) -> None:
        if self.references or self.position or self.cross[0] <= 0:
            return
        price = self.data.close[0]
        entry = self.buy(exectype=bt.Order.Limit, price=price * 0.9995, valid=dt.timedelta(hours=12), transmit=False)
        stop = self.sell(exectype=bt.Order.Stop, price=price * 0.995, parent=entry, transmit=False)
        target = self.sell(exectype=bt.Order.Limit, price=price * 1.005, parent=entry)
        self.references = [order.ref for order in (entry, stop, target)]
        self.groups.append([entry, stop, target])


class LadderOfLimits(Crossing):
    """Three limit entries of which one may fill; leaves after a number of bars."""

    def __init__(self) -> None:
        super().__init__()
        self.live: set[int] = set()
        self.entered = 0
        self.ladders: list[list[Any]] = []

    def notify_order(self, order: Any) -> None:
        super().notify_order(order)
        if order.status == order.Completed:
            self.entered = len(self)
        if not order.alive():
            self.live.discard(order.ref)

    def next(self) -> None:
        if self.live:
            return
        if self.position:
            if len(self) - self.entered >= 10:
                self.close()
        elif self.cross[0] > 0:
            price = self.data.close[0]
            first = self.buy(exectype=bt.Order.Limit, price=price * 0.9998, valid=dt.timedelta(days=2))
            others = [self.buy(exectype=bt.Order.Limit, price=price * share, oco=first) for share in (0.999, 0.997)]
            self.ladders.append([first, *others])
            self.live = {order.ref for order in (first, *others)}


class TwoExitsByHand(Crossing):
    """Stop and target as two independent orders, sent when the entry is told as filled."""

    def notify_order(self, order: Any) -> None:
        super().notify_order(order)
        if order.status != order.Completed or not self.position or not order.isbuy():
            return
        price = order.executed.price
        self.sell(exectype=bt.Order.Stop, price=price * 0.998)
        self.sell(exectype=bt.Order.Limit, price=price * 1.002)

    def next(self) -> None:
        if not self.position and self.cross[0] > 0:
            self.buy()


class TrailingStop(Crossing):
    """Entry at market, exit by a trailing stop sent one bar later."""

    def __init__(self) -> None:
        super().__init__()
        self.trail: Any = None

    def next(self) -> None:
        if not self.position:
            if self.cross[0] > 0:
                self.buy()
                self.trail = None
        elif self.trail is None:
            self.trail = self.sell(exectype=bt.Order.StopTrail, trailpercent=0.002)


class Pyramid(bt.Strategy):
    """Buys each new high, sells everything at a new low."""

    def __init__(self) -> None:
        self.high = bt.ind.Highest(self.data.high(-1), period=20)
        self.low = bt.ind.Lowest(self.data.low(-1), period=20)

    def next(self) -> None:
        if self.data.close[0] > self.high[0]:
            self.buy()
        elif self.position and self.data.close[0] < self.low[0]:
            self.sell()


class Rotation(bt.Strategy):
    """Holds the strongest of several feeds; sells before it buys."""

    def __init__(self) -> None:
        self.strength = {data: bt.ind.ROC(data.close, period=24) for data in self.datas}

    def next(self) -> None:
        if len(self) % 24:
            return
        best = max(self.datas, key=lambda data: self.strength[data][0])
        for data in self.datas:
            if data is not best and self.getposition(data).size:
                self.close(data=data)
        if not self.getposition(best).size:
            self.buy(data=best)


class PairOnTwoFeeds(bt.Strategy):
    """Long one feed and short the other in the same bar, by names."""

    def next(self) -> None:
        if len(self) % 100 == 50:
            self.buy(data="EURUSD")
            self.sell(data="OTHER")
        elif len(self) % 100 == 99:
            for name in ("EURUSD", "OTHER"):
                self.close(data=name)


class Rebalance(bt.Strategy):
    """Targets in percent: never asks a sizer."""

    def next(self) -> None:
        if len(self) % 48 == 0:
            self.order_target_percent(target=0.5 if (len(self) // 48) % 2 else 0.1)


class Scheduled(bt.Strategy):
    """Trades from a timer, not from next()."""

    def __init__(self) -> None:
        self.add_timer(when=dt.time(9), weekdays=[1, 3, 5])
        self.add_timer(when=dt.time(15), weekdays=[1, 3, 5])
        self.calls = 0

    def notify_timer(self, timer: Any, when: Any, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        if when.hour == 9 and not self.position:
            self.buy()
        elif when.hour == 15 and self.position:
            self.close()


class BreakoutBothWays(bt.Strategy):
    """A buy stop above and a sell stop below, one cancels the other; turned around never, closed by time."""

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.entered = 0
        self.both: list[tuple[float, float]] = []

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.entered = len(self)

    def next(self) -> None:
        if self.position:
            if len(self) - self.entered > 8:
                self.close()
        elif not any(order.alive() for order in self.orders) and self.data.datetime.time(0).hour == 8:
            above, below = self.data.close[0] * 1.001, self.data.close[0] * 0.999
            first = self.buy(exectype=bt.Order.Stop, price=above)
            second = self.sell(exectype=bt.Order.Stop, price=below, oco=first)
            self.orders = [first, second]
            self.both.append((first.created.size, second.created.size))


class Turn(bt.Indicator):
    lines = ("signal",)

    def __init__(self) -> None:
        self.lines.signal = bt.ind.SMA(period=10) - bt.ind.SMA(period=30)


class Signals(bt.SignalStrategy):
    def __init__(self) -> None:
        self.signal_add(bt.SIGNAL_LONGSHORT, Turn())


@pytest.fixture(scope="module")
def other(eurusd: MarketData) -> MarketData:
    frame = eurusd.to_frame()
    upside_down = 1.0 / frame[["open", "high", "low", "close"]]
    frame["open"], frame["close"] = upside_down["open"], upside_down["close"]
    frame["high"], frame["low"] = upside_down["low"], upside_down["high"]
    return MarketData.from_frame(frame, symbol="OTHER")


ONE_FEED = [
    OneOrderAtATime, HandMadeBracket, LadderOfLimits, TwoExitsByHand, TrailingStop, Pyramid, Rebalance, Scheduled,
    BreakoutBothWays, Signals,
]  # fmt: skip


@pytest.mark.parametrize("levered", [True, False])
@pytest.mark.parametrize("strategy", ONE_FEED)
def test_the_pattern_trades_untouched(strategy: Any, levered: bool, eurusd: MarketData, run_foreign: Run) -> None:
    _, books = run_foreign(strategy, [eurusd], levered=levered)
    assert books.bars == len(eurusd)
    assert len(books.fills) >= 3
    # The manager's cap, with room for what the price did since.
    assert books.notional < 10.5
    assert not [reason for reason in books.refused if reason.startswith("cash")]


@pytest.mark.parametrize("strategy", ONE_FEED)
def test_the_pattern_stands_a_sizer_that_refuses_everything(
    strategy: Any, eurusd: MarketData, run_foreign: Run
) -> None:
    for levered in (True, False):
        run, books = run_foreign(strategy, [eurusd], levered=levered, sizer={"confidence": 0.0})
        if strategy is not Rebalance:
            assert books.fills == []
            assert books.refused
            assert all("AISizer" in reason for reason in books.refused if reason)
        assert run.analyzers.aisizer.get_analysis()["asked"] >= 0


@pytest.mark.parametrize("strategy", [OneOrderAtATime, TwoExitsByHand, TrailingStop, HandMadeBracket, LadderOfLimits])
def test_a_long_only_pattern_is_never_short(strategy: Any, eurusd: MarketData, run_foreign: Run) -> None:
    _, books = run_foreign(strategy, [eurusd])
    assert min(books.sizes["EURUSD"]) >= -1e-9
    assert max(books.sizes["EURUSD"]) > 0.0


def test_children_of_a_hand_made_bracket_have_its_size(eurusd: MarketData, run_foreign: Run) -> None:
    run, books = run_foreign(HandMadeBracket, [eurusd])
    sized = [group for group in run.groups if group[0].status != group[0].Rejected]
    assert sized
    for entry, stop, target in sized:
        assert entry.created.size == -stop.created.size == -target.created.size
    assert all(size >= 0.0 for size in books.sizes["EURUSD"])


def test_each_step_of_a_ladder_has_the_size_of_a_whole_position(eurusd: MarketData, run_foreign: Run) -> None:
    run, _ = run_foreign(LadderOfLimits, [eurusd])
    ladder = next(orders for orders in run.ladders if orders[0].status != orders[0].Rejected)
    sizes = [order.created.size for order in ladder]
    # The further the limit the more units for the same money.
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(sizes[0], rel=0.02)


def test_resting_entries_without_oco_share_one_position(eurusd: MarketData, run_foreign: Run) -> None:
    class Independent(bt.Strategy):
        def next(self) -> None:
            if len(self) in (200, 201, 202):
                self.sent.append(self.buy(exectype=bt.Order.Limit, price=self.data.close[0] * 0.5))

        def start(self) -> None:
            self.sent: list[Any] = []

    run, _ = run_foreign(Independent, [eurusd])
    first = run.sent[0].created.size
    total = sum(order.created.size for order in run.sent if order.status != order.Rejected)
    whole = max(decision.risk_metrics["notional_usd"] for decision in run.getsizer().decisions)
    assert first > 0
    # Sized each by itself, the three would come to three times that.
    assert total <= 1.02 * whole / (eurusd.close[199:202].min() * 0.5)


def test_both_sides_of_a_breakout_are_entries(eurusd: MarketData, run_foreign: Run) -> None:
    run, books = run_foreign(BreakoutBothWays, [eurusd])
    sized = [(up, down) for up, down in run.both if abs(up) != 1.0 and abs(down) != 1.0]
    assert sized
    assert all(up > 0 > down for up, down in sized)
    assert max(books.sizes["EURUSD"]) > 0.0
    assert min(books.sizes["EURUSD"]) < 0.0


def test_each_addition_of_a_pyramid_fits_into_the_whole(eurusd: MarketData, run_foreign: Run) -> None:
    run, books = run_foreign(Pyramid, [eurusd])
    largest = max(decision.risk_metrics["notional_usd"] for decision in run.getsizer().decisions)
    assert max(books.sizes["EURUSD"]) * eurusd.close.min() <= largest * 1.03


def test_rotation_over_feeds_sizes_each_feed(eurusd: MarketData, other: MarketData, run_foreign: Run) -> None:
    for levered in (True, False):
        _, books = run_foreign(Rotation, [eurusd, other], levered=levered)
        traded = {name for _, name, _, _ in books.fills}
        assert traded == {"EURUSD", "OTHER"}
        assert all(a == 0.0 or b == 0.0 for a, b in zip(*books.sizes.values(), strict=True))


def test_a_pair_sent_in_one_bar_fits_into_the_cash(eurusd: MarketData, other: MarketData, run_foreign: Run) -> None:
    for levered in (True, False):
        _, books = run_foreign(PairOnTwoFeeds, [eurusd, other], levered=levered, sizer={"risk_budget": 0.2})
        assert max(books.sizes["EURUSD"]) > 0.0
        assert min(books.sizes["OTHER"]) < 0.0
        assert not [reason for reason in books.refused if reason.startswith("cash") or reason == ""]


def test_orders_past_the_sizer_are_counted(eurusd: MarketData, run_foreign: Run) -> None:
    run, _ = run_foreign(Rebalance, [eurusd])
    analysis = run.analyzers.aisizer.get_analysis()
    assert analysis["asked"] == 0
    assert analysis["bypassed"] > 5
    signals, _ = run_foreign(Signals, [eurusd])
    assert signals.analyzers.aisizer.get_analysis()["bypassed"] == 0


def test_orders_past_the_sizer_are_margined_when_told(eurusd: MarketData, run_foreign: Run) -> None:
    class OwnSize(Crossing):
        def next(self) -> None:
            if self.cross[0] > 0 and not self.position:
                self.buy(size=1_234)
            elif self.cross[0] < 0 and self.position:
                self.close()

    class Leverage(bt.Analyzer):
        def start(self) -> None:
            self.seen: set[float] = set()

        def next(self) -> None:
            if self.strategy.position:
                self.seen.add(round(self.strategy.broker.get_position_leverage(self.data), 6))

        def get_analysis(self) -> set[float]:
            return self.seen

    def watch(cerebro: Any) -> None:
        cerebro.addanalyzer(Leverage, _name="leverage")

    plain, books = run_foreign(OwnSize, [eurusd], setup=watch)
    levered, same = run_foreign(OwnSize, [eurusd], setup=watch, sizer={"levered_bypass": True})
    assert plain.analyzers.leverage.get_analysis() == {1.0}
    assert max(levered.analyzers.leverage.get_analysis()) > 1.0
    assert [fill[2] for fill in books.fills] == [fill[2] for fill in same.fills]
    assert {abs(fill[2]) for fill in same.fills} == {1_234}


def test_a_timer_strategy_is_sized_at_its_hours(eurusd: MarketData, run_foreign: Run) -> None:
    run, books = run_foreign(Scheduled, [eurusd])
    assert run.calls > 20
    assert books.fills[0][2] not in (0.0, 1.0)


def test_signals_from_cerebro_are_sized(eurusd: MarketData, run_foreign: Run) -> None:
    def add(cerebro: Any) -> None:
        cerebro.add_signal(bt.SIGNAL_LONGSHORT, Turn)

    run, books = run_foreign(None, [eurusd], setup=add)
    assert run.analyzers.aisizer.get_analysis()["asked"] > 10
    assert min(books.sizes["EURUSD"]) < 0.0 < max(books.sizes["EURUSD"])


def test_a_strategy_that_only_waits_for_completion_goes_on_when_told(eurusd: MarketData, run_foreign: Run) -> None:
    class OnlyCompletion(Crossing):
        order: Any = None

        def notify_order(self, order: Any) -> None:
            if order.status == order.Completed:
                self.order = None

        def next(self) -> None:
            if self.order is None and self.cross[0]:
                self.order = self.close() if self.position else self.buy()

    for levered in (True, False):
        # The features are not ready at its first signal: it waits for that order until the end.
        _, waiting = run_foreign(OnlyCompletion, [eurusd], levered=levered)
        _, trading = run_foreign(OnlyCompletion, [eurusd], levered=levered, sizer={"refusal": "none"})
        assert not waiting.fills
        assert len(trading.fills) > 10


def test_methods_kept_in_init_reach_the_sizer_and_are_counted(eurusd: MarketData, run_foreign: Run) -> None:
    class Kept(Crossing):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = self.buy, self.close

        def next(self) -> None:
            if self.cross[0] > 0 and not self.position:
                self.enter(size=777)
            elif self.cross[0] < 0 and self.position:
                self.leave()

    run, books = run_foreign(Kept, [eurusd])
    entries = sum(size > 0 for _, _, size, _ in books.fills)
    assert run.analyzers.aisizer.get_analysis()["bypassed"] == entries > 5
