"""The schema, as the steps that lead to it: each a small function, each in a transaction of its own.

``PRAGMA user_version`` counts the steps that a file has behind it. Before a file that holds anything is changed, a copy
of it is put beside it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.indicators import name_row, packed
from ai_backtrader.learning_db.sealing import guard, make_seal
from ai_backtrader.learning_db.tables import NAMES, TABLES

__all__ = ["APPLICATION_ID", "MARK", "MIGRATIONS", "Migration", "migrate"]

Migration = Callable[[sqlite3.Connection], None]

APPLICATION_ID = 0x41494254  # "AIBT" in the header of the file: it is ours
MARK = "ai-backtrader learning database"  # in the schema's text, for a file whose header is lost

_FIRST = f"""
CREATE TABLE runs (  -- {MARK}
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, seed INTEGER, settings TEXT NOT NULL,
    data TEXT NOT NULL, code TEXT NOT NULL, versions TEXT NOT NULL, status TEXT NOT NULL, figures TEXT NOT NULL,
    started_at TEXT NOT NULL, finished_at TEXT, row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE trades (
    id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, strategy_id TEXT NOT NULL, direction TEXT NOT NULL, opened_at TEXT,
    closed_at TEXT, entry_price REAL, exit_price REAL, size REAL, leverage REAL, pnl REAL, pnl_pct REAL,
    commission REAL, funding REAL, hold_bars INTEGER NOT NULL, hold_duration_mins REAL, regime TEXT,
    liquidated INTEGER NOT NULL, paper INTEGER NOT NULL, indicators_at_entry TEXT NOT NULL, run_id TEXT NOT NULL,
    row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE INDEX trades_by_time ON trades (closed_at);
CREATE TABLE strategy_performance (
    id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, strategy_id TEXT NOT NULL, at TEXT, regime TEXT,
    sample TEXT NOT NULL, figures TEXT NOT NULL, run_id TEXT NOT NULL,
    row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE optimization_results (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL, timeframe TEXT NOT NULL,
    strategy TEXT NOT NULL, regime TEXT, parameters TEXT NOT NULL, score REAL, n_trials INTEGER NOT NULL,
    seed INTEGER NOT NULL, result TEXT NOT NULL, at TEXT, run_id TEXT NOT NULL,
    row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE evolved_strategies (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, chromosome TEXT NOT NULL, symbol TEXT NOT NULL,
    data_fingerprint TEXT NOT NULL, fitness REAL, passed INTEGER NOT NULL, proven INTEGER, regime TEXT,
    figures TEXT NOT NULL, generation INTEGER NOT NULL, seed INTEGER NOT NULL, at TEXT, run_id TEXT NOT NULL,
    row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE regime_transitions (
    id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, at TEXT, "before" TEXT, "after" TEXT NOT NULL,
    high_volatility INTEGER NOT NULL, run_id TEXT NOT NULL, row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE rl_experiences (
    id INTEGER PRIMARY KEY, agent TEXT NOT NULL, feature_version TEXT NOT NULL, symbol TEXT NOT NULL, at TEXT,
    n_rows INTEGER NOT NULL, n_features INTEGER NOT NULL, n_jumps INTEGER NOT NULL, run_id TEXT NOT NULL,
    row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX rl_experiences_by_agent ON rl_experiences (agent, feature_version);
CREATE TABLE trials (
    id INTEGER PRIMARY KEY, data_fingerprint TEXT NOT NULL, family TEXT NOT NULL, run_id TEXT NOT NULL,
    batch INTEGER NOT NULL, content TEXT NOT NULL, n_trials INTEGER NOT NULL, n_measured INTEGER NOT NULL,
    sharpe_mean REAL, squares REAL NOT NULL, row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE INDEX trials_by_key ON trials (data_fingerprint, family);
CREATE TABLE sealed_openings (
    id INTEGER PRIMARY KEY, data_fingerprint TEXT NOT NULL, family TEXT NOT NULL, start TEXT NOT NULL,
    "end" TEXT NOT NULL, opened_by TEXT NOT NULL, number INTEGER NOT NULL, first_opened_by TEXT NOT NULL,
    opened_at TEXT NOT NULL, row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL,
    UNIQUE (data_fingerprint, family, start, "end", opened_by)
);
CREATE TABLE llm_answers (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, model TEXT NOT NULL, model_digest TEXT NOT NULL,
    request TEXT NOT NULL, reply TEXT NOT NULL, status INTEGER NOT NULL, seconds REAL, run_id TEXT NOT NULL,
    row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
"""


def _first_schema(connection: sqlite3.Connection) -> None:
    strict = sqlite3.sqlite_version_info >= (3, 37)  # older ones have no STRICT; our own casts hold there too
    for statement in _FIRST.split(";"):
        if statement.strip():
            table = strict and "CREATE TABLE" in statement
            connection.execute(statement + (" STRICT" if table else ""))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _pack_indicators(connection: sqlite3.Connection) -> None:
    strict = " STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
    connection.execute(
        "CREATE TABLE indicator_names (id INTEGER PRIMARY KEY, names TEXT NOT NULL, "
        f"row_key BLOB NOT NULL UNIQUE, checksum INTEGER NOT NULL){strict}"
    )
    guard(connection, NAMES.name)
    trades, number = TABLES["trades"], 0
    place = trades.columns.index("indicators_at_entry")
    size = len(trades.content)
    sql = "UPDATE OR IGNORE trades SET indicators_at_entry = ?, row_key = ?, checksum = ? WHERE id = ?"
    while found := connection.execute(
        "SELECT id FROM trades WHERE id > ? ORDER BY id LIMIT 1000", (number,)
    ).fetchall():
        first, number = found[0][0], found[-1][0]
        rows = connection.execute(trades.select(where="WHERE id BETWEEN ? AND ?"), (first, number)).fetchall()
        for (row_id,), row in zip(found, rows, strict=True):
            if not trades.sound(row):  # stays as it is, so that verify() goes on to tell
                continue
            text = packed("", json.loads(row[place]))
            content = [*row[:size]]
            content[place] = text
            new = trades.row(content, row[size:-2])
            if (names := name_row(text)) is not None:
                connection.execute(NAMES.insert(), names)
            connection.execute(sql, (text, *new[-2:], row_id))


MIGRATIONS: tuple[Migration, ...] = (_first_schema, make_seal, _pack_indicators)


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> list[tuple[int, Path | None]]:
    """Bring a file to the newest schema.

    A process that is killed leaves the file at the last step that was committed: old or new, nothing between.

    Parameters
    ----------
    connection
        To the file, in autocommit, able to write.
    path
        Of the file, for the copy beside it: ``NAME.vN-backup``.
    migrations
        The steps, oldest first.

    Returns
    -------
    list
        ``(version, backup)`` of each step that was made; None where there was nothing to save.

    Raises
    ------
    LearningDatabaseError
        If the file is newer than the steps known here.
    """
    made: list[tuple[int, Path | None]] = []
    while (version := _version(connection)) != len(migrations):
        if version > len(migrations):
            raise LearningDatabaseError(
                f"{path}: written by a newer ai-backtrader (schema {version}, known here up to {len(migrations)}). "
                "Update ai-backtrader, or use another file"
            )
        backup = _back_up(connection, path, version) if version else None
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have made this step while we waited for the lock.
            # A new file is made in one go: nobody may see, or save, what only half has its tables.
            last = version + 1 if version else len(migrations)
            if _version(connection) == version:
                for step in range(version, last):
                    migrations[step](connection)
                    made.append((step + 1, backup))
                connection.execute(f"PRAGMA user_version = {last}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return made


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    target = path.with_name(f"{path.name}.v{version}-backup")
    if target.exists():  # whole, because it gets its name last: the migration was killed after it
        return target
    unfinished = path.with_name(f"{target.name}-unfinished-{os.getpid()}")  # another process may be at it too
    unfinished.unlink(missing_ok=True)
    copy = sqlite3.connect(unfinished)
    try:
        connection.backup(copy)
        # One file that opens anywhere: the copy would inherit WAL, and its two companions.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
    with suppress(FileNotFoundError):  # another process was first, and tidied up
        unfinished.replace(target)
    for left in path.parent.glob(f"{target.name}-unfinished-*"):
        left.unlink(missing_ok=True)
    return target
