"""The technical source: a trend-following vote from EMA, RSI, MACD and ADX."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketFeatures, Regimes
from ai_backtrader.orchestrator.values import Abstention, Context, Vote
from ai_backtrader.values import Action, Regime

__all__ = ["TechnicalSource", "technical_pulls", "technical_vote"]

_NEEDED = ("price_vs_ema20", "price_vs_ema50", "ema_alignment", "rsi", "macd_hist", "adx", "atr_pct")
_MIN_CONFIDENCE = 0.10


def _clip(value: float) -> float:
    return 1.0 if value > 1.0 else -1.0 if value < -1.0 else value


def technical_vote(indicators: Mapping[str, float], regime: Regime | None = None) -> Vote | Abstention:
    """Vote of a trend follower who is wary of extremes; simple enough to check by hand.

    Three views, each from -1 (down) to 1 (up)::

        ema  = mean of ema_alignment, clip(price_vs_ema20 / (2 * atr_pct)), clip(price_vs_ema50 / (4 * atr_pct))
        macd = clip(2 * macd_hist + 0.5 * macd_signal_cross)         half an ATR of histogram is a full view
        rsi  = clip((rsi - 50) / 20)                                 30 and 70 are full views
        lean = 0.5 * ema + 0.3 * macd + 0.2 * rsi

    Three factors on ``abs(lean)`` give the confidence::

        strength = 0.5 at ADX 15 or less, 1 at 35 or more, linear between
        caution  = 1 up to RSI 70 (going long; 30 going short), down to 0.5 at 90 (10), linear between
        regime   = 0.75 where the regime's sign is against the lean, else 1

    BUY where the lean is above 0, SELL below; a confidence under 0.10 is no view: HOLD. The features are in percent of
    price or in ATR, so neither the price level nor the market's usual volatility changes the vote. No figure here was
    fitted to data.

    Parameters
    ----------
    indicators
        Raw features; ``macd_signal_cross`` counts as 0 when absent.
    regime
        Trend label; None when unknown.

    Returns
    -------
    Vote or Abstention
        Abstains, naming them, when one of the needed features is absent or not finite, or ``atr_pct`` is not above 0.
    """
    missing = [name for name in _NEEDED if not _finite(indicators.get(name))]
    if missing:
        return Abstention("technical", f"indicators missing: {', '.join(missing)}")
    atr_pct = indicators["atr_pct"]
    if atr_pct <= 0.0:
        return Abstention("technical", f"atr_pct must be above 0 to measure by, got {atr_pct!r}")
    rsi = indicators["rsi"]
    cross = indicators.get("macd_signal_cross", 0.0)
    ema_view = (
        _clip(indicators["ema_alignment"])
        + _clip(indicators["price_vs_ema20"] / (2.0 * atr_pct))
        + _clip(indicators["price_vs_ema50"] / (4.0 * atr_pct))
    ) / 3.0
    macd_view = _clip(2.0 * indicators["macd_hist"] + 0.5 * (cross if _finite(cross) else 0.0))
    rsi_view = _clip((rsi - 50.0) / 20.0)
    lean = 0.5 * ema_view + 0.3 * macd_view + 0.2 * rsi_view

    strength = 0.5 + 0.5 * min(max((indicators["adx"] - 15.0) / 20.0, 0.0), 1.0)
    stretch = rsi - 70.0 if lean > 0.0 else 30.0 - rsi
    caution = 1.0 - 0.5 * min(max(stretch / 20.0, 0.0), 1.0)
    against = regime is not None and regime.sign * lean < 0.0
    confidence = min(abs(lean) * strength * caution * (0.75 if against else 1.0), 1.0)
    reason = (
        f"EMA {ema_view:+.2f}, MACD {macd_view:+.2f}, RSI {rsi:.0f}, ADX {indicators['adx']:.0f}"
        f"{', RSI stretched' if caution < 1.0 else ''}{f', against {regime.value}' if regime and against else ''}"
    )
    if confidence < _MIN_CONFIDENCE:
        return Vote("technical", Action.HOLD, 1.0 - confidence, f"no trend: {reason}")
    return Vote("technical", Action.from_sign(lean), confidence, reason)


def technical_pulls(features: MarketFeatures, regimes: Regimes) -> NDArray[np.float64]:
    """Signed confidence of :func:`technical_vote` on every bar at once; 0 where it votes HOLD, NaN where it abstains.

    Parameters
    ----------
    features, regimes
        Of the same n bars.

    Returns
    -------
    (n,) float64
        Equal to the votes one by one within rounding (1e-12).
    """
    column = dict(zip(features.names, features.raw.T, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        atr_pct = 100.0 * features.atr / features.close
        ema_view = (
            np.clip(column["ema_alignment"], -1.0, 1.0)
            + np.clip(column["price_vs_ema20"] / (2.0 * atr_pct), -1.0, 1.0)
            + np.clip(column["price_vs_ema50"] / (4.0 * atr_pct), -1.0, 1.0)
        ) / 3.0
        macd_view = np.clip(2.0 * column["macd_hist"] + 0.5 * column["macd_signal_cross"], -1.0, 1.0)
        rsi = column["rsi"]
        lean = 0.5 * ema_view + 0.3 * macd_view + 0.2 * np.clip((rsi - 50.0) / 20.0, -1.0, 1.0)
        strength = 0.5 + 0.5 * np.clip((column["adx"] - 15.0) / 20.0, 0.0, 1.0)
        caution = 1.0 - 0.5 * np.clip(np.where(lean > 0.0, rsi - 70.0, 30.0 - rsi) / 20.0, 0.0, 1.0)
        regime = np.where(np.sign(regimes.labels) * lean < 0.0, 0.75, 1.0)
        confidence = np.minimum(np.abs(lean) * strength * caution * regime, 1.0)
        pulls = np.where(confidence < _MIN_CONFIDENCE, 0.0, np.sign(lean) * confidence)
        pulls[~(atr_pct > 0.0)] = np.nan
    return pulls


def _finite(value: float | None) -> bool:
    return value is not None and -math.inf < value < math.inf


class TechnicalSource:
    """:func:`technical_vote` as a source of the orchestrator; keeps nothing."""

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote from the context's indicators and regime."""
        return technical_vote(context.indicators, context.regime)
