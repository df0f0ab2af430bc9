"""Many processes and threads at one file, forks, and kill -9."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import random
import signal
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

READ_MODIFY_WRITE = """
import datetime as dt, sys
from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase
path, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
with LearningDatabase(path, strict=True) as database:
    for time in range(times):
        opening = database.open_sealed(
            TrialKey("a1", "family"), start=dt.datetime(2024, 1, 1), end=dt.datetime(2024, 2, 1), by=f"{name}-{time}")
        print(opening.number, flush=True)
"""


def read_modify_write(path: Path, processes: int, times: int) -> list[int]:
    """Each opening reads how many there were and writes itself as the next: a lost update is a number given twice."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", READ_MODIFY_WRITE, str(path), f"process {number}", str(times)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    numbers: list[int] = []
    for child in children:
        out, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors
        numbers += map(int, out.split())
    return numbers


def test_processes_that_read_and_write_back_lose_nothing(path: Path) -> None:
    assert sorted(read_modify_write(path, 4, 25)) == list(range(1, 101))
    with LearningDatabase(path) as database:
        assert database.open_sealed(KEY, start=START, end=END, by="last").number == 101
        assert database.verify().ok


@pytest.mark.slow
def test_eight_processes_commit_1200_of_1200_without_a_lock_error(path: Path) -> None:
    assert sorted(read_modify_write(path, 8, 150)) == list(range(1, 1_201))
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


# Records numbers as fast as it can and says after each flush up to which one everything is on the disk.
RECORDER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("shared", sys.argv[3])
shared = importlib.util.module_from_spec(spec); spec.loader.exec_module(shared)
from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase, RecordedAnswer
path, table = sys.argv[1], sys.argv[2]
import datetime as dt
with LearningDatabase(path, strict=True) as database:
    number = int(sys.argv[4])
    while True:
        for _ in range(1 + number % 7):
            if table == "runs":
                database.start_run("backtest", seed=number)
            elif table == "trials":
                database.add_trials(TrialKey("a1", "family"), [0.1 * number], run_id=f"run {number}")
            elif table == "sealed_openings":
                start = dt.datetime(2024, 1, 1) + dt.timedelta(hours=number)
                database.open_sealed(TrialKey("a1", "family"), start=start, end=start, by="run")
            elif table == "llm_answers":
                database.keep_answer(RecordedAnswer(key=f"k{number}", model="m", model_digest="d", request="?",
                                                    reply="!", status=200, seconds=0.5))
            else:
                database.record(shared.event_of(table, number))
            number += 1
        assert database.flush()
        print(number, flush=True)
"""


def kill_recorder(path: Path, table: str, after: float, first: int = 0) -> int:
    """Kill a recorder; returns the number up to which it had said that all is safe, having checked that it is."""
    conftest = Path(__file__).with_name("conftest.py")
    child = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(path), table, str(conftest), str(first)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline())]
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    with LearningDatabase(path, strict=True) as database:
        rows = database.info()["rows"][table]
        report = database.verify()
    assert report.ok, report.problems
    assert rows >= acknowledged[-1], f"{rows} of {acknowledged[-1]} confirmed rows are there"
    return max(acknowledged[-1], rows)


@pytest.mark.parametrize("table", TABLES)
def test_kill_9_loses_no_row_that_was_confirmed_and_tears_none(table: str, path: Path) -> None:
    kill_recorder(path, table, random.uniform(0.0, 0.15))


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_hundred_times_kill_9_loses_no_row_that_was_confirmed_and_tears_none(table: str, path: Path) -> None:
    first = 0
    for _ in range(100):
        first = kill_recorder(path, table, random.uniform(0.0, 0.1), first)
        if first > 20_000:
            path.unlink()
            first = 0
    assert os.path.getsize(path) > 0
