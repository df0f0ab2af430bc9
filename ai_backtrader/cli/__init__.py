"""The ``ai-backtrader`` command."""

from ai_backtrader.cli.app import main

__all__ = ["main"]
