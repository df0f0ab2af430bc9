"""Sizers for Backtrader: the leverage manager under strategies that exist."""

from ai_backtrader.sizers.ai_sizer import AISizer

__all__ = ["AISizer"]
