"""Conveniences over one default engine, as a script at a prompt wants them."""

from __future__ import annotations

import dataclasses
import threading

from ai_backtrader.engine.engine import Engine
from ai_backtrader.engine.settings import EngineSettings
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Journal
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.leverage import LeverageManager
from ai_backtrader.llm_advisor import Advisor
from ai_backtrader.meta_allocator import MetaAllocator
from ai_backtrader.online_learner import OnlineLearner
from ai_backtrader.orchestrator import AdvicePort, Orchestrator, OrchestratorSettings
from ai_backtrader.parameter_optimizer import ParameterOptimizer
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.strategy_evolver import StrategyEvolver

__all__ = [
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

_default: Engine | None = None
_lock = threading.Lock()


def _default_engine() -> Engine:
    global _default
    with _lock:
        if _default is None:
            _default = Engine()
        return _default


def reset_engine(
    settings: EngineSettings | None = None,
    *,
    journal: Journal | None = None,
    advisor: Advisor | AdvicePort | None = None,
) -> Engine:
    """Replace the default engine by a fresh one and return it; the one before is closed."""
    global _default
    engine = Engine(settings, journal=journal, advisor=advisor)
    with _lock:
        before, _default = _default, engine
    if before is not None:
        before.close()
    return engine


def get_parameter_optimizer() -> ParameterOptimizer:
    """Parameter optimizer of the default engine."""
    return _default_engine().optimizer


def get_strategy_evolver() -> StrategyEvolver:
    """Strategy evolver of the default engine."""
    return _default_engine().evolver


def get_rl_agent() -> RLAgent:
    """Basic agent of the default engine."""
    return _default_engine().rl_agent


def get_leverage_rl_agent() -> LeverageRLAgent:
    """Leverage agent of the default engine."""
    return _default_engine().leverage_agent


def get_leverage_manager() -> LeverageManager:
    """Leverage manager of the default engine."""
    return _default_engine().leverage_manager


def get_online_learner() -> OnlineLearner:
    """Online learner of the default engine."""
    return _default_engine().online_learner


def get_meta_allocator() -> MetaAllocator:
    """Meta-allocator of the default engine."""
    return _default_engine().meta_allocator


def get_ai_orchestrator() -> Orchestrator:
    """Orchestrator of the default engine."""
    return _default_engine().orchestrator


def get_learning_database() -> LearningDatabase:
    """Learning database of the default engine.

    Raises
    ------
    SettingsError
        If it has none.
    """
    database = _default_engine().database
    if database is None:
        mend = 'reset_engine(EngineSettings(database="ai_learning.db"))'
        raise SettingsError("get_learning_database", [f"the default engine keeps no database; {mend}"])
    return database


async def initialize_ai_orchestrator(
    *,
    llm_advisor: Advisor | AdvicePort | None = None,
    enable_rl: bool = True,
    enable_evolution: bool = True,
    enable_online_learning: bool = True,
    enable_llm: bool = True,
) -> Orchestrator:
    """Orchestrator of a fresh default engine, with the sources that are wanted.

    A source that is switched off has weight 0 and is not asked; one that is on and has nothing trained or found
    abstains. Either way its weight goes to those who vote.
    """
    wanted = {"rl": enable_rl, "evolved": enable_evolution, "online": enable_online_learning, "llm": enable_llm}
    settings = OrchestratorSettings()
    weights = {source: weight for source, weight in settings.weights.items() if wanted.get(source, True)}
    engine = reset_engine(
        EngineSettings(orchestrator=dataclasses.replace(settings, weights=weights)),
        advisor=llm_advisor if enable_llm else None,
    )
    return engine.orchestrator
