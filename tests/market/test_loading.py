"""Sources: CSV, gzip, Parquet and frames, columns and times in every usual form, and the same numbers from each."""

from __future__ import annotations

import datetime
import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.loading import symbol_of
from ai_backtrader.market.settings import LoadOptions, LoadSettings


def frame(bars: int = 30, start: str = "2024-01-01", zone: str | None = "UTC") -> pd.DataFrame:
    i = np.arange(float(bars))
    index = pd.date_range(start, periods=bars, freq="h", tz=zone, name="datetime")
    columns = {"open": 100 + i / 3, "high": 102 + i / 3, "low": 99 + i / 3, "close": 101 + i / 7, "volume": 10 + i}
    table = pd.DataFrame(columns, index=index)
    table["high"] = table[["open", "high", "close"]].max(axis=1)
    table["low"] = table[["open", "low", "close"]].min(axis=1)
    return table


REFERENCE = MarketData.from_frame(frame(), symbol="X")


def test_plain_and_gzip_csv_give_the_frame_to_the_bit(tmp_path: Path) -> None:
    text = frame().to_csv()
    (tmp_path / "X.csv").write_text(text)
    (tmp_path / "X.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "X-gzip-by-content.csv").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "X-mark.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    for name in ("X.csv", "X.csv.gz", "X-gzip-by-content.csv", "X-mark.csv"):
        data = MarketData.from_csv(tmp_path / name, symbol="X")
        assert data.same_content(REFERENCE)
        assert data.report.feed == str(tmp_path / name)
    assert MarketData.from_csv(str(tmp_path / "X.csv")).symbol == "X"


def test_every_float_survives_a_csv(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    close = rng.lognormal(0, 1, 3000)
    index = pd.date_range("2024-01-01", periods=3000, freq="h", tz="UTC", name="datetime")
    table = pd.DataFrame(
        {"open": close, "high": close, "low": close, "close": close, "volume": rng.lognormal(0, 20, 3000)}, index=index
    )
    table.to_csv(tmp_path / "X.csv")
    data = MarketData.from_csv(tmp_path / "X.csv", spike_factor=1e6, jump_factor=1e6)
    np.testing.assert_array_equal(data.close, close)
    np.testing.assert_array_equal(data.volume, table["volume"])


def test_parquet_gives_the_frame_to_the_bit(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra")
    frame().to_parquet(tmp_path / "X-1h.parquet")
    frame().reset_index().to_parquet(tmp_path / "X-2024.parquet")
    for name in ("X-1h.parquet", "X-2024.parquet"):
        assert MarketData.from_parquet(tmp_path / name).same_content(REFERENCE)
    arrow = pd.read_parquet(tmp_path / "X-2024.parquet", dtype_backend="pyarrow")
    assert MarketData.from_frame(arrow, symbol="X").same_content(REFERENCE)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "X.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'needs pyarrow.*pip install "ai-backtrader\[parquet\]"'):
        MarketData.from_parquet(tmp_path / "X.parquet")


def naive(table: pd.DataFrame) -> pd.DataFrame:
    return table.tz_localize(None)


def column(name: str, change: Callable[[pd.DatetimeIndex], Any]) -> Callable[[], pd.DataFrame]:
    return lambda: frame().reset_index(drop=True).assign(**{name: change(frame().index)})


TIMES: dict[str, Callable[[], pd.DataFrame]] = {
    "aware index": frame,
    "naive index": lambda: naive(frame()),
    "index in seconds": lambda: frame().set_axis(frame().index.as_unit("s"), axis=0),
    "index in another zone": lambda: frame().tz_convert("Asia/Tokyo"),
    "text index": lambda: frame().set_axis(frame().index.strftime("%Y-%m-%d %H:%M"), axis=0),
    "index named date": lambda: naive(frame()).rename_axis("Date"),
    "datetime column": column("datetime", lambda i: i),
    "text column": column("datetime", lambda i: i.strftime("%Y-%m-%d %H:%M:%S")),
    "ISO text with T and Z": column("timestamp", lambda i: i.strftime("%Y-%m-%dT%H:%M:%SZ")),
    "text with an offset": column("time", lambda i: i.tz_convert("Asia/Kolkata").map(lambda t: t.isoformat())),
    "upper case": column("DateTime", lambda i: i.strftime("%Y-%m-%d %H:%M")),
    "epoch seconds": column("time", lambda i: (i.as_unit("s").asi8)),
    "epoch milliseconds": column("open_time", lambda i: (i.as_unit("ms").asi8)),
    "epoch microseconds": column("timestamp", lambda i: (i.as_unit("us").asi8)),
    "epoch nanoseconds": column("timestamp", lambda i: (i.as_unit("ns").asi8)),
    "epoch as float": column("timestamp", lambda i: i.as_unit("s").asi8.astype(float)),
    "Python datetimes": column("datetime", lambda i: np.array(i.to_pydatetime(), dtype=object)),
    "naive Python datetimes": column("datetime", lambda i: np.array(i.tz_localize(None).to_pydatetime(), dtype=object)),
    "NumPy datetimes as objects": column(
        "datetime", lambda i: pd.Series(list(i.tz_localize(None).to_numpy()), dtype=object).to_numpy()
    ),
    "date and time columns": lambda: frame().reset_index(drop=True).assign(
        date=frame().index.strftime("%Y-%m-%d"), time=frame().index.strftime("%H:%M")
    ),
    "periods": lambda: naive(frame()).to_period("h"),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMES)
def test_times_in_every_usual_form_are_the_same_utc(name: str) -> None:
    data = MarketData.from_frame(TIMES[name](), symbol="X")
    assert data.same_content(REFERENCE)


@pytest.mark.parametrize("name", ["naive index", "text column", "naive Python datetimes"])
def test_naive_times_are_utc_unless_said_otherwise_and_the_report_says_so(name: str) -> None:
    source = TIMES[name]()
    assert MarketData.from_frame(source, symbol="X").report.assumed_zone == "UTC"
    tokyo = MarketData.from_frame(source, symbol="X", time_zone="Asia/Tokyo")
    assert tokyo.report.assumed_zone == "Asia/Tokyo"
    np.testing.assert_array_equal(tokyo.times, REFERENCE.times - np.timedelta64(9, "h"))
    with pytest.raises(DataError, match="times without a zone"):
        MarketData.from_frame(source, symbol="X", time_zone=None)


def test_aware_times_are_converted_whatever_zone_is_given() -> None:
    for zone in (None, "UTC", "Asia/Tokyo"):
        data = MarketData.from_frame(frame(), symbol="X", time_zone=zone)
        assert data.same_content(REFERENCE)
        assert data.report.assumed_zone is None


def test_a_local_winter_converts_and_daylight_saving_days_of_daily_bars_do_too() -> None:
    index = pd.date_range("2023-01-01", "2024-12-31", freq="D")
    table = frame(len(index)).set_axis(index, axis=0)
    data = MarketData.from_frame(table, symbol="X", time_zone="Europe/Berlin")
    np.testing.assert_array_equal(
        data.times, index.tz_localize("Europe/Berlin").tz_convert("UTC").tz_localize(None).to_numpy()
    )
    assert (data.bar_seconds, data.report.gaps) == (86_400, 0)


def test_a_time_format_reads_what_iso_does_not() -> None:
    table = frame().reset_index(drop=True).assign(time=frame().index.strftime("%d.%m.%Y %H:%M:%S.000"))
    data = MarketData.from_frame(table, symbol="X", time_format="%d.%m.%Y %H:%M:%S.%f")
    assert data.same_content(REFERENCE)
    with pytest.raises(DataError, match="times cannot be read"):
        MarketData.from_frame(table, symbol="X", time_format="%Q")


def test_an_epoch_unit_can_be_said_where_it_is_not_certain() -> None:
    table = frame().reset_index(drop=True).assign(time=np.arange(30) * 3600)
    data = MarketData.from_frame(table, symbol="X", time_unit="s")
    assert data.times[0] == np.datetime64("1970-01-01")


def test_columns_are_found_in_any_case_and_order_and_unknown_ones_are_listed() -> None:
    table = frame()[["volume", "close", "low", "high", "open"]].rename(columns=lambda name: f" {name.upper()} ")
    table["Adj Close"] = 1.0
    data = MarketData.from_frame(table, symbol="X")
    assert data.same_content(REFERENCE)
    assert data.report.ignored_columns == ("Adj Close",)


def test_columns_of_another_name_are_mapped(shared_csv: Callable[[str], Path]) -> None:
    path = shared_csv("DOGE-perp-binance-1h-2025-2026-oi.csv.gz")
    plain = MarketData.from_csv(path)
    assert plain.open_interest is None
    assert plain.report.ignored_columns == ("open_interest_usd",)
    mapped = MarketData.from_csv(path, columns={"open_interest": "open_interest_usd"})
    assert mapped.open_interest is not None
    assert mapped.report.ignored_columns == ()
    missing = int(np.isnan(mapped.open_interest).sum())
    assert mapped.report.missing == {"open_interest": missing}
    assert 6000 < missing < 8000


def test_a_mapped_name_wins_over_a_column_that_carries_the_canonical_one() -> None:
    table = frame().assign(last=frame()["open"])
    data = MarketData.from_frame(table, symbol="X", columns={"close": "last"})
    np.testing.assert_array_equal(data.close, data.open)
    assert data.report.ignored_columns == ("close",)
    clock = frame().reset_index(names="when").assign(datetime="nonsense")
    assert MarketData.from_frame(clock, symbol="X", columns={"datetime": "when"}).same_content(REFERENCE)


@pytest.mark.parametrize("dtype", ["float32", "Int64", "Float64", "object", "string", "category", "int64"])
def test_numbers_of_every_type_are_read(dtype: str) -> None:
    table = frame().round(0).assign(volume=lambda f: f["volume"].astype(dtype))
    data = MarketData.from_frame(table, symbol="X")
    np.testing.assert_array_equal(data.volume, np.arange(30) + 10.0)


def test_other_separators_are_an_option(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "X.csv", sep=";")
    assert MarketData.from_csv(tmp_path / "X.csv", separator=";").same_content(REFERENCE)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT-perp-1h-2020-2023.csv.gz", "BTCUSDT-perp"),
        ("EURUSD-1h-2017.csv", "EURUSD"),
        ("eth_usdt_5m.csv", "eth-usdt"),
        ("AAPL.csv", "AAPL"),
        ("2020.csv", "2020"),
        ("1INCH-1d.parquet", "1INCH"),
    ],
)
def test_the_file_name_says_the_symbol(name: str, symbol: str) -> None:
    assert symbol_of(Path("some/folder.v1") / name) == symbol


@pytest.mark.parametrize("source", [None, [1, 2], "X.csv", {"open": [1.0]}, np.ones(3)])
def test_what_is_no_frame_is_refused(source: object) -> None:
    with pytest.raises(DataError, match="market data must be a pandas DataFrame"):
        MarketData.from_frame(source, symbol="X")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, 3, [1], frame()])
def test_what_is_no_path_is_refused(path: object) -> None:
    for load in (MarketData.from_csv, MarketData.from_parquet):
        with pytest.raises(DataError, match="path must be text or a Path"):
            load(path)  # type: ignore[arg-type]


def test_all_wrong_options_are_reported_together() -> None:
    with pytest.raises(SettingsError, match="LoadSettings: 11 faults") as caught:
        LoadSettings(
            columns={"closing": "c"}, time_zone="Mars/Base", time_unit="h", bar_seconds=0, repair=("mend",),
            separator="", min_bars=0, max_funding_rate=-1, spike_factor=1.0, jump_factor=float("nan"), earliest="soon",
        )  # fmt: skip
    for words in ("closing", "Mars/Base", "time_unit", "bar_seconds", "'mend'", "separator", "min_bars", "soon"):
        assert words in str(caught.value)
    with pytest.raises(SettingsError, match="earliest must lie before latest"):
        LoadSettings(earliest="2024-01-01", latest="2023-01-01")
    with pytest.raises(SettingsError, match="columns must map"):
        LoadSettings(columns=["close"])  # type: ignore[arg-type]


def test_the_keywords_of_the_loaders_are_the_settings_fields() -> None:
    assert set(LoadOptions.__annotations__) == set(LoadSettings.__dataclass_fields__)


def test_the_range_of_dates_can_be_widened() -> None:
    old = frame(start="1929-10-01")
    with pytest.raises(DataError, match="date out of range"):
        MarketData.from_frame(old, symbol="X")
    assert MarketData.from_frame(old, symbol="X", earliest="1900-01-01").report.first == "1929-10-01 00:00:00"
    late = MarketData.from_frame(frame(start="2259-01-01"), symbol="X", latest="2260-01-01")
    assert late.report.first == "2259-01-01 00:00:00"


def test_a_million_rows_load_without_a_loop_over_rows() -> None:
    # A Python loop over a million rows takes over half a second for each pass; loading makes dozens of passes.
    index = pd.date_range("2020-01-01", periods=1_000_000, freq="min", tz="UTC")
    ones = np.ones(1_000_000)
    table = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), ones), index=index)
    started = time.process_time()
    data = MarketData.from_frame(table, symbol="X")
    assert time.process_time() - started < 2.0
    assert len(data) == 1_000_000
    assert data.report.longest_flat == 999_999


def test_the_report_is_plain_python() -> None:
    table = naive(frame()).drop(frame().index[3].tz_localize(None)).assign(note="x")
    report = MarketData.from_frame(table.iloc[::-1], symbol="X", repair="all").report
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["repairs"] == [
        {
            "name": "reverse",
            "count": 29,
            "first": "0 (2024-01-02 05:00:00)",
            "detail": "descending times turned round",
        }
    ]
    assert plain["first_gaps"][0]["seconds"] == 7200
    assert datetime.datetime.fromisoformat(plain["first"]) == datetime.datetime(2024, 1, 1)
