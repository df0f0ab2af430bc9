"""The searches of a fold: done once, on its design bars, and shared by every variant that walks it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markets import Fold

from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.pipeline import PipelineSettings, parts_of
from ai_backtrader.pipeline.folder import RunFolder
from ai_backtrader.pipeline.result import findings
from ai_backtrader.pipeline.searching import evolve_strategies, optimise_by_regime, train_agent_on

__all__ = ["DATABASE", "Searched", "search"]

DATABASE = "search.db"
"""What the searches recorded: every variant starts from a copy of it, so that none knows of another's walk."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What the searches of a fold found.

    Attributes
    ----------
    optimised, evolved, agent
        The stages' documents, as a run of the pipeline keeps them.
    weights
        Of the leverage agent's network; None where none was trained.
    database
        Of the searches alone.
    seconds
        CPU seconds by stage.
    """

    optimised: dict[str, Any]
    evolved: dict[str, Any]
    agent: dict[str, Any]
    weights: Any
    database: Path
    seconds: dict[str, float]


def search(fold: Fold, settings: PipelineSettings, home: Path, tell: Tell) -> Searched:
    """Do the searches that are not done yet; ``home`` keeps what each of them found."""
    folder = RunFolder(home)
    parts, design = parts_of(fold.data, settings), fold.data.head(fold.design)
    with LearningDatabase(home / DATABASE) as kept:
        kept.start_run(
            "study", settings=settings.to_dict(), seed=settings.seed, data={fold.data.symbol: fold.data.fingerprint}
        )
        stages: dict[str, Callable[[], tuple[dict[str, Any], dict[str, Any] | None]]] = {
            "optimise": lambda: (
                optimise_by_regime(design, settings, ledger=kept, journal=kept, store=kept, jobs=1), None
            ),
            "evolve": lambda: (
                evolve_strategies(
                    design, settings, ledger=kept, journal=kept, jobs=1, checkpoint=home / "evolution.checkpoint"
                ), None,
            ),
            "train": lambda: train_agent_on(
                design, settings, parts, ledger=kept, checkpoint=home / "agent.checkpoint"
            ),
        }  # fmt: skip
        seconds = {name: _stage(name, work, folder, kept, tell) for name, work in stages.items()}
        kept.finish_run()
    found = {name: folder.read(name) or {} for name in stages}
    return Searched(
        optimised=found["optimise"], evolved=found["evolve"], agent=found["train"], database=home / DATABASE,
        weights=folder.arrays("train")["weights"] if found["train"]["kept"] else None, seconds=seconds,
    )  # fmt: skip


def _stage(
    name: str, work: Callable[[], tuple[dict[str, Any], dict[str, Any] | None]], folder: RunFolder,
    kept: LearningDatabase, tell: Tell,
) -> float:  # fmt: skip
    """CPU seconds that the stage took, when it was done."""
    took = folder.read(f"{name}-seconds")
    if folder.read(name) is None or took is None:
        began = time.process_time()
        found, arrays = work()
        kept.flush()
        folder.write(name, found, arrays)
        took = {"cpu": round(time.process_time() - began, 1)}
        folder.write(f"{name}-seconds", took)
        tell(f"{name} in {took['cpu']:.0f} CPU s: {findings(name, found)}")
    return float(took["cpu"])
