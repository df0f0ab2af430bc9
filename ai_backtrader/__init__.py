"""ai-backtrader: an AI trading engine for Backtrader.

Real margin, the same answer twice, honest evidence. The names below load their room on first use, so that importing the
package is cheap.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_backtrader.engine import Engine as Engine
    from ai_backtrader.engine import EngineSettings as EngineSettings
    from ai_backtrader.engine import get_ai_orchestrator as get_ai_orchestrator
    from ai_backtrader.engine import get_leverage_manager as get_leverage_manager
    from ai_backtrader.engine import get_leverage_rl_agent as get_leverage_rl_agent
    from ai_backtrader.engine import get_meta_allocator as get_meta_allocator
    from ai_backtrader.engine import get_online_learner as get_online_learner
    from ai_backtrader.engine import get_parameter_optimizer as get_parameter_optimizer
    from ai_backtrader.engine import get_rl_agent as get_rl_agent
    from ai_backtrader.engine import get_strategy_evolver as get_strategy_evolver
    from ai_backtrader.engine import initialize_ai_orchestrator as initialize_ai_orchestrator
    from ai_backtrader.engine import reset_engine as reset_engine
    from ai_backtrader.learning_db import LearningDatabase as LearningDatabase
    from ai_backtrader.llm_advisor import get_advisor as get_advisor
    from ai_backtrader.market import MarketData as MarketData
    from ai_backtrader.parameter_optimizer import OptimizationConfig as OptimizationConfig
    from ai_backtrader.rl import LeverageState as LeverageState
    from ai_backtrader.rl import State as State
    from ai_backtrader.rules import StrategyChromosome as StrategyChromosome

__version__ = "0.1.0"

_ROOM_OF = {
    "Engine": "ai_backtrader.engine",
    "EngineSettings": "ai_backtrader.engine",
    "LearningDatabase": "ai_backtrader.learning_db",
    "LeverageState": "ai_backtrader.rl",
    "MarketData": "ai_backtrader.market",
    "OptimizationConfig": "ai_backtrader.parameter_optimizer",
    "State": "ai_backtrader.rl",
    "StrategyChromosome": "ai_backtrader.rules",
    "get_advisor": "ai_backtrader.llm_advisor",
    "get_ai_orchestrator": "ai_backtrader.engine",
    "get_leverage_manager": "ai_backtrader.engine",
    "get_leverage_rl_agent": "ai_backtrader.engine",
    "get_meta_allocator": "ai_backtrader.engine",
    "get_online_learner": "ai_backtrader.engine",
    "get_parameter_optimizer": "ai_backtrader.engine",
    "get_rl_agent": "ai_backtrader.engine",
    "get_strategy_evolver": "ai_backtrader.engine",
    "initialize_ai_orchestrator": "ai_backtrader.engine",
    "reset_engine": "ai_backtrader.engine",
}

__all__ = [
    "Engine",
    "EngineSettings",
    "LearningDatabase",
    "LeverageState",
    "MarketData",
    "OptimizationConfig",
    "State",
    "StrategyChromosome",
    "__version__",
    "get_advisor",
    "get_ai_orchestrator",
    "get_leverage_manager",
    "get_leverage_rl_agent",
    "get_meta_allocator",
    "get_online_learner",
    "get_parameter_optimizer",
    "get_rl_agent",
    "get_strategy_evolver",
    "initialize_ai_orchestrator",
    "reset_engine",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    try:
        room = _ROOM_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_ROOM_OF))
