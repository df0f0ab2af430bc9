"""The schema's steps: from the first one on, with a copy beside, and whole or not at all when the process is killed."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError, opening, verify_file
from ai_backtrader.learning_db.migrations import MIGRATIONS, migrate
from ai_backtrader.learning_db.rows import encode
from ai_backtrader.learning_db.tables import TABLES

Make = Callable[[str, int], Any]
NOW = len(MIGRATIONS)


def add_column(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE trades ADD COLUMN note TEXT NOT NULL DEFAULT ''")


def add_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")


def break_down(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE trades ADD COLUMN half TEXT")
    connection.execute("CREATE TABLE trades (id)")  # exists


def fill(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        for number in range(20):
            database.record(make_event("trades", number))


def state(path: Path) -> tuple[int, bool, bool, int]:
    raw = sqlite3.connect(path)
    columns = [row[1] for row in raw.execute("PRAGMA table_info(trades)")]
    names = [row[0] for row in raw.execute("SELECT name FROM sqlite_master")]
    found = (
        raw.execute("PRAGMA user_version").fetchone()[0], "note" in columns, "notes" in names,
        raw.execute("SELECT count(*) FROM trades").fetchone()[0],
    )  # fmt: skip
    raw.close()
    return found


def test_the_steps_lead_to_the_tables_that_are_written(path: Path) -> None:
    LearningDatabase(path).close()
    raw = sqlite3.connect(path)
    for table in TABLES.values():
        columns = {row[1] for row in raw.execute(f'PRAGMA table_info("{table.name}")')}
        assert columns == {"id", *table.columns}
        strict = raw.execute("SELECT strict FROM pragma_table_list WHERE name = ?", (table.name,)).fetchone()
        assert strict == (1,)
    raw.close()


def test_a_file_is_brought_forward_with_a_copy_of_each_state_beside_it(
    path: Path, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, make_event)
    steps = (*MIGRATIONS, add_column, add_table)
    connection = sqlite3.connect(path, isolation_level=None)
    made = migrate(connection, path, steps)
    assert [version for version, _ in made] == [NOW + 1, NOW + 2]
    assert migrate(connection, path, steps) == []
    connection.close()
    assert state(path) == (NOW + 2, True, True, 20)
    assert state(path.with_name(f"ai_learning.db.v{NOW}-backup")) == (NOW, False, False, 20)
    assert state(path.with_name(f"ai_learning.db.v{NOW + 1}-backup")) == (NOW + 1, True, False, 20)
    monkeypatch.setattr(opening, "MIGRATIONS", steps)
    with LearningDatabase(path.with_name(f"ai_learning.db.v{NOW}-backup"), read_only=False):
        pass  # an old file opens, and is brought forward itself
    with pytest.raises(LearningDatabaseError, match="an older"):
        LearningDatabase(path.with_name(f"ai_learning.db.v{NOW + 1}-backup"), read_only=True)


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path, make_event: Make) -> None:
    fill(path, make_event)
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, path, (*MIGRATIONS, break_down))
    assert "half" not in [row[1] for row in connection.execute("PRAGMA table_info(trades)")]
    connection.close()
    assert state(path) == (NOW, False, False, 20)
    with LearningDatabase(path) as database:
        assert database.verify().ok


def kill_migration(children: Any, path: Path, make_event: Make, after: float) -> int:
    fill(path, make_event)
    child = children.start("migrate", path)
    assert children.first_words(child) == "begin"
    time.sleep(after)
    children.kill(child)
    found = state(path)
    assert found in {(NOW, False, False, 20), (NOW + 1, True, True, 20)}
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    backup = path.with_name(f"{path.name}.v{NOW}-backup")
    assert not backup.exists() or state(backup) == (NOW, False, False, 20)
    if found[0] == NOW:  # and the next one brings it forward
        connection = sqlite3.connect(path, isolation_level=None)
        migrate(connection, path, (*MIGRATIONS, add_column))
        connection.close()
        assert state(path)[:2] == (NOW + 1, True)
    for file in path.parent.iterdir():
        file.unlink()
    return found[0]


def test_killed_migrations_reopen_as_old_or_new(children: Any, path: Path, make_event: Make) -> None:
    moments = np.random.default_rng(os.getpid()).uniform(0.0, 0.03, 2)
    assert {kill_migration(children, path, make_event, moment) for moment in moments} <= {NOW, NOW + 1}


@pytest.mark.slow
def test_a_hundred_killed_migrations_reopen_as_old_or_new(children: Any, path: Path, make_event: Make) -> None:
    moments = np.random.default_rng(os.getpid()).uniform(0.0, 0.04, 100)
    assert {kill_migration(children, path, make_event, moment) for moment in moments} == {NOW, NOW + 1}


def old_file(path: Path, make_event: Make, version: int) -> None:
    """As earlier versions left it: a trade's indicators are JSON."""
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, MIGRATIONS[:version])
    table = TABLES["trades"]
    for number in range(20):
        event = make_event("trades", number)
        text = json.dumps(event.indicators_at_entry, sort_keys=True, separators=(",", ":"))
        row = table.row((*encode(event)[1][:-1], text), ("run",))
        connection.execute(table.insert(), row)
    connection.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_schema_is_brought_forward_with_all_it_holds(
    version: int, path: Path, make_event: Make
) -> None:
    old_file(path, make_event, version)
    with pytest.raises(LearningDatabaseError, match="an older"):
        LearningDatabase(path, read_only=True)
    with LearningDatabase(path, strict=True) as database:
        assert database.trade_events() == [make_event("trades", number) for number in range(20)]
        for number in range(21):  # those that are known count once
            database.record(make_event("trades", number))
    assert verify_file(path).ok
    assert state(path) == (NOW, False, False, 21)
    assert state(path.with_name(f"ai_learning.db.v{version}-backup")) == (version, False, False, 20)


def test_an_older_file_made_new_holds_what_a_new_file_holds(path: Path, tmp_path: Path, make_event: Make) -> None:
    old_file(path, make_event, 2)
    with LearningDatabase(path) as old, LearningDatabase(tmp_path / "new.db") as new:
        for number in range(20):
            new.record(make_event("trades", number))
        assert old.content_hash() == new.content_hash()
    schemas = []
    for file in (path, tmp_path / "new.db"):
        raw = sqlite3.connect(file)
        schemas.append(raw.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall())
        raw.close()
    assert schemas[0] == schemas[1]


def test_a_damaged_row_is_as_damaged_after_a_step_that_rewrites_rows(path: Path, make_event: Make) -> None:
    old_file(path, make_event, 2)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("UPDATE trades SET pnl = 11 WHERE id = 7")
    raw.execute("UPDATE trades SET indicators_at_entry = 'neither' WHERE id = 9")
    raw.close()
    LearningDatabase(path).close()
    assert verify_file(path).problems == tuple(f"trades: row {number} is not what was written" for number in (7, 9))
