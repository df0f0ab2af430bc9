"""Two files become one: rows that are known stay one row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ai_backtrader.learning_db.counting import open_window, stored_opening
from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.opening import open_reading
from ai_backtrader.learning_db.sealing import break_seal
from ai_backtrader.learning_db.store import Store
from ai_backtrader.learning_db.tables import OPENINGS, TABLES, Table

__all__ = ["merge_rows"]

_ROWS_AT_ONCE = 1_000


def merge_rows(store: Store, other: Path) -> dict[str, int]:
    """Copy into ``store`` the rows of the file ``other`` that it does not have; returns how many, by table.

    Raises
    ------
    LearningDatabaseError
        If the other file cannot be read, or a row of it is damaged: nothing is taken over then.
    """
    if store.path.exists() and other.exists() and store.path.samefile(other):
        return dict.fromkeys(TABLES, 0)
    source = open_reading(other)
    try:
        source.execute("BEGIN")  # one state of the file, however long it takes
        with store.transaction() as connection:
            break_seal(connection)  # now, and not by a trigger whose change would be counted
            new = {
                table.name: _copy(connection, source, table, other) for table in TABLES.values() if table != OPENINGS
            }
            # Numbered anew: a window that both opened was looked at twice.
            new[OPENINGS.name] = 0
            for row in _sound_rows(source, OPENINGS, other):
                new[OPENINGS.name] += open_window(connection, stored_opening(row))[1]
        return new
    except sqlite3.Error as error:
        raise LearningDatabaseError(f"{other}: {error}. Nothing was taken over") from error
    finally:
        source.close()


def _copy(connection: sqlite3.Connection, source: sqlite3.Connection, table: Table, other: Path) -> int:
    before = connection.total_changes
    rows = _sound_rows(source, table, other)
    sql = table.insert(replace=False)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        connection.executemany(sql, some)
    return connection.total_changes - before


def _sound_rows(source: sqlite3.Connection, table: Table, other: Path) -> Iterator[tuple[Any, ...]]:
    for row in source.execute(table.select()):
        if not table.sound(row):
            raise LearningDatabaseError(f"{other}: a row of {table.name} is damaged. Nothing was taken over")
        yield row
