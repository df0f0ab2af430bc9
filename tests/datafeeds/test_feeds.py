"""PerpetualData in Cerebro: the arrays, bit for bit, in every mode of running."""

from __future__ import annotations

import datetime
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ai_backtrader.datafeeds import MarketData, PerpetualData, load_sample
from ai_backtrader.datafeeds.feeds import backtrader_times
from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market.table import OPTIONAL, REQUIRED

MODES: list[dict[str, Any]] = [
    {},
    {"runonce": False},
    {"preload": False},
    {"preload": False, "runonce": False},
    {"exactbars": 1},
    {"exactbars": -1},
    {"exactbars": -2},
    {"lookahead": 3},
]
LINES = (*REQUIRED, "openinterest", "datetime", *OPTIONAL)


class Records(bt.Strategy):
    """Notes every line of every data at every bar."""

    params = (("names", LINES),)

    def __init__(self) -> None:
        self.rows: list[list[list[float]]] = [[] for _ in self.datas]

    def next(self) -> None:
        for rows, data in zip(self.rows, self.datas, strict=True):
            rows.append([getattr(data.lines, name)[0] for name in self.p.names])


class LastClose(bt.Strategy):
    params = (("period", 3), ("names", LINES))

    def stop(self) -> None:
        self.outcome = (len(self), [getattr(self.data.lines, name)[0] for name in self.p.names])


def recorded(feed: Any, names: tuple[str, ...] = LINES, **mode: Any) -> NDArray[np.float64]:
    cerebro = bt.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Records, names=names)
    return np.array(cerebro.run(**mode)[0].rows[0])


def expected(data: MarketData) -> NDArray[np.float64]:
    held = data.columns()
    interest = np.zeros(len(data)) if data.open_interest is None else np.nan_to_num(data.open_interest)
    times = np.array([bt.date2num(moment) for moment in pd.DatetimeIndex(data.times).to_pydatetime()])
    extra = [held.get(name, np.full(len(data), np.nan)) for name in OPTIONAL]
    return np.column_stack([*(held[name] for name in REQUIRED), interest, times, *extra])


@pytest.fixture(scope="module")
def full() -> MarketData:
    """200 bars with every optional column; NaN at some bars where NaN is allowed."""
    frame = load_sample().head(200).to_frame()
    rng = np.random.default_rng(5)
    for name in ("open", "high", "low", "close"):
        frame[f"mark_{name}"] = frame[name] * 1.0001
    frame["funding_rate"] = np.where(np.arange(200) % 8 == 0, 0.0001, 0.0)
    frame["open_interest"] = np.where(np.arange(200) < 50, np.nan, rng.uniform(1e6, 2e6, 200))
    frame["long_short_ratio"] = rng.uniform(0.5, 2.0, 200)
    frame["taker_buy_volume"] = frame["volume"] * rng.uniform(0, 1, 200)
    return MarketData.from_frame(frame, symbol="FULL")


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_lines_equal_the_arrays_bit_for_bit(mode: dict[str, Any], full: MarketData) -> None:
    for data in (full, load_sample("SP500").head(300)):
        np.testing.assert_array_equal(recorded(PerpetualData(dataname=data), **mode), expected(data))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_lines_equal_pandas_data_bit_for_bit(mode: dict[str, Any]) -> None:
    names = (*REQUIRED, "datetime")
    for data in (load_sample().head(500), load_sample("SP500").head(500)):
        theirs = bt.feeds.PandasData(dataname=data.to_frame().tz_localize(None))
        np.testing.assert_array_equal(
            recorded(PerpetualData(dataname=data), names, **mode), recorded(theirs, names, **mode)
        )


def test_lines_equal_the_shared_perpetual(shared_csv: Callable[[str], Path]) -> None:
    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).head(3000)
    np.testing.assert_array_equal(recorded(PerpetualData(dataname=data)), expected(data))
    assert data.has_mark
    assert np.count_nonzero(data.funding_rate) == 375  # three settlements on each of 125 days


RANGES = [
    {"fromdate": datetime.datetime(2017, 1, 3, 5)},
    {"todate": datetime.datetime(2017, 1, 5, 7)},
    {"fromdate": datetime.datetime(2017, 1, 3, 5, 30), "todate": datetime.datetime(2017, 1, 5, 7, 30)},
    {"fromdate": datetime.date(2017, 1, 3), "todate": datetime.date(2017, 1, 4)},
]


@pytest.mark.parametrize("limits", RANGES, ids=str)
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_fromdate_and_todate_keep_the_same_bars_as_pandas_data(mode: dict[str, Any], limits: dict[str, Any]) -> None:
    names = (*REQUIRED, "datetime")
    data = load_sample().head(200)
    ours = recorded(PerpetualData(dataname=data, **limits), names, **mode)
    theirs = recorded(bt.feeds.PandasData(dataname=data.to_frame().tz_localize(None), **limits), names, **mode)
    np.testing.assert_array_equal(ours, theirs)
    assert 0 < len(ours) < 200


def drop_quiet_hours(data: Any) -> bool:
    """A Backtrader filter: True removes the bar."""
    if data.datetime.time(0).hour < 6:
        data.backwards()
        return True
    return False


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_filters_see_every_bar(mode: dict[str, Any], full: MarketData) -> None:
    feed = PerpetualData(dataname=full)
    feed.addfilter(drop_quiet_hours)
    hours = pd.DatetimeIndex(full.times).hour
    np.testing.assert_array_equal(recorded(feed, **mode), expected(full)[hours >= 6])


@pytest.mark.parametrize("name", ["resampledata", "replaydata"])
def test_resampled_and_replayed_bars_equal_pandas_datas(
    name: str, full: MarketData, caplog: pytest.LogCaptureFixture
) -> None:
    def run(feed: Any, names: tuple[str, ...] = (*REQUIRED, "datetime")) -> NDArray[np.float64]:
        cerebro = bt.Cerebro()
        getattr(cerebro, name)(feed, timeframe=bt.TimeFrame.Minutes, compression=240)
        cerebro.addstrategy(Records, names=names)
        return np.array(cerebro.run()[0].rows[0])

    theirs = bt.feeds.PandasData(
        dataname=full.to_frame().tz_localize(None), timeframe=bt.TimeFrame.Minutes, compression=60
    )
    ours = run(PerpetualData(dataname=full))
    np.testing.assert_array_equal(ours, run(theirs))
    assert len(ours) > 40
    # Backtrader would leave some of them as they were bars ago: rather none than a stale mark price.
    with caplog.at_level(logging.WARNING, logger="ai_backtrader"):
        assert np.isnan(run(PerpetualData(dataname=full), OPTIONAL)).all()
    assert "FULL: a " in caplog.text


def test_a_feed_and_its_resampled_clone_run_side_by_side(full: MarketData) -> None:
    cerebro = bt.Cerebro()
    feed = PerpetualData(dataname=full)
    cerebro.adddata(feed)
    cerebro.resampledata(feed, timeframe=bt.TimeFrame.Days)
    cerebro.addstrategy(Records)
    strategy = cerebro.run()[0]
    assert [data._timeframe for data in strategy.datas] == [bt.TimeFrame.Minutes, bt.TimeFrame.Days]
    assert len(strategy.datas[1]) == len(np.unique(full.times.astype("datetime64[D]")))
    rows = np.array(strategy.rows[1])
    assert np.isnan(rows[:, -len(OPTIONAL) :]).all()
    assert not np.isnan(np.array(strategy.rows[0])[:, -len(OPTIONAL)]).any()


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_clone_carries_the_extra_lines(mode: dict[str, Any], full: MarketData) -> None:
    cerebro = bt.Cerebro()
    feed = PerpetualData(dataname=full)
    cerebro.adddata(feed)
    cerebro.adddata(feed.clone())
    cerebro.addstrategy(Records)
    first, second = cerebro.run(**mode)[0].rows
    np.testing.assert_array_equal(np.array(first), expected(full))
    np.testing.assert_array_equal(np.array(second), expected(full))


def test_a_second_run_sees_the_same_bars_once(full: MarketData) -> None:
    cerebro = bt.Cerebro()
    cerebro.adddata(PerpetualData(dataname=full))
    cerebro.addstrategy(Records)
    for _ in range(2):
        np.testing.assert_array_equal(np.array(cerebro.run()[0].rows[0]), expected(full))


@pytest.mark.parametrize("optdatas", [True, False])
@pytest.mark.parametrize("maxcpus", [1, 2])
def test_optstrategy_workers_see_the_same_lines(optdatas: bool, maxcpus: int, full: MarketData) -> None:
    cerebro = bt.Cerebro(maxcpus=maxcpus, optreturn=False, optdatas=optdatas)
    cerebro.adddata(PerpetualData(dataname=full))
    cerebro.optstrategy(LastClose, period=(3, 4))
    outcomes = [run[0].outcome for run in cerebro.run()]
    for bars, values in outcomes:
        assert bars == 200
        np.testing.assert_array_equal(values, expected(full)[-1])
    assert len(outcomes) == 2


def test_a_feed_pickles_before_and_after_a_run(full: MarketData) -> None:
    feed = PerpetualData(dataname=full)
    again = pickle.loads(pickle.dumps(feed))  # noqa: S301  (our own bytes)
    np.testing.assert_array_equal(recorded(again), expected(full))
    recorded(feed)
    after = pickle.loads(pickle.dumps(feed))  # noqa: S301  (our own bytes)
    np.testing.assert_array_equal(recorded(after), expected(full))


def test_several_feeds_run_together(full: MarketData) -> None:
    cerebro = bt.Cerebro()
    for data in (full, load_sample().head(200)):
        cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(Records)
    strategy = cerebro.run()[0]
    assert strategy.getdatanames() == ["FULL", "EURUSD"]
    np.testing.assert_array_equal(np.array(strategy.rows[0]), expected(full))


@pytest.mark.parametrize(
    ("seconds", "frame", "compression"),
    [
        (5, bt.TimeFrame.Seconds, 5),
        (60, bt.TimeFrame.Minutes, 1),
        (300, bt.TimeFrame.Minutes, 5),
        (3600, bt.TimeFrame.Minutes, 60),
        (14_400, bt.TimeFrame.Minutes, 240),
        (86_400, bt.TimeFrame.Days, 1),
        (3 * 86_400, bt.TimeFrame.Days, 3),
        (7 * 86_400, bt.TimeFrame.Weeks, 1),
        (31 * 86_400, bt.TimeFrame.Months, 1),
        (365 * 86_400, bt.TimeFrame.Years, 1),
    ],
)
def test_timeframe_and_compression_say_the_bar_length(seconds: int, frame: int, compression: int) -> None:
    ones = np.ones(5)
    times = np.datetime64("2000-01-01", "ns") + np.arange(5) * np.timedelta64(seconds, "s")
    data = MarketData(
        symbol="X", times=times, bar_seconds=seconds, open=ones, high=ones, low=ones, close=ones, volume=ones
    )
    feed = PerpetualData(dataname=data)
    assert (feed._timeframe, feed._compression) == (frame, compression)


def test_name_timeframe_and_market_data_of_a_feed(full: MarketData) -> None:
    assert PerpetualData(dataname=full)._name == "FULL"
    assert PerpetualData(dataname=full, name="mine")._name == "mine"
    assert PerpetualData(dataname=full).market_data is full
    feed = PerpetualData(dataname=full, timeframe=bt.TimeFrame.Days)
    assert (feed._timeframe, feed._compression) == (bt.TimeFrame.Days, 1)


def test_paths_and_frames_are_loaded(tmp_path: Path) -> None:
    data = load_sample().head(100)
    path = tmp_path / "EURUSD-1h-2017.csv"
    data.to_frame().to_csv(path)
    for source in (path, str(path), data.to_frame(), data.to_frame().tz_localize(None)):
        feed = PerpetualData(dataname=source, name="EURUSD")
        assert feed.market_data.same_content(data)
    assert PerpetualData(dataname=path)._name == "EURUSD"
    pytest.importorskip("pyarrow", reason="Parquet needs the extra")
    data.to_frame().to_parquet(tmp_path / "EURUSD.parquet")
    assert PerpetualData(dataname=tmp_path / "EURUSD.parquet").market_data.same_content(data)


def test_loading_options_mend_a_file_and_are_refused_for_loaded_data(full: MarketData) -> None:
    frame = load_sample().head(50).to_frame().iloc[::-1]
    feed = PerpetualData(dataname=frame, name="EURUSD", loading={"repair": "reverse"})
    assert feed.market_data.same_content(load_sample().head(50))
    with pytest.raises(DataError, match="loading options for data that are loaded"):
        PerpetualData(dataname=full, loading={"repair": "all"})


def test_a_time_zone_of_the_input_is_refused_because_the_times_are_utc(full: MarketData) -> None:
    with pytest.raises(SettingsError, match="tzinput must be left out"):
        PerpetualData(dataname=full, tzinput=bt.utils.date.UTC)


def test_day_numbers_equal_date2num_at_every_second_of_a_day_and_at_odd_times() -> None:
    seconds = np.datetime64("2023-12-31", "ns") + np.arange(86_400) * np.timedelta64(1, "s")
    rng = np.random.default_rng(3)
    odd = (rng.integers(0, 4 * 10**9, 2000) * 10**9 + rng.integers(0, 10**6, 2000) * 1000).astype("datetime64[ns]")
    for times in (seconds, odd):
        theirs = [bt.date2num(moment) for moment in pd.DatetimeIndex(times).to_pydatetime()]
        np.testing.assert_array_equal(backtrader_times(times), theirs)


@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"preload": False}], ids=str)
def test_the_last_prices_are_backtraders(how: dict[str, Any]) -> None:
    class Ticks(bt.Strategy):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def next(self) -> None:
            names = ("open", "high", "low", "close", "volume", "openinterest", "last")
            self.seen.append([getattr(self.data, f"tick_{name}") for name in names])

    data = load_sample().head(50)
    frame = data.to_frame().tz_localize(None)
    seen = []
    for feed in (
        PerpetualData(dataname=data),
        bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=60, openinterest=None),
    ):
        cerebro = bt.Cerebro(stdstats=False, **how)
        cerebro.adddata(feed)
        cerebro.addstrategy(Ticks)
        seen.append(cerebro.run()[0].seen)
    ours, theirs = ([[0.0 if value != value else value for value in row] for row in rows] for rows in seen)
    assert ours == theirs


@pytest.mark.parametrize("how", [{}, {"runonce": False}, {"preload": False}], ids=str)
@pytest.mark.parametrize("slow_first", [True, False])
def test_a_slow_bar_is_not_known_before_it_ends(how: dict[str, Any], slow_first: bool) -> None:
    hourly = load_sample().head(600)
    frame = (
        hourly.to_frame()
        .resample("4h")
        .agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    )
    slow = MarketData.from_frame(frame.dropna(), symbol="FOUR")

    class Watch(bt.Strategy):
        def __init__(self) -> None:
            self.known: list[tuple[float, float]] = []

        def next(self) -> None:
            # Where the hourly feed has a gap, the slow bar comes alone.
            self.known.append((max(data.datetime[0] for data in self.datas), self.getdatabyname("FOUR").close[0]))

    cerebro = bt.Cerebro(stdstats=False, **how)
    for data in (slow, hourly) if slow_first else (hourly, slow):
        cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(Watch)
    known = cerebro.run()[0].known
    assert len(known) > 500
    ends = slow.times + np.timedelta64(4, "h")
    for time, close in known:
        now = np.datetime64(bt.num2date(time), "ns") + np.timedelta64(1, "h")
        newest = int(np.searchsorted(ends, now, side="right")) - 1
        assert close == slow.close[newest]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_lines_give_plain_floats(mode: dict[str, Any], full: MarketData) -> None:
    class Kinds(bt.Strategy):
        def next(self) -> None:
            assert {type(getattr(self.data.lines, name)[0]) for name in LINES} == {float}

    cerebro = bt.Cerebro(stdstats=False, **mode)
    cerebro.adddata(PerpetualData(dataname=full.head(50)))
    cerebro.addstrategy(Kinds)
    assert len(cerebro.run()[0]) == 50
