"""Strategies for Backtrader."""

from ai_backtrader.strategies.adaptation import Adaptation, AdaptationRecord
from ai_backtrader.strategies.adaptation_spans import AdaptationWorth
from ai_backtrader.strategies.adaptation_worth import AdaptationComparison, compare_adaptation, compared_runs
from ai_backtrader.strategies.ai_strategy import AIStrategy
from ai_backtrader.strategies.evolved import EvolvedStrategy, compile_strategy
from ai_backtrader.strategies.export import export_source
from ai_backtrader.strategies.hosting import Member
from ai_backtrader.strategies.optimized import backtest_strategy, optimize
from ai_backtrader.strategies.portfolio import PortfolioStrategy
from ai_backtrader.strategies.proofs import prove, prove_champions
from ai_backtrader.strategies.rl_strategy import LeverageRLStrategy, RLStrategy
from ai_backtrader.strategies.running import run_in_cerebro

__all__ = [
    "AIStrategy",
    "Adaptation",
    "AdaptationComparison",
    "AdaptationRecord",
    "AdaptationWorth",
    "EvolvedStrategy",
    "LeverageRLStrategy",
    "Member",
    "PortfolioStrategy",
    "RLStrategy",
    "backtest_strategy",
    "compare_adaptation",
    "compared_runs",
    "compile_strategy",
    "export_source",
    "optimize",
    "prove",
    "prove_champions",
    "run_in_cerebro",
]
