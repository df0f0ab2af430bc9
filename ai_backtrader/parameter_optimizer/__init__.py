"""The parameter optimizer: the best parameters by symbol and regime, and what finding them cost."""

from ai_backtrader.executors import EXECUTORS
from ai_backtrader.parameter_optimizer.answers import AnswerStore
from ai_backtrader.parameter_optimizer.dimensions import Boolean, Categorical, Dimension, Integer, Real
from ai_backtrader.parameter_optimizer.evaluation import Backtests, CompiledBacktests, Evaluation, Evaluator, Slices
from ai_backtrader.parameter_optimizer.objectives import OBJECTIVES, NoScore, Objective, Outcome
from ai_backtrader.parameter_optimizer.optimizer import BacktestFunction, ParameterOptimizer
from ai_backtrader.parameter_optimizer.optimizing import optimize, optimize_backtests
from ai_backtrader.parameter_optimizer.regimes import RegimeRun, bars_in_regime, regime_run
from ai_backtrader.parameter_optimizer.result import (
    Batch,
    OptimizationResult,
    Overfitting,
    Part,
    Plateau,
    ScoredTrial,
)
from ai_backtrader.parameter_optimizer.search import Search
from ai_backtrader.parameter_optimizer.settings import (
    SURROGATES,
    TECHNICAL_SPACE,
    OptimizationConfig,
    OptimizerSettings,
)
from ai_backtrader.parameter_optimizer.space import Constraint, Less, Parameters, Space
from ai_backtrader.parameter_optimizer.technical import Family, TechnicalFamily, technical_rules
from ai_backtrader.parameter_optimizer.trials import Proposal, SearchResult, Trial
from ai_backtrader.parameter_optimizer.walk_forward import (
    Fold,
    WalkForwardResult,
    walk_forward,
    walk_forward_backtests,
)

__all__ = [
    "EXECUTORS",
    "OBJECTIVES",
    "SURROGATES",
    "TECHNICAL_SPACE",
    "AnswerStore",
    "BacktestFunction",
    "Backtests",
    "Batch",
    "Boolean",
    "Categorical",
    "CompiledBacktests",
    "Constraint",
    "Dimension",
    "Evaluation",
    "Evaluator",
    "Family",
    "Fold",
    "Integer",
    "Less",
    "NoScore",
    "Objective",
    "OptimizationConfig",
    "OptimizationResult",
    "OptimizerSettings",
    "Outcome",
    "Overfitting",
    "ParameterOptimizer",
    "Parameters",
    "Part",
    "Plateau",
    "Proposal",
    "Real",
    "RegimeRun",
    "ScoredTrial",
    "Search",
    "SearchResult",
    "Slices",
    "Space",
    "TechnicalFamily",
    "Trial",
    "WalkForwardResult",
    "bars_in_regime",
    "optimize",
    "optimize_backtests",
    "regime_run",
    "technical_rules",
    "walk_forward",
    "walk_forward_backtests",
]
