"""Where the systems are joined: settings, the engine, and the conveniences over one default engine.

Code and tests that care build their own :class:`Engine`; ``get_*()`` share a default one, as a script at a prompt wants
it.
"""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass, field

from ai_backtrader.checks import Faults
from ai_backtrader.events import ForgetfulJournal, Journal
from ai_backtrader.leverage import LeverageManager, LeverageSettings
from ai_backtrader.orchestrator import AdvicePort, Orchestrator, OrchestratorSettings
from ai_backtrader.strategy_evolver import EvolverSettings, StrategyEvolver

__all__ = [
    "Engine",
    "EngineSettings",
    "get_ai_orchestrator",
    "get_leverage_manager",
    "get_strategy_evolver",
    "initialize_ai_orchestrator",
    "reset_engine",
]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings of an engine and of its systems.

    Attributes
    ----------
    seed
        Source of every random choice; the same seed and the same data give the same answer.
    leverage, orchestrator, evolver
        Settings of the systems.
    """

    seed: int = 0
    leverage: LeverageSettings = field(default_factory=LeverageSettings)
    orchestrator: OrchestratorSettings = field(default_factory=OrchestratorSettings)
    evolver: EvolverSettings = field(default_factory=EvolverSettings)

    def __post_init__(self) -> None:
        faults = Faults("EngineSettings")
        faults.whole("seed", self.seed, low=0)
        for name, kind in (
            ("leverage", LeverageSettings), ("orchestrator", OrchestratorSettings), ("evolver", EvolverSettings),
        ):  # fmt: skip
            if not isinstance(getattr(self, name), kind):
                faults.add(f"{name} must be {kind.__name__}, got {getattr(self, name)!r}")
        faults.raise_if_any()


class Engine:
    """The systems of one run, joined: they share settings and a journal, and nothing with another engine.

    Parameters
    ----------
    settings
        Settings; None takes the defaults.
    journal
        Where events go; None forgets them.
    advisor
        Sees each decision before it is taken and may lower its risk; None abstains.
    """

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        journal: Journal | None = None,
        advisor: AdvicePort | None = None,
    ) -> None:
        self.settings = EngineSettings() if settings is None else settings
        self.journal: Journal = ForgetfulJournal() if journal is None else journal
        self.leverage_manager = LeverageManager(self.settings.leverage)
        self.evolver = StrategyEvolver(self.settings.evolver, seed=self.settings.seed)
        self.orchestrator = Orchestrator(
            self.settings.orchestrator,
            sizer=self.leverage_manager,
            listeners=(self.leverage_manager,),
            llm=advisor,
            journal=self.journal,
        )


_default: Engine | None = None
_lock = threading.Lock()


def _default_engine() -> Engine:
    global _default
    with _lock:
        if _default is None:
            _default = Engine()
        return _default


def reset_engine(
    settings: EngineSettings | None = None, *, journal: Journal | None = None, advisor: AdvicePort | None = None
) -> Engine:
    """Replace the default engine by a fresh one and return it."""
    global _default
    engine = Engine(settings, journal=journal, advisor=advisor)
    with _lock:
        _default = engine
    return engine


def get_leverage_manager() -> LeverageManager:
    """Leverage manager of the default engine."""
    return _default_engine().leverage_manager


def get_strategy_evolver() -> StrategyEvolver:
    """Strategy evolver of the default engine."""
    return _default_engine().evolver


def get_ai_orchestrator() -> Orchestrator:
    """Orchestrator of the default engine."""
    return _default_engine().orchestrator


async def initialize_ai_orchestrator(
    *,
    llm_advisor: AdvicePort | None = None,
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
