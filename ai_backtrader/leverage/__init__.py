"""Leverage and position size: the selection flow, its limits, and what realised trades teach it."""

from ai_backtrader.leverage.experience import ExperienceRow, KellyEstimate, kelly_estimate
from ai_backtrader.leverage.manager import LeverageManager
from ai_backtrader.leverage.policy import LeveragePolicy, LeverageProposal, VolatilityTargetPolicy
from ai_backtrader.leverage.reading import Reading, read_indicators
from ai_backtrader.leverage.settings import LeverageSettings

__all__ = [
    "ExperienceRow",
    "KellyEstimate",
    "LeverageManager",
    "LeveragePolicy",
    "LeverageProposal",
    "LeverageSettings",
    "Reading",
    "VolatilityTargetPolicy",
    "kelly_estimate",
    "read_indicators",
]
