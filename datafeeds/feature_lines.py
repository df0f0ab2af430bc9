"""FeatureLines: the market features and the regime as lines of one Backtrader indicator."""

from __future__ import annotations

import logging
import math
from typing import Any

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market.feature_settings import feature_spans
from ai_backtrader.market.feature_stream import FeatureStream
from ai_backtrader.market.features import (
    MARKET_FEATURES,
    STRUCTURE_FEATURES,
    features_of_arrays,
    named_indicators,
)
from ai_backtrader.market.regimes import REGIME_CODES, label_regimes
from ai_backtrader.values import Regime

__all__ = ["FeatureLines"]

logger = logging.getLogger("ai_backtrader")

_BARS = ("open", "high", "low", "close", "volume")
_OPTIONAL = ("taker_buy_volume", "funding_rate", "open_interest", "long_short_ratio")
_SCALES = ("atr", "atr_pct_median", "bb_width_median")
_FEATURES = (*MARKET_FEATURES, *STRUCTURE_FEATURES, *_SCALES)
_REGIME_OF = {code: regime for regime, code in REGIME_CODES.items()}

_SECONDS = {
    bt.TimeFrame.Seconds: 1,
    bt.TimeFrame.Minutes: 60,
    bt.TimeFrame.Days: 86_400,
    bt.TimeFrame.Weeks: 7 * 86_400,
    bt.TimeFrame.Months: 30 * 86_400,
    bt.TimeFrame.Years: 365 * 86_400,
}


class FeatureLines(bt.Indicator):
    """The 23 market features, the ATR and the regime of a feed, one line each.

    The lines are NaN until the features are ready, and the indicator has a minimum period of 1: the strategy is called
    from the first bar on and looks at :attr:`ready` itself (with a longer minimum period, data shorter than it would
    end in Backtrader's IndexError). Bar-by-bar runs (``runonce=False``, ``preload=False``, ``exactbars``, live,
    resampled and replayed feeds) have the numbers of a run at once, to the last bit.

    Params:
      - ``bar_seconds`` (default: ``None``): length of a bar; None takes the feed's market data, else its timeframe
      - ``settings`` (default: ``None``): ``FeatureSettings``
      - ``regime_settings`` (default: ``None``): ``RegimeSettings``

    Lines: the names of ``MARKET_FEATURES``; ``funding_rate``, ``open_interest_change``, ``long_short_ratio`` (NaN
    where the feed has none; not taken from resampled or replayed feeds, whose extra lines Backtrader does not build);
    ``atr``, ``atr_pct_median``, ``bb_width_median``; ``regime_code`` (``REGIME_CODES``) and ``regime_high_volatility``
    (0 or 1).

    A price that is not a positive finite number, a high below the low and a negative volume end in ``DataError``.
    """

    lines: Any = (*_FEATURES, "regime_code", "regime_high_volatility")
    params = (("bar_seconds", None), ("settings", None), ("regime_settings", None))
    plotinfo = {"plot": False}

    def __init__(self) -> None:
        super().__init__()
        if not all(hasattr(self.data.lines, name) for name in _BARS):
            raise SettingsError("FeatureLines", [f"needs a data feed with {', '.join(_BARS)}, got {self.data!r}"])
        rebuilt = bool(getattr(self.data, "resampling", 0) or getattr(self.data, "replaying", 0))
        self._bar_seconds = self._find_bar_seconds(rebuilt)
        self._ready_from = feature_spans(self._bar_seconds, self.p.settings).ready_from
        names = (*_BARS, *(() if rebuilt else _OPTIONAL))
        self._sources = {name: getattr(self.data.lines, name) for name in names if hasattr(self.data.lines, name)}
        self._stream = FeatureStream(self._bar_seconds, self.p.settings, self.p.regime_settings)
        self._bar: tuple[float, ...] = ()
        self._first_time = math.nan

    @property
    def ready(self) -> bool:
        """True from the bar on at which all features are known."""
        return len(self) > self._ready_from

    @property
    def regime(self) -> Regime:
        """Trend label of the current bar; sideways before ready."""
        return _REGIME_OF[int(self.lines.regime_code[0])]

    @property
    def high_volatility_regime(self) -> bool:
        """High-volatility flag of the current bar."""
        return bool(self.lines.regime_high_volatility[0])

    @property
    def bars_per_year(self) -> float:
        """Bars a year at the pace of the bars so far (all bars would tell of the future); NaN at the first."""
        elapsed = self.data.datetime[0] - self._first_time
        return (len(self.data) - 1) * 365.25 / elapsed if elapsed > 0.0 else math.nan

    def indicators(self) -> dict[str, float]:
        """Raw features of the current bar by name, with the keys of ``MarketFeatures.indicators``."""
        values = [line[0] for line in self.lines[: len(_FEATURES)]]
        known = len(MARKET_FEATURES) + len(STRUCTURE_FEATURES)
        return named_indicators(
            values[: len(MARKET_FEATURES)],
            values[len(MARKET_FEATURES) : known],
            self.data.close[0],
            *values[known:],
        )

    def oncestart(self, start: int, end: int) -> None:
        """Nothing: :meth:`once` fills the first bar too."""

    def once(self, start: int, end: int) -> None:
        """Fill all lines at once."""
        held = {name: np.array(line.array[:end]) for name, line in self._sources.items()}
        self._check_arrays(held)
        self._first_time = self.data.lines.datetime.array[0] if end else math.nan
        self._compare_bar_length()
        del held["open"]  # enters no feature
        features = features_of_arrays(bar_seconds=self._bar_seconds, settings=self.p.settings, **held)
        regimes = label_regimes(features, self.p.regime_settings)
        columns = (
            *features.raw.T,
            *features.structure.T,
            *(getattr(features, name) for name in _SCALES),
            regimes.labels,
            regimes.high_volatility,
        )
        for line, values in zip(self.lines, columns, strict=True):
            np.frombuffer(line.array)[:end] = values

    def next(self) -> None:
        """Take the bars that are new; a replayed bar that changed is taken again."""
        fresh = len(self.data) - self._stream.seen
        if not self._stream.seen:
            self._first_time = self.data.datetime[1 - fresh]
        for ago in range(1 - fresh, 1):
            self._take(ago, revise=False)
        # With several feeds Backtrader calls for every bar of any of them; in a replay the same bar grows.
        if not fresh and self._read(0) != self._bar:
            self._take(0, revise=True)
        indicators = self._stream.indicators()
        for line, name in zip(self.lines, _FEATURES, strict=False):
            line[0] = indicators.get(name, math.nan)
        self.lines.regime_code[0] = REGIME_CODES[self._stream.regime]
        self.lines.regime_high_volatility[0] = self._stream.high_volatility

    def _read(self, ago: int) -> tuple[float, ...]:
        return tuple(line[ago] for line in self._sources.values())

    def _take(self, ago: int, *, revise: bool) -> None:
        bar = self._read(ago)
        named: dict[str, Any] = dict(zip(self._sources, bar, strict=True))
        try:
            self._stream.update(None, revise=revise, **named)
        except DataError as error:
            self._refuse(error.problem, len(self.data) - 1 + ago, self.data.datetime[ago], error.column, error.value)
        self._bar = bar
        if self._stream.seen == 2 and not revise:
            self._compare_bar_length()

    def _check_arrays(self, held: dict[str, NDArray[np.float64]]) -> None:
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
                self._refuse(error.problem, row, self.data.lines.datetime.array[row], error.column, error.value)

    def _refuse(self, problem: str, row: int, time: float, column: str | None, value: str | None) -> None:
        raise DataError(
            problem,
            feed=self.data._name or type(self.data).__name__,
            row=f"{row} ({bt.num2date(time)})",
            column=column,
            value=value,
            mend="Load the data as MarketData, which names what it can repair, and feed them with PerpetualData.",
        )

    def _find_bar_seconds(self, rebuilt: bool) -> float:
        if self.p.bar_seconds is not None:
            return float(self.p.bar_seconds)
        market_data = getattr(self.data, "market_data", None)
        if market_data is not None and not rebuilt:
            return float(market_data.bar_seconds)
        unit = _SECONDS.get(self.data._timeframe)
        if unit is None:
            name = bt.TimeFrame.TName(self.data._timeframe)
            raise SettingsError("FeatureLines", [f"the feed's timeframe {name} has no length; give bar_seconds"])
        return float(unit * self.data._compression)

    def _compare_bar_length(self) -> None:
        # PandasData calls its bars daily unless told: spans in hours would silently be wrong.
        times = self.data.lines.datetime.array
        if len(times) < 2:
            return
        seconds = (times[1] - times[0]) * 86_400
        if 0 < seconds < 0.75 * self._bar_seconds:
            logger.warning(
                "%s: bars are %.0f s apart, but are said to last %.0f s; give the feed its timeframe and compression",
                self.data._name or type(self.data).__name__,
                seconds,
                self._bar_seconds,
            )
