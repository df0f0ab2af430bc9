"""The adjustments of the selection flow: factors from 0 to 1, so that none of them ever raises leverage.

Each is monotone: no factor rises with volatility, margin ratio or drawdown, none falls with confidence.
"""

from __future__ import annotations

from ai_backtrader.leverage.reading import Reading
from ai_backtrader.leverage.settings import LeverageSettings

__all__ = ["confidence_factor", "drawdown_factor", "reduce_fraction", "trend_factor", "volatility_factor"]


def volatility_factor(reading: Reading, settings: LeverageSettings) -> float:
    """1 over the higher of ``volatility_ratio`` and ``atr_ratio`` where that is above 1, less under the flag.

    The base leverage already follows the level of volatility; this answers its **rise**, which ATR lags. Quiet markets
    get no bonus: leverage at a ratio of 0.5 is that at 1.
    """
    factor = 1.0 / max(1.0, reading.volatility_ratio, reading.atr_ratio)
    return factor * settings.high_volatility_factor if reading.high_volatility > 0.0 else factor


def trend_factor(sign: int, lean: float, strength: float, settings: LeverageSettings) -> float:
    """``trend_floor`` against a strong trend, 1 with it, linear between in ``sign * lean * strength`` (-1 to 1)."""
    support = sign * lean * strength
    return settings.trend_floor + (1.0 - settings.trend_floor) * (1.0 + support) / 2.0


def confidence_factor(confidence: float, settings: LeverageSettings) -> float:
    """``confidence_floor`` at confidence 0, 1 at 1, linear between."""
    return settings.confidence_floor + (1.0 - settings.confidence_floor) * confidence


def reduce_fraction(margin_ratio: float, settings: LeverageSettings) -> float:
    """Share of the open position to close: 0 up to ``margin_warn``, 1 from ``margin_critical``, linear between."""
    span = settings.margin_critical - settings.margin_warn
    return min(max((margin_ratio - settings.margin_warn) / span, 0.0), 1.0)


def drawdown_factor(drawdown: float, settings: LeverageSettings) -> float:
    """1 up to ``drawdown_warn``, ``drawdown_floor`` from ``drawdown_limit``, linear between.

    Above 0 on purpose: an account that may not trade can never recover.
    """
    span = settings.drawdown_limit - settings.drawdown_warn
    depth = min(max((drawdown - settings.drawdown_warn) / span, 0.0), 1.0)
    return 1.0 - (1.0 - settings.drawdown_floor) * depth
