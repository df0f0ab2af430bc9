"""The learning database: a journal that remembers, and what was remembered as frames."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, ExperiencesGathered, ParametersOptimized, TradeClosed
from ai_backtrader.evidence import MemoryLedger, SealedOpening, TrialCount, TrialKey
from ai_backtrader.learning_db import counting
from ai_backtrader.learning_db.chunks import pack, unpack
from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.export import Format, export_tables
from ai_backtrader.learning_db.frames import frame
from ai_backtrader.learning_db.merging import merge_rows
from ai_backtrader.learning_db.migrations import MIGRATIONS
from ai_backtrader.learning_db.retention import surplus_chunks
from ai_backtrader.learning_db.rows import decode, encode, json_text, real, text, timestamp, whole
from ai_backtrader.learning_db.runs import code_fingerprint, run_identity, versions
from ai_backtrader.learning_db.store import Store
from ai_backtrader.learning_db.tables import ANSWERS, EXPERIENCES, RUNS, TABLES, TRIALS, Value
from ai_backtrader.learning_db.verification import Verification, verify_connection
from ai_backtrader.learning_db.writer import FAILURES, Writer

__all__ = ["LearningDatabase", "RecordedAnswer"]

_PRUNED_AT_ONCE = 64  # chunks a transaction: other writers get their turn between


class Answer(Protocol):
    """What a model server answered, and to what."""

    key: str
    model: str
    model_digest: str
    request: str
    reply: str
    status: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """An answer of a model server, as it was recorded.

    Attributes
    ----------
    key
        Hash of all that the answer depends on.
    model, model_digest
        Which model, and the digest of its weights.
    request, reply
        As they were sent, JSON text.
    status
        Of HTTP.
    seconds
        That the answer took.
    """

    key: str
    model: str
    model_digest: str
    request: str
    reply: str
    status: int
    seconds: float


class LearningDatabase:
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
        if max_experiences is not None:
            faults = Faults("LearningDatabase")
            faults.whole("max_experiences", max_experiences, low=1)
            faults.raise_if_any()
        self.path = Path(path)
        self.run_id = ""
        self._strict = strict
        self._store = Store(self.path, read_only=read_only, strict=strict)
        self._writer = Writer(self._store, strict=strict, max_experiences=max_experiences)
        self._own = MemoryLedger()  # what this process counted, should the file be lost
        # Also for who forgets to close, and at the interpreter's end.
        self._finalizer = weakref.finalize(self, self._writer.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def failures(self) -> int:
        """Times that the file could not be written or read."""
        return self._writer.failures

    @property
    def lost(self) -> int:
        """Rows that were recorded and will not be in the file."""
        return self._writer.lost

    def close(self) -> None:
        """Flush and close; a second time does nothing."""
        self._finalizer()

    # Writing

    def record(self, event: Event) -> None:
        """Keep an event.

        Raises
        ------
        SettingsError
            If it is none of the six events, or a field cannot be kept.
        LearningDatabaseError
            If the database is read-only or closed, or, with ``strict=True``, if a full batch could not be written.
        """
        self._check_open()
        if isinstance(event, ExperiencesGathered):
            for content in pack(event):
                self._writer.add(EXPERIENCES.name, EXPERIENCES.row(content, (self.run_id,)))
            return
        name, content = encode(event)
        table = TABLES[name]
        unique = content[0] if table.unique else None
        self._writer.add(name, table.row(content, (self.run_id,)), name=unique)

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

    # Reading

    def trades(
        self,
        as_of: dt.datetime | np.datetime64 | None = None,
        symbol: str | None = None,
        strategy_id: str | None = None,
    ) -> pd.DataFrame:
        """Closed trades, by closing time.

        Parameters
        ----------
        as_of
            Only those closed at this time or before, which is what a backtest may know at that bar; those without a
            closing time are then left out. None for all.
        symbol, strategy_id
            Only theirs.

        Raises
        ------
        LearningDatabaseError
            If the file cannot be read.
        """
        return self._frame("trades", as_of, symbol=symbol, strategy_id=strategy_id)

    def trade_events(
        self,
        as_of: dt.datetime | np.datetime64 | None = None,
        symbol: str | None = None,
        strategy_id: str | None = None,
    ) -> list[TradeClosed]:
        """Closed trades as they were recorded: what a system that is started again learns from. See :meth:`trades`."""
        table = TABLES["trades"]
        rows = self._rows("trades", as_of, symbol=symbol, strategy_id=strategy_id)
        return [decode("trades", row[: len(table.content)]) for row in rows]

    def strategy_performance(
        self, as_of: dt.datetime | np.datetime64 | None = None, strategy_id: str | None = None
    ) -> pd.DataFrame:
        """Measurements of strategies, by time."""
        return self._frame("strategy_performance", as_of, strategy_id=strategy_id)

    def optimization_results(
        self, as_of: dt.datetime | np.datetime64 | None = None, symbol: str | None = None
    ) -> pd.DataFrame:
        """Parameter searches, by the time of the last bar they saw."""
        return self._frame("optimization_results", as_of, symbol=symbol)

    def evolved_strategies(
        self, as_of: dt.datetime | np.datetime64 | None = None, symbol: str | None = None
    ) -> pd.DataFrame:
        """Champions of evolutions, by the time of the last bar they saw."""
        return self._frame("evolved_strategies", as_of, symbol=symbol)

    def regime_transitions(
        self, as_of: dt.datetime | np.datetime64 | None = None, symbol: str | None = None
    ) -> pd.DataFrame:
        """Changes of regime, by time."""
        return self._frame("regime_transitions", as_of, symbol=symbol)

    def runs(self) -> pd.DataFrame:
        """Runs, in the order in which they were first started."""
        return self._frame("runs", None)

    def experiences(
        self,
        *,
        agent: str,
        feature_version: str,
        limit: int | None = None,
        as_of: dt.datetime | np.datetime64 | None = None,
        symbol: str | None = None,
    ) -> ExperiencesGathered | None:
        """Transitions of an agent, oldest first, in one batch; None without any.

        Parameters
        ----------
        agent, feature_version
            Whose; states of another feature version are never mixed in.
        limit
            The newest so many; None for all.
        as_of
            Only batches whose last transition was at this time or before; those without a time are then left out.
        symbol
            Only of this one. Otherwise the batch names all its symbols, with commas.

        Raises
        ------
        LearningDatabaseError
            If the file cannot be read, or a chunk is not what was written.
        """
        faults = Faults("experiences")
        if limit is not None:
            faults.whole("limit", limit, low=1)
        faults.raise_if_any()
        where, values = _where(EXPERIENCES.time, as_of, agent=agent, feature_version=feature_version, symbol=symbol)
        self._read_first()
        try:
            with self._store.snapshot() as connection:
                return self._unpacked(connection, where, values, limit)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def optimization(self, key: str) -> ParametersOptimized | None:
        """The search with exactly this key, if it was ever made; None also where the file fails."""
        row = self._one("optimization_results", key)
        found: ParametersOptimized | None = None if row is None else decode("optimization_results", row[:-3])
        return found

    def answer(self, key: str) -> RecordedAnswer | None:
        """The answer that was recorded under this key; None also where the file fails."""
        row = self._one(ANSWERS.name, key)
        if row is None:
            return None
        names = (*ANSWERS.content, ANSWERS.beside[0])
        fields = dict(zip(names, row[: len(names)], strict=True))
        fields["seconds"] = math.nan if fields["seconds"] is None else fields["seconds"]
        return RecordedAnswer(**fields)

    # The file

    def info(self) -> dict[str, Any]:
        """Size, schema, rows by table, transitions by agent, and the span of the trades: plain values."""
        self._read_first()
        rows = self._query
        agents = rows("SELECT agent, feature_version, sum(n_rows) FROM rl_experiences GROUP BY 1, 2 ORDER BY 1, 2")
        first, last = rows("SELECT min(closed_at), max(closed_at) FROM trades")[0]
        return {
            "path": str(self.path),
            "bytes": sum(
                found.stat().st_size
                for found in (self.path, self.path.with_name(f"{self.path.name}-wal"))
                if found.exists()
            ),
            "schema": len(MIGRATIONS),
            "rows": {name: rows(f'SELECT count(*) FROM "{name}"')[0][0] for name in TABLES},  # noqa: S608  # our own names
            "transitions": {f"{agent} ({version})": count for agent, version, count in agents},
            "first_trade": first,
            "last_trade": last,
        }

    def verify(self) -> Verification:
        """Check pages, indexes and every row of the file; reads all of it."""
        self._read_first()
        with self._store.lock:
            return verify_connection(self._store.connection())

    def content_hash(self, tables: Iterable[str] | None = None) -> str:
        """Digest of what is in the tables, whatever the order, the time and the run they were written in.

        Parameters
        ----------
        tables
            Names; None for all. Two equal runs into two new files give the same digest.
        """
        chosen = sorted(TABLES if tables is None else set(tables))
        faults = Faults("content_hash")
        for name in chosen:
            faults.one_of("tables", name, tuple(TABLES))
        faults.raise_if_any()
        self._read_first()
        digest = hashlib.sha256()
        for name in chosen:
            digest.update(f"{name}\0".encode())
            for (key,) in self._query(f'SELECT row_key FROM "{name}" ORDER BY row_key'):  # noqa: S608  # our own names
                digest.update(key)
        return digest.hexdigest()

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        format: Format = "csv",
        tables: Iterable[str] | None = None,
    ) -> dict[str, Path]:
        """Write each table that is not empty to a file in ``folder``; returns the files by table."""
        self._read_first()
        try:
            return export_tables(self._store, Path(folder), format=format, tables=tables)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def merge(self, other: str | os.PathLike[str]) -> dict[str, int]:
        """Take over what another file has and this one has not; returns the new rows by table.

        Trials of a run that both know count once. Of a search, an answer or a run that both know, this one's stands.

        Raises
        ------
        LearningDatabaseError
            If the other file cannot be read, or a row of it is damaged (nothing is taken over then).
        """
        self._check_open()
        self._read_first()
        return merge_rows(self._store, Path(other))

    def prune(self, *, max_experiences: int, compact: bool = False) -> int:
        """Delete the oldest chunks of experiences; returns how many went.

        Parameters
        ----------
        max_experiences
            Transitions to keep at least, per agent and feature version; 0 keeps none.
        compact
            Give the room back to the disk; rewrites the file. Otherwise later rows fill it.
        """
        faults = Faults("prune")
        faults.whole("max_experiences", max_experiences, low=0)
        faults.raise_if_any()
        self._check_open()
        self._read_first()
        with self._store.lock:
            surplus = surplus_chunks(self._store.connection(), max_experiences)
        for start in range(0, len(surplus), _PRUNED_AT_ONCE):
            with self._store.transaction() as connection:
                some = surplus[start : start + _PRUNED_AT_ONCE]
                connection.executemany("DELETE FROM rl_experiences WHERE id = ?", ((number,) for number in some))
        if compact:
            self._query("VACUUM")
            self._query("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(surplus)

    # Inside

    def _check_open(self, *, writing: bool = True) -> None:
        if not self._finalizer.alive:
            raise LearningDatabaseError(f"{self.path}: closed")
        if writing and self._store.read_only:
            raise LearningDatabaseError(f"{self.path}: opened with read_only=True. Open it for writing")

    def _read_first(self) -> None:
        # What was recorded is read too; what cannot be written was warned of already.
        self._check_open(writing=False)
        self._writer.flush()

    def _open_window(self, wanted: SealedOpening) -> SealedOpening:
        with self._store.transaction() as connection:
            return counting.open_window(connection, wanted)[0]

    def _rows(self, name: str, as_of: dt.datetime | np.datetime64 | None, **equal: str | None) -> list[tuple[Any, ...]]:
        table = TABLES[name]
        where, values = _where(table.time, as_of, **equal)
        order = "id" if table.time is None else f'"{table.time}", id'
        self._read_first()
        return self._query(table.select(where=where, order=order), values)

    def _frame(self, name: str, as_of: dt.datetime | np.datetime64 | None, **equal: str | None) -> pd.DataFrame:
        return frame(TABLES[name], self._rows(name, as_of, **equal))

    def _query(self, sql: str, values: tuple[Value, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._store.rows(sql, values)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def _unpacked(
        self, connection: sqlite3.Connection, where: str, values: tuple[Value, ...], limit: int | None
    ) -> ExperiencesGathered | None:
        sizes = connection.execute(f"SELECT id, n_rows FROM rl_experiences {where} ORDER BY id DESC", values)  # noqa: S608  # our own names
        n, first = 0, None
        for number, rows in sizes:
            n, first = n + rows, number
            if limit is not None and n >= limit:
                break
        if first is None:
            return None

        def chunks() -> Iterator[tuple[Any, ...]]:
            wanted = f"{where} AND id >= ?"
            for row in connection.execute(EXPERIENCES.select(where=wanted), (*values, first)):
                if not EXPERIENCES.checksum_holds(row):
                    raise LearningDatabaseError(
                        f"{self.path}: a chunk of experiences is damaged. Run `ai-backtrader db verify`"
                    )
                yield row[: len(EXPERIENCES.content)]

        return unpack(chunks(), n=n, limit=limit)

    def _one(self, name: str, key: str) -> tuple[Any, ...] | None:
        self._check_open(writing=False)
        pending = self._writer.pending(name).get(key)
        if pending is not None:
            return pending
        sql = TABLES[name].select(where="WHERE key = ?")
        rows: list[tuple[Any, ...]] = self._writer.guarded(lambda: self._store.rows(sql, (key,)), [])
        sound = [row for row in rows if TABLES[name].sound(row)]
        return sound[0] if sound else None

    def _unreadable(self, error: Exception) -> LearningDatabaseError:
        return error if isinstance(error, LearningDatabaseError) else LearningDatabaseError(f"{self.path}: {error}")


def _where(
    time: str | None, as_of: dt.datetime | np.datetime64 | None, **equal: str | None
) -> tuple[str, tuple[Value, ...]]:
    conditions = {f'"{name}" = ?': value for name, value in equal.items() if value is not None}
    if as_of is not None:
        conditions[f'"{time}" <= ?'] = str(timestamp("as_of", as_of))
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", tuple(conditions.values())


def _now() -> str:
    return str(timestamp("now", dt.datetime.now(dt.UTC)))
