"""Strategies for Backtrader."""

from ai_backtrader.strategies.ai_strategy import AIStrategy

__all__ = ["AIStrategy"]
