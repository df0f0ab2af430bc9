"""A learning database that is open: its file, its writer, and how it is closed."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ai_backtrader.checks import Faults
from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.store import Store
from ai_backtrader.learning_db.tables import Value
from ai_backtrader.learning_db.writer import FAILURES, Writer

__all__ = ["Handle"]


class Handle:
    """What readers, upkeep and journal share; see :class:`~ai_backtrader.learning_db.LearningDatabase`."""

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
        self._store = Store(self.path, read_only=read_only, strict=strict)
        self._writer = Writer(self._store, strict=strict, max_experiences=max_experiences)
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

    def _check_open(self, *, writing: bool = True) -> None:
        if not self._finalizer.alive:
            raise LearningDatabaseError(f"{self.path}: closed")
        if writing and self._store.read_only:
            raise LearningDatabaseError(f"{self.path}: opened with read_only=True. Open it for writing")

    def _read_first(self) -> None:
        # What was recorded is read too; what cannot be written was warned of already.
        self._check_open(writing=False)
        self._writer.flush()

    def _query(self, sql: str, values: tuple[Value, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._store.rows(sql, values)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> LearningDatabaseError:
        return error if isinstance(error, LearningDatabaseError) else LearningDatabaseError(f"{self.path}: {error}")
