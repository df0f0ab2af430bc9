"""What a download gives: one file that loads with no option, every column where it belongs, and honest gaps."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader import MarketData
from ai_backtrader.analyzers import Performance
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import DownloadError, PerpetualData
from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market import MARKET_FEATURES, STRUCTURE_FEATURES, compute_features
from ai_backtrader.strategies import AIStrategy

UM = "/data/futures/um"


def test_every_column_of_a_perpetual_is_what_the_exchange_published(get: Any, world: Any) -> None:
    result = get()
    data = MarketData.from_csv(result.path)
    assert result.path.name == "BTCUSDT-perp-1h-2024-01_2024-03-05.csv.gz"
    assert (data.symbol, len(data), data.bar_seconds) == ("BTCUSDT-perp", 65 * 24, 3600)
    assert data.report.gaps == 0
    assert data.report.assumed_zone is None
    np.testing.assert_array_equal(data.times, world.candles.index.to_numpy())
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(data, name), world.candles[name].to_numpy())
    np.testing.assert_array_equal(data.taker_buy_volume, world.candles["taker"].to_numpy())
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(data, f"mark_{name}"), world.mark[name].to_numpy())
    assert set(result.columns) == set(data.columns())


def test_a_rate_stands_at_the_bar_that_starts_when_it_is_settled(get: Any, world: Any) -> None:
    data = MarketData.from_csv(get().path)
    assert data.funding_rate is not None
    rates = pd.Series(data.funding_rate, index=pd.DatetimeIndex(data.times))
    settled = world.funding.copy()
    settled.index = settled.index.floor("8h")
    expected = settled["rate"].reindex(rates.index[: 60 * 24], fill_value=0.0)
    np.testing.assert_allclose(rates.iloc[: 60 * 24], expected, rtol=0, atol=0)
    # March is not over: its rates are not published, which is not the same as no rate.
    assert rates.iloc[60 * 24 :].isna().all()


def test_metrics_stand_at_the_bars_that_close_ten_minutes_after_their_stamp(get: Any, world: Any) -> None:
    data = MarketData.from_csv(get().path)
    # Of a bar that starts at 00:00 the last row that is old enough at 01:00 is the one of 00:50.
    expected = world.metrics.reindex(pd.DatetimeIndex(data.times) + pd.Timedelta(minutes=50))
    np.testing.assert_array_equal(data.open_interest, expected["interest"].to_numpy())
    np.testing.assert_array_equal(data.long_short_ratio, expected["ratio"].to_numpy())


def test_all_thirty_five_features_have_data(get: Any) -> None:
    from ai_backtrader.rl import LeverageState

    data = MarketData.from_csv(get(end="2024-02").path)
    features = compute_features(data)
    ready = features.ready_from
    assert np.isfinite(features.vector[ready:]).all()
    assert np.isfinite(features.structure[ready:]).all()
    assert len(MARKET_FEATURES) + len(STRUCTURE_FEATURES) == 26
    held = {"current_position": 0.5, "current_leverage": 3.0, "position_pnl": 1.0, "position_duration": 4}
    held |= {"unrealized_pnl": 0.1, "margin_ratio": 0.2}
    risk = {"drawdown_current": 2.0, "consecutive_losses": 1, "win_rate_recent": 0.5}
    state = LeverageState.from_market_data(features.indicators(len(data) - 1), held, risk, strict=True)
    vector = state.to_vector()
    assert vector.shape == (35,)
    assert np.isfinite(vector).all()
    assert not state.missing


def test_a_strategy_trades_the_file_and_pays_its_funding(get: Any) -> None:
    data = MarketData.from_csv(get().path)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(10_000.0)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy)
    cerebro.addanalyzer(Performance)
    analysis = cerebro.run()[0].analyzers.performance.get_analysis()
    assert np.isfinite(analysis.total_return)
    held = bt.Cerebro(stdstats=False)
    held.broker = LeverageBroker(leverage=2.0)
    held.broker.setcash(10_000.0)
    held.adddata(PerpetualData(dataname=data))
    held.addstrategy(BuyOnce)
    strategy = held.run()[0]
    bought = next(order for order in strategy.orders if order.status == order.Completed)
    # Bought at the second bar's open; each rate since is paid on the mark price at which the bar opens.
    paid = np.nansum(data.funding_rate[2:] * data.mark_open[2:]) * bought.executed.size
    gained = (data.close[-1] - data.open[1]) * bought.executed.size
    assert abs(paid) > 0.1
    assert held.broker.getvalue() == pytest.approx(10_000.0 + gained - paid, abs=1e-6)


class BuyOnce(bt.Strategy):
    """Buys one unit at the first bar and holds it."""

    def __init__(self) -> None:
        self.orders: list[Any] = []

    def next(self) -> None:
        if not self.orders:
            self.orders.append(self.buy(size=10.0))


def test_the_same_download_writes_the_same_bytes(get: Any, tmp_path: Path) -> None:
    first = get()
    again = get(folder=tmp_path / "elsewhere")
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.sha256 == again.sha256
    assert first.path.read_bytes()[4:8] == b"\0\0\0\0"  # no clock in the gzip header
    assert gzip.decompress(first.path.read_bytes()).startswith(b"datetime,open,high,low,close,volume,mark_open")


def test_spot_has_candles_alone_and_its_times_may_be_in_microseconds(
    get: Any, archive: Any, world: Any, pack: Any, publish: Any
) -> None:
    shift = pd.Timestamp("2024-12-01") - pd.Timestamp("2024-01-01")
    for month, unit in (("2024-12", 10**6), ("2025-01", 10**3)):
        rows = []
        moved = world.candles.set_axis(world.candles.index + shift)
        for row in moved.loc[month].itertuples():
            start, end = row.Index.value // unit, (row.Index.value + 3600 * 10**9) // unit - 1
            rows.append(f"{start},{row.open},{row.high},{row.low},{row.close},{row.volume},{end},0,1,{row.taker},0,0\n")
        path = f"/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-{month}.zip"
        publish(archive.files, path, pack("".join(rows)))
    result = get(market="spot", start="2024-12", end="2025-01", today=dt.date(2025, 3, 1))
    data = MarketData.from_csv(result.path)
    assert result.path.name == "BTCUSDT-1h-2024-12_2025-01.csv.gz"
    assert data.report.first == "2024-12-01 00:00:00"
    assert data.report.last == "2025-01-31 23:00:00"
    assert data.report.gaps == 0
    assert list(data.columns()) == ["open", "high", "low", "close", "volume", "taker_buy_volume"]
    assert not any("/futures/" in path for path, _ in archive.requests)


def test_a_period_may_be_days(get: Any) -> None:
    data = MarketData.from_csv(get(start="2024-01-15", end="2024-02-02").path)
    assert (data.report.first, data.report.last) == ("2024-01-15 00:00:00", "2024-02-02 23:00:00")
    assert data.funding_rate is not None
    assert abs(data.funding_rate[0]) < 0.01  # its own settlement, not the sum of two weeks


def test_a_month_that_is_not_published_yet_is_had_by_the_day(get: Any, archive: Any, world: Any, publish: Any) -> None:
    from_day = {path for path in archive.files if "2024-02.zip" in path and "1h" in path}
    assert len(from_day) == 4
    for path in from_day:
        del archive.files[path]
    _publish_days(archive, world, publish, "2024-02-01", "2024-02-29")
    result = get()
    assert MarketData.from_csv(result.path).report.gaps == 0
    assert [gap.what for gap in result.gaps] == ["funding rates"]


def test_a_day_that_a_months_file_lacks_is_had_by_the_day(
    get: Any, archive: Any, world: Any, pack: Any, publish: Any
) -> None:
    path = f"{UM}/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip"
    lacking = world.candles.loc["2024-01"]
    publish(archive.files, path, pack(_rows(lacking[lacking.index.day != 16])))
    _publish_days(archive, world, publish, "2024-01-16", "2024-01-16", kinds=("klines",))
    result = get()
    data = MarketData.from_csv(result.path)
    assert len(data) == 65 * 24
    assert data.report.gaps == 0
    assert archive.asked("/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-16.zip") == [None]


def test_months_before_the_listing_are_said_and_cost_one_request_each(get: Any, archive: Any) -> None:
    result = get(start="2023-06")
    assert MarketData.from_csv(result.path).report.first == "2024-01-01 00:00:00"
    said = {gap.what: gap for gap in result.gaps if gap.reason == "before the first file"}
    assert set(said) == {"candles", "mark price", "funding rates", "open interest and long/short ratio"}
    assert said["candles"].first == dt.date(2023, 6, 1)
    assert said["candles"].last == dt.date(2023, 12, 31)
    assert sum("2023" in path for path, _ in archive.requests) == 3 * 7
    assert "no candles from 2023-06-01 to 2023-12-31 (before the first file)" in str(result)


def test_a_month_missing_in_the_middle_is_a_gap_that_is_said(get: Any, archive: Any) -> None:
    for path in [path for path in archive.files if "-2024-02.zip" in path and "/klines/" in path]:
        del archive.files[path]
    result = get()
    data = MarketData.from_csv(result.path)
    assert data.report.gaps == 1
    assert data.report.longest_gap_seconds == (29 * 24 + 1) * 3600
    gap = next(gap for gap in result.gaps if gap.what == "candles")
    assert (gap.first, gap.last, gap.reason) == (dt.date(2024, 2, 1), dt.date(2024, 2, 29), "between files")


def test_a_market_that_was_listed_this_month_is_had_by_the_day(get: Any, archive: Any) -> None:
    for path in [path for path in archive.files if "/monthly/" in path or "2024-03-05" in path]:
        del archive.files[path]
    result = get()
    data = MarketData.from_csv(result.path)
    # Yesterday's files are not out yet.
    assert (data.report.first, data.report.last) == ("2024-03-01 00:00:00", "2024-03-04 23:00:00")
    assert data.funding_rate is None
    candles = [(str(gap.first), str(gap.last), gap.reason) for gap in result.gaps if gap.what == "candles"]
    assert candles == [
        ("2024-01-01", "2024-02-29", "before the first file"), ("2024-03-05", "2024-03-05", "after the last file")
    ]  # fmt: skip


def test_a_market_without_metrics_has_no_such_columns(get: Any, archive: Any) -> None:
    for path in [path for path in archive.files if "/metrics/" in path]:
        del archive.files[path]
    result = get()
    assert "open_interest" not in result.columns
    assert [gap.reason for gap in result.gaps if "open interest" in gap.what] == ["no file at all"]


def test_a_market_that_is_not_there_is_a_clear_error(get: Any, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no candles of NOSUCH \(perp, 1h\) from 2024-01-01.*Check the symbol"):
        get(symbol="NOSUCH")
    assert not list((tmp_path / "data").glob("*.csv.gz"))


def test_a_symbol_may_be_written_with_a_stroke(get: Any) -> None:
    assert get(symbol="btc/usdt", end="2024-01").path.name.startswith("BTCUSDT-perp-1h")


def test_bars_that_cannot_be_traded_are_not_written_unless_mended(
    get: Any, archive: Any, world: Any, pack: Any, publish: Any, tmp_path: Path
) -> None:
    broken = world.candles.loc["2024-01"].copy()
    broken.iloc[7, broken.columns.get_loc("high")] = 1.0
    publish(archive.files, f"{UM}/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip", pack(_rows(broken)))
    with pytest.raises(DataError, match="high below low"):
        get()
    assert not list((tmp_path / "data").glob("*.csv.gz"))
    result = get(repair="clip_ohlc")
    assert result.report.repairs[0].name == "clip_ohlc"
    assert len(MarketData.from_csv(result.path)) == 65 * 24


def test_candles_off_the_grid_and_rows_twice_are_left_out_and_said(
    get: Any, archive: Any, world: Any, pack: Any, publish: Any
) -> None:
    rows = _rows(world.candles.loc["2024-01"]).splitlines()
    late = rows[30].split(",")
    late[0] = str(int(late[0]) + 1_694_789)  # begins at 28 minutes past, as after the outage of February 2018
    rows[30] = ",".join(late)
    rows.insert(50, rows[50])
    publish(archive.files, f"{UM}/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip", pack("\n".join(rows) + "\n"))
    result = get()
    assert len(MarketData.from_csv(result.path)) == 65 * 24 - 1
    assert "1 candles off the grid of their interval left out" in result.notes
    assert "1 rows of klines with the time of another left out" in result.notes


@pytest.mark.parametrize("stamps", ["text", "milliseconds"])
def test_metrics_may_be_out_of_order_twice_and_half_empty(
    get: Any, archive: Any, world: Any, pack: Any, publish: Any, stamps: str
) -> None:
    expected = MarketData.from_csv(get(start="2024-03-01").path)
    path = f"{UM}/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-03-03.zip"
    header, *rows = zipfile.ZipFile(io.BytesIO(world.files[path])).read("data.csv").decode().splitlines()
    if stamps == "milliseconds":
        split = [row.split(",") for row in rows]
        rows = [",".join([str(pd.Timestamp(time).value // 10**6), *rest]) for time, *rest in split]
    empty = rows[143].split(",")  # 12:00, which no hourly bar uses: it is not the last row known at any full hour
    rows[143] = ",".join([*empty[:2], '""', *empty[3:6], '""', empty[7]])
    shuffled = [row for position in np.random.default_rng(0).permutation(len(rows)) for row in [rows[position]] * 2]
    publish(archive.files, path, pack("\n".join([header, *shuffled]) + "\n"))
    result = get(start="2024-03-01", refresh=True)
    assert MarketData.from_csv(result.path).same_content(expected)
    assert "288 rows of metrics with the time of another left out" in result.notes


def test_real_bars_come_back_as_they_were(get: Any, archive: Any, shared_csv: Any, pack: Any, publish: Any) -> None:
    real = pd.read_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz"), parse_dates=["datetime"], index_col="datetime")
    real = real.loc["2021-04":"2021-06"]
    for month, rows in real.groupby(real.index.strftime("%Y-%m")):
        parts: dict[str, list[str]] = {"klines": [], "markPriceKlines": [], "fundingRate": []}
        for row in rows.itertuples():
            start = row.Index.value // 10**6
            tail = f"{start + 3_599_999},0,1,0,0,0"
            parts["klines"].append(f"{start},{row.open},{row.high},{row.low},{row.close},{row.volume},{tail}")
            prices = f"{row.mark_open},{row.mark_high},{row.mark_low},{row.mark_close}"
            parts["markPriceKlines"].append(f"{start},{prices},0,{tail}")
            if row.Index.hour % 8 == 0:
                parts["fundingRate"].append(f"{start + 7},8,{row.funding_rate}")
        for kind, lines in parts.items():
            folder, name = ("", kind) if kind == "fundingRate" else ("1h/", "1h")
            path = f"{UM}/monthly/{kind}/BTCUSDT/{folder}BTCUSDT-{name}-{month}.zip"
            publish(archive.files, path, pack("\n".join(lines) + "\n"))
    got = MarketData.from_csv(get(start="2021-04", end="2021-06").path)
    names = [
        "open",
        "high",
        "low",
        "close",
        "volume",
        "mark_open",
        "mark_high",
        "mark_low",
        "mark_close",
        "funding_rate",
    ]
    wanted = MarketData.from_frame(real[names], symbol=got.symbol).to_frame()
    pd.testing.assert_frame_equal(got.to_frame()[list(wanted.columns)], wanted, check_exact=True)
    assert len(got) == 91 * 24


def test_progress_is_told_after_each_file(get: Any, archive: Any) -> None:
    told: list[Any] = []
    get(on_progress=told.append)
    assert [progress.done for progress in told] == list(range(1, len(told) + 1))
    assert told[-1].done == told[-1].total
    assert told[-1].fetched_bytes == sum(len(archive.files[path]) for path, _ in archive.requests)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"market": "futures"}, "market must be one of 'perp', 'spot'"),
        ({"interval": "1w"}, "interval must be one of '1m'"),
        ({"start": "January"}, "start must be a month"),
        ({"start": "2024-13"}, "start must be a month"),
        ({"end": "2023-01"}, "start must not lie after end"),
        ({"start": "2024-03-06"}, "start must not lie after the last published day"),
        ({"source": "data.binance.vision"}, "source must be an address"),
        ({"symbol": "../BTCUSDT"}, "symbol must be written as in the archive"),
        ({"symbol": " "}, "symbol must be a text"),
        ({"venue": "Kraken!"}, "venue must be a name"),
        ({"connections": 0, "attempts": 0, "timeout": 0.0, "max_wait": -1.0}, "download: 4 faults"),
    ],
)
def test_wrong_options_are_refused_together(get: Any, archive: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        get(**options)
    assert not archive.requests


def _rows(frame: pd.DataFrame) -> str:
    return "".join(
        f"{row.Index.value // 10**6},{row.open},{row.high},{row.low},{row.close},{row.volume},"
        f"{row.Index.value // 10**6 + 3_599_999},0,1,{row.taker},0,0\n"
        for row in frame.itertuples()
    )


def _publish_days(
    archive: Any,
    world: Any,
    publish: Any,
    first: str,
    last: str,
    kinds: tuple[str, ...] = ("klines", "markPriceKlines"),
) -> None:
    for day in pd.date_range(first, last):
        for kind in kinds:
            frame = world.candles if kind == "klines" else world.mark
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as packed:
                packed.writestr("day.csv", _rows(frame.loc[f"{day:%Y-%m-%d}"]))
            publish(archive.files, f"{UM}/daily/{kind}/BTCUSDT/1h/BTCUSDT-1h-{day:%Y-%m-%d}.zip", out.getvalue())
