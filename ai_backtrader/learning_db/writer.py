"""Rows on their way to the file: buffered, written in batches, and given up rather than let a run die.

Nothing is written while a strategy runs its bar except when a batch is full or old. What was recorded and not flushed
is lost with the process; what was flushed is on the disk.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.indicators import name_row
from ai_backtrader.learning_db.retention import prune_experiences
from ai_backtrader.learning_db.rows import Plan, written
from ai_backtrader.learning_db.store import Store
from ai_backtrader.learning_db.tables import NAMES, TABLES, Value

__all__ = ["FAILURES", "Writer"]

log = logging.getLogger("ai_backtrader")

FAILURES = (sqlite3.Error, UnicodeDecodeError, OSError, LearningDatabaseError)

_BATCH_ROWS, _BATCH_BYTES, _BATCH_SECONDS = 1_000, 32 << 20, 5.0
_MOST_ROWS, _MOST_BYTES = 50_000, 256 << 20  # kept in memory while the file takes nothing
_RETRY_SECONDS = 5.0

T = TypeVar("T")


def _size(row: tuple[Value, ...]) -> int:
    # Of a payload, the last column of the content; texts are small beside it.
    return sum(len(value) for value in row[-4:-2] if isinstance(value, bytes))


class Writer:
    """Buffer in front of a store.

    Parameters
    ----------
    store
        Where rows go.
    strict
        Raise what goes wrong; otherwise one warning is logged and the run goes on.
    max_experiences
        Transitions to keep per agent and feature version; None keeps all.

    Attributes
    ----------
    takes
        False once closed, and where the file is only read.
    failures
        Times that the file could not be written or read.
    lost
        Rows that were recorded and are not in the file.
    """

    def __init__(self, store: Store, *, strict: bool, max_experiences: int | None) -> None:
        self._store, self._strict, self._max_experiences = store, strict, max_experiences
        self.takes = not store.read_only
        self.failures = 0
        self.lost = 0
        self._named: set[Value] = set()  # keys of the lists of names that are in the file
        self._forget()
        _writers.add(self)

    def _forget(self) -> None:
        # A deque, because threads put into it without a lock.
        self._held: deque[tuple[Plan, Sequence[Any], str]] = deque()
        self._written()
        self._not_before = 0.0

    def _written(self) -> None:
        self._pending: dict[str, dict[Value, tuple[Value, ...]]] = {}
        self._rows = self._bytes = 0
        self._since: float | None = None

    def renew(self) -> None:
        """In a forked child: leave to the parent what the parent recorded."""
        if self._store.in_child():
            self._forget()
            self._named.clear()
            self.failures = self.lost = 0

    def hold(self, plan: Plan, values: Sequence[Any], run_id: str) -> None:
        """Take an event that becomes a row with a key of its own when it is written.

        Between two bars, so without a lock and a question more than it needs.
        """
        self._held.append((plan, values, run_id))
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if len(self._held) + self._rows >= _BATCH_ROWS or now - self._since >= _BATCH_SECONDS:
            self._count(now)

    def add(self, table: str, row: tuple[Value, ...], *, name: Value = None) -> None:
        """Take a row; ``name`` is that of which the last row stands, None where every row has its own key."""
        self.renew()
        with self._store.lock:
            if self._put(table, row, row[-2] if name is None else name):
                self._rows += 1
                self._bytes += _size(row)
                now = time.monotonic()
                if self._since is None:
                    self._since = now
                full = self._rows + len(self._held) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES
                if full or now - self._since >= _BATCH_SECONDS:
                    self._count(now)

    def pending(self, table: str) -> dict[Value, tuple[Value, ...]]:
        """Rows of a table that are not written yet, by name or key."""
        self.renew()
        with self._store.lock:
            self._settle()
            return dict(self._pending.get(table, {}))

    def flush(self) -> bool:
        """Write everything in one transaction; True when nothing that was recorded is missing from the file."""
        self.renew()
        with self._store.lock:
            self._settle()
            if self._rows and self.guarded(self._write, False):
                self._named |= self._pending.get(NAMES.name, {}).keys()
                self._written()
            return not self._rows and not self.lost

    def guarded(self, work: Callable[[], T], otherwise: T) -> T:
        """What ``work`` returns; ``otherwise`` if the file fails, which is warned of once (or, strict, raised)."""
        try:
            return work()
        except FAILURES as error:
            self.failures += 1
            self._not_before = time.monotonic() + _RETRY_SECONDS
            if self._strict:
                raise LearningDatabaseError(f"{self._store.path}: {error}") from error
            if self.failures == 1:
                log.warning(
                    "Learning database %s: %s. The run goes on; what it learns may not be kept (see .failures, .lost)",
                    self._store.path,
                    error,
                )
            return otherwise

    def close(self) -> None:
        """Flush, seal and close the file; what could not be written is lost."""
        self.takes = False
        try:
            if self.flush():
                self.guarded(self._store.seal, None)
        finally:
            self.lost += self._rows + len(self._held)
            self._forget()
            self._store.close()

    def _put(self, table: str, row: tuple[Value, ...], name: Value) -> bool:
        # True for one more; False where the name had a row.
        pending = self._pending.setdefault(table, {})
        before = len(pending)
        pending[name] = row
        return len(pending) > before

    def _count(self, now: float) -> None:
        with self._store.lock:
            if now >= self._not_before:
                self.flush()
            if self._rows + len(self._held) > _MOST_ROWS or self._bytes > _MOST_BYTES:
                self._drop_half()

    def _settle(self) -> None:
        # In one go, which costs a quarter of making each row between two bars.
        held = [self._held.popleft() for _ in range(len(self._held))]
        for (name, content), (_, _, run_id) in zip(written([event[:2] for event in held]), held, strict=True):
            if name == "trades":
                self._name(str(content[-1]))
            row = TABLES[name].row(content, (run_id,))
            self._rows += self._put(name, row, row[-2])

    def _name(self, indicators: str) -> None:
        row = name_row(indicators)
        if row is not None and row[-2] not in self._named:
            self._put(NAMES.name, row, row[-2])

    def _write(self) -> bool:
        with self._store.transaction() as connection:
            for table, rows in self._pending.items():
                connection.execute(TABLES[table].select(order="id DESC LIMIT 1")).fetchone()
                connection.executemany(TABLES[table].insert(), rows.values())
            if self._max_experiences is not None and "rl_experiences" in self._pending:
                prune_experiences(connection, self._max_experiences)
        return True

    def _drop_half(self) -> None:
        self._settle()
        # The oldest go: a run that outlives a full disk keeps what it learned last.
        for table, pending in self._pending.items():
            if table == NAMES.name:  # of no event
                continue
            for key in list(islice(pending, (len(pending) + 1) // 2)):
                row = pending.pop(key)
                self._rows -= 1
                self._bytes -= _size(row)
                self.lost += 1


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _renew_all() -> None:
    for writer in list(_writers):
        writer.renew()


os.register_at_fork(after_in_child=_renew_all)
