"""FeatureLines: the market features and the regime as lines of one Backtrader indicator."""

from __future__ import annotations

import math
from typing import Any

import backtrader as bt
import numpy as np

from ai_backtrader.datafeeds.feature_rows import FeatureRows
from ai_backtrader.market.features import MARKET_FEATURES, STRUCTURE_FEATURES, named_indicators
from ai_backtrader.market.regimes import REGIME_CODES
from ai_backtrader.values import Regime

__all__ = ["FeatureLines"]

_SCALES = ("atr", "atr_pct_median", "bb_width_median")
_FEATURES = (*MARKET_FEATURES, *STRUCTURE_FEATURES, *_SCALES)
_REGIME_OF = {code: regime for regime, code in REGIME_CODES.items()}


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
    A strategy that reads the features in Python, and no line of them, is faster with ``FeatureRows``.
    """

    lines: Any = (*_FEATURES, "regime_code", "regime_high_volatility")
    params = (("bar_seconds", None), ("settings", None), ("regime_settings", None))
    plotinfo = {"plot": False}

    def __init__(self) -> None:
        super().__init__()
        self._rows = FeatureRows(
            self.data,
            bar_seconds=self.p.bar_seconds,
            settings=self.p.settings,
            regime_settings=self.p.regime_settings,
        )

    @property
    def ready(self) -> bool:
        """True from the bar on at which all features are known."""
        return self._rows.ready

    @property
    def regime(self) -> Regime:
        """Trend label of the current bar; sideways before ready."""
        return _REGIME_OF[int(self.lines.regime_code[0])]

    @property
    def high_volatility_regime(self) -> bool:
        """High-volatility flag of the current bar."""
        return bool(self.lines.regime_high_volatility[0])

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
        features, regimes = self._rows.compute_all(end)
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
        stream = self._rows.take_new_bars()
        indicators = stream.indicators()
        for line, name in zip(self.lines, _FEATURES, strict=False):
            line[0] = indicators.get(name, math.nan)
        self.lines.regime_code[0] = REGIME_CODES[stream.regime]
        self.lines.regime_high_volatility[0] = stream.high_volatility
