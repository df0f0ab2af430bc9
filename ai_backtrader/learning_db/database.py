"""The learning database: a journal that remembers, and a ledger that counts."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, ExperiencesGathered
from ai_backtrader.evidence import MemoryLedger, SealedOpening, TrialCount, TrialKey
from ai_backtrader.learning_db import counting
from ai_backtrader.learning_db.chunks import pack
from ai_backtrader.learning_db.readers import Readers
from ai_backtrader.learning_db.rows import hold, real, text, timestamp, whole, written
from ai_backtrader.learning_db.runs import code_fingerprint, run_identity, versions
from ai_backtrader.learning_db.tables import ANSWERS, EXPERIENCES, RUNS, TABLES, TRIALS, Value
from ai_backtrader.learning_db.texts import json_text
from ai_backtrader.learning_db.upkeep import Upkeep

__all__ = ["LearningDatabase"]


class Answer(Protocol):
    """What a model server answered, and to what."""

    key: str
    model: str
    model_digest: str
    request: str
    reply: str
    status: int
    seconds: float


class LearningDatabase(Readers, Upkeep):
    """What the systems have seen, in one SQLite file.

    Recording is cheap: rows gather in memory and are written 1,000 at a time, after five seconds, at :meth:`flush`, and
    at the end. What :meth:`flush` confirmed is on the disk, whatever happens to the process. The same event recorded
    twice is one row, so that a run may be repeated into the same file.

    A disk that fills up, a file that is deleted or breaks does not end a run: one warning is logged, and ``failures``
    and ``lost`` count. A file that is found broken when it is opened is moved aside, never overwritten.

    Any number of processes may write to one file; each has one connection, which its threads take in turns. A forked
    child opens its own.

    Parameters
    ----------
    path
        Of the file; made where there is none. Its folder must exist.
    read_only
        Change nothing: no schema, no file.
    strict
        Raise what goes wrong instead of logging it; a damaged file is then left where it is.
    max_experiences
        Transitions to keep per agent and feature version, in whole chunks; the oldest go. None keeps all.

    Attributes
    ----------
    path
        Of the file.
    run_id
        Of the run that was started last; empty before.

    Raises
    ------
    LearningDatabaseError
        If the file cannot be opened for what is wanted: see the message.

    Examples
    --------
    >>> import datetime as dt, tempfile
    >>> from ai_backtrader.events import TradeClosed
    >>> from ai_backtrader.values import Direction
    >>> trade = TradeClosed(
    ...     symbol="BTC/USDT", strategy_id="ema_cross", direction=Direction.LONG, entry_price=95_000.0,
    ...     exit_price=96_000.0, pnl_pct=1.05, closed_at=dt.datetime(2024, 3, 1, 12),
    ... )
    >>> with tempfile.TemporaryDirectory() as folder, LearningDatabase(f"{folder}/ai_learning.db") as database:
    ...     database.record(trade)
    ...     database.record(trade)  # once is enough
    ...     durable = database.flush()
    ...     known = database.trades(as_of=dt.datetime(2024, 3, 1, 11))
    ...     durable, len(database.trades()), len(known)
    (True, 1, 0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        strict: bool = False,
        max_experiences: int | None = None,
    ) -> None:
        super().__init__(path, read_only=read_only, strict=strict, max_experiences=max_experiences)
        self.run_id = ""
        self._own = MemoryLedger()  # what this process counted, should the file be lost

    def record(self, event: Event) -> None:
        """Keep an event.

        Raises
        ------
        SettingsError
            If it is none of the six events, or a field cannot be kept.
        LearningDatabaseError
            If the database is read-only or closed, or, with ``strict=True``, if a full batch could not be written.
        """
        if not self._writer.takes:
            self._check_open()
        if isinstance(event, ExperiencesGathered):
            for content in pack(event):
                self._writer.add(EXPERIENCES.name, EXPERIENCES.row(content, (self.run_id,)))
            return
        plan, values = hold(event)
        if plan.table != "optimization_results":
            self._writer.hold(plan, values, self.run_id)
            return
        ((name, content),) = written([(plan, values)])  # read back by its key, so made at once
        self._writer.add(name, TABLES[name].row(content, (self.run_id,)), name=content[0])

    def flush(self) -> bool:
        """Write what was recorded; True when all of it is on the disk, False when the file could not take it."""
        self._check_open(writing=False)
        return self._writer.flush()

    def start_run(
        self,
        kind: str = "run",
        *,
        settings: object = None,
        seed: int | None = None,
        data: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> str:
        """Note what a run is made of; what is recorded from now on belongs to it.

        Parameters
        ----------
        kind
            ``"backtest"``, ``"optimize"``, ``"evolve"``, ...
        settings
            A mapping or a settings object: whatever JSON holds.
        seed
            Source of every random choice.
        data
            Symbol → fingerprint of the bars.
        code
            Fingerprint of the strategy's code, or whatever else of the user's decides; that of this package is added.

        Returns
        -------
        str
            The run's id, a digest of all this and of the versions: equal runs have the same.
        """
        self._check_open()
        used, made_of = versions(), json_text({} if settings is None else settings)
        fingerprints = {} if data is None else dict(data)
        sources = f"{code_fingerprint()}{'' if code is None else f'+{code}'}"
        self.run_id = run_identity(kind, seed, made_of, fingerprints, sources, used)
        content: tuple[Value, ...] = (
            self.run_id, text("kind", kind), None if seed is None else whole("seed", seed), made_of,
            json_text(fingerprints), sources, json_text(used), "running", "{}",
        )  # fmt: skip
        self._writer.add(RUNS.name, RUNS.row(content, (_now(), None)), name=self.run_id)
        self._writer.flush()
        return self.run_id

    def finish_run(
        self, run_id: str | None = None, *, status: str = "done", figures: Mapping[str, float] | None = None
    ) -> None:
        """Note how a run ended; what was recorded is flushed.

        Parameters
        ----------
        run_id
            None: the one that was started last.
        status
            ``"done"``, ``"failed"``, ``"interrupted"``.
        figures
            What it came to; two equal runs with other figures are thereby known as different.

        Raises
        ------
        SettingsError
            If there is no such run.
        """
        self._check_open()
        wanted = self.run_id if run_id is None else run_id
        row = self._writer.pending(RUNS.name).get(wanted)
        if row is None:
            stored = self._writer.guarded(
                lambda: self._store.rows(RUNS.select(where="WHERE run_id = ?"), (wanted,)), None
            )
            if stored is None:
                return
            if not stored:
                raise SettingsError("finish_run", [f"no run {wanted!r} was started in {self.path}"])
            row = stored[0]
        content = (*row[:7], text("status", status), json_text({} if figures is None else figures))
        self._writer.add(RUNS.name, RUNS.row(content, (row[9], _now())), name=wanted)
        self._writer.flush()

    def keep_answer(self, answer: Answer) -> None:
        """Keep an answer of a model server; under the same key the last one stands."""
        self._check_open()
        content: tuple[Value, ...] = (
            *(text(name, getattr(answer, name)) for name in ANSWERS.content[:5]),
            whole("status", answer.status),
        )
        row = ANSWERS.row(content, (real("seconds", answer.seconds), self.run_id))
        self._writer.add(ANSWERS.name, row, name=content[0])

    # The trial ledger

    def add_trials(self, key: TrialKey, sharpes: ArrayLike, *, run_id: str, batch: int = 0) -> None:
        """Count a batch of trials, once: see :meth:`ai_backtrader.evidence.TrialLedger.add_trials`."""
        self._check_open()
        self._own.add_trials(key, sharpes, run_id=run_id, batch=batch)
        content = counting.trials_content(key, sharpes, run_id, batch)
        self._writer.add(TRIALS.name, TRIALS.row(content, ()))

    def trials(self, key: TrialKey) -> TrialCount:
        """Every trial ever counted for the key: see :meth:`ai_backtrader.evidence.TrialLedger.trials`.

        Where the file fails, those that this process counted.
        """
        self._check_open(writing=False)
        rows = self._writer.guarded(lambda: counting.stored_trials(self._store, key), None)
        if rows is None:
            return self._own.trials(key)
        pending = self._writer.pending(TRIALS.name).values()
        return counting.total(key, [*rows, *pending])

    def open_sealed(
        self, key: TrialKey, *, start: dt.datetime | np.datetime64, end: dt.datetime | np.datetime64, by: str
    ) -> SealedOpening:
        """Record a look at a sealed window: see :meth:`ai_backtrader.evidence.TrialLedger.open_sealed`.

        The opening is on the disk before it is returned. Where the file fails, it counts for this process.
        """
        self._check_open()
        own = self._own.open_sealed(key, start=start, end=end, by=by)
        return self._writer.guarded(lambda: self._open_window(own), own)

    def _open_window(self, wanted: SealedOpening) -> SealedOpening:
        with self._store.transaction() as connection:
            return counting.open_window(connection, wanted)[0]


def _now() -> str:
    return str(timestamp("now", dt.datetime.now(dt.UTC)))
