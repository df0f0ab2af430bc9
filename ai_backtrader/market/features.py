"""The 23 market features: raw values, network entries, and what they are made of.

Names, formulas, units and neutral values are a contract; in short: bar ``t`` is closed and only bars up to ``t`` are
used; percentages are percent points (1.0 is 1 %); ``b(h)`` is the number of bars in ``h`` hours, except that on bars
longer than an hour the spans 1, 4 and 24 are bars (or the three price changes would coincide); A is ATR14; ``m`` is
the median over the last 100 bars; ``u(k) = m(100 A / close) sqrt(k)``, at least 0.01 %, is the usual move over k
bars.

=====================  ======================================================  ============================  =======
name                   raw value                                               vector entry                  neutral
=====================  ======================================================  ============================  =======
price_change_1h        100 (C / C[-b(1)] - 1)                                  clip(x / 3u(b(1)))            0
price_change_4h        100 (C / C[-b(4)] - 1)                                  clip(x / 3u(b(4)))            0
price_change_24h       100 (C / C[-b(24)] - 1)                                 clip(x / 3u(b(24)))           0
price_vs_ema20         100 (C / EMA20 - 1)                                     clip(x / 4u(1))               0
price_vs_ema50         100 (C / EMA50 - 1)                                     clip(x / 8u(1))               0
price_vs_vwap          100 (C / VWAP - 1), VWAP over b(24); no volume: SMA     clip(x / 1.5u(b(24)))         0
rsi                    RSI14, 0 to 100, 50 in a flat market                    (x - 50) / 50                 50
rsi_change             RSI - RSI[-3]                                           clip(x / 30)                  0
macd_hist              (MACD(12, 26) - signal(9)) / A                          clip(x)                       0
macd_signal_cross      +1 / -1 on the bar MACD crosses above / below signal    x                             0
momentum_5             100 (C - C[-5]) / C[-5]                                 clip(x / 3u(5))               0
momentum_20            100 (C - C[-20]) / C[-20]                               clip(x / 3u(20))              0
atr_ratio              A / SMA(A, 100)                                         clip(log2(x) / 2)             1
bb_position            (C - lower) / (upper - lower), bands (20, 2)            clip(2x - 1, 2) / 2           0.5
bb_width               (upper - lower) / middle                                clip(log2(x / m(x)) / 2)      m(x)
volatility_ratio       std of log returns, last 20 / the 100 before            clip(log2(x) / 2)             1
high_volatility        1 if volatility_ratio > 1.5 else 0                      x                             0
adx                    ADX14, 0 to 100                                         clip((x - 25) / 25)           25
trend_direction        sign of EMA20 - EMA50 where beyond 0.25 A, else 0       x                             0
trend_strength         |C - C[-20]| / sum |dC|, 0 to 1                         clip(3x - 1)                  0.33
ema_alignment          mean sign of C - EMA20, EMA20 - EMA50, EMA50 - EMA100   x                             0
volume_ratio           V / mean of the 20 volumes before                       clip(log2(max(x, 1/16)) / 4)  1
buy_volume_ratio       taker-buy / volume, else volume-weighted close          2x - 1                        0.5
                       location over 5 bars
=====================  ======================================================  ============================  =======

Beside them, from optional series, NaN where the feed says nothing: ``funding_rate`` (last settled, a fraction; entry
clip(x / 0.001), neutral 0), ``open_interest_change`` (ln(OI / OI[-b(24)]); clip(x / 0.2), 0) and ``long_short_ratio``
(clip(log2(x) / 2), 1).

What has no value, as 0 / 0 in a market without movement or volume, takes its neutral one. Volatility out of none at all
takes the ratio at which its entry saturates. Differences within rounding (1e-12 of the price, 5e-8 for the bands, whose
formula loses half the digits) count as none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import feature_kernels as kernels
from ai_backtrader.market.data import MarketData
from ai_backtrader.market.feature_settings import FeatureSettings, FeatureSpans, feature_spans
from ai_backtrader.market.feature_table import FeatureTable

__all__ = [
    "MARKET_FEATURES",
    "NEUTRAL_VALUES",
    "STRUCTURE_FEATURES",
    "MarketFeatures",
    "compute_features",
    "feature_vector",
]

Floats = NDArray[np.float64]

_NEUTRAL = {
    "price_change_1h": 0.0,
    "price_change_4h": 0.0,
    "price_change_24h": 0.0,
    "price_vs_ema20": 0.0,
    "price_vs_ema50": 0.0,
    "price_vs_vwap": 0.0,
    "rsi": 50.0,
    "rsi_change": 0.0,
    "macd_hist": 0.0,
    "macd_signal_cross": 0.0,
    "momentum_5": 0.0,
    "momentum_20": 0.0,
    "atr_ratio": 1.0,
    "bb_position": 0.5,
    "bb_width": np.nan,  # its own median; feature_vector writes the entry 0
    "volatility_ratio": 1.0,
    "high_volatility": 0.0,
    "adx": 25.0,
    "trend_direction": 0.0,
    "trend_strength": 0.33,
    "ema_alignment": 0.0,
    "volume_ratio": 1.0,
    "buy_volume_ratio": 0.5,
}

#: The 23 market features, in the order of the state vector.
MARKET_FEATURES: tuple[str, ...] = tuple(_NEUTRAL)

#: The three features of optional series, which follow the 23 in the state vector.
STRUCTURE_FEATURES: tuple[str, ...] = ("funding_rate", "open_interest_change", "long_short_ratio")

#: What stands in for a missing value. ``bb_width`` has NaN: its neutral value is its median, its entry 0.
NEUTRAL_VALUES: Mapping[str, float] = MappingProxyType(
    _NEUTRAL | {"funding_rate": 0.0, "open_interest_change": 0.0, "long_short_ratio": 1.0}
)

_NAMES = (*MARKET_FEATURES, *STRUCTURE_FEATURES)
_WIDTH = MARKET_FEATURES.index("bb_width")

# Beside the features: what a reader of `indicators` needs to size a trade and to build the vector again.
_SCALES = ("close", "atr", "atr_pct", "atr_pct_median", "bb_width_median")
_TYPICAL_ATR_PCT = 1.0  # stands in where a caller gives neither the median nor the ATR

_OPTIONAL = ("taker_buy_volume", "funding_rate", "open_interest", "long_short_ratio")
_BLOCK = 4096  # bars a block of the batch: the table of a block stays in the processor's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class MarketFeatures:
    """The features of a data set, one row a bar; read-only arrays.

    Attributes
    ----------
    raw
        (n, 23) float64, columns in the order of ``names``; NaN before ``ready_from``.
    vector
        (n, 23) float32 network entries within [-1, 1]; NaN before ``ready_from``.
    structure
        (n, 3) float64: the :data:`STRUCTURE_FEATURES`; NaN where the data say nothing.
    close, atr
        (n,) price units; the ATR14 is NaN on its first 14 bars.
    atr_pct_median, bb_width_median
        (n,) medians over 100 bars that scale the vector.
    ready_from
        Index of the first bar on which all 23 are known; may lie beyond the data.
    spans
        Bars of the spans 1, 4 and 24.
    """

    raw: Floats
    vector: NDArray[np.float32]
    structure: Floats
    close: Floats
    atr: Floats
    atr_pct_median: Floats
    bb_width_median: Floats
    spans: FeatureSpans

    @property
    def names(self) -> tuple[str, ...]:
        """Column names of ``raw`` and ``vector``."""
        return MARKET_FEATURES

    @property
    def ready_from(self) -> int:
        """Index of the first bar on which all features are known; may lie beyond the data."""
        return self.spans.ready_from

    def __len__(self) -> int:
        return int(self.raw.shape[0])

    def indicators(self, t: int) -> dict[str, float]:
        """Raw features of bar ``t`` by name.

        Returns
        -------
        dict
            The 23 features; ``close``, ``atr`` (price units), ``atr_pct`` (percent of the close); ``atr_pct_median``
            and ``bb_width_median``, with which :func:`feature_vector` gives the entries again; and those of the
            :data:`STRUCTURE_FEATURES` that the data have at this bar.
        """
        scales = (self.close[t], self.atr[t], self.atr_pct_median[t], self.bb_width_median[t])
        return named_indicators(self.raw[t].tolist(), self.structure[t].tolist(), *map(float, scales))

    def columns(self, names: Sequence[str], bars: slice) -> Floats:
        """Features of some bars by the names of :meth:`indicators`; (bars, names), NaN where the data have none."""
        found = []
        for name in names:
            if name in MARKET_FEATURES:
                found.append(self.raw[bars, MARKET_FEATURES.index(name)])
            elif name in STRUCTURE_FEATURES:
                found.append(self.structure[bars, STRUCTURE_FEATURES.index(name)])
            elif name == "atr_pct":
                found.append(100.0 * self.atr[bars] / self.close[bars])
            else:
                found.append(getattr(self, name)[bars])
        return np.column_stack(found)


def named_indicators(
    raw: list[float],
    structure: list[float],
    close: float,
    atr: float,
    atr_pct_median: float,
    bb_width_median: float,
) -> dict[str, float]:
    """One bar's features by name: the one form in which batch, live feed and Backtrader lines hand them out."""
    indicators = dict(zip(MARKET_FEATURES, raw, strict=True))
    indicators.update(zip(_SCALES, (close, atr, 100.0 * atr / close, atr_pct_median, bb_width_median), strict=True))
    indicators.update(pair for pair in zip(STRUCTURE_FEATURES, structure, strict=True) if pair[1] == pair[1])
    return indicators


def feature_vector(
    indicators: Mapping[str, float], *, bar_seconds: float = 3600.0, settings: FeatureSettings | None = None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Network entries of one bar's raw features, and the names that were missing.

    Parameters
    ----------
    indicators
        Raw features by name, all or a few; other keys are ignored. ``atr_pct_median`` (else ``atr_pct``, else 1 %) and
        ``bb_width_median`` scale the entries.
    bar_seconds, settings
        As given when the features were computed: the price changes are scaled by the bars that they span.

    Returns
    -------
    vector : (26,) float32
        The :data:`MARKET_FEATURES`, then the :data:`STRUCTURE_FEATURES`; neutral where missing or NaN.
    missing : tuple of str
        Names that were missing or NaN, in the vector's order, then ``"atr_pct_median"`` if the scale was.
    """
    names, get = _NAMES, indicators.get
    values = [float(get(name, math.nan)) for name in names]
    missing = []
    for place, value in enumerate(values):
        if value != value:
            missing.append(names[place])
            values[place] = NEUTRAL_VALUES[names[place]]
    row = np.array(values)
    scale = float(indicators.get("atr_pct_median", np.nan))
    if scale != scale:
        missing.append("atr_pct_median")
        scale = float(indicators.get("atr_pct", np.nan))
        scale = _TYPICAL_ATR_PCT if scale != scale else scale
    width = _WIDTH
    usual_width = float(indicators.get("bb_width_median", np.nan))
    if row[width] != row[width] or usual_width != usual_width:
        row[width] = usual_width = 1.0
    entries = np.empty(len(names))
    n = len(MARKET_FEATURES)
    kernels.vector_row(row[:n], scale, usual_width, _spans_array(bar_seconds, settings), entries[:n])
    kernels.structure_vector_row(row[n:], entries[n:])
    return entries.astype(np.float32), tuple(missing)


@functools.lru_cache(maxsize=16, typed=True)
def _spans_array(bar_seconds: float, settings: FeatureSettings | None) -> NDArray[np.int64]:
    return np.array(feature_spans(bar_seconds, settings), dtype=np.int64)


def features_of_arrays(
    *,
    bar_seconds: float,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    settings: FeatureSettings | None = None,
    **optional: Floats | None,
) -> MarketFeatures:
    """:func:`compute_features` of bare arrays that are known to be valid; NaN volume counts as none."""
    settings = settings or FeatureSettings()
    spans = feature_spans(bar_seconds, settings)
    n = close.size
    raw = np.empty((n, kernels.N_FEATURES))
    structure = np.empty((n, len(STRUCTURE_FEATURES)))
    vector = np.empty((n, kernels.N_FEATURES), dtype=np.float32)
    extras = np.empty((kernels.N_EXTRAS, n))
    series = (high, low, close, np.nan_to_num(volume, nan=0.0), *(optional.get(name) for name in _OPTIONAL))
    block = np.empty((kernels.N_INPUTS, min(_BLOCK, n)))
    table = FeatureTable(spans, settings, block=_BLOCK)
    for start, end in _blocks(n):
        for row, values in enumerate(series):
            block[row, : end - start] = np.nan if values is None else values[start:end]
        out = np.empty((kernels.N_EXTRAS, end - start))
        table.extend(block[:, : end - start], raw[start:end], structure[start:end], vector[start:end], out)
        extras[:, start:end] = out
    arrays = (raw, vector, structure, close.view(), extras)
    for array in arrays:
        array.flags.writeable = False
    return MarketFeatures(
        raw=raw,
        vector=vector,
        structure=structure,
        close=arrays[3],
        atr=extras[kernels.ATR_OUT],
        atr_pct_median=extras[kernels.ATR_PCT_MEDIAN],
        bb_width_median=extras[kernels.WIDTH_MEDIAN],
        spans=spans,
    )


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def compute_features(data: MarketData, settings: FeatureSettings | None = None) -> MarketFeatures:
    """The 23 market features of every bar.

    Parameters
    ----------
    data
        Any number of bars; before the warm-up is over the rows are NaN.
    settings
        None means the defaults.

    Examples
    --------
    >>> features = compute_features(data)  # doctest: +SKIP
    >>> features.vector[features.ready_from :].shape  # doctest: +SKIP
    (35012, 23)
    """
    return features_of_arrays(
        bar_seconds=data.bar_seconds,
        high=data.high,
        low=data.low,
        close=data.close,
        volume=data.volume,
        settings=settings,
        **{name: getattr(data, name) for name in _OPTIONAL},
    )
