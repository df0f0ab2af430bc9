"""Is the file what was written? SQLite's own check of its pages, and ours of every row."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.indicators import PREFIX, name_lists
from ai_backtrader.learning_db.opening import open_reading
from ai_backtrader.learning_db.sealing import seal_problem
from ai_backtrader.learning_db.tables import NAMES, TABLES, Table

__all__ = ["Verification", "verify_connection", "verify_file"]

_MOST_PROBLEMS = 100  # a report, not a second copy of the file


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a check of the whole file found.

    Attributes
    ----------
    rows
        Rows that were read, by table.
    problems
        One sentence each, at most 100; empty when all is well.
    """

    rows: Mapping[str, int]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.problems


def verify_file(path: Path) -> Verification:
    """Check a file, also one that can no longer be opened."""
    try:
        connection = open_reading(path)
    except LearningDatabaseError as error:
        return Verification(rows={}, problems=(str(error),))
    try:
        return verify_connection(connection)
    finally:
        connection.close()


def verify_connection(connection: sqlite3.Connection) -> Verification:
    """Check the file behind a connection: pages, indexes, the key and checksum of every row, and the seal."""
    problems: list[str] = []
    connection.execute("PRAGMA shrink_memory")  # what is checked is the file, not what of it is in memory
    try:
        found = connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
        problems += [line for (text,) in found if text != "ok" for line in str(text).splitlines()]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        problems.append(f"integrity check: {error}")
    rows = {table.name: _check_rows(connection, table, problems) for table in TABLES.values()}
    if not problems:
        problems += _check_names(connection)
    if not problems:
        problems += _check_seal(connection)
    return Verification(rows=rows, problems=tuple(problems[:_MOST_PROBLEMS]))


def _check_names(connection: sqlite3.Connection) -> list[str]:
    known = name_lists(connection.execute(NAMES.select()))
    used = connection.execute(
        f"SELECT substr(indicators_at_entry, 1, {PREFIX}), count(*) FROM trades "  # noqa: S608  # a number
        "WHERE substr(indicators_at_entry, 1, 1) <> '{' GROUP BY 1"
    )
    lost = sum(rows for prefix, rows in used if prefix not in known)
    return [f"trades: of {lost} rows the names of the indicators are not there"] if lost else []


def _check_seal(connection: sqlite3.Connection) -> list[str]:
    try:
        found = seal_problem(connection)
    except (sqlite3.Error, TypeError) as error:  # TypeError: no row
        return [f"seal: {error}"]
    return [] if found is None else [found]


def _check_rows(connection: sqlite3.Connection, table: Table, problems: list[str]) -> int:
    read = 0
    try:
        for row in connection.execute(table.select()):
            read += 1
            if not table.sound(row):
                problems.append(f"{table.name}: row {read} is not what was written")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        problems.append(f"{table.name}: after row {read}: {error}")
    return read
