"""Strategies for Backtrader."""

from ai_backtrader.strategies.ai_strategy import AIStrategy
from ai_backtrader.strategies.evolved import EvolvedStrategy, compile_strategy

__all__ = ["AIStrategy", "EvolvedStrategy", "compile_strategy"]
