"""FeatureLines: the batch's numbers in every way that Cerebro can run."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.datafeeds import FeatureLines, PerpetualData
from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market import (
    MARKET_FEATURES,
    FeatureSettings,
    MarketData,
    RegimeSettings,
    compute_features,
    label_regimes,
)

BARS = 700


@pytest.fixture(scope="module")
def perp(shared_csv: Callable[[str], Path]) -> MarketData:
    return MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).head(BARS)


@pytest.fixture(scope="module")
def euro(shared_csv: Callable[[str], Path]) -> MarketData:
    return MarketData.from_csv(shared_csv("EURUSD-1h-2017-2022.csv.gz")).head(BARS)


class Watcher(bt.Strategy):
    """Writes down what the features of each feed say, bar by bar of that feed."""

    params = (("options", {}),)

    def __init__(self) -> None:
        self.features = [FeatureLines(data, **self.p.options) for data in self.datas]
        self.seen: list[dict[int, tuple[Any, ...]]] = [{} for _ in self.datas]
        self.calls = 0

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        self.calls += 1
        for data, features, seen in zip(self.datas, self.features, self.seen, strict=True):
            if len(data):
                seen[len(data) - 1] = (
                    features.indicators(),
                    features.regime,
                    features.high_volatility_regime,
                    features.ready,
                )


def run(*feeds: Any, prepare: Callable[[bt.Cerebro], None] | None = None, options: dict[str, Any] | None = None,
        **how: Any) -> Watcher:  # fmt: skip
    cerebro = bt.Cerebro(stdstats=False, **how)
    for feed in feeds:
        cerebro.adddata(feed)
    if prepare is not None:
        prepare(cerebro)
    cerebro.addstrategy(Watcher, options=options or {})
    return cerebro.run()[0]


def assert_batch(seen: dict[int, tuple[Any, ...]], data: MarketData, **settings: Any) -> None:
    """What was seen equals the batch of the data, at every bar, to the last bit."""
    features = compute_features(data, settings.get("settings"))
    regimes = label_regimes(features, settings.get("regime_settings"))
    assert sorted(seen) == list(range(len(data)))
    for t, (indicators, regime, high_volatility, ready) in seen.items():
        expected = features.indicators(t)
        assert list(indicators) == list(expected), t
        assert np.array(list(indicators.values())).tobytes() == np.array(list(expected.values())).tobytes(), t
        assert (regime, high_volatility, ready) == (
            regimes.label(t),
            regimes.high_volatility[t],
            t >= features.ready_from,
        ), t


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"runonce": False},
        {"preload": False},
        {"exactbars": 1},
        {"exactbars": -1},
        {"exactbars": -2},
        {"lookahead": 5},
    ],
    ids=str,
)
def test_every_way_to_run_gives_the_batchs_bits(perp: MarketData, how: dict[str, Any]) -> None:
    strategy = run(PerpetualData(dataname=perp), **how)
    assert strategy.calls == BARS
    assert_batch(strategy.seen[0], perp)


@pytest.mark.parametrize("n", [1, 2, 100, 120, 121])
@pytest.mark.parametrize("runonce", [True, False])
def test_data_shorter_than_the_warm_up_give_nan_and_no_error(perp: MarketData, n: int, runonce: bool) -> None:
    strategy = run(PerpetualData(dataname=perp.head(n)), runonce=runonce)
    assert strategy.calls == n
    indicators, _, _, ready = strategy.seen[0][n - 1]
    assert ready == (n == 121)
    assert all(np.isnan(indicators[name]) != ready for name in MARKET_FEATURES)


@pytest.mark.parametrize("runonce", [True, False])
def test_several_feeds_each_have_their_own(perp: MarketData, euro: MarketData, runonce: bool) -> None:
    # One starts 50 bars late and ends early, the other has week-ends and other years.
    late = perp.between(perp.times[50], perp.times[600])
    strategy = run(
        PerpetualData(dataname=perp), PerpetualData(dataname=late), PerpetualData(dataname=euro), runonce=runonce
    )
    for seen, data in zip(strategy.seen, (perp, late, euro), strict=True):
        assert_batch(seen, data)


@pytest.mark.parametrize("runonce", [True, False])
def test_a_feed_cut_by_dates_has_the_features_of_the_bars_it_hands_out(perp: MarketData, runonce: bool) -> None:
    start, end = dt.datetime(2020, 1, 5), dt.datetime(2020, 1, 20)
    feed = PerpetualData(dataname=perp, fromdate=start, todate=end - dt.timedelta(seconds=1))
    assert_batch(run(feed, runonce=runonce).seen[0], perp.between(start, end))


def four_hourly(data: MarketData) -> MarketData:
    frame = data.to_frame()[["open", "high", "low", "close", "volume"]]
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    # Backtrader closes a bar at its right edge and counts that edge in.
    bars = frame.resample("4h", closed="right", label="right").agg(rules).dropna()
    return MarketData.from_frame(bars, symbol="4H", bar_seconds=14_400)


def test_a_resampled_feed_has_the_features_of_its_own_bars(perp: MarketData) -> None:
    def resample(cerebro: bt.Cerebro) -> None:
        cerebro.resampledata(PerpetualData(dataname=perp), timeframe=bt.TimeFrame.Minutes, compression=240)

    seen = run(prepare=resample).seen[0]
    expected = four_hourly(perp)
    whole = compute_features(expected)
    checked = 0
    for t in range(len(expected) - 1):
        if t in seen:
            indicators = seen[t][0]
            np.testing.assert_allclose(
                [indicators[name] for name in MARKET_FEATURES], whole.raw[t], rtol=1e-9, atol=1e-9, err_msg=str(t)
            )
            checked += seen[t][3]
    assert checked > 40
    assert "funding_rate" not in seen[150][0]


def test_a_replayed_feed_sees_the_growing_bar_and_ends_with_the_closed_one(perp: MarketData) -> None:
    def replay(cerebro: bt.Cerebro) -> None:
        cerebro.replaydata(PerpetualData(dataname=perp), timeframe=bt.TimeFrame.Minutes, compression=240)

    strategy = run(prepare=replay)
    assert strategy.calls > 3 * len(strategy.seen[0])
    whole = compute_features(four_hourly(perp))
    closed = [t for t in range(whole.ready_from, len(whole) - 1) if t in strategy.seen[0]]
    assert len(closed) > 40
    for t in closed:
        indicators = strategy.seen[0][t][0]
        np.testing.assert_allclose(
            [indicators[name] for name in MARKET_FEATURES], whole.raw[t], rtol=1e-9, atol=1e-9, err_msg=str(t)
        )


class LastFeatures(bt.Analyzer):
    def stop(self) -> None:
        self.rets["last"] = self.strategy.seen[0][BARS - 1][0]
        self.rets["ready"] = self.strategy.features[0].ready


@pytest.mark.parametrize("maxcpus", [1, 2])
def test_optstrategy_runs_them_in_every_worker(perp: MarketData, maxcpus: int) -> None:
    cerebro = bt.Cerebro(stdstats=False, maxcpus=maxcpus)
    cerebro.adddata(PerpetualData(dataname=perp))
    ratios = (1.2, 2.0)
    cerebro.optstrategy(Watcher, options=[{"settings": FeatureSettings(high_volatility_ratio=x)} for x in ratios])
    cerebro.addanalyzer(LastFeatures, _name="last")
    runs = [result[0].analyzers.last.get_analysis() for result in cerebro.run()]
    for ratio, found in zip(ratios, runs, strict=True):
        assert found["ready"]
        expected = compute_features(perp, FeatureSettings(high_volatility_ratio=ratio)).indicators(BARS - 1)
        assert found["last"] == expected


@pytest.mark.parametrize("runonce", [True, False])
def test_settings_reach_the_features_and_the_regimes(perp: MarketData, runonce: bool) -> None:
    settings = {"settings": FeatureSettings(high_volatility_ratio=1.1), "regime_settings": RegimeSettings(min_bars=3)}
    assert_batch(run(PerpetualData(dataname=perp), options=settings, runonce=runonce).seen[0], perp, **settings)


def pandas_feed(data: MarketData, **options: Any) -> Any:
    frame = data.to_frame()[["open", "high", "low", "close", "volume"]]
    return bt.feeds.PandasData(dataname=frame.tz_localize(None), **options)


@pytest.mark.parametrize("runonce", [True, False])
def test_any_backtrader_feed_will_do(euro: MarketData, runonce: bool) -> None:
    feed = pandas_feed(euro, timeframe=bt.TimeFrame.Minutes, compression=60)
    assert_batch(run(feed, runonce=runonce).seen[0], euro)


@pytest.mark.parametrize("runonce", [True, False])
def test_a_feed_that_calls_its_hours_days_is_warned_of(
    perp: MarketData, runonce: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ai_backtrader"):
        run(pandas_feed(perp), runonce=runonce)
    (record,) = [record for record in caplog.records if "bars are" in record.getMessage()]
    assert "bars are 3600 s apart, but are said to last 86400 s" in record.getMessage()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "ai_backtrader"):
        run(PerpetualData(dataname=perp), runonce=runonce)
    assert not caplog.records


@pytest.mark.parametrize("runonce", [True, False])
@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("close", np.nan, "price is not a positive finite number.*row 333 .*column close, found nan"),
        ("low", 0.0, "price is not a positive finite number.*row 333 .*column low"),
        ("high", 1.0, "high is below low.*row 333 "),
        ("volume", -5.0, "volume is negative or infinite.*row 333 "),
    ],
)
def test_a_faulty_bar_of_a_foreign_feed_is_named(
    perp: MarketData, column: str, value: float, fault: str, runonce: bool
) -> None:
    frame = perp.to_frame()[["open", "high", "low", "close", "volume"]].tz_localize(None)
    frame.iloc[333, frame.columns.get_loc(column)] = value
    frame["volume"] = frame["volume"].where(np.arange(BARS) != 7)  # a missing volume is none
    feed = bt.feeds.PandasData(dataname=pd.DataFrame(frame), timeframe=bt.TimeFrame.Minutes, compression=60)
    with pytest.raises(DataError, match=fault):
        run(feed, runonce=runonce)


def test_a_line_is_no_feed(perp: MarketData) -> None:
    class OnClose(bt.Strategy):
        def __init__(self) -> None:
            FeatureLines(self.data.close)

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(PerpetualData(dataname=perp))
    cerebro.addstrategy(OnClose)
    with pytest.raises(SettingsError, match="needs a data feed with open, high, low, close, volume"):
        cerebro.run()


def test_a_timeframe_without_length_asks_for_bar_seconds(perp: MarketData) -> None:
    with pytest.raises(SettingsError, match="timeframe Ticks has no length; give bar_seconds"):
        run(pandas_feed(perp, timeframe=bt.TimeFrame.Ticks))
    strategy = run(pandas_feed(perp, timeframe=bt.TimeFrame.Ticks), options={"bar_seconds": 3600})
    assert strategy.seen[0][BARS - 1][3]


def test_lines_can_be_used_as_lines(perp: MarketData) -> None:
    class Crossing(bt.Strategy):
        def __init__(self) -> None:
            self.features = FeatureLines(self.data)
            self.average = bt.indicators.SMA(self.features.rsi, period=3)
            self.rows: list[tuple[float, float, float]] = []

        def next(self) -> None:
            self.rows.append((self.average[0], self.features.adx[0], self.features.lines.regime_code[0]))

    for runonce in (True, False):
        cerebro = bt.Cerebro(stdstats=False, runonce=runonce)
        cerebro.adddata(PerpetualData(dataname=perp))
        cerebro.addstrategy(Crossing)
        rows = cerebro.run()[0].rows
        features = compute_features(perp)
        rsi = features.raw[:, MARKET_FEATURES.index("rsi")]
        assert rows[-1][0] == pytest.approx(rsi[-3:].mean(), rel=1e-12)
        assert rows[-1][1] == features.raw[-1, MARKET_FEATURES.index("adx")]
        assert rows[-1][2] == label_regimes(features).labels[-1]
