"""run_pipeline: the whole life of the systems in one call, resumable at every stage."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.checks import Faults
from ai_backtrader.engine import Engine
from ai_backtrader.errors import SettingsError
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.learning_db.tables import TABLES
from ai_backtrader.market import MarketData
from ai_backtrader.pipeline.folder import RunFolder, runs_folder
from ai_backtrader.pipeline.parts import Parts, parts_of, plain
from ai_backtrader.pipeline.result import STAGES, PipelineResult, Stage, findings
from ai_backtrader.pipeline.searching import evolve_strategies, optimise_by_regime, train_agent_on
from ai_backtrader.pipeline.settings import PipelineSettings, Profile
from ai_backtrader.pipeline.trading import allocate, crew_of, engine_of, rehearse, walk

__all__ = ["BEFORE", "database_hash", "run_pipeline"]

BEFORE = "before.db"
"""Name of what the database knew before the run, in the run's folder."""

OnStage = Callable[[str, str, float], None]


def run_pipeline(
    data: MarketData,
    *,
    profile: str | Profile = "quick",
    seed: int = 0,
    database: str | Path | None = None,
    resume: bool = False,
    jobs: int = 1,
    on_stage: OnStage | None = None,
    source: Mapping[str, str | None] | None = None,
    **broker: Any,
) -> PipelineResult:
    """Search, train, rehearse and allocate on the first bars; walk the rest once, with all systems adapting.

    The data are cut by time. On the design: parameters of the technical strategy for all bars and by regime, strategies
    by evolution, the leverage agent; each keeps to its own sealed or validation bars. On the design's last bars, which
    none of them has seen, everybody rehearses with equal capital: what each shows there decides the allocation, and
    whether learnt weights of the sources beat the defaults. The rest of the bars is walked once, in Cerebro.

    Parameters
    ----------
    data
        Market data; 1,000 bars or so at the least.
    profile
        ``"quick"``, ``"standard"``, ``"thorough"``, or a :class:`~ai_backtrader.pipeline.Profile`.
    seed
        Source of every random choice: the same seed, data, settings, code and versions give the same run to the last
        bit, with any number of jobs.
    database
        Learning database to keep events and count trials in; what each stage found is kept in a folder beside it. None
        keeps nothing.
    resume
        Go on with a run that was killed, at the stage it had reached; done stages are not done again. Without it every
        stage is done, and replaces what was kept.
    jobs
        Threads of the searches.
    on_stage
        Called with a stage's name, what it does or found, and its progress from 0 to 1.
    source
        Where the data came from, for the card: ``path``, ``symbol``, ``repair``; None where no file can tell.
    **broker
        Further fields of :class:`~ai_backtrader.pipeline.PipelineSettings`: ``cash``, ``commission``, …

    Returns
    -------
    PipelineResult
        Stages, card, curves.

    Raises
    ------
    SettingsError
        If an argument is wrong, the data are too short, or ``resume`` has no database.
    """
    try:
        settings = PipelineSettings(profile=profile, seed=seed, **broker)
    except TypeError as error:
        raise SettingsError("run", [str(error).removeprefix("PipelineSettings.__init__() ")]) from error
    faults = Faults("run")
    faults.whole("jobs", jobs, low=1)
    if resume and database is None:
        faults.add("resume needs the database of the run to resume")
    faults.raise_if_any()
    parts = parts_of(data, settings)
    with _home(database) as (file, scratch):
        before = _snapshot(file, scratch)
        with LearningDatabase(file) as kept:
            run_id = kept.start_run(
                "pipeline", settings=settings.to_dict(), seed=seed, data={data.symbol: data.fingerprint}
            )
            folder = RunFolder(runs_folder(file) / run_id)
            if not resume:
                _clear(folder)
            if folder.read("start") is None:
                if before is not None:
                    shutil.copyfile(before, folder.path / BEFORE)
                folder.write("start", {"knew_something": before is not None})
            run = _Run(data, settings, parts, kept, folder, run_id, jobs=jobs, on_stage=on_stage)
            try:
                result = run.result(source)
            except KeyboardInterrupt:
                kept.finish_run(run_id, status="interrupted")
                raise
            figures = {
                f"{name}_{word}": value
                for name, member in result.walk["members"].items()
                for word, value in member.items()
                if value is not None
            }
            kept.finish_run(run_id, figures=figures)
    return result


def database_hash(database: LearningDatabase) -> str:
    """Digest of everything that was learnt: all tables but that of the runs, which names code and versions."""
    return database.content_hash([name for name in TABLES if name != "runs"])


@contextlib.contextmanager
def _home(database: str | Path | None) -> Iterator[tuple[Path, Path]]:
    """File of the database, and a folder that lasts as long as the run: of the file, too, where nothing is kept."""
    with tempfile.TemporaryDirectory(prefix="ai-backtrader-") as scratch:
        yield Path(scratch) / "learning.db" if database is None else Path(database), Path(scratch)


def _snapshot(file: Path, scratch: Path) -> Path | None:
    """Copy of what the database knew before the run: a replay must know the same. None where it knew nothing."""
    if not file.exists() or not file.stat().st_size:
        return None
    copy = scratch / BEFORE
    with LearningDatabase(copy) as fresh:
        fresh.merge(file)
    return copy


def _clear(folder: RunFolder) -> None:
    for path in folder.path.iterdir():
        path.unlink()


class _Run:
    """One run under way."""

    def __init__(
        self, data: MarketData, settings: PipelineSettings, parts: Parts, kept: LearningDatabase, folder: RunFolder,
        run_id: str, *, jobs: int, on_stage: OnStage | None,
    ) -> None:  # fmt: skip
        self.data, self.settings, self.parts, self.kept, self.folder = data, settings, parts, kept, folder
        self.run_id, self.jobs, self.on_stage = run_id, jobs, on_stage
        self.design = data.head(parts.walk)
        self.stages: dict[str, Stage] = {}

    def result(self, source: Mapping[str, str | None] | None) -> PipelineResult:
        """Do what is not done, in order."""
        for name in STAGES:
            self._do(name, getattr(self, f"_{name}"))
        card = self.folder.read("card")
        if card is None:
            card = self._card(source)
            self.folder.write("card", card)
        return PipelineResult(
            run_id=self.run_id, card=card, stages=tuple(self.stages.values()), arrays=self.folder.arrays("walk")
        )

    def _do(self, name: str, work: Callable[[], tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
        began = time.perf_counter()
        found = self.folder.read(name)
        resumed = found is not None
        if not resumed:
            self._tell(name, "", 0.0)
            found, arrays = work()
            self.kept.flush()
            self.folder.write(name, found, arrays)
        assert found is not None  # read or made  # noqa: S101
        words = findings(name, found)
        seconds = 0.0 if resumed else time.perf_counter() - began
        self.stages[name] = Stage(name=name, finding=words, found=found, seconds=seconds, resumed=resumed)
        self._tell(name, words, 1.0)

    def _tell(self, name: str, words: str, share: float) -> None:
        if self.on_stage is not None:
            self.on_stage(name, words, share)

    def _bars(self, name: str, total: int) -> Callable[[int], None]:
        def on_bar(done: int) -> None:
            if done % 256 == 0:
                self._tell(name, "", min(1.0, done / total))

        return on_bar

    def _found(self, name: str) -> Any:
        return self.stages[name].found

    # ------------------------------------------------------------------------------------------------------- stages

    def _optimise(self) -> tuple[dict[str, Any], None]:
        return optimise_by_regime(
            self.design, self.settings, ledger=self.kept, journal=self.kept, store=self.kept, jobs=self.jobs
        ), None

    def _evolve(self) -> tuple[dict[str, Any], None]:
        return evolve_strategies(
            self.design, self.settings, ledger=self.kept, journal=self.kept, jobs=self.jobs,
            checkpoint=self.folder.path / "evolution.checkpoint",
        ), None  # fmt: skip

    def _train(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return train_agent_on(
            self.design, self.settings, self.parts, ledger=self.kept, checkpoint=self.folder.path / "agent.checkpoint"
        )

    def _agent_weights(self) -> Any:
        return self.folder.arrays("train")["weights"] if self._found("train")["kept"] else None

    def _rehearse(self) -> tuple[dict[str, Any], None]:
        evolved = self._found("evolve")
        engine = engine_of(
            evolved, self._found("train"), self._agent_weights(), self.settings, seed=self.settings.seed_of("rehearse"),
            kept=self.kept,
        )  # fmt: skip
        return rehearse(
            self.design, self.parts, crew_of(self._found("optimise"), evolved, self.settings), engine, self.settings,
            on_bar=self._bars("rehearse", self.parts.walk - self.parts.rehearsal),
        ), None  # fmt: skip

    def _allocate(self) -> tuple[dict[str, Any], None]:
        return allocate(self._found("rehearse"), self.data.symbol, self.settings, journal=self.kept), None

    def _walk(self) -> tuple[dict[str, Any], dict[str, Any]]:
        evolved, learnt = self._found("evolve"), self._found("rehearse")["weights"]

        def engine(kept: LearningDatabase) -> Engine:
            return engine_of(
                evolved, self._found("train"), self._agent_weights(), self.settings,
                seed=self.settings.seed_of("walk"), kept=kept,
                source_weights=learnt["weights"] if learnt["used"] else None,
            )  # fmt: skip

        return walk(
            self.data, self.parts, crew_of(self._found("optimise"), evolved, self.settings), engine(self.kept),
            self._found("allocate"), self.settings, ledger=self.kept, journal=self.kept, design=self.design,
            run_id=self.run_id, engine_again=engine, on_bar=self._bars("walk", self.parts.bars - self.parts.walk),
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------------------- card

    def _card(self, source: Mapping[str, str | None] | None) -> dict[str, Any]:
        row = self.kept.runs().query("run_id == @self.run_id").iloc[-1]
        walked, rehearsed = self._found("walk"), self._found("rehearse")
        told = json.dumps(self.settings.to_dict(), sort_keys=True)
        hashes = dict(walked["hashes"])
        hashes["rehearsal"] = hashlib.sha256(json.dumps(rehearsed["hashes"], sort_keys=True).encode()).hexdigest()
        hashes["allocation"] = hashlib.sha256(
            json.dumps(self._found("allocate")["weights"], sort_keys=True).encode()
        ).hexdigest()
        hashes["database"] = database_hash(self.kept)
        card = {
            "run_id": self.run_id,
            "seed": self.settings.seed,
            "profile": self.settings.work.name,
            "data": {
                "symbol": self.data.symbol, "bars": len(self.data), "sha256": self.data.fingerprint, "source": source,
                "first": str(self.data.times[0]), "last": str(self.data.times[-1]),
            },
            "settings": self.settings.to_dict(),
            "settings_sha256": hashlib.sha256(told.encode()).hexdigest(),
            "parts": self.parts._asdict(),
            "code": row["code"],
            "versions": row["versions"] if isinstance(row["versions"], dict) else json.loads(row["versions"]),
            "figures": {"holding": walked["holding"], **walked["members"]},
            "hashes": hashes,
        }  # fmt: skip
        found: dict[str, Any] = plain(card)
        return found
