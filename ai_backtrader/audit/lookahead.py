"""The look-ahead check: the same past with other futures must give the same orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.audit.futures import changed_after, changed_market, known_bars
from ai_backtrader.audit.held import Held, Namespace, namespaces, restore, snapshot
from ai_backtrader.audit.lookahead_report import Difference, LookaheadReport, OrderEvent, Verdict
from ai_backtrader.audit.order_log import OrderLog, RunSetup, Timeline, first_difference, run_logged
from ai_backtrader.audit.prepared import ROWS, feed_of_rows, informed_held, informed_lines
from ai_backtrader.audit.settings import AuditError
from ai_backtrader.checks import Faults
from ai_backtrader.market import MarketData

__all__ = ["check_lookahead"]

MAX_RUNS = 22
_PLACES = 7  # order bars at which the future is taken away, and changed
_MIN_BARS = 20


def check_lookahead(
    strategy_class: Any,
    data: MarketData | tuple[MarketData, ...] | list[MarketData],
    *,
    cash: float = 1_000_000.0,
    sizer: Any = None,
    sizer_params: Mapping[str, Any] | None = None,
    make_broker: Callable[[], Any] | None = None,
    **params: Any,
) -> LookaheadReport:
    """Say whether a strategy's orders depend on bars that come after them.

    The strategy runs over all data, then up to 22 times more: once again as it is (is it deterministic, does it keep
    something from run to run?), once with ``preload=False`` (there ``data.close[1]`` reads no future), once with every
    bar hidden until it comes, with the data cut right after bars at which it sent orders, and with everything after
    such bars turned into another future, also in arrays, frames, lists and MarketData that its class, module, closures
    or parameters hold. Orders, cancellations and fills up to the bar must be the same. Columns prepared elsewhere
    (extra feed lines, series that the class holds) are also tested for what they know of the returns to come; one that
    does and that the orders depend on is a leak.

    Parameters
    ----------
    strategy_class
        Subclass of ``backtrader.Strategy``.
    data
        One feed, or several, which may differ in bar length: a longer bar arrives together with the short bar in which
        it ends.
    cash
        Starting cash; ample, so that few orders are refused.
    sizer, sizer_params
        Sizer class for orders without a size, and its parameters.
    make_broker
        Makes a fresh broker for each run; None is Backtrader's own.
    **params
        Parameters of the strategy. A name above that is also a parameter of the strategy goes to the strategy.

    Returns
    -------
    LookaheadReport
        ``.clean``, ``.verdict``, ``.first_difference``, ``.runs``, ``.warm_up``.

    Raises
    ------
    AuditError
        If the strategy raises for a reason that is not the end of the data; the message names bar and error.
    SettingsError
        If an argument is wrong, or the data are too short.

    Notes
    -----
    A clean report says that none of the bars tried showed a leak: it is evidence, no proof. Data that the strategy
    fetches by itself during the run (files, network) are not changed; a class that keeps its data in objects of
    libraries other than NumPy and pandas is seen only through its feeds.

    Examples
    --------
    >>> import backtrader as bt
    >>> from ai_backtrader.datafeeds import load_sample
    >>> class Tomorrow(bt.Strategy):
    ...     def next(self):
    ...         if len(self) < 290 and self.data.close[1] > self.data.close[0]:
    ...             self.buy(size=1)
    >>> report = check_lookahead(Tomorrow, load_sample().head(300))
    >>> report.clean, report.first_difference.kind
    (False, 'order')
    """
    feeds = (data,) if isinstance(data, MarketData) else tuple(data) if isinstance(data, tuple | list) else ()
    options = {
        "cash": cash, "sizer": sizer, "sizer_params": dict(sizer_params or {}), "make_broker": make_broker
    }  # fmt: skip
    _check_arguments(strategy_class, data, feeds, cash)
    defaults: dict[str, Any] = {"cash": 1_000_000.0, "sizer": None, "sizer_params": {}, "make_broker": None}
    own = set(strategy_class.params._getkeys())
    for name in own & options.keys():
        if options[name] != defaults[name]:
            params[name] = options[name]
        options[name] = defaults[name]
    setup = RunSetup(strategy_class=strategy_class, names=_names(feeds), **options)
    return _Check(setup, feeds, params).report()


def _check_arguments(strategy_class: Any, data: object, feeds: tuple[object, ...], cash: float) -> None:
    faults = Faults("check_lookahead")
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, bt.Strategy)):
        faults.add(f"strategy_class must be a subclass of backtrader.Strategy, got {strategy_class!r}")
    if not feeds or any(not isinstance(feed, MarketData) for feed in feeds):
        mend = "; MarketData.from_frame makes them of a frame" if isinstance(data, pd.DataFrame) else ""
        faults.add(f"data must be MarketData or several of them, got {type(data).__name__}{mend}")
    faults.number("cash", cash, above=0.0)
    for feed in feeds:
        if isinstance(feed, MarketData) and len(feed) < _MIN_BARS:
            faults.add(f"data too short: {feed.symbol} has {len(feed)} bars, at least {_MIN_BARS} are needed")
    faults.raise_if_any()


def _names(feeds: tuple[MarketData, ...]) -> tuple[str, ...]:
    symbols = [feed.symbol for feed in feeds]
    return tuple(
        symbol if symbols.count(symbol) == 1 else f"{symbol}#{place}" for place, symbol in enumerate(symbols, 1)
    )


@dataclass(slots=True)
class _Check:
    """One check: counts its runs, keeps what it saw."""

    setup: RunSetup
    feeds: tuple[MarketData, ...]
    params: dict[str, Any]
    runs: int = 0
    tried: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubt: Difference | None = None
    timeline: Timeline = field(init=False)
    full: OrderLog = field(init=False)
    places: list[Namespace] = field(init=False)
    before: list[Held] = field(init=False)

    def __post_init__(self) -> None:
        self.timeline = Timeline.of(self.feeds)
        defaults = dict(self.setup.strategy_class.params._getitems())
        held = {name: value for name, value in defaults.items() if isinstance(value, (*ROWS, MarketData))}
        self.params = {**held, **self.params}
        self.places = namespaces(self.setup.strategy_class, self.params)
        self.before = snapshot(self.places)

    def report(self) -> LookaheadReport:
        """Run everything; stop at the first difference."""
        try:
            self.full = run_logged(self.setup, self.feeds, self.timeline, self.params)
            if self.full.error is not None:
                self._failed()
            verdict, difference = self._verdict()
            restore(self.before)
            warm_up = self._warm_up() if verdict is Verdict.CLEAN else None
        finally:
            restore(self.before)
        return LookaheadReport(
            strategy=self.setup.strategy_class.__name__, feeds=self.setup.names, bars=len(self.timeline.labels),
            orders=len(self.full.orders), verdict=verdict, first_difference=difference, runs=self.runs,
            checked_bars=tuple(self.tried), warm_up=warm_up, notes=tuple(self.notes),
        )  # fmt: skip

    def _verdict(self) -> tuple[Verdict, Difference | None]:
        same = self._compare("the state of an earlier run", self._run(fresh=False))
        if same is not None:
            again = self._compare("a second run over the same data", self._run())
            if again is None:
                return Verdict.LEAKING, same
            return Verdict.NOT_DETERMINISTIC, again
        if not self.full.events:
            if self.full.period > len(self.timeline.labels):
                self.notes.append(
                    f"data too short: the indicators need {self.full.period:,} bars, next() is never reached"
                )
            self.notes.append("the strategy sent no order: there is nothing to check")
            return Verdict.NOTHING_TO_CHECK, None
        for look in (self._cheat, self._without_preload, self._behind_a_curtain, self._other_futures, self._prepared):
            difference = look()
            if difference is not None:
                return Verdict.LEAKING, difference
        if self.doubt is not None:
            self.notes.append(f"differs without preloading, but with no other future: {self.doubt}")
        return Verdict.CLEAN, None

    def _run(
        self,
        feeds: tuple[MarketData, ...] | None = None,
        *,
        fresh: bool = True,
        preload: bool = True,
        curtain: bool = False,
    ) -> OrderLog:
        if fresh:
            restore(self.before)
        self.runs += 1
        return run_logged(self.setup, feeds or self.feeds, self.timeline, self.params, preload=preload, curtain=curtain)

    def _compare(self, test: str, other: OrderLog, upto: int | None = None) -> Difference | None:
        last = len(self.timeline.labels) - 1 if upto is None else upto
        return first_difference(self.full, other, self.timeline, last, test)

    # -- one look each: the first difference, or None ---------------------------------------------------------------

    def _cheat(self) -> Difference | None:
        """Cheat-on-close: fills at the close that the order was decided on."""
        if not self.full.cheats:
            return None
        fill = next((event for event in self.full.events if event.kind == "fill"), None)
        if fill is None:
            return None
        test = "cheat-on-close off: a market order cannot fill at the close that it was decided on"
        return Difference(fill.bar, fill.time, fill, None, test)

    def _without_preload(self) -> Difference | None:
        return self._confirmed(self._compare("preload=False", self._run(preload=False)))

    def _behind_a_curtain(self) -> Difference | None:
        test = "every bar hidden until it comes"
        return self._confirmed(self._compare(test, self._run(curtain=True)))

    def _confirmed(self, suspect: Difference | None) -> Difference | None:
        """The difference, if another future shows it too.

        Indicators of somebody's own making may work only when computed over all bars at once.
        """
        if suspect is None:
            return None
        if 0 <= suspect.bar < len(self.timeline.labels) - 1 and (self._changed(suspect.bar) or self._cut(suspect.bar)):
            return suspect
        self.doubt = self.doubt or suspect
        return None

    def _other_futures(self) -> Difference | None:
        last = len(self.timeline.labels) - 1
        bars = sorted({event.bar for event in self.full.events if event.kind != "fill" and 0 <= event.bar < last})
        if not bars:
            bars = [last // 2]
        # Two runs a bar; two are kept for the warm-up and one for a column that was prepared elsewhere.
        count = min(_PLACES, (MAX_RUNS - 3 - self.runs) // 2)
        for bar in [bars[place] for place in np.unique(np.linspace(0, len(bars) - 1, count).astype(int))]:
            difference = self._changed(bar) or self._cut(bar)
            if difference is not None:
                return difference
        return None

    def _cut(self, bar: int) -> Difference | None:
        known = [known_bars(feed, self.timeline.end_of(bar)) for feed in self.feeds]
        if min(known) == 0:
            return None
        self.tried.append(bar)
        other = self._run(tuple(feed.head(count) for feed, count in zip(self.feeds, known, strict=True)))
        difference = self._compare(f"the data cut after bar {bar}", other, bar)
        if difference is not None and difference.bar <= 0 and difference.kind == "error":
            # So few bars are too few for the strategy to start.
            return None
        return difference

    def _changed(self, bar: int) -> Difference | None:
        end = self.timeline.end_of(bar)
        rng = np.random.default_rng(bar)
        feeds = tuple(changed_market(feed, known_bars(feed, end), rng) for feed in self.feeds)
        restore(self.before)
        for place in self.places:
            for name, value in place.read().items():
                known = self._known_rows(value, end)
                if isinstance(value, MarketData):
                    place.write(name, changed_market(value, known_bars(value, end), rng))
                elif known is not None:
                    place.write(name, changed_after(value, known, rng))
        if bar not in self.tried:
            self.tried.append(bar)
        return self._compare(f"everything after bar {bar} changed", self._run(feeds, fresh=False), bar)

    def _known_rows(self, value: Any, end: np.datetime64) -> int | NDArray[np.bool_] | None:
        """Which rows of something that goes with the bars are known at a moment; None where it does not go."""
        if isinstance(value, pd.Series | pd.DataFrame) and isinstance(value.index, pd.DatetimeIndex):
            index = value.index if value.index.tz is None else value.index.tz_convert("UTC").tz_localize(None)
            stamps = index.to_numpy().astype("datetime64[ns]")
            feed = self.feeds[0]
            if 2 * np.isin(feed.times, stamps).sum() >= len(feed):
                known: NDArray[np.bool_] = np.asarray(stamps + np.timedelta64(feed.bar_seconds, "s") <= end)
                return known
        feed_of = feed_of_rows(value, self.feeds)
        return None if feed_of is None else known_bars(feed_of, end)

    # -- what was prepared elsewhere --------------------------------------------------------------------------------

    def _prepared(self) -> Difference | None:
        restore(self.before)
        suspects = informed_lines(self.feeds, self.setup.names) + informed_held(self.feeds, self.places)
        for column in suspects[: max(0, MAX_RUNS - 2 - self.runs)]:
            restore(self.before)
            if column.place is not None:
                column.place.write(column.name, column.values)
            other = self._run(column.feeds or self.feeds, fresh=False)
            difference = self._compare(f"{column.label} in another order, which {column.knows}", other)
            if difference is not None:
                return difference
        return None

    # -- where the data begin ---------------------------------------------------------------------------------------

    def _warm_up(self) -> int | None:
        """Bars to let pass until a later start sends the same orders; the worse of two starts."""
        if any(feed_of_rows(value, self.feeds) is not None for place in self.places for value in place.read().values()):
            self.notes.append("warm-up not measured: what the class holds goes with the bars by position")
            return None
        needed = [self.full.period - 1]
        for share in (7, 3):
            start = len(self.timeline.labels) // share
            moment = self.timeline.labels[start]
            try:
                feeds = tuple(feed.between(moment, None) for feed in self.feeds)
            except ValueError:  # a feed that ends before
                return None
            late = self._run(feeds)
            sides = [_by_bar(log.orders) for log in (self.full, late)]
            apart = [bar for bar in sides[0].keys() | sides[1].keys() if bar >= start and _differ(sides, bar)]
            last = max(apart, default=start - 1)
            if late.error is not None or not any(bar > last for bar in sides[0]):
                return None
            needed.append(last + 1 - start)
        return max(needed)

    def _failed(self) -> None:
        """Raise what ended the full run, unless the end of the data did: then it is a leak like another."""
        bar, count = self.full.events[-1].bar, len(self.timeline.labels)
        short = count - max(1, count // 10)
        if not short // 2 <= bar < count:
            self._raise(bar)
        restore(self.before)
        end = self.timeline.end_of(short - 1)
        heads = tuple(feed.head(max(1, known_bars(feed, end))) for feed in self.feeds)
        other = self._run(heads)
        if other.error is None or other.events[-1].bar - short != bar - count:
            self._raise(bar)

    def _raise(self, bar: int) -> NoReturn:
        time = self.timeline.time_of(bar)
        when = "" if time is None else f" ({time:%Y-%m-%d %H:%M})"
        error = self.full.error
        raise AuditError(
            f"{self.setup.strategy_class.__name__} raised {type(error).__name__}: {error} on bar {bar}{when} of "
            f"{', '.join(self.setup.names)}"
        ) from error


def _by_bar(orders: list[OrderEvent]) -> dict[int, list[tuple[str, str, str]]]:
    found: dict[int, list[tuple[str, str, str]]] = {}
    for order in orders:
        found.setdefault(order.bar, []).append((order.feed, order.side, order.order_type))
    return found


def _differ(sides: list[dict[int, list[tuple[str, str, str]]]], bar: int) -> bool:
    return sorted(sides[0].get(bar, [])) != sorted(sides[1].get(bar, []))
