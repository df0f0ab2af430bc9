"""Backtrader analyzers."""

from ai_backtrader.analyzers.decisions import Decisions
from ai_backtrader.analyzers.liquidations import Liquidations
from ai_backtrader.analyzers.performance import Performance

__all__ = ["Decisions", "Liquidations", "Performance"]
