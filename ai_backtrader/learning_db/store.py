"""One connection to the file a process, used by one thread at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.opening import open_reading, open_writing
from ai_backtrader.learning_db.sealing import put_seal

__all__ = ["Store"]

# SQLite forbids a child even to close what it inherited by fork: closing would drop the parent's locks.
_inherited: list[sqlite3.Connection] = []


class Store:
    """The connection, opened again in a forked child, and watched: a file that was deleted takes writes in silence.

    Parameters
    ----------
    path
        Of the file.
    read_only, strict
        See :class:`~ai_backtrader.learning_db.LearningDatabase`.
    """

    def __init__(self, path: Path, *, read_only: bool, strict: bool) -> None:
        self.path, self.read_only, self._strict = path, read_only, strict
        self.lock = threading.RLock()
        self._pid = os.getpid()
        self._closed = False
        self._wrote = False
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self.connection()

    def in_child(self) -> bool:
        """True once in a forked child, which has then left the parent's connection and lock behind."""
        if self._pid == os.getpid():
            return False
        self._pid = os.getpid()
        self.lock = threading.RLock()  # another thread of the parent may have held the old one
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        self._wrote = False
        return True

    def connection(self) -> sqlite3.Connection:
        """The connection of this process."""
        if self._closed:
            raise LearningDatabaseError(f"{self.path}: closed")
        if self._connection is None:
            opened = open_reading(self.path) if self.read_only else open_writing(self.path, strict=self._strict)
            self._connection, self._file = opened, self._identity()
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that takes the write lock first, so that what it reads is what it changes.

        Raises
        ------
        LearningDatabaseError
            If the database is read-only, or the file is no longer the one that was opened.
        """
        if self.read_only:
            raise LearningDatabaseError(f"{self.path}: opened with read_only=True. Open it for writing")
        with self.lock:
            connection = self.connection()
            if self._identity() != self._file:
                raise LearningDatabaseError(f"{self.path}: deleted or replaced while it was open. Open it again")
            # Pages in memory would hide that the file broke: what is written is written on what can still be read.
            connection.execute("PRAGMA shrink_memory")
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                yield connection
                connection.execute("COMMIT")
                self._wrote = True
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back on a full disk
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several reads of one state of the file, whatever others write meanwhile."""
        with self.lock:
            connection = self.connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def rows(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.lock:
            return self.connection().execute(sql, arguments).fetchall()

    def seal(self) -> None:
        """Seal the file if this process wrote to it: the last thing before it is closed."""
        with self.lock:
            if self._wrote and self._connection is not None and self._identity() == self._file:
                with self.transaction() as connection:
                    put_seal(connection)
                self._wrote = False

    def close(self) -> None:
        """Close the connection, unless it is the parent's."""
        self.in_child()
        with self.lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _identity(self) -> tuple[int, int] | None:
        # By name: the file itself must not be opened and closed beside SQLite, that drops its locks (POSIX).
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
