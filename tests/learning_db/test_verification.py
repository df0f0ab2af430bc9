"""Flipped bytes are noticed."""

# ruff: noqa: S608  # the names are those of our own tables

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase, sealing, verify_file
from ai_backtrader.learning_db.tables import TABLES

Make = Callable[..., Any]
EVENTS = (
    "trades", "strategy_performance", "optimization_results", "evolved_strategies", "regime_transitions",
    "rl_experiences",
)  # fmt: skip


def filled(path: Path, make_event: Make) -> bytes:
    with LearningDatabase(path, strict=True) as database:
        database.start_run("backtest", seed=1)
        for table in EVENTS:
            for number in range(40):
                database.record(make_event(table, number))
        for number in range(40):
            database.add_trials(TrialKey("a1", "family"), [0.1, 0.2], run_id=f"run {number}")
        assert database.verify().ok
    return path.read_bytes()


def noticed(path: Path, content: bytes, flips: int, files: int, seed: int) -> int:
    rng, found = np.random.default_rng(seed), 0
    for _ in range(files):
        damaged = np.frombuffer(content, dtype=np.uint8).copy()
        places = rng.choice(damaged.size, flips, replace=False)
        damaged[places] ^= rng.integers(1, 256, flips).astype(np.uint8)
        path.write_bytes(damaged.tobytes())
        found += not verify_file(path).ok
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    return found


def test_a_sound_file_has_no_problems_and_every_row_was_read(path: Path, make_event: Make) -> None:
    filled(path, make_event)
    report = verify_file(path)
    assert report.ok
    assert {name: report.rows[name] for name in EVENTS} == dict.fromkeys(EVENTS, 40)
    assert report.rows["runs"] == 1
    assert report.rows["trials"] == 40


def holed(path: Path, make_event: Make) -> bytes:
    """A file with rows of every table, and pages that nothing uses any more."""
    filled(path, make_event)
    with LearningDatabase(path, strict=True) as database:
        assert database.prune(max_experiences=10) > 0
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA freelist_count").fetchone()[0] > 0
    return path.read_bytes()


def test_of_60_files_with_8_flipped_bytes_all_are_noticed(path: Path, make_event: Make) -> None:
    content = filled(path, make_event)
    assert noticed(path, content, 8, 60, seed=11) == 60


def test_one_flipped_byte_is_noticed_wherever_it_lies(path: Path, make_event: Make) -> None:
    content = holed(path, make_event)
    assert noticed(path, content, 1, 150, seed=11) == 150


@pytest.mark.slow
@pytest.mark.parametrize("flips", [1, 8])
@pytest.mark.parametrize("make", [filled, holed])
def test_2000_files_with_flipped_bytes_are_all_noticed(
    make: Callable[..., bytes], flips: int, path: Path, make_event: Make
) -> None:
    assert noticed(path, make(path, make_event), flips, 2_000, seed=12) == 2_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 20))
def test_without_the_seal_at_least_57_of_60_are_noticed(
    seed: int, path: Path, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file that a killed process left, or one too large to be sealed.
    monkeypatch.setattr(sealing, "_MOST_BYTES", 0)
    assert noticed(path, filled(path, make_event), 8, 60, seed=seed) >= 57


def test_every_byte_of_the_header_counts(path: Path, make_event: Make) -> None:
    content = filled(path, make_event)
    for place in range(100):
        damaged = bytearray(content)
        damaged[place] ^= 0x11
        path.write_bytes(damaged)
        assert not verify_file(path).ok, place
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)


def test_whoever_writes_a_row_breaks_the_seal_and_the_last_to_close_puts_it_anew(path: Path, make_event: Make) -> None:
    def sealed() -> bool:
        raw = sqlite3.connect(path)
        (state,) = raw.execute("SELECT state FROM seal").fetchone()
        raw.close()
        return bool(state != bytes(16))

    filled(path, make_event)
    assert sealed()
    with LearningDatabase(path) as one, LearningDatabase(path) as other:
        other.record(make_event("trades", 100))
        assert other.flush()
        assert not sealed()
        other.close()
        assert sealed()
        assert one.verify().ok
        assert one.record(make_event("trades", 101)) is None
    assert sealed()
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("DELETE FROM trades WHERE id = 1")  # another program, which knows of no seal
    raw.close()
    assert not sealed()
    assert verify_file(path).ok
    with LearningDatabase(path) as database:
        database.record(make_event("trades", 102))
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("VACUUM")  # moves every page, and no row
    raw.close()
    assert verify_file(path).ok
    with LearningDatabase(path) as database:
        database.prune(max_experiences=10**9, compact=True)
    assert sealed()
    assert verify_file(path).ok


@pytest.mark.parametrize("table", [*EVENTS, "runs", "trials", "indicator_names"])
def test_any_column_of_any_row_that_was_changed_is_named(table: str, path: Path, make_event: Make) -> None:
    filled(path, make_event)
    for name in TABLES[table].columns:
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN")
        number, kind, before = raw.execute(
            f'SELECT id, typeof("{name}"), "{name}" FROM "{table}" ORDER BY id DESC'
        ).fetchone()
        value = {"text": "changed", "integer": 7_777, "real": 0.123, "blob": b"changed", "null": "2024"}[kind]
        try:
            raw.execute(f'UPDATE "{table}" SET "{name}" = ? WHERE id = ?', (value, number))
        except sqlite3.IntegrityError:  # NULL in a column of numbers
            raw.execute(f'UPDATE "{table}" SET "{name}" = 1 WHERE id = ?', (number,))
        raw.execute("COMMIT")
        problems = verify_file(path).problems
        assert len(problems) == 1, name
        assert problems[0].startswith(f"{table}: row ")
        assert problems[0].endswith("is not what was written")
        raw.execute(f'UPDATE "{table}" SET "{name}" = ? WHERE id = ?', (before, number))
        raw.close()
    assert verify_file(path).ok


def test_a_file_that_cannot_be_opened_is_a_problem_not_an_error(path: Path) -> None:
    assert "no such file" in verify_file(path).problems[0]
    path.write_bytes(b"nonsense" * 1_000)
    assert "file is not a database" in verify_file(path).problems[0]
