"""What may lie at the path: nothing, something empty, ours, damaged, newer, another program's."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError
from ai_backtrader.learning_db.migrations import MIGRATIONS

Make = Callable[[str, int], Any]


def test_who_writes_opens_neither_numba_nor_pandas() -> None:
    code = "import sys, ai_backtrader.learning_db; sys.exit(bool({'numba', 'pandas', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def fill(path: Path, make_event: Make, n: int = 50) -> None:
    with LearningDatabase(path, strict=True) as database:
        for number in range(n):
            database.record(make_event("trades", number))


def test_an_empty_file_is_a_new_database(path: Path, make_event: Make) -> None:
    path.touch()
    fill(path, make_event)
    with LearningDatabase(path, read_only=True) as database:
        assert len(database.trades()) == 50


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("price,volume\n" * 1_000)
    with pytest.raises(LearningDatabaseError, match=r"not a learning database that broke\. Use another path"):
        LearningDatabase(path)
    assert path.read_text().startswith("price")
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE trades (id)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(LearningDatabaseError, match="an SQLite file of another program"):
        LearningDatabase(path)
    with pytest.raises(LearningDatabaseError, match="an SQLite file of another program"):
        LearningDatabase(path, read_only=True)
    assert path.read_bytes() == before


def test_a_newer_file_is_refused(path: Path, make_event: Make) -> None:
    fill(path, make_event)
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    for read_only in (False, True):
        with pytest.raises(LearningDatabaseError, match=r"written by a newer ai-backtrader.*Update ai-backtrader"):
            LearningDatabase(path, read_only=read_only)


@pytest.mark.parametrize("damage", ["header", "schema", "cut"])
def test_a_damaged_file_is_moved_aside_and_never_overwritten(
    damage: str, path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    kept = []
    for number in (1, 2):
        fill(path, make_event)
        content = bytearray(path.read_bytes())
        if damage == "header":
            content[:64] = os.urandom(64)
        elif damage == "schema":
            content[100:4000] = os.urandom(3900)
        else:
            del content[len(content) // 3 :]
        path.write_bytes(content)
        kept.append(bytes(content))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "ai_backtrader"), LearningDatabase(path) as database:
            assert len(database.trades()) == 0
            database.record(make_event("trades", 1))
        assert len(caplog.records) == 1
        assert f"moved to ai_learning.db.corrupt-{number}" in caplog.text
        with LearningDatabase(path, read_only=True) as database:
            assert len(database.trades()) == 1
        for earlier, file in enumerate(kept, 1):
            assert path.with_name(f"{path.name}.corrupt-{earlier}").read_bytes() == file


def test_strict_leaves_a_damaged_file_where_it_is_and_so_does_reading(path: Path, make_event: Make) -> None:
    fill(path, make_event)
    content = bytearray(path.read_bytes())
    content[:64] = os.urandom(64)
    path.write_bytes(content)
    with pytest.raises(LearningDatabaseError, match="damaged"):
        LearningDatabase(path, strict=True)
    with pytest.raises(LearningDatabaseError, match="file is not a database"):
        LearningDatabase(path, read_only=True)
    assert path.read_bytes() == bytes(content)


def test_a_folder_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(LearningDatabaseError, match=r"a folder\. Name a file in it"):
        LearningDatabase(tmp_path)
    with pytest.raises(LearningDatabaseError, match=r"the folder .*nowhere does not exist"):
        LearningDatabase(tmp_path / "nowhere" / "ai_learning.db")


def test_reading_makes_no_file_and_changes_none(path: Path, make_event: Make) -> None:
    with pytest.raises(LearningDatabaseError, match="no such file"):
        LearningDatabase(path, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(LearningDatabaseError, match=r"empty\. Nothing was recorded"):
        LearningDatabase(path, read_only=True)
    fill(path, make_event)
    before = path.read_bytes()
    with LearningDatabase(path, read_only=True) as database:
        assert len(database.trades()) == 50
        assert database.verify().ok
        for write in (
            lambda: database.record(make_event("trades", 99)),
            lambda: database.start_run(),
            lambda: database.prune(max_experiences=0),
            lambda: database.merge(path),
        ):
            with pytest.raises(LearningDatabaseError, match="opened with read_only=True"):
                write()
    assert path.read_bytes() == before


def test_a_reader_sees_what_a_writer_has_flushed_while_it_is_open(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as writer, LearningDatabase(path, read_only=True) as reader:
        writer.record(make_event("trades", 1))
        assert len(reader.trades()) == 0
        writer.flush()
        assert len(reader.trades()) == 1


WITHOUT_RIGHTS = """
import sys
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError
try:
    with LearningDatabase(sys.argv[1], read_only=sys.argv[2] == "read") as database:
        print("trades", database.info()["rows"]["trades"])
except LearningDatabaseError as error:
    print("refused", error)
"""


def run_without_rights(path: Path, how: str) -> str:
    # Root may write anywhere, unless it lays that right down first.
    lay_down = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if lay_down and shutil.which("setpriv") is None:
        pytest.skip("root cannot lay down its rights here: no setpriv")
    command = [*lay_down, sys.executable, "-c", WITHOUT_RIGHTS, str(path), how]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_file_and_a_folder_without_rights_are_read_and_refused_for_writing(path: Path, make_event: Make) -> None:
    fill(path, make_event)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert run_without_rights(path, "read") == "trades 50\n"
        refused = run_without_rights(path, "write")
        assert refused.startswith("refused")
        assert "check its rights" in refused
        assert run_without_rights(path.with_name("new.db"), "write").startswith("refused")
    finally:
        path.parent.chmod(0o755)
