"""Backtrader analyzers."""

from ai_backtrader.analyzers.allocations import Allocations
from ai_backtrader.analyzers.compare import Comparison, compare
from ai_backtrader.analyzers.decisions import Decisions
from ai_backtrader.analyzers.evidence import Evidence
from ai_backtrader.analyzers.learning import Learning
from ai_backtrader.analyzers.liquidations import Liquidations
from ai_backtrader.analyzers.observers import ConfidenceObserver, LeverageObserver, MarginObserver
from ai_backtrader.analyzers.performance import Performance
from ai_backtrader.analyzers.proofs import RunProof, prove_run
from ai_backtrader.analyzers.timeline import Timeline

__all__ = [
    "Allocations",
    "Comparison",
    "ConfidenceObserver",
    "Decisions",
    "Evidence",
    "Learning",
    "LeverageObserver",
    "Liquidations",
    "MarginObserver",
    "Performance",
    "RunProof",
    "Timeline",
    "compare",
    "prove_run",
]
