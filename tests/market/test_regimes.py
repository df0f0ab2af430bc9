"""Regimes: right on plain trends, steady, causal, and what real crashes ask for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import (
    REGIME_CODES,
    MarketData,
    Regimes,
    RegimeSettings,
    RegimeTracker,
    compute_features,
    label_regimes,
)
from ai_backtrader.market.features import features_of_arrays
from ai_backtrader.values import Regime

Bars = Callable[..., dict[str, np.ndarray]]
REAL = ["BTCUSDT-1h-2018-2023", "EURUSD-1h-2017-2022", "SP500-1d-1999-2018"]


def regimes_of(bars: dict[str, np.ndarray]) -> Regimes:
    inputs = {name: bars[name] for name in ("high", "low", "close", "volume")}
    return label_regimes(features_of_arrays(bar_seconds=3600, **inputs))


def test_codes_carry_the_sign() -> None:
    assert set(REGIME_CODES) == set(Regime)
    assert all(np.sign(code) == regime.sign for regime, code in REGIME_CODES.items())


def test_a_steady_rise_is_a_bull_market_and_a_steady_fall_a_bear_market(random_bars: Bars) -> None:
    up = regimes_of(random_bars(800, seed=1, step=0.002, drift=0.0015))
    down = regimes_of(random_bars(800, seed=1, step=0.002, drift=-0.0015))
    assert (up.labels[200:] >= 1).mean() > 0.95
    assert (up.labels[200:] == 2).mean() > 0.6
    assert (down.labels[200:] <= -1).mean() > 0.95
    assert (down.labels[200:] == -2).mean() > 0.6
    assert up.label(799) is Regime.STRONG_BULL
    assert down.label(799) is Regime.STRONG_BEAR


def test_a_market_that_goes_nowhere_is_mostly_not_strong() -> None:
    rng = np.random.default_rng(2)
    close = 100.0 * np.exp(0.01 * rng.normal(size=4_000))  # noise around a level: no trend at all
    regimes = regimes_of({"high": close * 1.002, "low": close * 0.998, "close": close, "volume": np.ones(4_000)})
    assert (np.abs(regimes.labels[120:]) == 2).mean() < 0.02
    assert (regimes.labels[120:] == 0).mean() > 0.75


def test_a_turn_of_the_market_is_followed_within_two_days_of_hourly_bars(random_bars: Bars) -> None:
    rise, fall = (random_bars(500, seed=3, step=0.002, drift=drift) for drift in (0.0015, -0.0015))
    joined = {}
    for name in ("open", "high", "low", "close"):
        joined[name] = np.concatenate((rise[name], fall[name] * rise["close"][-1] / 100.0))
    joined["volume"] = np.concatenate((rise["volume"], fall["volume"]))
    regimes = regimes_of(joined)
    assert regimes.labels[499] >= 1
    assert regimes.labels[548] <= -1


@pytest.mark.parametrize("name", REAL)
def test_labels_do_not_flicker_on_real_data(real_data: Callable[..., MarketData], name: str) -> None:
    features = compute_features(real_data(name))
    regimes = label_regimes(features)
    labels = regimes.labels[features.ready_from :]
    changes = np.flatnonzero(np.diff(labels))
    assert 1_000 * changes.size / labels.size < 40
    assert np.diff(changes).min() >= RegimeSettings().min_bars
    flags = np.flatnonzero(np.diff(regimes.high_volatility[features.ready_from :].astype(int)))
    assert 1_000 * flags.size / labels.size < 15
    assert np.diff(flags).min() >= RegimeSettings().min_bars
    # Every label occurs, none swallows the market.
    shares = {code: (labels == code).mean() for code in REGIME_CODES.values()}
    assert min(shares.values()) > 0.02
    assert max(shares.values()) < 0.5


@pytest.mark.parametrize("name", REAL)
def test_labels_order_the_returns_of_the_day_behind_them(real_data: Callable[..., MarketData], name: str) -> None:
    data = real_data(name)
    labels = label_regimes(compute_features(data)).labels[200:]
    past = np.log(data.close[200:] / data.close[176:-24])
    means = [past[labels == code].mean() for code in (-2, -1, 0, 1, 2)]
    assert means[0] < means[1] < means[3] < means[4]
    assert means[0] < 0.0 < means[4]


def test_the_crash_of_march_2020_is_high_volatility_and_strong_bear(real_data: Callable[..., MarketData]) -> None:
    data = real_data("BTCUSDT-1h-2018-2023")
    regimes = label_regimes(compute_features(data))
    crash = (data.times >= np.datetime64("2020-03-12T12:00")) & (data.times < np.datetime64("2020-03-14T00:00"))
    assert crash.sum() == 36
    assert regimes.high_volatility[crash].all()
    assert (regimes.labels[crash] == REGIME_CODES[Regime.STRONG_BEAR]).mean() > 0.9
    assert regimes.high_volatility.mean() < 0.2


def test_before_the_features_are_ready_nothing_is_claimed(random_bars: Bars) -> None:
    regimes = regimes_of(random_bars(200, drift=0.01))
    assert not regimes.labels[:120].any()
    assert not regimes.high_volatility[:120].any()
    assert regimes.label(0) is Regime.SIDEWAYS
    assert len(regimes) == 200


def test_a_tracker_fed_by_name_agrees_with_the_batch(random_bars: Bars) -> None:
    bars = random_bars(700, seed=8)
    features = features_of_arrays(bar_seconds=3600, **{name: bars[name] for name in ("high", "low", "close", "volume")})
    settings = RegimeSettings(min_bars=5, smoothing_bars=4)
    regimes = label_regimes(features, settings)
    tracker = RegimeTracker(settings)
    for t in range(700):
        tracker.update(features.indicators(t))
        assert tracker.regime is regimes.label(t)
        assert tracker.code == regimes.labels[t]
        assert tracker.high_volatility == regimes.high_volatility[t]


def test_more_patience_means_fewer_changes(random_bars: Bars) -> None:
    bars = random_bars(6_000, seed=9)
    features = features_of_arrays(bar_seconds=3600, **{name: bars[name] for name in ("high", "low", "close", "volume")})
    changes = [
        np.count_nonzero(np.diff(label_regimes(features, RegimeSettings(min_bars=bars, smoothing_bars=bars)).labels))
        for bars in (1, 6, 24, 96)
    ]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 4 * changes[-1] > 0


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"min_bars": 0}, "min_bars must be at least 1"),
        ({"enter_trend": 0.1, "exit_trend": 0.2}, "exit_trend must be below enter_trend"),
        ({"exit_strong": 0.9}, "exit_strong must be below enter_strong"),
        ({"exit_volatility": 2.0}, "exit_volatility must be below enter_volatility"),
        ({"enter_strong": 1.5}, "enter_strong must be between 0 and 1"),
    ],
)
def test_thresholds_without_hysteresis_are_refused(options: dict[str, float], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        RegimeSettings(**options)  # type: ignore[arg-type]
