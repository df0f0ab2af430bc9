"""Rows of one big table, handed out by key and taken back from those used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["NoRowLeftError", "Rows"]


class NoRowLeftError(Exception):
    """Every row is needed by the work at hand."""


class Rows:
    """A table that compiled code reads and writes, and which of its rows holds what.

    Attributes
    ----------
    table
        Shape (rows, width). The system gives memory to rows as they are first written.
    most
        Rows in use at most, even where the table has more: memory that is new to the process costs more than computing
        most rows again.
    layout
        Another object whenever a row was taken back: as long as it is the same, every key has the row that it had.

    Notes
    -----
    Rows asked for since :meth:`begin` are needed together: none of them is taken back before the next one.
    """

    def __init__(self, rows: int, width: int, dtype: DTypeLike) -> None:
        self.table: NDArray[Any] = np.empty((rows, width), dtype)
        self.layout = object()
        self.most = rows
        self._where: OrderedDict[Hashable, int] = OrderedDict()
        self._round = 0
        self._asked: list[int] = []  # of each row that was ever used, the round in which it was needed last
        self._free: list[int] = []  # of these the ones that hold nothing

    @property
    def size(self) -> int:
        """Rows of the table."""
        return len(self.table)

    @property
    def free(self) -> int:
        """Rows that hold nothing."""
        return self.size - len(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def begin(self) -> None:
        """Begin new work: what was asked for so far may be taken back."""
        self._round += 1

    def find(self, key: Hashable) -> int | None:
        """Row of a key; None where it has none."""
        row = self._where.get(key)
        if row is not None and self._asked[row] != self._round:
            self._asked[row] = self._round
            self._where.move_to_end(key)
        return row

    def find_all(self, keys: Iterable[Hashable]) -> list[int | None]:
        """:meth:`find` for many keys."""
        where, asked, now = self._where, self._asked, self._round
        rows = []
        for key in keys:
            row = where.get(key)
            if row is not None and asked[row] != now:
                asked[row] = now
                where.move_to_end(key)
            rows.append(row)
        return rows

    def add(self, *keys: Hashable) -> list[int]:
        """Rows for some keys, new ones for those that have none; what a new row holds is arbitrary.

        Raises
        ------
        NoRowLeftError
            If all rows are needed by the work at hand; then no key is given any.
        """
        rows: list[int] = []
        new: list[Hashable] = []
        for key in keys:
            row = self.find(key)
            if row is None:
                try:
                    row = self.add_new(key)
                except NoRowLeftError:
                    self._free += [self._where.pop(other) for other in new]
                    raise
                new.append(key)
            rows.append(row)
        return rows

    def add_new(self, key: Hashable) -> int:
        """:meth:`add` for one key that has no row yet."""
        used = len(self._asked)
        if self._free:
            row = self._free.pop()
        elif used < self.most:
            row = used
            self._asked.append(self._round)
        else:
            row = self._take_back()
        self._asked[row] = self._round
        self._where[key] = row
        return row

    def _take_back(self) -> int:
        oldest = next(iter(self._where))
        row = self._where[oldest]
        if self._asked[row] == self._round:
            raise NoRowLeftError
        del self._where[oldest]
        self.layout = object()
        return row
