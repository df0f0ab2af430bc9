"""FeatureRows: the market features and the regime of a feed, for who decides in Python."""

from __future__ import annotations

import logging
import math
from typing import Any

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market.feature_settings import FeatureSettings, feature_spans
from ai_backtrader.market.feature_stream import FeatureStream
from ai_backtrader.market.features import MarketFeatures, features_of_arrays
from ai_backtrader.market.regimes import Regimes, RegimeSettings, label_regimes
from ai_backtrader.values import Regime

__all__ = ["FeatureRows"]

logger = logging.getLogger("ai_backtrader")

_BARS = ("open", "high", "low", "close", "volume")
_OPTIONAL = ("taker_buy_volume", "funding_rate", "open_interest", "long_short_ratio")

_SECONDS = {
    bt.TimeFrame.Seconds: 1,
    bt.TimeFrame.Minutes: 60,
    bt.TimeFrame.Days: 86_400,
    bt.TimeFrame.Weeks: 7 * 86_400,
    bt.TimeFrame.Months: 30 * 86_400,
    bt.TimeFrame.Years: 365 * 86_400,
}


class FeatureRows:
    """Features and regime of the bar that a feed stands at.

    Where Cerebro has preloaded the feed, all rows are computed at once and looked up; else bar by bar: the same
    numbers, to the last bit. No Backtrader line is made, because each costs about a microsecond a bar.

    Parameters
    ----------
    data
        A Backtrader feed with open, high, low, close and volume. Its optional lines (``taker_buy_volume``,
        ``funding_rate``, ``open_interest``, ``long_short_ratio``) are used, except on resampled and replayed feeds,
        whose extra lines Backtrader does not build.
    preloaded
        Whether the feed's lines hold all bars (``cerebro._dopreload``).
    bar_seconds
        Length of a bar; None takes the feed's market data, else its timeframe.
    settings, regime_settings
        None takes the defaults.

    Raises
    ------
    SettingsError
        If ``data`` is no feed, or its timeframe has no length.
    """

    def __init__(
        self,
        data: Any,
        *,
        preloaded: bool = False,
        bar_seconds: float | None = None,
        settings: FeatureSettings | None = None,
        regime_settings: RegimeSettings | None = None,
    ) -> None:
        if not all(hasattr(data.lines, name) for name in _BARS):
            raise SettingsError("features", [f"needs a data feed with {', '.join(_BARS)}, got {data!r}"])
        rebuilt = bool(getattr(data, "resampling", 0) or getattr(data, "replaying", 0))
        names = (*_BARS, *(() if rebuilt else _OPTIONAL))
        self._data, self._preloaded = data, preloaded
        self._settings, self._regime_settings = settings, regime_settings
        self._bar_seconds = _bar_seconds(data, rebuilt) if bar_seconds is None else float(bar_seconds)
        self._ready_from = feature_spans(self._bar_seconds, settings).ready_from
        self._sources = {name: getattr(data.lines, name) for name in names if hasattr(data.lines, name)}
        self._stream = FeatureStream(self._bar_seconds, settings, regime_settings)
        self._bar: tuple[float, ...] = ()
        self._first_time = math.nan
        self._table: tuple[MarketFeatures, Regimes] | None = None

    @property
    def ready(self) -> bool:
        """True from the bar on at which all features are known."""
        return len(self._data) > self._ready_from

    @property
    def regime(self) -> Regime:
        """Trend label of the current bar; sideways before ready."""
        return self._stream.regime if self._table is None else self._table[1].label(len(self._data) - 1)

    @property
    def high_volatility(self) -> bool:
        """High-volatility flag of the current bar."""
        if self._table is None:
            return self._stream.high_volatility
        return bool(self._table[1].high_volatility[len(self._data) - 1])

    @property
    def ready_from(self) -> int:
        """Index of the first bar at which all features are known."""
        return self._ready_from

    @property
    def bars_per_year(self) -> float:
        """Bars a year at the pace of the bars so far (all bars would tell of the future); NaN at the first."""
        return self._pace(len(self._data) - 1, self._data.datetime[0])

    def bars_per_year_at(self, bar: int) -> float:
        """:attr:`bars_per_year` as it was at a bar of a preloaded feed."""
        return self._pace(bar, self._data.lines.datetime.array[bar])

    def _pace(self, bar: int, time: float) -> float:
        elapsed = time - self._first_time
        return bar * 365.25 / elapsed if elapsed > 0.0 else math.nan

    def indicators(self) -> dict[str, float]:
        """Raw features of the current bar by name, with the keys of ``MarketFeatures.indicators``."""
        if self._table is None:
            return self._stream.indicators()
        return self._table[0].indicators(len(self._data) - 1)

    @property
    def table(self) -> tuple[MarketFeatures, Regimes] | None:
        """Features and regimes of all bars, where the feed is preloaded; None before :meth:`advance` or bar by bar."""
        return self._table

    @property
    def bar_seconds(self) -> float:
        """Length of a bar."""
        return self._bar_seconds

    def columns(self, end: int) -> dict[str, NDArray[np.float64]]:
        """The first ``end`` bars of every line that is read, by name."""
        return {name: np.array(line.array[:end]) for name, line in self._sources.items()}

    def advance(self) -> None:
        """Come up to the bar the feed stands at; call at every bar, before anything is read.

        Raises
        ------
        DataError
            If a price is not a positive finite number, a high below its low, or a volume negative.
        """
        if self._preloaded and self._table is None:
            self._table = self.compute_all(self._data.buflen())
        if self._table is None:
            self.take_new_bars()

    def compute_all(self, end: int) -> tuple[MarketFeatures, Regimes]:
        """Features and regimes of the first ``end`` bars of the feed's lines."""
        held = self.columns(end)
        self._check(held)
        times = self._data.lines.datetime.array
        self._first_time = times[0] if end else math.nan
        if end > 1:
            self._compare_bar_length((times[1] - times[0]) * 86_400)
        del held["open"]  # enters no feature
        features = features_of_arrays(bar_seconds=self._bar_seconds, settings=self._settings, **held)
        return features, label_regimes(features, self._regime_settings)

    def take_new_bars(self) -> FeatureStream:
        """Take the bars that are new into the stream; a replayed bar that changed is taken again."""
        fresh = len(self._data) - self._stream.seen
        if fresh and not self._stream.seen:
            self._first_time = self._data.datetime[1 - fresh]
        for ago in range(1 - fresh, 1):
            self._take(ago, revise=False)
        # With several feeds Backtrader calls for every bar of any of them; in a replay the same bar grows.
        if not fresh and self._read(0) != self._bar:
            self._take(0, revise=True)
        return self._stream

    def _read(self, ago: int) -> tuple[float, ...]:
        return tuple(line[ago] for line in self._sources.values())

    def _take(self, ago: int, *, revise: bool) -> None:
        bar = self._read(ago)
        named: dict[str, Any] = dict(zip(self._sources, bar, strict=True))
        try:
            self._stream.update(None, revise=revise, **named)
        except DataError as error:
            self._refuse(error.problem, len(self._data) - 1 + ago, self._data.datetime[ago], error.column, error.value)
        self._bar = bar
        if self._stream.seen == 2 and not revise:
            self._compare_bar_length((self._data.datetime[ago] - self._data.datetime[ago - 1]) * 86_400)

    def _check(self, held: dict[str, NDArray[np.float64]]) -> None:
        # The stream's own checks, on all bars: the first bar at fault goes through it and is refused in its words.
        volume = held["volume"]
        good = (held["high"] >= held["low"]) & ~((volume < 0.0) | np.isposinf(volume))
        for name in ("open", "high", "low", "close"):
            good &= (held[name] > 0.0) & np.isfinite(held[name])
        if not good.all():
            row = int(good.argmin())
            bar: dict[str, Any] = {name: float(values[row]) for name, values in held.items()}
            try:
                FeatureStream(self._bar_seconds).update(None, **bar)
            except DataError as error:
                self._refuse(error.problem, row, self._data.lines.datetime.array[row], error.column, error.value)

    def _refuse(self, problem: str, row: int, time: float, column: str | None, value: str | None) -> None:
        raise DataError(
            problem,
            feed=self._data._name or type(self._data).__name__,
            row=f"{row} ({bt.num2date(time)})",
            column=column,
            value=value,
            mend="Load the data as MarketData, which names what it can repair, and feed them with PerpetualData.",
        )

    def _compare_bar_length(self, seconds: float) -> None:
        # PandasData calls its bars daily unless told: spans in hours would silently be wrong.
        if 0 < seconds < 0.75 * self._bar_seconds:
            logger.warning(
                "%s: bars are %.0f s apart, but are said to last %.0f s; give the feed its timeframe and compression",
                self._data._name or type(self._data).__name__,
                seconds,
                self._bar_seconds,
            )


def _bar_seconds(data: Any, rebuilt: bool) -> float:
    market_data = getattr(data, "market_data", None)
    if market_data is not None and not rebuilt:
        return float(market_data.bar_seconds)
    unit = _SECONDS.get(data._timeframe)
    if unit is None:
        name = bt.TimeFrame.Names[data._timeframe]
        raise SettingsError("features", [f"the feed's timeframe {name} has no length; give bar_seconds"])
    return float(unit * (data._compression or 1))
