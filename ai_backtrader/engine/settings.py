"""Settings of an engine and of its systems."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ai_backtrader.checks import Faults
from ai_backtrader.leverage import LeverageSettings
from ai_backtrader.meta_allocator import AllocatorSettings
from ai_backtrader.online_learner import OnlineLearnerSettings
from ai_backtrader.orchestrator import OrchestratorSettings
from ai_backtrader.parameter_optimizer import OptimizerSettings
from ai_backtrader.strategy_evolver import EvolverSettings

__all__ = ["EngineSettings"]

_SYSTEMS = {
    "leverage": LeverageSettings,
    "orchestrator": OrchestratorSettings,
    "evolver": EvolverSettings,
    "optimizer": OptimizerSettings,
    "online_learner": OnlineLearnerSettings,
    "allocator": AllocatorSettings,
}


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings of an engine and of its systems.

    Attributes
    ----------
    seed
        Source of every random choice; the same seed and the same data give the same answer.
    database
        Path of the learning database; None keeps nothing.
    leverage, orchestrator, evolver, optimizer, online_learner, allocator
        Settings of the systems.
    """

    seed: int = 0
    database: str | Path | None = None
    leverage: LeverageSettings = field(default_factory=LeverageSettings)
    orchestrator: OrchestratorSettings = field(default_factory=OrchestratorSettings)
    evolver: EvolverSettings = field(default_factory=EvolverSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    online_learner: OnlineLearnerSettings = field(default_factory=OnlineLearnerSettings)
    allocator: AllocatorSettings = field(default_factory=AllocatorSettings)

    def __post_init__(self) -> None:
        faults = Faults("EngineSettings")
        faults.whole("seed", self.seed, low=0)
        path: object = self.database
        if path is not None and not isinstance(path, str | os.PathLike):
            faults.add(f"database must be a path or None, got {path!r}")
        for name, kind in _SYSTEMS.items():
            if not isinstance(getattr(self, name), kind):
                faults.add(f"{name} must be {kind.__name__}, got {getattr(self, name)!r}")
        faults.raise_if_any()
