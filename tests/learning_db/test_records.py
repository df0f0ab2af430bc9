"""Events go in and come out: as they were, once, typed, and not before their time."""

from __future__ import annotations

import datetime as dt
import doctest
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ai_backtrader.learning_db.database as database_module
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ParametersOptimized, TradeClosed
from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError
from ai_backtrader.learning_db.indicators import name_lists, name_row
from ai_backtrader.learning_db.rows import decode, encode
from ai_backtrader.learning_db.tables import NAMES, TABLES
from ai_backtrader.values import Direction, Regime

SMALL = ("trades", "strategy_performance", "optimization_results", "evolved_strategies", "regime_transitions")
READERS = ("trades", "strategy_performance", "optimization_results", "evolved_strategies", "regime_transitions")
NOON = dt.datetime(2024, 3, 1, 12)
Make = Callable[[str, int], Any]


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(database_module)
    assert outcome.attempted >= 4
    assert outcome.failed == 0


@pytest.mark.parametrize("table", SMALL)
def test_an_event_comes_back_as_it_was(table: str, path: Path, make_event: Make) -> None:
    events = [make_event(table, number) for number in range(5)]
    with LearningDatabase(path, strict=True) as database:
        for event in events:
            database.record(event)
    raw = sqlite3.connect(path)
    columns = ", ".join(f'"{name}"' for name in TABLES[table].content)
    stored = raw.execute(f'SELECT {columns} FROM "{table}" ORDER BY id').fetchall()  # noqa: S608  # our own names
    names = name_lists(raw.execute(NAMES.select()))
    raw.close()
    assert [decode(table, row, names) for row in stored] == events


@given(
    prices=st.lists(st.floats(allow_infinity=False), min_size=2, max_size=2),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    indicators=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=4),
    moment=st.none() | st.datetimes(),
)
def test_any_trade_survives_its_row(
    prices: list[float], name: str, indicators: dict[str, float], moment: dt.datetime | None
) -> None:
    trade = TradeClosed(
        symbol=name, strategy_id=name, direction=Direction.SHORT, entry_price=prices[0], exit_price=prices[1],
        pnl_pct=1.0, closed_at=moment, indicators_at_entry=indicators,
    )  # fmt: skip
    table, content = encode(trade)
    connection = sqlite3.connect(":memory:")
    stored = connection.execute(f"SELECT {', '.join('?' * len(content))}", content).fetchone()
    connection.close()
    row = name_row(content[-1])
    back = decode(table, stored, name_lists([] if row is None else [row]))
    assert TABLES[table].row(content, ("",)) == TABLES[table].row(stored, ("",))
    for before, after in ((trade.entry_price, back.entry_price), (trade.exit_price, back.exit_price)):
        assert before == after or (math.isnan(before) and math.isnan(after))
    assert (back.symbol, back.closed_at, back.indicators_at_entry) == (name, moment, indicators)


@pytest.mark.parametrize("table", SMALL)
def test_the_same_event_twice_counts_once_within_a_run_and_across_runs(
    table: str, path: Path, make_event: Make
) -> None:
    for _ in range(2):
        with LearningDatabase(path, strict=True) as database:
            for number in (1, 2, 1, 2):
                database.record(make_event(table, number))
            database.flush()
            database.record(make_event(table, 1))
            assert len(getattr(database, table)()) == 2


def test_numpy_scalars_are_stored_as_what_they_mean(path: Path) -> None:
    with LearningDatabase(path, strict=True) as database:
        database.record(
            TradeClosed(
                symbol=np.str_("BTC"), strategy_id="s", direction=Direction.LONG, entry_price=np.float32(1.5),
                exit_price=np.int64(3), pnl_pct=np.float64(2.0), hold_bars=np.int64(7), liquidated=np.bool_(True),
                closed_at=pd.Timestamp("2024-03-01 12:00:00.000000123"),
                indicators_at_entry={"rsi": np.float32(0.5), "n": np.int64(4)},
            )
        )  # fmt: skip
    raw = sqlite3.connect(path)
    names = ("symbol", "entry_price", "exit_price", "pnl_pct", "hold_bars", "liquidated", "closed_at")
    columns = ", ".join(f"typeof({name})" for name in names)
    kinds = raw.execute(f"SELECT {columns} FROM trades").fetchone()  # noqa: S608  # our own names
    values = raw.execute("SELECT hold_bars, liquidated, closed_at, indicators_at_entry FROM trades").fetchone()
    raw.close()
    assert kinds == ("text", "real", "real", "real", "integer", "integer", "text")
    assert values == (7, 1, "2024-03-01T12:00:00.000000", '{"n":4,"rsi":0.5}')


def test_the_same_values_in_other_types_are_the_same_row() -> None:
    fields = {
        "strategy_id": "s", "entry_price": 1.5, "exit_price": -0.0, "pnl_pct": math.nan, "hold_bars": 7, "pnl": 3.0,
        "liquidated": True,
    }  # fmt: skip
    plain = TradeClosed(
        **fields, symbol="BTC", direction=Direction.LONG, regime=Regime.BULL, opened_at=NOON, closed_at=NOON,
        indicators_at_entry={"rsi": 0.5, "n": 4},
    )  # type: ignore[arg-type]  # the fields are those of a trade  # fmt: skip
    others = TradeClosed(
        symbol=np.str_("BTC"), strategy_id=np.str_("s"), direction="LONG", regime="bull", entry_price=np.float32(1.5),
        exit_price=0, pnl_pct=np.float64("nan"), hold_bars=np.int64(7), pnl=np.int8(3), liquidated=np.bool_(True),
        opened_at=pd.Timestamp(NOON), closed_at=NOON.replace(hour=14, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        indicators_at_entry={"rsi": np.float32(0.5), "n": np.int64(4)},
    )  # type: ignore[arg-type]  # the point of the test  # fmt: skip
    assert encode(plain) == encode(others)
    kinds = {type(value) for value in encode(others)[1]}
    assert kinds <= {str, float, int, type(None)}


def test_nan_and_infinity_come_back(path: Path) -> None:
    trade = TradeClosed(
        symbol="BTC", strategy_id="s", direction=Direction.LONG, entry_price=1.0, exit_price=math.inf,
        pnl_pct=math.nan, closed_at=NOON, indicators_at_entry={"rsi": math.nan, "ratio": -math.inf},
    )  # fmt: skip
    with LearningDatabase(path, strict=True) as database:
        database.record(trade)
        database.record(trade)
        (back,) = database.trade_events()
    assert math.isnan(back.pnl_pct)
    assert back.exit_price == math.inf
    assert math.isnan(back.indicators_at_entry["rsi"])
    assert back.indicators_at_entry["ratio"] == -math.inf


def test_frames_have_columns_one_can_compute_with(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        empty = database.trades()
        for number in range(3):
            database.record(make_event("trades", number))
        found = database.trades()
    assert list(found.columns) == list(empty.columns)
    assert (found["closed_at"] - found["opened_at"]).eq(pd.Timedelta(hours=4)).all()
    assert found["pnl"].sum() == pytest.approx(30.0)
    assert found["liquidated"].tolist() == [True, False, False]
    assert found["indicators_at_entry"][1] == {"rsi": 56.5, "adx": 25.0}
    assert found["direction"].tolist() == ["LONG", "SHORT", "LONG"]
    assert len(empty) == 0


@pytest.mark.parametrize("reader", READERS)
def test_deleting_the_future_changes_nothing_that_was_known(reader: str, path: Path, make_event: Make) -> None:
    moments = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=hour, minutes=30) for hour in (-1, 0, 7, 19)]
    with LearningDatabase(path, strict=True) as database:
        for number in reversed(range(20)):  # recorded in any order
            database.record(make_event(reader, number))
        before = [getattr(database, reader)(as_of=moment) for moment in moments]
        assert [len(found) for found in before] == [0, 1, 8, 20]
        for moment, known in zip(reversed(moments), reversed(before), strict=True):
            time = TABLES[reader].time
            with database._store.transaction() as connection:
                sql = f'DELETE FROM "{reader}" WHERE "{time}" > ?'  # noqa: S608  # our own names
                connection.execute(sql, (moment.isoformat(),))
            pd.testing.assert_frame_equal(getattr(database, reader)(as_of=moment), known)
            pd.testing.assert_frame_equal(getattr(database, reader)(), known)


def test_what_happened_at_the_moment_itself_is_known_and_what_has_no_time_is_not(path: Path, make_event: Make) -> None:
    timeless = TradeClosed(
        symbol="BTC", strategy_id="s", direction=Direction.LONG, entry_price=1.0, exit_price=2.0, pnl_pct=1.0
    )
    with LearningDatabase(path) as database:
        database.record(make_event("trades", 5))
        database.record(timeless)
        moment = dt.datetime(2024, 1, 1, 5)
        assert len(database.trades(as_of=moment)) == 1
        assert len(database.trades(as_of=np.datetime64(moment, "ns"))) == 1
        assert len(database.trades(as_of=moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))))) == 0
        assert len(database.trades()) == 2


def test_readers_filter_by_symbol_and_strategy(path: Path, make_event: Make) -> None:
    with LearningDatabase(path) as database:
        database.record(make_event("trades", 1))
        assert len(database.trades(symbol="BTC/USDT", strategy_id="ema_cross")) == 1
        assert len(database.trades(symbol="ETH/USDT")) == 0
        assert len(database.trades(strategy_id="' OR 1=1 --")) == 0


def test_of_a_search_key_the_last_result_stands_and_is_found_before_it_is_written(path: Path, make_event: Make) -> None:
    first = make_event("optimization_results", 1)
    second = ParametersOptimized(
        key="key-1", symbol="BTC/USDT", timeframe="1h", strategy="ema_cross", parameters={"fast": 9}, score=2.0,
        n_trials=60, seed=1, regime=Regime.BULL,
    )  # fmt: skip
    with LearningDatabase(path, strict=True) as database:
        database.record(first)
        assert database.optimization("key-1") == first
        database.flush()
        assert database.optimization("key-1") == first
        database.record(second)
        database.flush()
        assert database.optimization("key-1") == second
        assert database.optimization("key-2") is None
        assert len(database.optimization_results()) == 1


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"symbol": None}, "symbol must be a text, got None"),
        ({"symbol": "\ud800"}, "symbol must be valid Unicode"),
        ({"entry_price": "dear"}, "entry_price must be a number, got 'dear'"),
        ({"hold_bars": 2**70}, "hold_bars must fit into 64 bits"),
        ({"hold_bars": None}, "hold_bars must be a whole number, got None"),
        ({"closed_at": "yesterday"}, "closed_at must be a time or None, got 'yesterday'"),
        ({"indicators_at_entry": {"x": object()}}, "cannot be kept as JSON"),
    ],
)
def test_a_field_that_cannot_be_kept_is_named_at_once(fields: dict[str, Any], match: str, path: Path) -> None:
    known = {
        "symbol": "BTC", "strategy_id": "s", "direction": Direction.LONG, "entry_price": 1.0, "exit_price": 2.0,
        "pnl_pct": 1.0,
    }  # fmt: skip
    with LearningDatabase(path) as database, pytest.raises(SettingsError, match=match):
        database.record(TradeClosed(**{**known, **fields}))


def test_what_is_no_event_is_refused(path: Path) -> None:
    with LearningDatabase(path) as database, pytest.raises(SettingsError, match="one of the six events, got 'trade'"):
        database.record("trade")  # type: ignore[arg-type]  # the point of the test


def test_a_closed_database_says_so(path: Path, make_event: Make) -> None:
    database = LearningDatabase(path)
    database.record(make_event("trades", 1))
    database.close()
    database.close()
    with pytest.raises(LearningDatabaseError, match="closed"):
        database.record(make_event("trades", 2))
    with pytest.raises(LearningDatabaseError, match="closed"):
        database.trades()
    with LearningDatabase(path, read_only=True) as again:
        assert len(again.trades()) == 1


def test_a_full_batch_and_an_old_one_are_written_without_being_asked(
    path: Path, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LearningDatabase(path) as database, LearningDatabase(path, read_only=True) as reader:
        for number in range(999):
            database.record(make_event("trades", number))
        assert len(reader.trades()) == 0
        database.record(make_event("trades", 999))
        assert len(reader.trades()) == 1_000
        monkeypatch.setattr("ai_backtrader.learning_db.writer._BATCH_SECONDS", 0.0)
        database.record(make_event("trades", 2_000))
        assert len(reader.trades()) == 1_001
