"""Where the base leverage comes from: the policy interface and the volatility-target rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ai_backtrader.checks import Faults
from ai_backtrader.leverage.reading import read_indicators, trend_support
from ai_backtrader.leverage.settings import LeverageSettings
from ai_backtrader.values import Direction, Regime

__all__ = ["LeveragePolicy", "LeverageProposal", "VolatilityTargetPolicy"]


@dataclass(frozen=True, kw_only=True)
class LeverageProposal:
    """What a policy would do.

    Attributes
    ----------
    direction
        LONG, SHORT, or FLAT for no view.
    leverage
        Multiple of the margin posted, above 0; below 1 it asks for 1x and a smaller size.
    confidence
        0 to 1: how sure the policy is of ``direction``; 0.5 is a coin.
    reason
        One readable sentence.
    """

    direction: Direction
    leverage: float
    confidence: float
    reason: str

    def __post_init__(self) -> None:
        if not (0.0 < self.leverage < math.inf and 0.0 <= self.confidence <= 1.0):
            faults = Faults("LeverageProposal")
            faults.number("leverage", self.leverage, above=0.0)
            faults.number("confidence", self.confidence, low=0.0, high=1.0)
            faults.raise_if_any()
        object.__setattr__(self, "leverage", float(self.leverage))
        object.__setattr__(self, "confidence", float(self.confidence))


class LeveragePolicy(Protocol):
    """Proposes base leverage, direction and confidence from the market and the account."""

    def propose(
        self,
        indicators: Mapping[str, float],
        current_position: Mapping[str, float],
        risk_info: Mapping[str, float],
        regime: Regime | None,
    ) -> LeverageProposal:
        """Return a proposal for the next bar; must not change its arguments."""


class VolatilityTargetPolicy:
    """Leverage that keeps the volatility of the margin posted at a target.

    Leverage is ``target_volatility / forecast``, with the forecast from ATR or an annual figure among the indicators
    (:func:`~ai_backtrader.leverage.reading.read_indicators`). It never rises with volatility. The direction is the sign
    of the trend's lean where that is at least 1/4, else FLAT; confidence is ``0.5 + 0.5 * |lean| * strength``
    (:func:`~ai_backtrader.leverage.reading.trend_support`). Nothing in it is fitted to data.

    Without any volatility among the indicators it proposes FLAT at 1x and confidence 0.5.

    Parameters
    ----------
    settings
        ``target_volatility``, ``max_leverage`` and ``bars_per_year`` are read; None takes the defaults.
    """

    def __init__(self, settings: LeverageSettings | None = None) -> None:
        self.settings = LeverageSettings() if settings is None else settings

    def propose(
        self,
        indicators: Mapping[str, float],
        current_position: Mapping[str, float],
        risk_info: Mapping[str, float],
        regime: Regime | None,
    ) -> LeverageProposal:
        """Propose from volatility and trend; the open position plays no part."""
        settings = self.settings
        bars_per_year = risk_info.get("bars_per_year", settings.bars_per_year)
        reading = read_indicators(indicators, bars_per_year=bars_per_year)
        volatility = reading.volatility
        if volatility != volatility:
            return LeverageProposal(
                direction=Direction.FLAT, leverage=1.0, confidence=0.5, reason="no volatility is known"
            )
        leverage = min(max(settings.target_volatility / volatility, 1e-9), settings.max_leverage)
        lean, strength = trend_support(reading, Regime.parse(regime))
        direction = Direction.FLAT
        if abs(lean) >= 0.25:
            direction = Direction.LONG if lean > 0.0 else Direction.SHORT
        return LeverageProposal(
            direction=direction,
            leverage=leverage,
            confidence=0.5 + 0.5 * abs(lean) * strength,
            reason=f"target volatility {settings.target_volatility:.0%} over forecast {volatility:.1%}",
        )
