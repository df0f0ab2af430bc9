"""The walk of a fold: by all systems, with each of them switched off, and by the classics, over the same bars."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from classics import CLASSICS, play
from markets import Fold
from searching import Searched

from ai_backtrader.evidence import TrialCount, TrialKey
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.pipeline import SYSTEMS, PipelineSettings, parts_of
from ai_backtrader.pipeline.folder import RunFolder
from ai_backtrader.pipeline.trading import allocate, crew_of, engine_of, rehearse, walk

__all__ = ["VARIANTS", "same_as", "walk_fold", "walk_one", "walk_variant"]

VARIANTS: dict[str, Mapping[str, Any]] = {
    "all": {},
    **{f"without_{name}": {"without": (name,)} for name in SYSTEMS},
    "best": {"admit": "best"},
    "best_without_evolved": {"admit": "best", "without": ("evolved",)},
    "best_without_rl": {"admit": "best", "without": ("rl",)},
}
"""Settings by variant: what passed its test votes; in the last three the best that was found does, passed or not."""

_FAMILIES = ("technical", "evolved", "agent")


def walk_fold(
    fold: Fold, settings: PipelineSettings, searched: Searched, home: Path, tell: Callable[[str], None]
) -> None:
    """Walk whatever is not walked yet; ``home`` keeps one file a variant, and one of the classics."""
    folder = RunFolder(home)
    if folder.read("classics") is None:
        folder.write("classics", *_classics(fold, settings))
    # Those that others are the same as come first.
    for name in sorted(VARIANTS, key=lambda name: same_as(name, searched) is not None):
        if folder.read(name) is None:
            walk_one(name, fold, settings, searched, folder, tell)


def walk_one(
    name: str,
    fold: Fold,
    settings: PipelineSettings,
    searched: Searched,
    folder: RunFolder,
    tell: Callable[[str], None],
) -> None:
    """Walk one variant and keep it; one in which nothing differs from another is that one, and is not walked again."""
    other = same_as(name, searched)
    if other in VARIANTS and (found := folder.read(other)) is not None:
        folder.write(name, {**found, "cpu": 0.0, "same_as": other}, folder.arrays(other))
        tell(f"{name} is {other}: nothing differs")
        return
    began = time.process_time()
    document, arrays = walk_variant(fold, dataclasses.replace(settings, **VARIANTS[name]), searched)
    document["cpu"] = round(time.process_time() - began, 1)
    folder.write(name, document, arrays)
    gain = 100.0 * document["members"]["ai"]["total_return"]
    tell(f"{name} in {document['cpu']:.0f} CPU s: AIStrategy {gain:+.2f} %")


def same_as(name: str, searched: Searched) -> str | None:
    """Variant that this one cannot differ from, by what the searches found.

    An agent that did not pass has no part in any walk. Without evolved strategies there is nothing for what adaptation
    finds to vote as; where none passed on the design, to do without adaptation is to do without them.
    """
    if name == "without_rl" and not searched.agent["passed"]:
        return "all"
    if name == "without_evolved" and not any(champion["passed"] for champion in searched.evolved["champions"]):
        return "without_adaptation"
    return None


def walk_variant(
    fold: Fold, settings: PipelineSettings, searched: Searched
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Rehearse, allocate and walk as a run of the pipeline does, from what the searches found and recorded.

    Returns
    -------
    document, arrays
        As the pipeline's walk gives them, with ``counted``: the trials of the searches, and their Sharpe ratios'
        moments.
    """
    data, parts = fold.data, parts_of(fold.data, settings)
    design = data.head(parts.walk)
    crew = crew_of(searched.optimised, searched.evolved, settings)
    with tempfile.TemporaryDirectory(prefix="study-") as scratch, LearningDatabase(Path(scratch) / "walk.db") as kept:
        kept.merge(searched.database)
        run_id = kept.start_run(
            "study", settings=settings.to_dict(), seed=settings.seed, data={data.symbol: data.fingerprint}
        )

        def engine(stage: str, memory: LearningDatabase, weights: Mapping[str, float] | None = None) -> Any:
            return engine_of(
                searched.evolved, searched.agent, searched.weights, settings, seed=settings.seed_of(stage),
                kept=memory, source_weights=weights,
            )  # fmt: skip

        rehearsal = rehearse(design, parts, crew, engine("rehearse", kept), settings)
        allocation = allocate(rehearsal, data.symbol, settings, journal=kept)
        learnt = rehearsal["weights"]
        weights = learnt["weights"] if learnt["used"] else None
        document, arrays = walk(
            data, parts, crew, engine("walk", kept, weights), allocation, settings, ledger=kept, journal=kept,
            design=design, run_id=run_id, engine_again=lambda memory: engine("walk", memory, weights),
        )  # fmt: skip
        count = TrialCount.total(kept.trials(TrialKey(design.fingerprint, family)) for family in _FAMILIES)
    document["counted"] = {
        "n_trials": count.n_trials, "n_measured": count.n_measured, "squares": count.squares,
        "sharpe_mean": count.sharpe_mean if count.n_measured else None,
    }  # fmt: skip
    document["learnt"] = learnt["used"]
    return document, arrays


def _classics(fold: Fold, settings: PipelineSettings) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    played = {name: play(name, fold.data, fold.design, settings) for name in CLASSICS}
    document = {
        name: {"trades": one.trades, "liquidations": one.liquidations, "fees": one.fees, "funding": one.funding}
        for name, one in played.items()
    }
    return document, {name: one.values for name, one in played.items()}
