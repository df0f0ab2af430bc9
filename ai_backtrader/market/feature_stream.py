"""The features of a live feed, bar by bar: the numbers that the batch gives, to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import DataError
from ai_backtrader.market import feature_kernels as kernels
from ai_backtrader.market.feature_settings import FeatureSettings, feature_spans
from ai_backtrader.market.feature_table import FeatureTable
from ai_backtrader.market.features import STRUCTURE_FEATURES, named_indicators
from ai_backtrader.market.regimes import RegimeSettings, RegimeTracker
from ai_backtrader.values import Regime

__all__ = ["FeatureStream"]

_SLACK = 128  # bars between two tidyings of the table


class FeatureStream:
    """Features and regime of a live feed.

    After each :meth:`update` the numbers equal those of ``compute_features`` and ``label_regimes`` at the same bar,
    to the last bit, because both run the same compiled code. It holds the bars that the features look back to (about
    80 kB on hourly bars) and pickles.

    Parameters
    ----------
    bar_seconds
        Nominal length of a bar, in seconds.
    settings, regime_settings
        None means the defaults.

    Examples
    --------
    >>> stream = FeatureStream(3600)
    >>> stream.update(None, 100.0, 101.0, 99.5, 100.5, 12.0)
    >>> stream.ready
    False
    """

    def __init__(
        self,
        bar_seconds: float,
        settings: FeatureSettings | None = None,
        regime_settings: RegimeSettings | None = None,
    ) -> None:
        settings = settings or FeatureSettings()
        self.spans = feature_spans(bar_seconds, settings)
        self._table = FeatureTable(self.spans, settings, block=_SLACK)
        self._tracker = RegimeTracker(regime_settings)
        self._time: Any = None
        self._bar = np.full((kernels.N_INPUTS, 1), np.nan)
        self._raw = np.full((1, kernels.N_FEATURES), np.nan)
        self._structure = np.full((1, len(STRUCTURE_FEATURES)), np.nan)
        self._vector = np.full((1, kernels.N_FEATURES), np.nan, dtype=np.float32)
        self._extras = np.full((kernels.N_EXTRAS, 1), np.nan)

    def update(
        self,
        time: Any,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        *,
        taker_buy_volume: float = math.nan,
        funding_rate: float = math.nan,
        open_interest: float = math.nan,
        long_short_ratio: float = math.nan,
        revise: bool = False,
    ) -> None:
        """Take the next closed bar.

        Parameters
        ----------
        time
            Start of the bar, of any ordered type (datetime, datetime64, number); must grow. None is not checked.
        open, high, low, close, volume
            Of the bar. NaN volume counts as none; ``open`` enters no feature.
        taker_buy_volume, funding_rate, open_interest, long_short_ratio
            Optional series, as in ``MarketData``; NaN where unknown.
        revise
            Replace the last bar instead: a bar that is still forming was given before, or the exchange corrected it.

        Raises
        ------
        DataError
            If a price is not a positive finite number, high is below low, the volume negative, the time not after the
            last one, or there is no bar to revise. The stream is then as before.
        """
        self._check(time, open, high, low, close, volume, revise)
        if volume != volume:
            volume = 0.0
        self._bar[:, 0] = (high, low, close, volume, taker_buy_volume, funding_rate, open_interest, long_short_ratio)
        take = self._table.revise if revise else self._table.extend
        take(self._bar, self._raw, self._structure, self._vector, self._extras)
        atr_pct = 100.0 * self._extras[kernels.ATR_OUT, 0] / close
        self._tracker.update_row(self._raw, atr_pct, revise=revise)
        self._time = time

    @property
    def ready(self) -> bool:
        """True once all features are known."""
        return self._table.seen > self.spans.ready_from

    @property
    def seen(self) -> int:
        """Bars seen so far."""
        return self._table.seen

    @property
    def raw(self) -> NDArray[np.float64]:
        """(23,) raw features of the last bar, a copy; NaN before ready."""
        return np.array(self._raw[0])

    @property
    def vector(self) -> NDArray[np.float32]:
        """(23,) network entries of the last bar, a copy; NaN before ready."""
        return np.array(self._vector[0])

    @property
    def regime(self) -> Regime:
        """Trend label after the last bar; sideways before ready."""
        return self._tracker.regime

    @property
    def high_volatility(self) -> bool:
        """High-volatility flag after the last bar."""
        return self._tracker.high_volatility

    def indicators(self) -> dict[str, float]:
        """Raw features of the last bar by name, with the keys of ``MarketFeatures.indicators``.

        Raises
        ------
        DataError
            If no bar was taken yet.
        """
        if not self.seen:
            raise DataError("no bar yet", feed="FeatureStream", mend="Call update() first.")
        scales = self._extras[:, 0].tolist()
        close = float(self._bar[kernels.CLOSE, 0])
        return named_indicators(self._raw[0].tolist(), self._structure[0].tolist(), close, *scales)

    def _check(
        self, time: Any, open: float, high: float, low: float, close: float, volume: float, revise: bool
    ) -> None:
        for name, price in (("open", open), ("high", high), ("low", low), ("close", close)):
            if not 0.0 < price < math.inf:
                self._refuse("price is not a positive finite number", time, name, price)
        if high < low:
            self._refuse("high is below low", time, "high", high)
        if volume < 0.0 or volume == math.inf:
            self._refuse("volume is negative or infinite", time, "volume", volume)
        if revise and not self.seen:
            self._refuse("there is no bar to revise", time, "revise", revise)
        if time is not None and self._time is not None:
            late = time < self._time if revise else time <= self._time
            if late:
                self._refuse(f"time is not after the last bar's, {self._time}", time, "time", time)

    def _refuse(self, problem: str, time: Any, column: str, value: object) -> None:
        raise DataError(
            problem,
            feed="FeatureStream",
            row=f"{self.seen} ({time})",
            column=column,
            value=repr(value),
            mend="Give closed bars in order, with positive prices.",
        )
