"""Many processes and threads at one file, forks, and kill -9."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.learning_db.tables import TABLES

Make = Callable[[str, int], Any]
KEY, START, END = TrialKey("a1", "family"), dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1)


def read_modify_write(children: Any, path: Path, processes: int, times: int) -> list[int]:
    """Each opening reads how many there were and writes itself as the next: a lost update is a number given twice."""
    started = [children.start("look", path, f"process {number}", times) for number in range(processes)]
    numbers: list[int] = []
    for child in started:
        status, said = children.end(child)
        assert status == 0
        numbers += map(int, said)
    return numbers


def test_processes_that_read_and_write_back_lose_nothing(children: Any, path: Path) -> None:
    assert sorted(read_modify_write(children, path, 4, 25)) == list(range(1, 101))
    with LearningDatabase(path) as database:
        assert database.open_sealed(KEY, start=START, end=END, by="last").number == 101
        assert database.verify().ok


@pytest.mark.slow
def test_eight_processes_commit_1200_of_1200_without_a_lock_error(children: Any, path: Path) -> None:
    assert sorted(read_modify_write(children, path, 8, 150)) == list(range(1, 1_201))
    with LearningDatabase(path, read_only=True) as database:
        assert database.verify().ok


def test_threads_take_turns_on_one_connection(path: Path, make_event: Make) -> None:
    with LearningDatabase(path, strict=True) as database:

        def work(first: int) -> None:
            for number in range(first, first + 200):
                database.record(make_event("trades", number))
                if number % 50 == 0:
                    assert database.flush()

        threads = [threading.Thread(target=work, args=(1_000 * number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(database.trades()) == 1_200


def record_in_child(database: LearningDatabase, make_event: Make, results: Any) -> None:
    database.record(make_event("trades", 2))
    results.put((database.flush(), len(database.trades())))
    database.close()


def test_a_forked_child_opens_its_own_connection_and_leaves_the_parents_rows_to_the_parent(
    path: Path, make_event: Make
) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with LearningDatabase(path, strict=True) as database:
        database.record(make_event("trades", 1))  # not written yet
        child = context.Process(target=record_in_child, args=(database, make_event, results))
        child.start()
        assert results.get(timeout=30) == (True, 1)  # the child's own, not the parent's
        child.join()
        database.record(make_event("trades", 3))
        assert database.flush()
        assert len(database.trades()) == 3
        assert database.verify().ok


def test_who_forgets_to_close_loses_nothing_at_the_end_of_the_process(path: Path) -> None:
    code = """
import sys
from ai_backtrader.events import RegimeChanged
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.values import Regime
database = LearningDatabase(sys.argv[1])
database.record(RegimeChanged(symbol="BTC", at=None, before=None, after=Regime.BULL, high_volatility=False))
"""
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with LearningDatabase(path, read_only=True) as database:
        assert len(database.regime_transitions()) == 1


def kill_recorder(children: Any, path: Path, table: str, after: float, *, first: int = 0, opening: bool = False) -> int:
    """Kill a recorder after so many seconds of writing, or of being there at all: it may still be opening the file.

    Returns up to which number all is there, having checked that this is what was confirmed.
    """
    child = children.start("record", path, table, first)
    if not opening:
        children.first_words(child)
    time.sleep(after)
    said = children.kill(child)
    acknowledged = int(said[-1]) if said else first
    with LearningDatabase(path, strict=True) as database:
        rows = database.info()["rows"][table]
        report = database.verify()
    assert report.ok, report.problems
    assert rows >= acknowledged, f"{rows} of {acknowledged} confirmed rows are there"
    return max(acknowledged, rows)


@pytest.mark.parametrize("table", TABLES)
def test_kill_9_loses_no_row_that_was_confirmed_and_tears_none(table: str, children: Any, path: Path) -> None:
    kill_recorder(children, path, table, random.uniform(0.0, 0.05))


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_hundred_times_kill_9_loses_no_row_that_was_confirmed_and_tears_none(
    table: str, children: Any, path: Path
) -> None:
    first, kept = 0, 0
    for number in range(100):
        opening = number % 2 == 0
        first = kill_recorder(children, path, table, random.uniform(0.0, 0.05), first=first, opening=opening)
        if first > 1_000:  # checking every row of a long file is what would take the time
            path.unlink()
            first, kept = 0, kept + first
    assert kept + first >= 50  # every second one had confirmed a row before it was killed, however slow the machine
