"""What the learning database costs a backtest, how fast it is, and how it grows.

    python benchmarks/database_speed.py [--bars 10000] [--rounds 7] [--growth]

Time is CPU time of the process (wall time beside it), runs that are compared alternate, and medians are told: a figure
from a busy machine is worth the same. ``--growth`` goes on to 1,000,000 trades in one file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import Engine
from ai_backtrader.events import Event, ExperiencesGathered, TradeClosed
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.market import MarketData
from ai_backtrader.strategies import AIStrategy
from ai_backtrader.values import Direction, Regime

START = dt.datetime(2000, 1, 1)
FEATURES = [f"feature_{i}" for i in range(29)]


class Forgetful:
    """A journal that only counts."""

    events = 0

    def record(self, event: Event) -> None:
        self.events += 1

    def close(self) -> None:
        """Nothing to close."""


class Timed:
    """A database whose opening, recording and closing is added up."""

    def __init__(self, path: Path) -> None:
        self.wall, self.cpu, self.events = 0.0, 0.0, 0
        with self.timed():
            self.database = LearningDatabase(path, strict=True)

    @contextmanager
    def timed(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def record(self, event: Event) -> None:
        # Not by timed(): its own cost would be a part of the figure.
        wall, cpu = time.perf_counter(), time.process_time()
        self.database.record(event)
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.events += 1

    def close(self) -> None:
        with self.timed():
            self.database.close()


def random_walk(bars: int) -> MarketData:
    rng = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(np.clip(rng.standard_t(4, bars) * 0.004, -0.1, 0.1)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.exp(np.abs(rng.normal(0.0, 0.003, (2, bars))))
    columns = {
        "open": open_, "high": np.maximum(open_, close) * spread[0], "low": np.minimum(open_, close) / spread[1],
        "close": close, "volume": rng.lognormal(8.0, 1.0, bars),
    }  # fmt: skip
    frame = pd.DataFrame(columns, index=pd.date_range("2000-01-01", periods=bars, freq="h").as_unit("s"))
    return MarketData.from_frame(frame, symbol="WALK")


def backtest(data: MarketData, open_journal: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of a run of AIStrategy that records what it learns, until it is on the disk."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    journal = open_journal()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0005)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy, engine=Engine(journal=journal))
    cerebro.run()
    journal.close()
    return time.perf_counter() - wall, time.process_time() - cpu, journal


def backtest_speed(folder: Path, bars: int, rounds: int) -> None:
    backtest(random_walk(1_000), lambda: Timed(folder / "warm.db"))  # kernels come from the disk cache
    data, shares, with_it, without = random_walk(bars), [], [], []
    for number in range(rounds):
        without.append(backtest(data, Forgetful)[1])
        wall, cpu, journal = backtest(data, partial(Timed, folder / f"{number}.db"))
        with_it.append(cpu)
        shares.append((100 * journal.cpu / cpu, 100 * journal.wall / wall, 1e6 * journal.cpu / journal.events))
    cpu, wall, each = (sorted(share[i] for share in shares) for i in range(3))
    print(
        f"backtest of {bars:,} bars, {journal.events} events: to open, record, flush and close takes "
        f"{statistics.median(cpu):.2f} % of its CPU time ({cpu[0]:.2f} to {cpu[-1]:.2f}; "
        f"{statistics.median(each):.0f} us an event), {statistics.median(wall):.2f} % of its wall time"
    )
    one, other = statistics.median(with_it), statistics.median(without)
    print(f"  CPU seconds with the database {one:.3f}, with a journal that forgets {other:.3f}")


def trade(number: int) -> TradeClosed:
    return TradeClosed(
        symbol="BTC/USDT", strategy_id="ema_cross", direction=Direction.LONG, entry_price=100.0 + number,
        exit_price=101.0, pnl_pct=1.05, size=1.0, closed_at=START + dt.timedelta(minutes=number), regime=Regime.BULL,
        indicators_at_entry={name: i * 1.2345678 + number for i, name in enumerate(FEATURES)},
    )  # fmt: skip


def trades_speed(folder: Path, counts: list[int]) -> None:
    path, done = folder / "trades.db", 0
    for count in counts:
        spent = 0.0
        with LearningDatabase(path, strict=True) as database:
            for start in range(done, count, 10_000):
                events = [trade(number) for number in range(start, min(start + 10_000, count))]
                began = time.process_time()
                for event in events:
                    database.record(event)
                spent += time.process_time() - began
            began = time.process_time()
            database.flush()
            spent += time.process_time() - began
            began = time.perf_counter()
            known = len(database.trades(as_of=START + dt.timedelta(minutes=999)))
            query = time.perf_counter() - began
            size = database.info()["bytes"] / 1e6
        print(
            f"{count:9,d} trades: {1e6 * spent / (count - done):5.1f} us CPU a trade, {size:7.1f} MB, "
            f"the first {known} as of a bar in {1e3 * query:.0f} ms"
        )
        done = count


def json_rows_speed(folder: Path, n: int) -> float:
    """Rows per CPU second when each transition is a row with its state as JSON, a thousand rows a commit."""
    states = np.random.default_rng(1).normal(size=(n, 35)).astype(np.float32)
    connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE experiences (state TEXT, action INTEGER, reward REAL, next_state TEXT, done INTEGER)"
    )
    began = time.process_time()
    for start in range(0, n, 1_000):
        rows = [(json.dumps(s.tolist()), 1, 0.5, json.dumps(s.tolist()), 0) for s in states[start : start + 1_000]]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO experiences VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    spent = time.process_time() - began
    connection.close()
    return n / spent


def touch(n_bytes: int) -> float:
    """CPU seconds to fill fresh memory: a machine that gives it out for the first time may take long."""
    began = time.process_time()
    np.empty(n_bytes, dtype=np.uint8)[:] = 1
    return time.process_time() - began


def bare_chunks(path: Path, states: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
    """Chunks of 1,024 states and nothing else, without a checksum: how the goal of 10 million rows/s was found."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE chunks (id INTEGER PRIMARY KEY, states BLOB)")
    connection.execute("BEGIN")
    for start in range(0, len(states), 1_024):
        connection.execute("INSERT INTO chunks (states) VALUES (?)", (states[start : start + 1_024].tobytes(),))
    connection.execute("COMMIT")
    connection.close()

    def read() -> NDArray[np.float32]:
        with closing(sqlite3.connect(path)) as reading:
            found = reading.execute("SELECT states FROM chunks ORDER BY id")
            parts = [np.frombuffer(chunk, np.float32).reshape(-1, states.shape[1]) for (chunk,) in found]
        return np.concatenate(parts)

    return read


def experiences_speed(folder: Path, n: int, rounds: int) -> None:
    rng = np.random.default_rng(1)
    path = rng.normal(size=(n + 1, 35)).astype(np.float32)
    names = {"agent": "leverage", "feature_version": "leverage-state/1"}
    after = path[1:].copy()
    after[rng.random(n) < 0.01] = 0.0  # where episodes ended
    batches = [
        ExperiencesGathered(
            **names, symbol="BTC/USDT", states=path[i : i + 50_000], next_states=after[i : i + 50_000],
            actions=rng.integers(0, 11, 50_000), rewards=rng.normal(size=50_000),
            terminated=np.zeros(50_000, dtype=np.bool_),
        )
        for i in range(0, n, 50_000)
    ]  # fmt: skip
    bare = bare_chunks(folder / "bare.db", path[:n])
    ways: dict[str, list[tuple[float, float]]] = {"in": [], "out": [], "out, states alone, unchecked": []}
    memory = []
    for number in range(rounds):
        with LearningDatabase(folder / f"experiences{number}.db", strict=True) as database:
            wall, cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                database.record(batch)
            database.flush()
            ways["in"].append((n / (time.perf_counter() - wall), n / (time.process_time() - cpu)))
            memory.append((touch(297 * n), touch(297 * n)))  # the room of what is read
            wall, cpu = time.perf_counter(), time.process_time()
            found = database.experiences(**names)
            ways["out"].append((n / (time.perf_counter() - wall), n / (time.process_time() - cpu)))
        assert found is not None
        assert np.array_equal(found.next_states, after)
        del found
        wall, cpu = time.perf_counter(), time.process_time()
        states = bare()
        ways["out, states alone, unchecked"].append((n / (time.perf_counter() - wall), n / (time.process_time() - cpu)))
        assert states.shape == (n, 35)
        del states
        (folder / f"experiences{number}.db").unlink()
    rows = json_rows_speed(folder, 20_000)
    print(f"experiences as rows of JSON: {rows / 1e6:.3f} million rows per CPU second")
    for way, rates in ways.items():
        wall, cpu = (sorted(rate[i] / 1e6 for rate in rates) for i in (0, 1))
        print(
            f"experiences {way:28s}: {statistics.median(cpu):5.2f} million rows per CPU second "
            f"({cpu[0]:.2f} to {cpu[-1]:.2f}), {statistics.median(wall):5.2f} million rows/s wall"
        )
    first, again = (max(times[i] for times in memory) for i in (0, 1))
    print(f"  room for {n:,} rows: {first:.3f} CPU seconds where memory is new to the machine, {again:.3f} afterwards")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--growth", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backtest_speed(folder, chosen.bars, chosen.rounds)
        experiences_speed(folder, 1_000_000, chosen.rounds)
        trades_speed(folder, [10_000, 100_000, 1_000_000] if chosen.growth else [10_000])


if __name__ == "__main__":
    main()
