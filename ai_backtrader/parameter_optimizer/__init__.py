"""The parameter optimizer: the best parameters by symbol and regime, and what finding them cost."""

from ai_backtrader.parameter_optimizer.answers import AnswerStore
from ai_backtrader.parameter_optimizer.dimensions import Boolean, Categorical, Dimension, Integer, Real
from ai_backtrader.parameter_optimizer.executors import EXECUTORS
from ai_backtrader.parameter_optimizer.optimizer import BacktestFunction, ParameterOptimizer
from ai_backtrader.parameter_optimizer.search import Search
from ai_backtrader.parameter_optimizer.settings import (
    SURROGATES,
    TECHNICAL_SPACE,
    OptimizationConfig,
    OptimizerSettings,
)
from ai_backtrader.parameter_optimizer.space import Constraint, Less, Parameters, Space
from ai_backtrader.parameter_optimizer.trials import Proposal, SearchResult, Trial

__all__ = [
    "EXECUTORS",
    "SURROGATES",
    "TECHNICAL_SPACE",
    "AnswerStore",
    "BacktestFunction",
    "Boolean",
    "Categorical",
    "Constraint",
    "Dimension",
    "Integer",
    "Less",
    "OptimizationConfig",
    "OptimizerSettings",
    "ParameterOptimizer",
    "Parameters",
    "Proposal",
    "Real",
    "Search",
    "SearchResult",
    "Space",
    "Trial",
]
