"""Drift of a market: what is fed, false alarms and delays on fresh seeds, requests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import (
    Channel,
    DriftMonitor,
    DriftSettings,
    GarchCusum,
    OnlineLearner,
    OnlineLearnerSettings,
    WindowedZ,
    drift_series,
)

Array = NDArray[np.float64]
CHANGE = 1000


def garch(rng: np.random.Generator, n: int) -> Array:
    returns, variance = np.empty(n + 300), 1.0
    for i, shock in enumerate(rng.normal(size=n + 300)):
        returns[i] = np.sqrt(variance) * shock
        variance = 0.05 + 0.10 * returns[i] ** 2 + 0.85 * variance
    return returns[300:]


NOISE: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "t3": lambda rng, n: rng.standard_t(3, n) / np.sqrt(3.0),
    "GARCH": garch,
}


def closes(returns: Array) -> Array:
    return 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(0.01 * returns)]))


def alarm_bars(returns: Array, settings: DriftSettings | None = None) -> list[int]:
    return sorted({event.bar - 1 for event in DriftMonitor("X", settings).scan(closes(returns))})


@pytest.mark.parametrize(("kind", "most"), [("normal", 0.05), ("t3", 0.10), ("GARCH", 0.15)])
def test_false_alarms_of_all_series_together_are_rare(kind: str, most: float) -> None:
    found = sum(len(alarm_bars(NOISE[kind](np.random.default_rng([seed, 70]), 5000))) for seed in range(40))
    assert 1000.0 * found / (40 * 5000) <= most


@pytest.mark.parametrize(
    ("mean", "scale", "delay"), [(1.0, 1.0, 30.0), (2.0, 1.0, 16.0), (0.0, 2.0, 25.0), (0.0, 3.0, 12.0)]
)
def test_no_change_of_forty_is_missed_and_half_are_found_in_time(mean: float, scale: float, delay: float) -> None:
    found = []
    for seed in range(40):
        returns = np.random.default_rng([seed, 80]).normal(size=CHANGE + 1500)
        returns[CHANGE:] = scale * returns[CHANGE:] + mean
        found += [bar - CHANGE for bar in alarm_bars(returns) if bar >= CHANGE][:1]
    assert len(found) == 40
    assert np.median(found) <= delay


@pytest.mark.parametrize(
    ("kind", "scale", "delay"),
    # Under clustering even who knows the true process needs 45 bars for a doubling at this rate of false alarms.
    [("t3", 2.0, 25.0), ("t3", 3.0, 12.0), ("GARCH", 2.0, 110.0), ("GARCH", 3.0, 20.0)],
)
def test_a_jump_of_volatility_is_found_under_heavy_tails_and_in_clusters(kind: str, scale: float, delay: float) -> None:
    found, missed = [], 0
    for seed in range(40):
        returns = NOISE[kind](np.random.default_rng([seed, 81]), CHANGE + 1500)
        returns[CHANGE:] *= scale
        after = [bar - CHANGE for bar in alarm_bars(returns) if bar >= CHANGE]
        found += after[:1]
        missed += not after
    assert missed <= 1  # one run of 600: a false alarm just before the change
    assert np.median(found) <= delay


@pytest.mark.parametrize(("before", "after", "delay"), [(0.55, 0.35, 135.0), (0.6, 0.2, 35.0)])
def test_a_win_rate_that_falls_is_found(before: float, after: float, delay: float) -> None:
    found = []
    for seed in range(40):
        rate = np.where(np.arange(CHANGE + 1500) < CHANGE, before, after)
        wins = (np.random.default_rng([seed, 90]).random(CHANGE + 1500) < rate).astype(float)
        alarms = Channel(DriftSettings().win_rate_detectors).scan(wins)
        found += [alarm - CHANGE for alarm in alarms if alarm >= CHANGE][:1]
    assert len(found) == 40
    assert np.median(found) <= delay


def test_bars_one_by_one_and_all_at_once_are_the_same_to_the_bit() -> None:
    rng = np.random.default_rng(5)
    close, volume = closes(rng.normal(size=1999) * np.where(np.arange(1999) < 1000, 1, 3)), rng.lognormal(size=2000)
    close[55], volume[77] = np.nan, 0.0
    batch, stream = DriftMonitor("X"), DriftMonitor("X")
    events = batch.scan(close, volume)
    streamed = [event for bar in zip(close, volume, strict=True) for event in stream.update(*map(float, bar))]
    assert events == tuple(streamed)
    assert events
    assert batch.state_dict() == stream.state_dict()


def test_the_series_are_returns_their_size_and_the_log_of_volume() -> None:
    series = drift_series([100.0, 110.0, 99.0, 0.0, 99.0], [1.0, np.e, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(series["momentum"], [np.nan, np.log(1.1), np.log(0.9), np.nan, np.nan])
    np.testing.assert_allclose(series["volatility"], [np.nan, np.log(1.1), -np.log(0.9), np.nan, np.nan])
    np.testing.assert_allclose(series["volume"], [0.0, 1.0, np.nan, 0.0, 0.0], atol=1e-15)


def test_volume_that_trebles_is_found() -> None:
    rng = np.random.default_rng(1)
    volume = rng.lognormal(sigma=0.5, size=2000) * np.where(np.arange(2000) < 1500, 1.0, 3.0)
    events = DriftMonitor("X").scan(closes(rng.normal(size=1999)), volume)
    assert [event.series for event in events] == ["volume"]
    assert 1500 < events[0].bar < 1530


def test_alarms_at_a_bar_need_no_later_bar() -> None:
    rng = np.random.default_rng(6)
    close = closes(rng.normal(size=2000) * np.where(np.arange(2000) < 1000, 1, 3))
    events = DriftMonitor("X").scan(close)
    for t in rng.integers(600, 2000, size=20):
        assert DriftMonitor("X").scan(close[:t]) == tuple(event for event in events if event.bar < t)


def test_one_drift_asks_once_and_a_second_one_asks_again() -> None:
    rng = np.random.default_rng(7)
    scale = np.select([np.arange(4000) < 1000, np.arange(4000) < 2500], [1.0, 3.0], 0.8)
    learner = OnlineLearner()
    events, bars = [], []
    for i, close in enumerate(closes(scale * rng.normal(size=4000))):
        at = dt.datetime(2024, 1, 1) + dt.timedelta(hours=i)
        events += learner.on_bar("X", close=float(close), at=at)
        for request in learner.take_requests():
            bars.append(request.bar)
            assert request.symbol == "X"
            assert request.strategy_id is None
            assert request.at == at
            assert "volatility (" in request.reason
    assert len(bars) == 2
    assert 1000 < bars[0] < 1030
    assert 2500 < bars[1] < 2600
    assert learner.take_requests() == ()


def test_requests_wait_in_the_queue_and_do_not_pile_up() -> None:
    settings = OnlineLearnerSettings(drift=DriftSettings(detectors=(WindowedZ(threshold=1.5),), cool_down_bars=0))
    learner = OnlineLearner(settings)
    events = learner.on_bars("X", close=closes(np.random.default_rng(8).normal(size=5000)))
    assert len(events) > 3
    assert len(learner.requests()) == 1
    assert learner.requests()[0].bar == events[0].bar
    assert len(learner.take_requests()) == 1
    assert learner.requests() == ()


def test_a_strategys_falling_win_rate_asks_for_that_strategy(closed_trade: Callable[..., object]) -> None:
    rng = np.random.default_rng(9)
    learner = OnlineLearner()
    for i in range(900):
        won = rng.random() < (0.6 if i < 600 else 0.2)
        learner.on_trade_complete(closed_trade(1.0 if won else -0.8))
    (request,) = learner.take_requests()
    assert (request.symbol, request.strategy_id) == ("X", "s")
    assert request.reason == "drift of s on X: win_rate (bernoulli_glr)"


def test_real_bars_ask_a_few_times_a_year(shared_csv: Callable[[str], object]) -> None:
    frame = pd.read_csv(shared_csv("BTCUSDT-1h-2018-2023.csv.gz"))
    learner = OnlineLearner()
    asked = 0
    for start in range(0, len(frame), 24):
        part = frame.iloc[start : start + 24]
        learner.on_bars("BTC", close=part["close"].to_numpy(), volume=part["volume"].to_numpy())
        asked += len(learner.take_requests())
    years = len(frame) / (24 * 365)
    assert 1 <= asked / years <= 18  # 17.5 would be one at the end of each cool-down


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"series": ("close",)}, "series must be one of 'momentum', 'volatility', 'volume', got 'close'"),
        ({"series": ("momentum", "momentum")}, "different names"),
        ({"detectors": ()}, "one or more detectors"),
        ({"detectors": ("adwin",)}, "WindowedZ, Adwin or PageHinkley"),
        ({"detectors": (GarchCusum(),)}, "GarchCusum is for volatility_detectors"),
        ({"volatility_detectors": ("garch",)}, "GarchCusum, MeanGlr, WindowedZ, Adwin or PageHinkley"),
        ({"warm_up": 3, "clip": -1.0}, "2 faults"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        DriftSettings(**settings)  # type: ignore[arg-type]


def test_bad_bars_are_named() -> None:
    with pytest.raises(SettingsError, match="close must be a number, got 'x'"):
        DriftMonitor("X").update("x")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"one dimension and length, got \(2,\), \(3,\)"):
        DriftMonitor("X").scan([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(SettingsError, match="symbol must be a text"):
        OnlineLearner().on_bar("", close=1.0)
