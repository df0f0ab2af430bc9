"""A trade's indicators: packed beside a list of their names, told as mappings and JSON, and never told wrongly."""

from __future__ import annotations

import datetime as dt
import json
import math
import sqlite3
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_backtrader.events import TradeClosed
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError, verify_file
from ai_backtrader.learning_db.indicators import name_lists, name_row, packed, unpacked
from ai_backtrader.learning_db.rows import encode
from ai_backtrader.values import Direction

NAMES = [f"feature_{number}" for number in range(28)]


def trade_with(indicators: Mapping[str, Any], number: int = 0) -> TradeClosed:
    return TradeClosed(
        symbol="BTC", strategy_id="s", direction=Direction.LONG, entry_price=1.0, exit_price=2.0, pnl_pct=1.0,
        closed_at=dt.datetime(2024, 3, 1) + dt.timedelta(hours=number), indicators_at_entry=indicators,
    )  # fmt: skip


def told(text: str) -> dict[str, Any]:
    row = name_row(text)
    return unpacked(text, name_lists([] if row is None else [row]))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats()))
def test_every_bit_of_every_value_comes_back_but_of_the_many_nan_one_stands(indicators: dict[str, float]) -> None:
    back = told(packed("", indicators))
    assert back.keys() == indicators.keys()
    for name, value in indicators.items():
        expected = math.nan if math.isnan(value) else value
        assert struct.pack("<d", back[name]) == struct.pack("<d", expected)


def test_equal_indicators_are_the_same_row_whatever_their_order_and_the_kind_of_their_numbers() -> None:
    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    ways: list[dict[Any, Any]] = [
        {"rsi": 0.5, "adx": math.nan},
        {"adx": math.nan, "rsi": 0.5},
        {"adx": other_nan, "rsi": 0.5},
        {np.str_("rsi"): np.float32(0.5), "adx": np.float64("nan")},
    ]
    assert len({encode(trade_with(way)) for way in ways}) == 1
    apart: list[dict[str, Any]] = [
        {"rsi": 0.5, "adx": 0.0}, {"rsi": 0.5, "adx": -0.0}, {"adx": 0.5, "rsi": 0.0}, {"rsi": 0.5}, {},
        {"rsi": 0.5, "adx": 1}, {"rsi": 0.5, "adx": True}, {"rsi": 0.5, "adx": None}, {"rsi": 0.5, "adx": {"x": 1.0}},
    ]  # fmt: skip
    assert len({encode(trade_with(way)) for way in apart}) == len(apart)


@pytest.mark.parametrize("indicators", [{}, {"n": 4, "rsi": 0.5}, {"kind": "ema"}, {"levels": [1.0, 2.0]}, {1: 0.5}])
def test_what_is_not_all_floats_stays_json(indicators: dict[Any, Any]) -> None:
    text = packed("", indicators)
    assert json.loads(text) == json.loads(json.dumps(indicators))
    assert name_row(text) is None


def test_the_names_stand_once_in_the_file_and_a_trade_takes_a_third_of_the_room(path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [dict(zip(NAMES, rng.normal(size=28).tolist(), strict=True)) for _ in range(200)]
    for _ in range(2):
        with LearningDatabase(path, strict=True) as database:
            for number, row in enumerate(rows):
                database.record(trade_with(row, number))
    raw = sqlite3.connect(path)
    (longest,) = raw.execute("SELECT max(length(indicators_at_entry)) FROM trades").fetchone()
    names = raw.execute("SELECT names FROM indicator_names").fetchall()
    raw.close()
    assert [json.loads(text) for (text,) in names] == [sorted(NAMES)]
    assert longest <= len(json.dumps(rows[0])) * 0.4
    with LearningDatabase(path, read_only=True) as database:
        assert database.trades()["indicators_at_entry"].tolist() == rows
        assert [event.indicators_at_entry for event in database.trade_events()] == rows
        assert database.verify().ok


def test_exported_files_show_json(path: Path, tmp_path: Path) -> None:
    with LearningDatabase(path, strict=True) as database:
        database.record(trade_with({"rsi": 0.1, "adx": math.pi}))
        database.record(trade_with({"n": 4, "rsi": 0.5}, 1))
        files = database.export(tmp_path)
    assert set(files) == {"trades"}
    texts = pd.read_csv(files["trades"])["indicators_at_entry"].tolist()
    assert texts == ['{"adx":3.141592653589793,"rsi":0.1}', '{"n":4,"rsi":0.5}']


def test_a_file_that_takes_over_trades_takes_over_their_names(path: Path, tmp_path: Path) -> None:
    with LearningDatabase(tmp_path / "other.db", strict=True) as other:
        other.record(trade_with({"rsi": 0.1}))
        other.record(trade_with({"adx": 0.2}, 1))
    with LearningDatabase(path, strict=True) as database:
        database.record(trade_with({"rsi": 0.1}))
        assert database.merge(tmp_path / "other.db")["trades"] == 1
        assert database.trades()["indicators_at_entry"].tolist() == [{"rsi": 0.1}, {"adx": 0.2}]
        database.record(trade_with({"adx": 0.3}, 2))
        assert database.flush()
        assert database.info()["rows"]["indicator_names"] == 2
    assert verify_file(path).ok


def test_names_that_are_gone_are_missed_and_never_guessed(path: Path) -> None:
    with LearningDatabase(path, strict=True) as database:
        database.record(trade_with({"rsi": 0.1}))
        database.record(trade_with({"kind": "ema"}, 1))
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("DELETE FROM indicator_names")
    raw.close()
    assert verify_file(path).problems == ("trades: of 1 rows the names of the indicators are not there",)
    with LearningDatabase(path) as database:
        for read in (database.trades, database.trade_events):
            with pytest.raises(LearningDatabaseError, match=r"ai_learning\.db: the names of a trade's indicators"):
                read()
        database.record(trade_with({"rsi": 0.2}, 2))  # brings them back: a list is named by what it holds
        assert len(database.trades()) == 3
    assert verify_file(path).ok


def test_names_are_written_with_the_trades_when_a_full_disk_has_room_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LearningDatabase(path) as database:
        with monkeypatch.context() as patch:
            patch.setattr(database._store, "path", path.with_name("elsewhere"))
            patch.setattr("ai_backtrader.learning_db.writer._MOST_ROWS", 10)
            patch.setattr("ai_backtrader.learning_db.writer._BATCH_ROWS", 4)
            patch.setattr("ai_backtrader.learning_db.writer._RETRY_SECONDS", -1.0)
            for number in range(40):
                database.record(trade_with({"rsi": 0.1}, number))
            assert not database.flush()
            assert 0 < database.lost < 40
        database.flush()
        kept = database.trades()
    assert len(kept) == 40 - database.lost
    assert kept["indicators_at_entry"].tolist() == [{"rsi": 0.1}] * len(kept)
    assert kept["closed_at"].max() == pd.Timestamp("2024-03-02 15:00")
