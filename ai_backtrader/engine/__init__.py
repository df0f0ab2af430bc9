"""The engine: the only place where the systems are joined."""

from ai_backtrader.engine.defaults import (
    get_ai_orchestrator,
    get_learning_database,
    get_leverage_manager,
    get_leverage_rl_agent,
    get_meta_allocator,
    get_online_learner,
    get_parameter_optimizer,
    get_rl_agent,
    get_strategy_evolver,
    initialize_ai_orchestrator,
    reset_engine,
)
from ai_backtrader.engine.engine import Engine
from ai_backtrader.engine.evolved_source import EvolvedSource, FoundStrategy
from ai_backtrader.engine.quiet import QuietBars, Recollection
from ai_backtrader.engine.settings import EngineSettings
from ai_backtrader.engine.sources import AdviceSource, AgentPolicy, AgentSource, OnlineSource

__all__ = [
    "AdviceSource",
    "AgentPolicy",
    "AgentSource",
    "Engine",
    "EngineSettings",
    "EvolvedSource",
    "FoundStrategy",
    "OnlineSource",
    "QuietBars",
    "Recollection",
    "get_ai_orchestrator",
    "get_learning_database",
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
