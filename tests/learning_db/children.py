"""Processes that are watched or killed, forked from this one, which has imported everything: each starts in no time.

A command is a line of JSON, ``[action, path, argument, ...]``. Answered are ``started PID``, what the child says as
``PID WORDS``, and, to ``["wait", PID]``, ``ended PID STATUS``.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import sqlite3
import sys
import time
import traceback
from pathlib import Path

from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase, RecordedAnswer
from ai_backtrader.learning_db.migrations import MIGRATIONS, migrate
from ai_backtrader.learning_db.runs import code_fingerprint

spec = importlib.util.spec_from_file_location("shared", Path(__file__).with_name("conftest.py"))
assert spec is not None
assert spec.loader is not None
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)

KEY = TrialKey("a1", "family")
START = dt.datetime(2024, 1, 1)


def say(words: object) -> None:
    os.write(1, f"{os.getpid()} {words}\n".encode())  # in one piece, whoever else writes


def put(database: LearningDatabase, table: str, number: int) -> None:
    if table == "runs":
        database.start_run("backtest", seed=number)
    elif table == "trials":
        database.add_trials(KEY, [0.1 * number], run_id=f"run {number}")
    elif table == "sealed_openings":
        moment = START + dt.timedelta(hours=number)
        database.open_sealed(KEY, start=moment, end=moment, by="run")
    elif table == "llm_answers":
        answer = {"key": f"k{number}", "model": "m", "model_digest": "d", "request": "?", "reply": "!"}
        database.keep_answer(RecordedAnswer(**answer, status=200, seconds=0.5))
    else:
        database.record(shared.event_of(table, number))


def record(path: Path, table: str, number: int) -> None:
    """Record numbers as fast as it goes; say after each flush up to which one everything is on the disk."""
    with LearningDatabase(path, strict=True) as database:
        while True:
            for _ in range(1 + number % 7):
                put(database, table, number)
                number += 1
            assert database.flush()
            say(number)


def look(path: Path, name: str, times: int) -> None:
    """Each look reads how many there were and writes itself as the next."""
    with LearningDatabase(path, strict=True) as database:
        for time_ in range(times):
            by = f"{name}-{time_}"
            say(database.open_sealed(KEY, start=START, end=START + dt.timedelta(days=31), by=by).number)


def slowly(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE trades ADD COLUMN note TEXT NOT NULL DEFAULT ''")
    for number in range(40):
        connection.execute("UPDATE trades SET note = ? || id", (str(number),))
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")


def bring_forward(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    say("begin")
    migrate(connection, path, (*MIGRATIONS, slowly))
    say("end")
    time.sleep(60)


ACTIONS = {"record": record, "look": look, "migrate": bring_forward}


def main() -> None:
    code_fingerprint()  # reads every source file: once here, and not in each child
    while line := sys.stdin.readline():
        action, *arguments = json.loads(line)
        if action == "wait":
            _, status = os.waitpid(arguments[0], 0)
            os.write(1, f"ended {arguments[0]} {os.waitstatus_to_exitcode(status)}\n".encode())
            continue
        child = os.fork()
        if child == 0:
            status = 1
            try:
                ACTIONS[action](Path(arguments[0]), *arguments[1:])
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        os.write(1, f"started {child}\n".encode())


if __name__ == "__main__":
    main()
