"""What the leverage manager reads from the raw indicators, with neutral values where one is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ai_backtrader.market import NEUTRAL_VALUES
from ai_backtrader.values import Regime

__all__ = ["RANGE_PER_SIGMA", "Reading", "read_indicators", "trend_support"]

# Expected range of a Brownian bar in units of its standard deviation, sqrt(8/pi) (Feller 1951; Parkinson 1980).
RANGE_PER_SIGMA = math.sqrt(8.0 / math.pi)

_NAMES = (
    "volatility_ratio",
    "atr_ratio",
    "high_volatility",
    "adx",
    "trend_strength",
    "trend_direction",
    "ema_alignment",
)
_NEUTRAL = tuple((name, NEUTRAL_VALUES[name]) for name in _NAMES)


class Reading(NamedTuple):
    """Inputs of the selection flow.

    Attributes
    ----------
    price
        Last price; 1.0 when unknown (then everything below is relative to the price).
    price_known
        False when no price was given.
    atr
        ATR in price units; NaN when no volatility is known.
    volatility
        Forecast of the annual volatility, fraction; NaN when unknown.
    volatility_ratio, atr_ratio, high_volatility, adx, trend_strength, trend_direction, ema_alignment
        Raw market features.
    missing
        Names that were needed and not given.
    """

    price: float
    price_known: bool
    atr: float
    volatility: float
    volatility_ratio: float
    atr_ratio: float
    high_volatility: float
    adx: float
    trend_strength: float
    trend_direction: float
    ema_alignment: float
    missing: tuple[str, ...]


def _positive(indicators: Mapping[str, float], name: str) -> float:
    # NaN, None, infinity, zero and negative values all mean "not known" for a price or a volatility.
    value = indicators.get(name)
    return float(value) if value is not None and 0.0 < value < math.inf else math.nan


def read_indicators(indicators: Mapping[str, float], *, bars_per_year: float, price: float | None = None) -> Reading:
    """Read the indicators that the flow needs; unknown names are ignored, missing ones listed.

    Parameters
    ----------
    indicators
        Raw features by name. Price: ``close``, ``price`` or ``current_price``. Volatility: ``atr_pct`` (percent), or
        ``atr`` (price units, needs a price), or ``volatility`` (annual, fraction); where both a range and an annual
        figure are given, the higher forecast counts. A value that is None, NaN or infinite is missing.
    bars_per_year
        For annualising: volatility = ATR/price / sqrt(8/pi) * sqrt(bars_per_year), since the expected range of a
        Brownian bar is sqrt(8/pi) = 1.596 standard deviations (Feller 1951).
    price
        Stands before the price among the indicators.

    Returns
    -------
    Reading
        NaN in ``volatility`` and ``atr`` when nothing tells the volatility.
    """
    missing: list[str] = []
    values: dict[str, float] = {}
    for name, neutral in _NEUTRAL:
        value = indicators.get(name)
        if value is None or not -math.inf < value < math.inf:
            missing.append(name)
            value = neutral
        values[name] = float(value)

    last = math.nan if price is None else float(price)
    for name in ("close", "price", "current_price"):
        if last == last:
            break
        last = _positive(indicators, name)
    known = last == last
    if not known:
        missing.append("close")
        last = 1.0

    relative_atr = _positive(indicators, "atr_pct") / 100.0
    if relative_atr != relative_atr and known:
        relative_atr = _positive(indicators, "atr") / last
    annual = _positive(indicators, "volatility")
    atr_per_annual = RANGE_PER_SIGMA / math.sqrt(bars_per_year)
    if relative_atr == relative_atr:
        ranged = relative_atr / atr_per_annual
        volatility = annual if annual > ranged else ranged
    else:
        relative_atr = annual * atr_per_annual
        volatility = annual
    if volatility != volatility:
        missing.append("atr_pct")
    return Reading(
        price=last,
        price_known=known,
        atr=relative_atr * last,
        volatility=volatility,
        missing=tuple(missing),
        **values,
    )


def trend_support(reading: Reading, regime: Regime | None) -> tuple[float, float]:
    """Trend of the market as ``(lean, strength)``.

    ``lean`` (-1 to 1) is the mean of ``ema_alignment``, ``trend_direction`` and, if given, the sign of the regime.
    ``strength`` (0 to 1) is the mean of ADX mapped from 15..35 and the efficiency ratio mapped from 0.2 (a random walk
    has 0.23) to 0.5.
    """
    lean = reading.ema_alignment + reading.trend_direction
    lean = lean / 2.0 if regime is None else (lean + regime.sign) / 3.0
    by_adx = min(max((reading.adx - 15.0) / 20.0, 0.0), 1.0)
    by_path = min(max((reading.trend_strength - 0.2) / 0.3, 0.0), 1.0)
    return min(max(lean, -1.0), 1.0), (by_adx + by_path) / 2.0
