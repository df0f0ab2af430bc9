"""MarketData: immutable, picklable, sliceable, the same whatever way it came in."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.table import OPTIONAL, REQUIRED

SHARED = {
    "BTCUSDT-1h-2018-2023.csv.gz": ("BTCUSDT", 52462, 3600, 27),
    "BTCUSDT-perp-1h-2020-2023.csv.gz": ("BTCUSDT-perp", 35064, 3600, 0),
    "DOGE-perp-binance-1h-2025-2026-oi.csv.gz": ("DOGE-perp-binance", 8736, 3600, 0),
    "ETHUSDT-1h-2018-2023.csv.gz": ("ETHUSDT", 52462, 3600, 27),
    "ETHUSDT-perp-1h-2020-2023.csv.gz": ("ETHUSDT-perp", 35064, 3600, 0),
    "EURUSD-1h-2017-2022.csv.gz": ("EURUSD", 33528, 3600, 291),
    "EURUSD-ask-1h-2017.csv.gz": ("EURUSD-ask", 6225, 3600, 52),
    "LTCUSDT-1h-2020-2023.csv.gz": ("LTCUSDT", 35032, 3600, 15),
    "ORCL-1d-1995-2014-backtrader-sample.csv.gz": ("ORCL", 5036, 86_400, 1091),
    "SP500-1d-1999-2018.csv.gz": ("SP500", 5031, 86_400, 1090),
}


def frame(bars: int = 40, freq: str = "h", **optional: Any) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
    open_ = np.concatenate(([100.0], close[:-1]))
    table = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * 1.002,
            "low": np.minimum(open_, close) * 0.998,
            "close": close,
            "volume": rng.uniform(1, 9, bars),
        },
        index=pd.date_range("2024-01-01", periods=bars, freq=freq, tz="UTC"),
    )
    return table.assign(**optional)


def full(bars: int = 40) -> MarketData:
    table = frame(bars)
    for name in ("open", "high", "low", "close"):
        table[f"mark_{name}"] = table[name] * 1.001
    table["funding_rate"] = np.where(np.arange(bars) % 8 == 0, 1e-4, np.nan)
    table["open_interest"] = np.where(np.arange(bars) < 10, np.nan, 1e6)
    table["long_short_ratio"] = np.where(np.arange(bars) < 5, np.nan, 1.3)
    table["taker_buy_volume"] = table["volume"] / 2
    return MarketData.from_frame(table, symbol="FULL")


@pytest.mark.parametrize("name", SHARED)
def test_every_shared_file_loads_without_an_argument(name: str, shared_csv: Callable[[str], Path]) -> None:
    path = shared_csv(name)
    data = MarketData.from_csv(path)
    assert (data.symbol, len(data), data.bar_seconds, data.report.gaps) == SHARED[name]
    assert data.report.assumed_zone == "UTC"
    theirs = pd.read_csv(path, parse_dates=["datetime"])
    np.testing.assert_array_equal(data.times, theirs["datetime"].to_numpy("datetime64[ns]"))
    for column, values in data.columns().items():
        np.testing.assert_array_equal(values, theirs[column].to_numpy(float))
    assert MarketData.from_frame(data.to_frame(), symbol=data.symbol).same_content(data)


@pytest.mark.parametrize("name", SHARED)
def test_the_first_n_bars_equal_loading_the_first_n_rows(name: str, shared_csv: Callable[[str], Path]) -> None:
    path = shared_csv(name)
    data = MarketData.from_csv(path)
    for n in (2, 7, 1000):
        rows = pd.read_csv(path, nrows=n)
        part = MarketData.from_frame(rows, symbol=data.symbol, bar_seconds=data.bar_seconds)
        assert part.same_content(data.head(n))
        assert part.report.to_dict() | {"feed": "", "rows_read": 0} == data.head(n).report.to_dict() | {
            "feed": "",
            "rows_read": 0,
        }


def test_the_first_n_bars_equal_loading_them_where_optional_columns_start_late() -> None:
    data = full()
    for n in range(2, 41):
        part = MarketData.from_frame(data.to_frame().iloc[:n], symbol="FULL")
        assert part.same_content(data.head(n))


def test_arrays_cannot_be_written_and_share_nothing_with_their_source() -> None:
    source = frame(funding_rate=0.0)
    data = MarketData.from_frame(source, symbol="X")
    before = data.close.copy()
    source["close"] = 1.0
    arrays = {name: values.copy() for name, values in data.columns().items()}
    made = MarketData(symbol="X", times=data.times, bar_seconds=3600, **arrays)
    arrays["close"][:] = 1.0
    for held in (data, made, made.head(10), data.between("2024-01-01 03:00", None)):
        assert all(not values.flags.writeable for values in (held.times, *held.columns().values()))
        with pytest.raises(ValueError, match="read-only"):
            held.close[0] = 5.0
        with pytest.raises(dataclasses.FrozenInstanceError, match="symbol"):
            held.symbol = "Y"  # type: ignore[misc]
    np.testing.assert_array_equal(made.close, before)
    np.testing.assert_array_equal(data.close, before)
    exported = data.to_frame()
    exported["close"] = 1.0
    np.testing.assert_array_equal(data.close, before)


def test_types_and_units_of_the_arrays() -> None:
    data = full()
    assert data.times.dtype == np.dtype("datetime64[ns]")
    assert all(values.dtype == np.float64 and values.flags.c_contiguous for values in data.columns().values())
    assert list(data.columns()) == [*REQUIRED, *OPTIONAL]
    assert data.has_mark
    bare = MarketData.from_frame(frame(), symbol="X")
    assert not bare.has_mark
    assert all(getattr(bare, name) is None for name in OPTIONAL)
    assert repr(bare) == "MarketData('X', 40 bars of 3600 s, 2024-01-01 00:00:00 to 2024-01-02 15:00:00)"


@pytest.mark.parametrize("twin", [lambda d: pickle.loads(pickle.dumps(d)), copy.copy, copy.deepcopy])  # noqa: S301
def test_pickles_and_copies_stay_equal_and_read_only(twin: Callable[[MarketData], MarketData]) -> None:
    data = full()
    again = twin(data)
    assert again.same_content(data)
    assert again.report == data.report
    assert not again.close.flags.writeable
    assert not again.times.flags.writeable


def test_the_fingerprint_changes_with_every_part_of_the_content() -> None:
    data = full()
    prints = {data.fingerprint}
    table = data.to_frame()
    for name in table.columns:
        changed = table.copy()
        changed.iloc[20, changed.columns.get_loc(name)] *= 1 + 1e-15 if name == "funding_rate" else 1 - 1e-6
        if name == "funding_rate":
            changed.iloc[20, changed.columns.get_loc(name)] = 1e-9
        prints.add(MarketData.from_frame(changed, symbol="FULL", repair="clip_ohlc").fingerprint)
    prints.add(MarketData.from_frame(table, symbol="OTHER").fingerprint)
    prints.add(MarketData.from_frame(table.shift(freq="h"), symbol="FULL").fingerprint)
    prints.add(MarketData.from_frame(table.drop(columns="open_interest"), symbol="FULL").fingerprint)
    prints.add(data.head(39).fingerprint)
    assert len(prints) == len(table.columns) + 5
    assert full().fingerprint == data.fingerprint
    assert not data.same_content(table)


def test_parts_by_number_and_by_time() -> None:
    data = full()
    assert len(data.head(10)) == 10
    assert data.head(1000).same_content(data)
    assert data.head(np.int64(3)).same_content(data.head(3))
    part = data.between("2024-01-01 03:00", "2024-01-01 06:00")
    assert [str(time)[11:13] for time in part.times] == ["03", "04", "05"]
    berlin = data.between(pd.Timestamp("2024-01-01 04:00", tz="Europe/Berlin"), np.datetime64("2024-01-01T06:00"))
    assert berlin.same_content(part)
    assert data.between(None, None).same_content(data)
    assert part.report.bars == 3
    assert part.report.first == "2024-01-01 03:00:00"


def test_parts_that_do_not_exist_are_refused() -> None:
    data = full()
    for n in (0, -1, 2.5, True, None):
        with pytest.raises(SettingsError, match="n must be a whole number from 1"):
            data.head(n)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no bar in the range asked for"):
        data.between("2025-01-01", None)
    for wrong in ("noon", pd.NaT, object()):
        with pytest.raises(SettingsError, match="start must be a time"):
            data.between(wrong, None)


@pytest.mark.parametrize(
    ("freq", "bars", "per_year"), [("h", 24 * 366, 8766.0), ("5min", 5000, 105_192.0), ("D", 800, 365.25)]
)
def test_bars_per_year_round_the_clock(freq: str, bars: int, per_year: float) -> None:
    data = MarketData.from_frame(frame(bars, freq), symbol="X")
    assert data.bars_per_year == pytest.approx(per_year, rel=1e-12)
    assert data.head(1).bars_per_year == pytest.approx(per_year, rel=1e-12)


def test_bars_per_year_counts_sessions() -> None:
    index = pd.bdate_range("2020-01-01", "2023-12-31", tz="UTC")
    table = frame(len(index)).set_axis(index, axis=0)
    assert MarketData.from_frame(table, symbol="X").bars_per_year == pytest.approx(365.25 * 5 / 7, rel=2e-3)


def test_data_made_from_arrays_are_checked_like_a_file() -> None:
    data = full()
    made = MarketData(symbol="FULL", times=data.times, bar_seconds=3600, **data.columns())
    assert made.same_content(data)
    columns = data.columns()
    with pytest.raises(DataError, match="high below low"):
        MarketData(symbol="FULL", times=data.times, bar_seconds=3600, **columns | {"high": columns["low"] * 0.9})
    with pytest.raises(DataError, match="column of another length than the times"):
        MarketData(symbol="FULL", times=data.times, bar_seconds=3600, **columns | {"volume": np.ones(3)})
    with pytest.raises(DataError, match=r"not an array of datetime64\[ns\].*column times"):
        MarketData(symbol="FULL", times=["noon"] * 40, bar_seconds=3600, **columns)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"not an array of float64.*column close"):
        MarketData(symbol="FULL", times=data.times, bar_seconds=3600, **columns | {"close": ["x"] * 40})  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"not an array of one dimension.*column close"):
        MarketData(symbol="FULL", times=data.times, bar_seconds=3600, **columns | {"close": np.ones((40, 2))})
    with pytest.raises(DataError, match="a bar starts before the last one of 7200 s has ended"):
        MarketData(symbol="FULL", times=data.times, bar_seconds=7200, **columns)
    for symbol in ("", "  ", None, 3):
        with pytest.raises(SettingsError, match="symbol must be a text that is not empty"):
            MarketData(symbol=symbol, times=data.times, bar_seconds=3600, **columns)  # type: ignore[arg-type]


def test_the_report_says_what_is_no_fault() -> None:
    table = frame(40).drop(frame(40).index[[5, 6, 20]])
    table["volume"] = np.where(np.arange(37) < 4, 0.0, table["volume"])
    table["comment"] = "x"
    for name in ("open", "high", "low", "close"):
        table.iloc[10:14, table.columns.get_loc(name)] = table["close"].iloc[9]
        table[f"mark_{name}"] = table[name].where(np.arange(37) != 30)
    table["open_interest"] = np.where(np.arange(37) < 9, np.nan, 5.0)
    report = MarketData.from_frame(table.tz_localize(None), symbol="X").report
    assert (report.bars, report.rows_read, report.assumed_zone) == (37, 37, "UTC")
    assert (report.gaps, report.longest_gap_seconds) == (2, 3 * 3600)
    assert dataclasses.asdict(report.first_gaps[0]) == {
        "last_before": "2024-01-01 04:00:00",
        "first_after": "2024-01-01 07:00:00",
        "seconds": 3 * 3600,
    }
    assert (report.zero_volume_bars, report.flat_bars, report.longest_flat) == (4, 4, 4)
    assert report.mark_filled == 1
    assert report.missing == {"open_interest": 9}
    assert report.ignored_columns == ("comment",)
    text = str(report)
    for words in (
        "X: 37 bars of 1 hour, 2024-01-01 00:00:00 to 2024-01-02 15:00:00 UTC",
        "times without a zone were read as UTC",
        "2 gaps, longest 3 hours; first from 2024-01-01 04:00:00 to 2024-01-01 07:00:00",
        "4 bars without volume",
        "4 bars without any move, at most 4 in a row",
        "1 bars without a mark price: the last price stands in",
        "open_interest is missing in 9 bars",
        "columns not read: comment",
    ):
        assert words in text
