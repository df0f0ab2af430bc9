"""A run again, from its card: whether it comes to the same, to the last bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.pipeline.folder import RunFolder, runs_folder
from ai_backtrader.pipeline.life import BEFORE, OnStage, run_pipeline
from ai_backtrader.pipeline.result import PipelineResult
from ai_backtrader.pipeline.settings import PipelineSettings

__all__ = ["Replay", "card_of", "replay_run"]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A run beside its repetition.

    Attributes
    ----------
    card
        Of the run.
    result
        Of the repetition.
    """

    card: Mapping[str, Any]
    result: PipelineResult

    @property
    def differences(self) -> tuple[str, ...]:
        """Hashes and figures that are not the same; empty when the runs are."""
        again = self.result.card
        hashes = [name for name in self.card["hashes"] if self.card["hashes"][name] != again["hashes"].get(name)]
        return (*hashes, *(["figures"] if self.card["figures"] != again["figures"] else []))

    @property
    def causes(self) -> tuple[str, ...]:
        """What the repetition was made of that the run was not: other code, other versions."""
        again = self.result.card
        names = [
            f"{name} {self.card['versions'].get(name)} is now {again['versions'].get(name)}"
            for name in sorted({*self.card["versions"], *again["versions"]})
            if self.card["versions"].get(name) != again["versions"].get(name)
        ]
        return (*(["the package's code is another"] if self.card["code"] != again["code"] else []), *names)

    @property
    def verdict(self) -> str:
        """The outcome in plain words."""
        why = f" Since then: {'; '.join(self.causes)}." if self.causes else ""
        if not self.differences:
            return f"Run {self.card['run_id']} came to the same: {', '.join(self.card['hashes'])} agree.{why}"
        unknown = "" if why else " Code and versions are the same: this should not be."
        return f"Run {self.card['run_id']} came to something else: {', '.join(self.differences)} differ.{why}{unknown}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "run_id": self.card["run_id"], "equal": not self.differences, "differences": list(self.differences),
            "causes": list(self.causes), "verdict": self.verdict, "hashes": dict(self.card["hashes"]),
            "hashes_again": dict(self.result.hashes),
        }  # fmt: skip


def card_of(run_id: str, database: str | Path) -> dict[str, Any]:
    """Card of a finished run.

    Raises
    ------
    AIBacktraderError
        If there is none, naming those that there are.
    """
    home = runs_folder(database)
    found = RunFolder(home / run_id).read("card") if (home / run_id).is_dir() else None
    if found is None:
        known = sorted(path.parent.name for path in home.glob("*/card.json"))
        raise AIBacktraderError(
            f"{database}: no finished run {run_id!r} in {home}; finished are {', '.join(known) or 'none'}"
        )
    return found


def replay_run(
    run_id: str, database: str | Path, data: MarketData, *, jobs: int = 1, on_stage: OnStage | None = None
) -> Replay:
    """Repeat a run from nothing but its card, its data and what the database knew before it.

    Parameters
    ----------
    run_id, database
        Which run; the database stays as it is.
    data
        The same data.
    jobs, on_stage
        As for :func:`~ai_backtrader.pipeline.run_pipeline`.

    Raises
    ------
    AIBacktraderError
        If there is no such run.
    SettingsError
        If the data are others.
    """
    card = card_of(run_id, database)
    if data.fingerprint != card["data"]["sha256"]:
        told = card["data"]
        raise SettingsError(
            "replay",
            [
                f"the data are not those of the run: it had {told['bars']:,} bars of {told['symbol']} from "
                f"{told['first']} to {told['last']} ({told['sha256'][:12]}…), given are {len(data):,} of {data.symbol} "
                f"({data.fingerprint[:12]}…)"
            ],
        )
    settings = PipelineSettings.from_dict(card["settings"])
    options = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    with tempfile.TemporaryDirectory(prefix="ai-backtrader-replay-") as scratch:
        again = Path(scratch) / "learning.db"
        before = runs_folder(database) / run_id / BEFORE
        if before.exists():
            shutil.copyfile(before, again)
        result = run_pipeline(data, database=again, jobs=jobs, on_stage=on_stage, **options)
    return Replay(card=card, result=result)
