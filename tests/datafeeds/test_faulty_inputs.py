# ruff: noqa: E501  (a table: one fault a line reads better than one fault a page)
"""Faulty inputs: each is refused with its problem, row, column, value and mend, before a strategy sees a bar."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.datafeeds import MarketData, PerpetualData
from ai_backtrader.errors import DataError


def good() -> pd.DataFrame:
    """48 hourly bars that rise by 1: bar i opens at 100+i, spans 99.5+i to 101+i and closes at 100.5+i."""
    i = np.arange(48.0)
    index = pd.date_range("2024-03-01", periods=48, freq="h", tz="UTC")
    return pd.DataFrame(
        {"open": 100 + i, "high": 101 + i, "low": 99.5 + i, "close": 100.5 + i, "volume": np.full(48, 10.0)},
        index=index,
    )


def cell(column: str, row: int, value: object, *more_rows: int) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        frame = good()
        if column not in frame:
            frame[column] = 1.0
        if not isinstance(value, float):
            frame[column] = frame[column].astype(object)
        for at in (row, *more_rows):
            frame.iloc[at, frame.columns.get_loc(column)] = value
        return frame

    return make


def mark(
    column: str | None = None, row: int = 0, value: float = 0.0, drop: str | None = None
) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        frame = good()
        for name in ("open", "high", "low", "close"):
            frame[f"mark_{name}"] = frame[name]
        if column is not None:
            frame.iloc[row, frame.columns.get_loc(column)] = value
        return frame if drop is None else frame.drop(columns=drop)

    return make


def text_times(*texts: tuple[int, str], aware: bool = False) -> Callable[[], pd.DataFrame]:
    def make() -> pd.DataFrame:
        frame = good()
        times = frame.index.strftime("%Y-%m-%d %H:%M" + ("+00:00" if aware else "")).to_numpy(dtype=object)
        for row, text in texts:
            times[row] = text
        return frame.reset_index(drop=True).assign(datetime=times)

    return make


def times(change: Callable[[pd.DatetimeIndex], Any]) -> Callable[[], pd.DataFrame]:
    return lambda: good().set_axis(change(good().index), axis=0)


def moved(index: pd.DatetimeIndex, row: int, to: str) -> pd.DatetimeIndex:
    values = list(index)
    values[row] = pd.Timestamp(to, tz="UTC")
    return pd.DatetimeIndex(values)


def local(start: str, freq: str = "h") -> Callable[[], pd.DataFrame]:
    return lambda: good().set_axis(pd.date_range(start, periods=48, freq=freq), axis=0)


def csv_text() -> str:
    text: str = good().tz_localize(None).rename_axis("datetime").to_csv(date_format="%Y-%m-%d %H:%M:%S")
    return text


def edited(line: int, text: str) -> Callable[[], bytes]:
    def make() -> bytes:
        lines = csv_text().splitlines()
        lines[line] = text
        return "\n".join(lines).encode()

    return make


@dataclass(frozen=True)
class Fault:
    """One faulty input and what the refusal must say; None means that the field must be None."""

    name: str
    make: Callable[[], object]
    problem: str
    row: str | None = None
    column: str | None = None
    value: str | None = None
    mend: str = ""
    options: dict[str, Any] = field(default_factory=dict)


FRAMES = [
    # --- numbers ---
    Fault("NaN open", cell("open", 5, np.nan), "missing value (NaN)", "5 (2024-03-01 05:00:00)", "open", "nan", "drop_nan"),
    Fault("NaN high", cell("high", 47, np.nan), "missing value (NaN)", "47 (2024-03-02 23:00:00)", "high", "nan", "drop_nan"),
    Fault("NaN low", cell("low", 0, np.nan), "missing value (NaN)", "0 (2024-03-01 00:00:00)", "low", "nan", "drop_nan"),
    Fault("NaN close, three rows", cell("close", 7, np.nan, 9, 30), "missing value (NaN)", "7 (2024-03-01 07:00:00)", "close", "nan; 2 more such rows", "drop_nan"),
    Fault("NaN volume", cell("volume", 3, np.nan), "missing value (NaN)", "3 (2024-03-01 03:00:00)", "volume", "nan", "drop_nan"),
    Fault("None close", cell("close", 3, None), "missing value (NaN)", "3 (2024-03-01 03:00:00)", "close", "nan", "drop_nan"),
    Fault("infinite high", cell("high", 4, np.inf), "infinite value", "4 (2024-03-01 04:00:00)", "high", "inf", "drop_nan"),
    Fault("minus infinite low", cell("low", 4, -np.inf), "infinite value", "4 (2024-03-01 04:00:00)", "low", "-inf", "drop_nan"),
    Fault("infinite volume", cell("volume", 4, np.inf, 5), "infinite value", "4 (2024-03-01 04:00:00)", "volume", "inf; 1 more such row", "drop_nan"),
    Fault("zero close", cell("close", 6, 0.0), "price is zero", "6 (2024-03-01 06:00:00)", "close", "0.0", "drop_nonpositive"),
    Fault("zero low", cell("low", 6, 0.0), "price is zero", "6 (2024-03-01 06:00:00)", "low", "0.0", "drop_nonpositive"),
    Fault("negative open", cell("open", 6, -106.0), "price is negative", "6 (2024-03-01 06:00:00)", "open", "-106.0", "drop_nonpositive"),
    Fault("negative volume", cell("volume", 8, -10.0), "negative volume", "8 (2024-03-01 08:00:00)", "volume", "-10.0", "clip_volume"),
    Fault("text in a price", cell("close", 9, "n.q."), "text where a number should be", "9 (2024-03-01 09:00:00)", "close", "'n.q.'", "text_to_nan"),
    Fault("thousands mark", cell("volume", 9, "1,000"), "text where a number should be", "9 (2024-03-01 09:00:00)", "volume", "'1,000'", "thousands"),
    Fault("truth value in a price", cell("close", 9, True), "text where a number should be", "9 (2024-03-01 09:00:00)", "close", "'True'", "number"),
    Fault("column of truth values", lambda: good().assign(volume=True), "text where a number should be", "0 (2024-03-01 00:00:00)", "volume", "'True'; 47 more", "number"),
    Fault("column of dates", lambda: good().assign(close=pd.Timestamp("2024-01-01")), "text where a number should be", "0 (2024-03-01 00:00:00)", "close", "'2024-01-01", "number"),
    # --- the bar ---
    Fault("high below low", cell("high", 10, 109.0), "high below low", "10 (2024-03-01 10:00:00)", "high", "high 109.0, low 109.5", "clip_ohlc"),
    Fault("close above high", cell("close", 11, 120.0), "close outside the bar", "11 (2024-03-01 11:00:00)", "close", "120.0 outside 110.5 to 112.0", "clip_ohlc"),
    Fault("close below low", cell("close", 11, 105.0, 12), "close outside the bar", "11 (2024-03-01 11:00:00)", "close", "105.0 outside 110.5 to 112.0; 1 more such row", "clip_ohlc"),
    Fault("open above high", cell("open", 11, 120.0), "open outside the bar", "11 (2024-03-01 11:00:00)", "open", "120.0 outside", "clip_ohlc"),
    Fault("open below low", cell("open", 11, 100.0), "open outside the bar", "11 (2024-03-01 11:00:00)", "open", "100.0 outside", "clip_ohlc"),
    # --- spikes ---
    Fault("spike that comes back", lambda: good().pipe(scale, [20], 6.0), "price spike: the close moves by more than a factor of 5 and comes back", "20 (2024-03-01 20:00:00)", "close", "723.0", "drop_spikes"),
    Fault("spike downwards", lambda: good().pipe(scale, [20], 0.1), "price spike: the close moves by more than a factor of 5 and comes back", "20 (2024-03-01 20:00:00)", "close", "12.05", "drop_spikes"),
    Fault("jump to another unit", lambda: good().pipe(scale, range(30, 48), 100.0), "price jump: the close moves by more than a factor of 20 in one bar", "30 (2024-03-02 06:00:00)", "close", "13050.0", "unit"),
    Fault("absurd high", cell("high", 21, 9999.0), "price spike: high lies more than a factor of 20 from the close", "21 (2024-03-01 21:00:00)", "high", "9999.0", "jump_factor"),
    Fault("absurd low", cell("low", 21, 0.01), "price spike: low lies more than a factor of 20 from the close", "21 (2024-03-01 21:00:00)", "low", "0.01", "jump_factor"),
    # --- optional columns ---
    Fault("taker-buy above volume", cell("taker_buy_volume", 13, 10.5), "taker-buy volume above volume", "13 (2024-03-01 13:00:00)", "taker_buy_volume", "10.5", "clip_volume"),
    Fault("negative taker-buy", cell("taker_buy_volume", 13, -0.5), "negative volume", "13 (2024-03-01 13:00:00)", "taker_buy_volume", "-0.5", "clip_volume"),
    Fault("negative open interest", cell("open_interest", 14, -1.0), "negative open interest", "14 (2024-03-01 14:00:00)", "open_interest", "-1.0", "drop_optional"),
    Fault("infinite open interest", cell("open_interest", 14, np.inf), "infinite value", "14 (2024-03-01 14:00:00)", "open_interest", "inf", "drop_optional"),
    Fault("zero long/short ratio", cell("long_short_ratio", 15, 0.0), "long/short ratio not above zero", "15 (2024-03-01 15:00:00)", "long_short_ratio", "0.0", "drop_optional"),
    Fault("negative long/short ratio", cell("long_short_ratio", 15, -2.0), "long/short ratio not above zero", "15 (2024-03-01 15:00:00)", "long_short_ratio", "-2.0", "drop_optional"),
    Fault("funding in percent", lambda: good().assign(funding_rate=0.0).pipe(put, "funding_rate", 16, 1.5), "funding rate beyond ±10%", "16 (2024-03-01 16:00:00)", "funding_rate", "1.5", "drop_optional"),
    Fault("negative funding", lambda: good().assign(funding_rate=0.0).pipe(put, "funding_rate", 16, -0.2), "funding rate beyond ±10%", "16 (2024-03-01 16:00:00)", "funding_rate", "-0.2", "drop_optional"),
    Fault("infinite funding", lambda: good().assign(funding_rate=0.0).pipe(put, "funding_rate", 16, np.inf), "infinite value", "16 (2024-03-01 16:00:00)", "funding_rate", "inf", "drop_optional"),
    Fault("text in funding", lambda: good().assign(funding_rate="none"), "text where a number should be", "0 (2024-03-01 00:00:00)", "funding_rate", "'none'; 47 more", "text_to_nan"),
    Fault("part of the mark", mark(drop="mark_low"), "mark price is incomplete", None, "mark_low", "only mark_open, mark_high, mark_close", "all four"),
    Fault("mark high below low", mark("mark_high", 17, 116.0), "high below low", "17 (2024-03-01 17:00:00)", "mark_high", "mark_high 116.0, mark_low 116.5", "clip_ohlc"),
    Fault("mark close outside", mark("mark_close", 17, 200.0), "close outside the bar", "17 (2024-03-01 17:00:00)", "mark_close", "200.0 outside", "clip_ohlc"),
    Fault("zero mark", mark("mark_low", 18, 0.0), "mark price is not a finite number above zero", "18 (2024-03-01 18:00:00)", "mark_low", "0.0", "drop_optional"),
    # --- times ---
    Fault("duplicated time", times(lambda i: moved(i, 5, "2024-03-01 04:00")), "duplicated time", "5 (2024-03-01 04:00:00)", "datetime", "2024-03-01 04:00:00", "drop_duplicates"),
    Fault("unsorted", times(lambda i: i[[1, 0, *range(2, 48)]]), "times are not sorted", "1 (2024-03-01 00:00:00)", "datetime", "2024-03-01 00:00:00", "repair='sort'"),
    Fault("reversed", lambda: good().iloc[::-1], "times run backwards", "1 (2024-03-02 22:00:00)", "datetime", "2024-03-02 22:00:00 after 2024-03-02 23:00:00", "repair='reverse'"),
    Fault("no time in a row", times(lambda i: i.where(i != i[5])), "missing time", "5 (no time)", "datetime", "no time", "drop_nan"),
    Fault("no zone where one is demanded", lambda: good().tz_localize(None), "times without a zone", "0", "index", "2024-03-01 00:00:00", "time_zone='UTC'", {"time_zone": None}),
    Fault("aware after naive", text_times((9, "2024-03-01 09:00+00:00")), "times with and without a zone in one column", "9", "datetime", "'2024-03-01 09:00+00:00' after '2024-03-01 00:00'", "same offset"),
    Fault("naive after aware", text_times((9, "2024-03-01 09:00"), aware=True), "times with and without a zone in one column", "9", "datetime", "'2024-03-01 09:00' after", "same offset"),
    Fault("two offsets", text_times((9, "2024-03-01 11:00+02:00"), aware=True), "times with different offsets in one column", "9", "datetime", "'2024-03-01 11:00+02:00' after", "same offset"),
    Fault("aware and naive objects", times(lambda i: pd.Index([i[0].tz_localize(None), *i[1:]], dtype=object)), "times with and without a zone in one column", "1", "index", "+00:00", "same offset"),
    Fault("clock set back", local("2024-10-27 00:00"), "a local time that occurs twice (clock set back)", "2", "index", "2024-10-27 02:00:00 in Europe/Berlin", "offsets", {"time_zone": "Europe/Berlin"}),
    Fault("clock set forward", local("2024-03-31 00:00"), "a local time that does not exist (clock set forward)", "2", "index", "2024-03-31 02:00:00 in Europe/Berlin", "offsets", {"time_zone": "Europe/Berlin"}),
    Fault("text that is no time", text_times((12, "noon"), (13, "later")), "not a time", "12", "datetime", "'noon'; 1 more such row", "ISO 8601"),
    Fault("day of a month that has none", text_times((12, "2024-02-30 12:00")), "not a time", "12", "datetime", "'2024-02-30 12:00'", "ISO 8601"),
    Fault("day and month in an unknown order", text_times(*((i, f"01.02.2017 {i % 24:02d}:00") for i in range(48))), "not a time", "0", "datetime", "'01.02.2017 00:00'; 47 more", "time_format"),
    Fault("row numbers for times", lambda: good().reset_index(drop=True).assign(time=np.arange(48)), "numbers in the time column whose unit is not certain", "0", "time", "0", "time_unit"),
    Fault("dates as numbers", lambda: good().reset_index(drop=True).assign(date=20240301 + np.arange(48)), "numbers in the time column whose unit is not certain", "0", "date", "20240301", "ISO 8601"),
    Fault("wrong epoch unit", lambda: good().reset_index(drop=True).assign(time=1_709_251_200_000 + 3_600_000 * np.arange(48)), "date out of range", "0", "time", "1709251200000 s", "time_unit", {"time_unit": "s"}),
    Fault("an epoch that is not finite", lambda: good().reset_index(drop=True).assign(time=[np.nan, *(1.7e9 + 3600 * np.arange(47))]), "no time", "0", "time", "nan", "ISO 8601"),
    Fault("before 1970", times(lambda i: i - pd.Timedelta(days=60 * 365)), "date out of range", "0", "index", "1964-03-16 00:00:00; 47 more", "earliest"),
    Fault("beyond 2100", times(lambda i: moved(i, 47, "2203-01-01")), "date out of range", "47", "index", "2203-01-01 00:00:00", "latest"),
    Fault("times that are truth values", lambda: good().reset_index(drop=True).assign(time=True), "the time column holds truth values", None, "time", "True", "ISO 8601"),
    Fault("a number among times", times(lambda i: pd.Index([i[0], 7, *i[2:]], dtype=object)), "another type where a time should be", "1", "index", "7", "timestamps"),
    Fault("irregular steps", times(lambda i: i[0] + pd.to_timedelta(np.cumsum(np.arange(48) % 7 + 1), unit="h")), "irregular bars: bar length cannot be inferred", None, None, "most common step", "bar_seconds"),
    Fault("a bar inside another", times(lambda i: moved(i, 9, "2024-03-01 08:30")), "irregular bars: a bar starts before the last one of 3600 s has ended", "9 (2024-03-01 08:30:00)", "datetime", "1800 s after the bar before", "bar_seconds"),
    Fault("bars of half a second", lambda: good().set_axis(pd.date_range("2024-03-01", periods=48, freq="500ms"), axis=0), "bars are not whole seconds long", None, None, "0.5 s", "one second"),
    # --- the table ---
    Fault("missing close", lambda: good().drop(columns="close"), "missing column", None, "close", "columns open, high, low, volume", "columns={'close'"),
    Fault("missing volume", lambda: good().drop(columns="volume"), "missing column", None, "volume", "columns open, high, low, close", "zeros"),
    Fault("several missing", lambda: good()[["open", "close"]], "missing columns", None, "high, low, volume", "columns open, close", "columns={'high'"),
    Fault("missing mapped column", good, "missing column", None, "open_interest", "columns open", "exactly one", {"columns": {"open_interest": "oi"}}),
    Fault("column twice", lambda: good().pipe(lambda f: pd.concat([f, f[["close"]]], axis=1)), "duplicated column", None, "close", "2 columns of that name", "rename"),
    Fault("column twice in other case", lambda: good().assign(Close=1.0), "duplicated column", None, "close", "2 columns of that name", "columns={'close'"),
    Fault("no time at all", lambda: good().reset_index(drop=True), "missing time column", None, "datetime", "columns open", "DatetimeIndex"),
    Fault("columns of several levels", lambda: pd.concat({"X": good()}, axis=1), "columns have several levels", None, None, "('X', 'open')", "xs"),
    Fault("frame without rows", lambda: good().iloc[:0], "no rows", None, None, "a header only", "at least one bar"),
    Fault("one bar", lambda: good().iloc[:1], "too few bars", None, None, "1 bars", "At least 2"),
    Fault("fewer bars than asked for", good, "too few bars", None, None, "48 bars", "At least 300", {"min_bars": 300}),
    Fault("nothing left after repairs", lambda: good().assign(close=np.nan), "too few bars", None, None, "0 bars of 48 rows read", "At least 1", {"repair": "all"}),
    Fault("a list", lambda: [1, 2, 3], "no market data", None, None, "list", "dataname=MarketData"),
    Fault("nothing", lambda: None, "no market data", None, None, "NoneType", "dataname=MarketData"),
    Fault("an array", lambda: np.ones((48, 5)), "no market data", None, None, "ndarray", "dataname=MarketData"),
    Fault("a series", lambda: good()["close"], "no market data", None, None, "Series", "dataname=MarketData"),
]  # fmt: skip

FILES = [
    Fault("empty.csv", lambda: b"", "file is empty", None, None, "0 bytes", "again"),
    Fault("blank.csv", lambda: b"\n\n  \n", "file is empty", None, None, "5 bytes", "again"),
    Fault("header.csv", lambda: b"datetime,open,high,low,close,volume\n", "no rows", None, None, "a header only", "at least one bar"),
    Fault("headless.csv", lambda: "\n".join(csv_text().splitlines()[1:]).encode(), "missing columns", None, "open, high, low, close, volume", "columns 2024-03-01 00:00:00, 100.0", "Rename"),
    Fault("latin1.csv", lambda: csv_text().replace("volume", "Börse").encode("latin-1"), "not UTF-8 text", "line 1 of the file", None, "byte 0xf6", "UTF-8"),
    Fault("utf16.csv", lambda: csv_text().encode("utf-16"), "not UTF-8 text", "line 1 of the file", None, "byte 0xff", "UTF-8"),
    Fault("zeros.csv", lambda: csv_text().encode() + bytes(100), "binary data where text should be", "line 50 of the file", None, "byte 0x00", "UTF-8"),
    Fault("garbage.csv", lambda: np.random.default_rng(1).bytes(5000), "not UTF-8 text", "line 1 of the file", None, "byte 0x", "UTF-8"),
    Fault("cut.csv.gz", lambda: gzip.compress(csv_text().encode())[:-40], "gzip file cut short or damaged", None, None, "end-of-stream", "again"),
    Fault("damaged.csv.gz", lambda: gzip.compress(csv_text().encode())[:-8] + bytes(8), "gzip file cut short or damaged", None, None, "CRC", "again"),
    Fault("cut-inside-a-row.csv", lambda: csv_text().encode()[:-20], "missing value (NaN)", "47 (2024-03-02 23:00:00)", "low", "nan", "drop_nan"),
    Fault("semicolons.csv", lambda: csv_text().replace(",", ";").encode(), "missing columns", None, "open, high, low, close, volume", "datetime;open", "Rename"),
    Fault("comma-for-point.csv", edited(5, "2024-03-01 04:00:00,104,5,104.0,103.5,104.5,10"), "rows do not fit the header", None, None, "", "as many fields"),
    Fault("text.csv", edited(5, "2024-03-01 04:00:00,104.0,105.0,103.5,closed,10"), "text where a number should be", "4 (2024-03-01 04:00:00)", "close", "'closed'", "text_to_nan"),
    Fault("na.csv", edited(5, "2024-03-01 04:00:00,104.0,105.0,103.5,NA,10"), "missing value (NaN)", "4 (2024-03-01 04:00:00)", "close", "nan", "drop_nan"),
    Fault("inf.csv", edited(5, "2024-03-01 04:00:00,104.0,inf,103.5,104.5,10"), "infinite value", "4 (2024-03-01 04:00:00)", "high", "inf", "drop_nan"),
    Fault("no-time.csv", edited(5, ",104.0,105.0,103.5,104.5,10"), "not a time", "4", "datetime", "''", "ISO 8601"),
    Fault("again-the-header.csv", edited(5, "datetime,open,high,low,close,volume"), "not a time", "4", "datetime", "'datetime'", "ISO 8601"),
    Fault("twice.csv", lambda: csv_text().replace("volume", "close", 1).encode(), "duplicated column", None, "close", "2 columns", "rename"),
    Fault("not.parquet", lambda: csv_text().encode(), "not a readable Parquet file", None, None, "", "again"),
    Fault("empty.parquet", lambda: b"", "not a readable Parquet file", None, None, "", "again"),
]  # fmt: skip


def scale(frame: pd.DataFrame, rows: object, factor: float) -> pd.DataFrame:
    prices = [frame.columns.get_loc(name) for name in ("open", "high", "low", "close")]
    frame.iloc[list(rows), prices] *= factor  # type: ignore[call-overload]
    return frame


def put(frame: pd.DataFrame, column: str, row: int, value: float) -> pd.DataFrame:
    frame.iloc[row, frame.columns.get_loc(column)] = value
    return frame


class CountsBars(bt.Strategy):
    seen = 0

    def next(self) -> None:
        CountsBars.seen += 1


def run_in_cerebro(source: object, options: dict[str, Any]) -> None:
    """What a user does: give the input to Cerebro and run."""
    cerebro = bt.Cerebro()
    cerebro.addstrategy(CountsBars)
    cerebro.adddata(PerpetualData(dataname=source, name="BAD", loading=options))
    cerebro.run()


def assert_refusal_says(error: DataError, fault: Fault, feed: str) -> None:
    assert error.problem.startswith(fault.problem)
    assert error.feed == feed
    assert error.row == fault.row
    assert error.column == fault.column
    if fault.value is None:
        assert error.value is None
    else:
        assert error.value is not None
        assert fault.value in error.value
    assert fault.mend in error.mend
    assert feed in str(error)
    assert error.mend in str(error)


def test_the_good_feed_that_the_faults_are_put_into_loads() -> None:
    data = MarketData.from_frame(good(), symbol="GOOD")
    assert (len(data), data.bar_seconds, data.report.gaps) == (48, 3600, 0)


@pytest.mark.parametrize("fault", FRAMES, ids=lambda fault: fault.name)
def test_a_faulty_frame_is_refused_before_the_first_bar(fault: Fault) -> None:
    CountsBars.seen = 0
    with pytest.raises(DataError, match=r".+\. .+") as caught:
        run_in_cerebro(fault.make(), fault.options)
    assert_refusal_says(caught.value, fault, "BAD")
    assert CountsBars.seen == 0


@pytest.mark.parametrize("fault", FILES, ids=lambda fault: fault.name)
def test_a_faulty_file_is_refused_before_the_first_bar(fault: Fault, tmp_path: Path) -> None:
    path = tmp_path / fault.name
    path.write_bytes(fault.make())  # type: ignore[arg-type]
    CountsBars.seen = 0
    with pytest.raises(DataError, match=r".+\. .+") as caught:
        run_in_cerebro(path, fault.options)
    assert_refusal_says(caught.value, fault, str(path))
    assert CountsBars.seen == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.csv", "file not found"),
        ("missing.parquet", "file not found"),
        (".", "a folder where a file should be"),
    ],
)
def test_a_path_without_a_file_is_refused(name: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        run_in_cerebro(tmp_path / name, {})


def test_a_time_beyond_what_nanoseconds_hold_is_refused() -> None:
    # pandas 3 reads it and its date is out of range; pandas 2.2 cannot read it.
    with pytest.raises(DataError, match=r"row 47.*9999-01-01 00:00"):
        run_in_cerebro(text_times((47, "9999-01-01 00:00"))(), {})


def test_more_than_fifty_different_faults_are_tried() -> None:
    assert len({fault.name for fault in (*FRAMES, *FILES)}) == len(FRAMES) + len(FILES) >= 90
