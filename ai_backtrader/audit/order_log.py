"""One run of a strategy, of which everything sent, cancelled and filled is written down."""

from __future__ import annotations

import array
import datetime as dt
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.audit.lookahead_report import Difference, OrderEvent
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.datafeeds.feeds import backtrader_times
from ai_backtrader.market import MarketData

__all__ = ["OrderLog", "RunSetup", "Timeline", "first_difference", "run_logged"]


@dataclass(frozen=True, slots=True)
class RunSetup:
    """What is the same in every run: strategy, account and names of the feeds."""

    strategy_class: Any
    names: tuple[str, ...]
    cash: float
    sizer: Any
    sizer_params: Mapping[str, Any]
    make_broker: Callable[[], Any] | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The steps of the full run: every moment at which a bar of some feed reaches the strategy."""

    labels: NDArray[np.datetime64]
    numbers: NDArray[np.float64]
    shortest: int

    @classmethod
    def of(cls, feeds: tuple[MarketData, ...]) -> Timeline:
        """Steps of a run over the feeds; bars longer than the shortest arrive at their end."""
        shortest = min(feed.bar_seconds for feed in feeds)
        labels = np.unique(
            np.concatenate([feed.times + np.timedelta64(feed.bar_seconds - shortest, "s") for feed in feeds])
        )
        return cls(labels, backtrader_times(labels), shortest)

    def end_of(self, bar: int) -> np.datetime64:
        """Moment at which the bars of a step are complete."""
        moment: np.datetime64 = self.labels[bar] + np.timedelta64(self.shortest, "s")
        return moment

    def bar_at(self, number: float) -> int:
        """Step of Backtrader's date number; -1 before the first."""
        return int(np.searchsorted(self.numbers, number + 1e-9, side="right")) - 1

    def time_of(self, bar: int) -> dt.datetime | None:
        """Label of a step."""
        if not 0 <= bar < len(self.labels):
            return None
        moment: dt.datetime = self.labels[bar].astype("datetime64[us]").item()
        return moment


@dataclass(slots=True)
class OrderLog:
    """Events of a run in the order in which they happened, and how it ended."""

    events: list[OrderEvent] = field(default_factory=list)
    error: Exception | None = None
    period: int = 1
    cheats: bool = False

    @property
    def orders(self) -> list[OrderEvent]:
        """The orders sent."""
        return [event for event in self.events if event.kind == "order"]


class _Curtain(PerpetualData):
    """Preloaded feed whose lines hold something else in the place of every bar that has not come yet.

    Each future bar is mirrored at the close before it, three times as far: whoever looks one bar ahead sees the
    opposite of what will be. Times stay, since Cerebro steps by them.
    """

    def preload(self) -> None:
        super().preload()
        count = len(self.market_data)
        centre = np.log(np.concatenate((self.market_data.close[:1], self.market_data.close[:-1])))
        self._true, self._false = {}, {}
        for alias in self.getlinealiases():
            line = getattr(self.lines, alias)
            if alias == "datetime" or len(line.array) < count:
                continue
            true = np.array(line.array[:count])
            price = alias.removeprefix("mark_") in ("open", "high", "low", "close")
            # Other lines change sign: of a funding rate that is zero, too.
            other = np.exp(4.0 * centre - 3.0 * np.log(true)) if price else -3.0 * true - 1e-3
            self._true[line], self._false[line] = true.tolist(), other.tolist()
            line.array[:count] = array.array("d", other)

    def advance(self, size: int = 1, datamaster: Any = None, ticks: bool = True) -> None:
        """Draw the curtain from the bar that comes now."""
        if datamaster is None:
            for line, true in self._true.items():
                place = line.idx + size
                if 0 <= place < len(true):
                    line.array[place] = true[place]
        super().advance(size, datamaster, ticks)

    def rewind(self, size: int = 1) -> None:
        """Cerebro asked too early: the bar is for later."""
        for line, false in self._false.items():
            line.array[line.idx] = false[line.idx]
        super().rewind(size)


class _Scribe(bt.Analyzer):
    """Counts steps and writes fills; outside of the strategy, so that what was seen stays when it raises."""

    params = (("note", None), ("fills", None))

    def next(self) -> None:
        self.p.note(self.strategy)

    def notify_order(self, order: Any) -> None:
        for bit in order.executed.iterpending():
            self.p.fills(order, bit)


def run_logged(
    setup: RunSetup,
    feeds: tuple[MarketData, ...],
    timeline: Timeline,
    params: Mapping[str, Any],
    *,
    preload: bool = True,
    curtain: bool = False,
) -> OrderLog:
    """Run the strategy once; an error of its code ends the log as an event.

    ``preload=False`` loads bar by bar; ``curtain=True`` preloads, bar by bar too, with every bar hidden until it comes.
    """
    log = OrderLog()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = bt.brokers.BackBroker() if setup.make_broker is None else setup.make_broker()
    cerebro.broker.setcash(setup.cash)
    names: dict[Any, str] = {}
    for feed, name in zip(feeds, setup.names, strict=True):
        line = (_Curtain if curtain else PerpetualData)(dataname=feed, name=name)
        names[cerebro.adddata(line)] = name
    done = -1

    def note(strategy: Any) -> None:
        nonlocal done
        done = timeline.bar_at(strategy.lines.datetime[0])

    def event(kind: str, order: Any, size: float, price: float | None, extra: tuple[float | None, ...] = ()) -> None:
        # The feeds' time, not the strategy's: what the broker does by itself happens before the strategy steps on.
        bar = timeline.bar_at(max((data.datetime[0] for data in cerebro.datas if len(data)), default=-1.0))
        side, words = "buy" if order.isbuy() else "sell", order.getordername()
        found = OrderEvent(bar, timeline.time_of(bar), names[order.data], kind, side, words, abs(size), price, extra)
        log.events.append(found)

    submit, cancel = cerebro.broker.submit, cerebro.broker.cancel

    def submitted(order: Any, *args: Any, **kwargs: Any) -> Any:
        asked = order.created
        extra = (asked.pricelimit, asked.trailamount, asked.trailpercent)
        event("order", order, asked.size, asked.price if order.exectype != order.Market else None, extra)
        return submit(order, *args, **kwargs)

    def cancelled(order: Any, *args: Any, **kwargs: Any) -> Any:
        answer = cancel(order, *args, **kwargs)
        if answer:
            event("cancel", order, order.created.size, order.created.price)
        return answer

    # Orders of the last bar reach no notification: they are seen where they enter the broker.
    cerebro.broker.submit, cerebro.broker.cancel = submitted, cancelled
    cerebro.addstrategy(setup.strategy_class, **params)
    if setup.sizer is not None:
        cerebro.addsizer(setup.sizer, **dict(setup.sizer_params))
    cerebro.addanalyzer(_Scribe, note=note, fills=lambda order, bit: event("fill", order, bit.size, bit.price))
    try:
        cerebro.run(preload=preload, runonce=not curtain)
    except Exception as error:  # anything that a user's code may raise: it is an event like another
        log.error = error
        words = f"{type(error).__name__}: {error}"
        log.events.append(OrderEvent(done + 1, timeline.time_of(done + 1), "", "error", order_type=words))
    ran = getattr(cerebro, "runningstrats", [])
    if ran:
        log.period = max(getattr(ran[0], "_minperiods", None) or [1])
    log.cheats = bool(cerebro.broker.p.coc)
    return log


def first_difference(full: OrderLog, other: OrderLog, timeline: Timeline, upto: int, test: str) -> Difference | None:
    """First event up to a bar (inclusive) that the two runs do not share, in the order of time."""
    left, right = ([event for event in log.events if event.bar <= upto] for log in (full, other))
    for one, two in itertools.zip_longest(left, right):
        if one is not None and two is not None and _same(one, two):
            continue
        # Where one of the runs acts earlier, the other did nothing there.
        bar = min(event.bar for event in (one, two) if event is not None)
        shown = [event if event is not None and event.bar == bar else None for event in (one, two)]
        return Difference(bar, timeline.time_of(bar), shown[0], shown[1], test)
    return None


def _same(one: OrderEvent, two: OrderEvent) -> bool:
    words = (one.bar, one.feed, one.kind, one.side)
    if words != (two.bar, two.feed, two.kind, two.side):
        return False
    if one.kind == "error":
        return one.order_type.partition(":")[0] == two.order_type.partition(":")[0]
    numbers = zip((one.size, one.price, *one.extra), (two.size, two.price, *two.extra), strict=True)
    return one.order_type == two.order_type and all(_close(a, b) for a, b in numbers)


def _close(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    # Sums over arrays of another length may round otherwise; a leak moves more than the tenth digit.
    return math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(one) and math.isnan(two))
