"""Runs, the trial ledger, recorded answers, merging, the content's digest, export."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import MemoryLedger, TrialKey, TrialLedger
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError, RecordedAnswer, verify_file

Make = Callable[..., Any]
KEY = TrialKey("a1b2", "ema_cross")
START, END = dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1)
EVENTS = (
    "trades", "strategy_performance", "optimization_results", "evolved_strategies", "regime_transitions",
    "rl_experiences",
)  # fmt: skip


@pytest.fixture(params=["memory", "database"])
def ledger(request: pytest.FixtureRequest, path: Path) -> Any:
    if request.param == "memory":
        yield MemoryLedger()
    else:
        with LearningDatabase(path, strict=True) as database:
            yield database


def test_every_ledger_adds_up_batches_and_counts_each_once(ledger: TrialLedger) -> None:
    rng = np.random.default_rng(1)
    batches = [rng.normal(0.05, 0.1, 17) for _ in range(5)]
    batches[2][3] = math.nan
    for number, batch in [*enumerate(batches), *enumerate(batches)]:
        ledger.add_trials(KEY, batch, run_id="run", batch=number)
    ledger.add_trials(TrialKey("a1b2", "other"), [9.0], run_id="run")
    count, every = ledger.trials(KEY), np.concatenate(batches)
    assert (count.n_trials, count.n_measured) == (85, 84)
    assert count.sharpe_mean == pytest.approx(np.nanmean(every), abs=1e-15)
    assert count.sharpe_std == pytest.approx(np.nanstd(every, ddof=1), abs=1e-15)


def test_every_ledger_numbers_the_looks_at_a_sealed_window(ledger: TrialLedger) -> None:
    first = ledger.open_sealed(KEY, start=START, end=END, by="monday")
    assert first.sealed
    assert ledger.open_sealed(KEY, start=START, end=END, by="monday") == first
    second = ledger.open_sealed(KEY, start=END, end=END + dt.timedelta(days=9), by="tuesday")
    assert (second.number, second.first_opened_by) == (2, "monday")
    third = ledger.open_sealed(KEY, start=END + dt.timedelta(days=9), end=END + dt.timedelta(days=99), by="monday")
    assert (third.number, third.first_opened_by) == (2, "tuesday")
    assert ledger.open_sealed(TrialKey("a1b2", "other"), start=START, end=END, by="monday").sealed


def test_trials_add_up_across_days_and_a_replayed_run_adds_nothing(path: Path) -> None:
    for day in ("monday", "tuesday", "monday"):
        with LearningDatabase(path, strict=True) as database:
            database.add_trials(KEY, [0.1, math.nan, 0.3], run_id=day)
            counted = database.trials(KEY)  # also what is not written yet
    assert counted.n_trials == 6
    with LearningDatabase(path, read_only=True) as database:
        assert database.trials(KEY) == counted


def test_a_failed_trial_alone_is_counted(path: Path) -> None:
    with LearningDatabase(path, strict=True) as database:
        database.add_trials(KEY, [math.nan], run_id="run")
        database.flush()
        assert database.trials(KEY).n_trials == 1
        assert math.isnan(database.trials(KEY).sharpe_mean)


def test_merged_files_count_each_runs_trials_once(tmp_path: Path, make_event: Make) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    for path, runs in ((ours, ("a", "b")), (theirs, ("b", "c"))):
        with LearningDatabase(path, strict=True) as database:
            for run in runs:
                database.add_trials(KEY, [0.1, 0.2], run_id=run)
                database.record(make_event("trades", ord(run)))
            database.record(make_event("rl_experiences", 1))
            database.open_sealed(KEY, start=START, end=END, by=runs[-1])
    with LearningDatabase(ours, strict=True) as database:
        new = database.merge(theirs)
        assert (new["trials"], new["trades"], new["rl_experiences"], new["sealed_openings"]) == (1, 1, 0, 1)
        assert database.trials(KEY).n_trials == 6
        assert database.open_sealed(KEY, start=START, end=END, by="d").number == 3
        assert database.open_sealed(KEY, start=START, end=END, by="c").number == 2
        assert sum(database.merge(theirs).values()) == 0
        assert sum(database.merge(ours).values()) == 0
        assert database.verify().ok


def test_a_damaged_file_is_not_merged_at_all(tmp_path: Path, make_event: Make) -> None:
    theirs = tmp_path / "theirs.db"
    with LearningDatabase(theirs) as database:
        for number in range(20):
            database.record(make_event("trades", number))
    raw = sqlite3.connect(theirs)
    raw.execute("UPDATE trades SET pnl = 1e9 WHERE id = 15")
    raw.commit()
    raw.close()
    with LearningDatabase(tmp_path / "ours.db") as database:
        with pytest.raises(LearningDatabaseError, match=r"a row of trades is damaged\. Nothing was taken over"):
            database.merge(theirs)
        assert len(database.trades()) == 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    fast: int = 5
    weights: tuple[float, ...] = (0.1, 0.2)
    path: Path = Path("data.csv")


def test_a_run_keeps_what_it_was_made_of_and_equal_runs_have_one_name(path: Path) -> None:
    with LearningDatabase(path, strict=True) as database:
        first = database.start_run("backtest", settings=Settings(), seed=7, data={"BTC/USDT": "a1"})
        database.finish_run(figures={"sharpe_ratio": np.float64(1.25)})
        assert database.start_run("backtest", settings=Settings(), seed=7, data={"BTC/USDT": "a1"}) == first
        others = [
            database.start_run("evolve", settings=Settings(), seed=7, data={"BTC/USDT": "a1"}),
            database.start_run("backtest", settings=Settings(fast=6), seed=7, data={"BTC/USDT": "a1"}),
            database.start_run("backtest", settings=Settings(), seed=8, data={"BTC/USDT": "a1"}),
            database.start_run("backtest", settings=Settings(), seed=7, data={"BTC/USDT": "a2"}),
            database.start_run("backtest", settings=Settings(), seed=7, data={"BTC/USDT": "a1"}, code="mine"),
        ]
        assert len({first, *others}) == 6
        database.finish_run(first, status="failed")
        runs = database.runs()
    assert len(runs) == 6
    assert runs["settings"][0] == {"fast": 5, "weights": [0.1, 0.2], "path": "data.csv"}
    assert (runs["seed"][0], runs["status"][0], runs["status"][1]) == (7, "failed", "running")
    assert runs["versions"][0]["numpy"] == np.__version__
    assert pd.notna(runs["finished_at"][0])
    assert pd.isna(runs["finished_at"][1])


def test_events_belong_to_the_run_that_was_started(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_event("trades", 1))
        run = database.start_run("backtest", seed=1)
        database.record(make_event("trades", 2))
        assert database.trades()["run_id"].tolist() == ["", run]


def test_a_run_that_was_never_started_cannot_finish(path: Path) -> None:
    with LearningDatabase(path) as database, pytest.raises(SettingsError, match="no run 'x' was started"):
        database.finish_run("x")


def test_an_answer_is_found_before_and_after_it_is_written_and_the_last_one_stands(path: Path) -> None:
    answer = RecordedAnswer(
        key="k", model="m", model_digest="d", request="{}", reply='{"action":"HOLD"}', status=200, seconds=1.5
    )
    later = RecordedAnswer(**{**vars(answer), "reply": "{}", "seconds": math.nan})
    with LearningDatabase(path, strict=True) as database:
        database.keep_answer(answer)
        assert database.answer("k") == answer
        database.flush()
        assert database.answer("k") == answer
        database.keep_answer(later)
        database.flush()
        found = database.answer("k")
        assert database.answer("other") is None
    assert found is not None
    assert found.reply == "{}"
    assert math.isnan(found.seconds)


def record_all(path: Path, make_event: Make, order: list[int], *, figure: float = 1.0, restart: bool = False) -> str:
    database = LearningDatabase(path, strict=True)
    database.start_run("backtest", seed=1)
    for number in order:
        for table in EVENTS:
            database.record(make_event(table, number))
        database.add_trials(KEY, [0.1 * number], run_id="run", batch=number)
        if restart:
            database.close()
            database = LearningDatabase(path, strict=True)
            database.start_run("backtest", seed=1)
    database.keep_answer(
        RecordedAnswer(
            key="k", model="m", model_digest="d", request="?", reply="!", status=200, seconds=len(order) * figure
        )
    )
    database.finish_run(figures={"sharpe_ratio": figure})
    digest = database.content_hash()
    database.close()
    return digest


def test_equal_runs_leave_equal_contents_whatever_the_order_and_the_clock(tmp_path: Path, make_event: Make) -> None:
    first = record_all(tmp_path / "1.db", make_event, [1, 2, 3, 4])
    assert record_all(tmp_path / "2.db", make_event, [4, 2, 3, 1], restart=True) == first
    assert record_all(tmp_path / "1.db", make_event, [1, 2, 3, 4]) == first  # repeated into the same file
    assert record_all(tmp_path / "3.db", make_event, [1, 2, 3, 5]) != first
    assert record_all(tmp_path / "4.db", make_event, [1, 2, 3, 4], figure=1.1) != first


def test_the_digest_can_look_at_some_tables_only(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_event("trades", 1))
        before = database.content_hash(["trades"])
        database.record(make_event("regime_transitions", 1))
        assert database.content_hash(["trades"]) == before
        with pytest.raises(SettingsError, match="tables must be one of 'trades'"):
            database.content_hash(["trade"])


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_exported_tables_read_back_as_they_were(format: str, path: Path, tmp_path: Path, make_event: Make) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    read = pd.read_csv if format == "csv" else pd.read_parquet
    with LearningDatabase(path) as database:
        for number in range(3):
            for table in EVENTS:
                database.record(make_event(table, number))
        files = database.export(tmp_path / "out", format=format)  # type: ignore[arg-type]  # both words
        trades, kept = database.trades(), database.experiences(agent="leverage", feature_version="leverage-state/1")
    assert set(files) == {*EVENTS[:-1], "rl_experiences-leverage-leverage-state-1"}
    found = read(files["trades"])
    assert found["pnl_pct"].tolist() == trades["pnl_pct"].tolist()
    assert pd.to_datetime(found["closed_at"]).tolist() == trades["closed_at"].tolist()
    assert found["indicators_at_entry"][0] == '{"adx":25.0,"rsi":55.5}'
    rows = read(files["rl_experiences-leverage-leverage-state-1"])
    assert kept is not None
    assert rows["reward"].tolist() == kept.rewards.tolist()
    for i in range(6):
        assert rows[f"state_{i}"].to_numpy(np.float32).tolist() == kept.states[:, i].tolist()
        assert rows[f"next_state_{i}"].to_numpy(np.float32).tolist() == kept.next_states[:, i].tolist()


def test_an_export_of_nothing_known_is_refused(path: Path, tmp_path: Path) -> None:
    with LearningDatabase(path) as database:
        with pytest.raises(SettingsError, match="format must be one of 'csv', 'parquet', got 'xlsx'"):
            database.export(tmp_path, format="xlsx")  # type: ignore[arg-type]  # the point of the test
        with pytest.raises(SettingsError, match="tables must be one of"):
            database.export(tmp_path, tables=["trade"])
        assert database.export(tmp_path / "out") == {}


def test_info_counts_and_names(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_event("trades", 1))
        database.record(make_event("rl_experiences", 1))
        info = database.info()
    assert info["rows"]["trades"] == 1
    assert info["transitions"] == {"leverage (leverage-state/1)": 50}
    assert info["last_trade"] == "2024-01-01T01:00:00.000000"
    assert info["bytes"] > 0
    assert verify_file(path).ok
