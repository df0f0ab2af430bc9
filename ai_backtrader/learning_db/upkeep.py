"""The file itself: what is in it, whether it is whole, exported, merged, made smaller."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_backtrader.checks import Faults
from ai_backtrader.learning_db.handle import Handle
from ai_backtrader.learning_db.merging import merge_rows
from ai_backtrader.learning_db.migrations import MIGRATIONS
from ai_backtrader.learning_db.retention import surplus_chunks
from ai_backtrader.learning_db.sealing import break_seal
from ai_backtrader.learning_db.tables import TABLES
from ai_backtrader.learning_db.verification import Verification, verify_connection
from ai_backtrader.learning_db.writer import FAILURES

if TYPE_CHECKING:
    from ai_backtrader.learning_db.export import Format

__all__ = ["Upkeep"]

_PRUNED_AT_ONCE = 64  # chunks a transaction: other writers get their turn between


class Upkeep(Handle):
    """What is done with the file of a learning database."""

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
        from ai_backtrader.learning_db.export import export_tables  # pandas: writers never open it

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
            with self._store.transaction() as connection:
                break_seal(connection)  # every page is about to move
            self._query("VACUUM")
            self._query("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(surplus)
