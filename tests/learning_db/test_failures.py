"""The disk fills up, the file goes or breaks while a strategy trades: the run ends with its results and one warning."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.events import TradeClosed
from ai_backtrader.evidence import TrialKey
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError, writer
from ai_backtrader.values import Direction

Make = Callable[[str, int], Any]
BARS = 400


def break_header(database: LearningDatabase) -> None:
    for ending in ("", "-wal"):
        with Path(f"{database.path}{ending}").open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.write(os.urandom(size))


FAULTS: dict[str, Callable[[LearningDatabase], object]] = {
    # Refused by SQLite with the codes of a full disk and of a file system that was mounted read-only meanwhile.
    "full": lambda database: database._store.connection().execute("PRAGMA max_page_count = 1"),
    "read-only": lambda database: database._store.connection().execute("PRAGMA query_only = ON"),
    "deleted": lambda database: database.path.unlink(),
    "replaced": lambda database: database.path.replace(database.path.with_name("elsewhere.db")),
    "corrupt": break_header,
}


class Crossing(bt.Strategy):
    """Trades, hands each closed trade to the database, and has something happen to it in the middle."""

    params = (("database", None), ("fault", None))

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=3), bt.ind.SMA(period=9))

    def next(self) -> None:
        if len(self) == BARS // 2:
            self.p.database.flush()
            self.p.fault(self.p.database)
        if self.cross > 0:
            self.buy()
        elif self.cross < 0:
            self.close()

    def notify_trade(self, trade: Any) -> None:
        if trade.isclosed:
            self.p.database.record(
                TradeClosed(
                    symbol="BTC", strategy_id="crossing", direction=Direction.LONG, entry_price=trade.price,
                    exit_price=float(self.data.close[0]), pnl_pct=1.0, pnl=trade.pnlcomm,
                    closed_at=self.data.datetime.datetime(0),
                    indicators_at_entry={f"line {n}": float(n) for n in range(2_000)},  # more than a page
                )
            )  # fmt: skip


def trade(database: LearningDatabase, fault: Callable[[LearningDatabase], object]) -> float:
    steps = np.random.default_rng(3).normal(0.0, 0.01, BARS)
    close = 100.0 * np.exp(np.cumsum(steps))
    index = pd.date_range("2024-01-01", periods=BARS, freq="h")
    frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0}, index=index)
    cerebro = bt.Cerebro()
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.addstrategy(Crossing, database=database, fault=fault)
    cerebro.run()
    return float(cerebro.broker.getvalue())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backtest_ends_with_its_results_and_one_warning(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "_BATCH_ROWS", 3)
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 0.0)  # as in a long run: it tries again and again
    with LearningDatabase(tmp_path / "whole.db", strict=True) as whole:
        undisturbed = trade(whole, lambda _: None)
        n_trades = len(whole.trades())
    with caplog.at_level(logging.INFO, "ai_backtrader"):
        database = LearningDatabase(tmp_path / "ai_learning.db")
        assert trade(database, FAULTS[fault]) == undisturbed
        assert not database.flush()
        database.close()
    assert n_trades > 10
    assert len(caplog.records) == 1
    assert "The run goes on" in caplog.text
    assert database.failures > 2
    assert 3 < database.lost < n_trades  # those of the second half


def test_what_was_flushed_before_the_disk_was_full_stays_and_is_sound(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        for number in range(50):
            database.record(make_event("trades", number))
        assert database.flush()
        database._store.connection().execute("PRAGMA max_page_count = 1")
        for number in range(50, 500):
            database.record(make_event("trades", number))
        assert not database.flush()
    with LearningDatabase(path) as database:
        assert len(database.trades()) == 50
        assert database.verify().ok


def test_when_there_is_room_again_nothing_is_missing(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        connection = database._store.connection()
        connection.execute("PRAGMA max_page_count = 1")
        for number in range(500):
            database.record(make_event("trades", number))
        assert not database.flush()
        connection.execute("PRAGMA max_page_count = 1000000")
        assert database.flush()
        assert (len(database.trades()), database.lost) == (500, 0)


def test_memory_stays_bounded_while_the_file_takes_nothing(
    path: Path, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_BATCH_ROWS", 10)
    monkeypatch.setattr(writer, "_MOST_ROWS", 40)
    with LearningDatabase(path) as database:
        connection = database._store.connection()
        connection.execute("PRAGMA query_only = ON")
        for number in range(200):
            database.record(make_event("trades", number))
        waiting = len(database._writer.pending("trades"))
        assert waiting <= 41
        assert database.lost == 200 - waiting
        connection.execute("PRAGMA query_only = OFF")
        assert not database.flush()  # some are missing for good, and it says so
        assert database.trades()["entry_price"].max() == 95_199.0  # the newest are there
        assert len(database.trades()) == waiting


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_raises(fault: str, path: Path, make_event: Make) -> None:
    database = LearningDatabase(path, strict=True)
    database.record(make_event("trades", 1))
    database.flush()
    FAULTS[fault](database)
    for number in range(2, 300):  # more than the pages that are there can take
        database.record(make_event("trades", number))
    with pytest.raises(LearningDatabaseError, match=r"ai_learning\.db"):
        database.flush()
    with pytest.raises(LearningDatabaseError, match=r"ai_learning\.db"):
        database.close()
    assert database.lost == 298


def test_a_search_whose_ledger_is_lost_still_counts_its_own_trials_and_openings(
    path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    import datetime as dt

    key, start, end = TrialKey("a1", "family"), dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1)
    with LearningDatabase(path) as database:
        database.add_trials(key, [0.1, 0.2], run_id="run", batch=0)
        database.flush()
        break_header(database)
        database.add_trials(key, [0.3, float("nan")], run_id="run", batch=1)
        count = database.trials(key)
        assert (count.n_trials, count.n_measured) == (4, 3)
        assert database.open_sealed(key, start=start, end=end, by="run").number == 1
        assert database.open_sealed(key, start=start, end=end, by="other").number == 2
        assert database.optimization("key-1") is None
        assert database.answer("key") is None
        with pytest.raises(LearningDatabaseError, match=r"ai_learning\.db"):
            database.trades()
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


ON_A_SMALL_DISK = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from ai_backtrader.events import RegimeChanged
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.values import Regime
import datetime as dt
path = sys.argv[1] + "/ai_learning.db"
acknowledged = 0
with LearningDatabase(path) as database:
    for number in range(8_000):
        database.record(RegimeChanged(
            symbol="BTC" * 20, at=dt.datetime(2020, 1, 1) + dt.timedelta(hours=number), before=None,
            after=Regime.BULL, high_volatility=False))
        if number % 500 == 499 and database.flush():
            acknowledged = number + 1
print("acknowledged", acknowledged, "failures", database.failures > 0, "lost", database.lost > 0)
with LearningDatabase(path, read_only=True) as database:
    print("stored", database.info()["rows"]["regime_transitions"] >= acknowledged > 0, "sound", database.verify().ok)
"""


def test_a_disk_that_is_really_full_costs_one_warning_and_no_row_that_was_confirmed(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    try:
        ran = subprocess.run(
            ["unshare", "-m", "sh", "-c", mount, ON_A_SMALL_DISK], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if (
        "Operation not permitted" in ran.stderr
        or "must be superuser" in ran.stderr
        or "permission denied" in ran.stderr
    ):
        pytest.skip("a disk of one's own needs the rights to mount one")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("WARNING") == 1
    assert "disk is full" in ran.stderr
    assert "failures True lost True" in ran.stdout
    assert "stored True sound True" in ran.stdout
