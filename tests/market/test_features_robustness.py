"""Features on hostile bars: finite, bounded, blind to scale and to the future."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ai_backtrader.market import MARKET_FEATURES, MarketData, compute_features, label_regimes
from ai_backtrader.market.features import features_of_arrays

Bars = Callable[..., dict[str, np.ndarray]]
INPUTS = ("high", "low", "close", "volume")


def features_of(bars: dict[str, np.ndarray], bar_seconds: float = 3600.0) -> object:
    return features_of_arrays(bar_seconds=bar_seconds, **{name: bars[name] for name in INPUTS})


def hostile_bars(n: int, seed: int) -> dict[str, np.ndarray]:
    """Stretches of flat prices, of no volume, of tiny prices and of quiet, with gaps of a hundred times between."""
    rng = np.random.default_rng(seed)
    steps = 0.01 * rng.standard_t(2, n)
    for start in range(0, n, 250):
        kind = rng.integers(0, 6)
        part = slice(start, start + 250)
        steps[part] *= (0.0, 1e-9, 1.0, 5.0, 1.0, 0.1)[kind]
        if rng.random() < 0.3:
            steps[start] += np.log(100.0) * rng.choice([-1, 1])
    log_price = np.clip(np.cumsum(steps), np.log(1e-8), np.log(1e8))
    close = np.exp(log_price)
    close[n // 4 : n // 4 + 700] = 1e-8
    close[n // 3 : n // 3 + 2_000] = close[n // 3]  # flat long enough for every average to arrive
    open_ = np.concatenate((close[:1], close[:-1]))
    flat = rng.random(n) < 0.2
    flat[n // 3 : n // 3 + 2_000] = True
    reach = np.where(flat, 0.0, np.abs(0.01 * rng.standard_t(2, n)))
    high = np.maximum(open_, close) * (1.0 + reach)
    low = np.minimum(open_, close) / (1.0 + reach)
    volume = rng.lognormal(0.0, 8.0, n) * (rng.random(n) < 0.8)
    volume[n // 2 : n // 2 + 3_000] = 0.0
    return {"open": open_, "high": high, "low": low, "close": close, "volume": volume}


@pytest.mark.parametrize(("bar_seconds", "seed"), [(300, 1), (3600, 2), (86_400, 3)])
def test_entries_stay_finite_and_bounded_on_100_000_hostile_bars(bar_seconds: float, seed: int) -> None:
    bars = hostile_bars(100_000, seed)
    features = features_of(bars, bar_seconds)
    ready = features.ready_from
    assert np.isfinite(features.raw[ready:]).all()
    vector = features.vector[ready:]
    assert np.isfinite(vector).all()
    assert vector.min() >= -1.0
    assert vector.max() <= 1.0
    # Not by being dead: every entry moves.
    assert (vector.std(axis=0) > 0.01).all(), dict(zip(MARKET_FEATURES, vector.std(axis=0), strict=True))


def test_a_dead_market_is_neutral() -> None:
    flat = np.full(3_000, 64_123.45)
    features = features_of_arrays(bar_seconds=3600, high=flat, low=flat, close=flat, volume=np.zeros(3_000))
    named = features.indicators(2_999)
    neutral = {"rsi": 50.0, "adx": 0.0, "atr_ratio": 1.0, "bb_position": 0.5, "bb_width": 0.0, "volatility_ratio": 1.0,
               "trend_strength": 0.33, "volume_ratio": 1.0, "buy_volume_ratio": 0.5, "atr": 0.0}  # fmt: skip
    assert {name: named[name] for name in neutral} == neutral
    for name in (
        "trend_direction",
        "ema_alignment",
        "macd_signal_cross",
        "high_volatility",
        "momentum_5",
        "rsi_change",
    ):
        assert not features.raw[120:, MARKET_FEATURES.index(name)].any(), name
    assert abs(named["macd_hist"]) < 1e-2
    regimes = label_regimes(features)
    assert not regimes.labels.any()
    assert not regimes.high_volatility.any()


@pytest.mark.parametrize("bar_seconds", [300, 3600, 86_400])
def test_price_times_1000_and_volume_times_7_change_nothing(random_bars: Bars, bar_seconds: float) -> None:
    bars = random_bars(5_000, seed=4, step=0.004)
    scaled = {name: values * (7.0 if name == "volume" else 1000.0) for name, values in bars.items()}
    one, other = features_of(bars, bar_seconds), features_of(scaled, bar_seconds)
    ready = one.ready_from
    np.testing.assert_allclose(other.raw[ready:], one.raw[ready:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(other.vector[ready:], one.vector[ready:], rtol=0, atol=1e-7)  # float32


@pytest.mark.parametrize("name", ["BTCUSDT-1h-2018-2023", "SP500-1d-1999-2018"])
def test_scale_changes_nothing_on_real_data(real_data: Callable[..., MarketData], name: str) -> None:
    data = real_data(name, 0, 5_000)
    bars = {column: getattr(data, column) for column in INPUTS}
    scaled = {column: values * (7.0 if column == "volume" else 1000.0) for column, values in bars.items()}
    one, other = features_of(bars, data.bar_seconds), features_of(scaled, data.bar_seconds)
    np.testing.assert_allclose(other.raw[120:], one.raw[120:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["EURUSD-1h-2017-2022", "ETHUSDT-perp-1h-2020-2023", "LTCUSDT-1h-2020-2023"])
def test_scaling_by_powers_of_two_changes_no_bit_where_prices_are_few_ticks(
    real_data: Callable[..., MarketData], name: str
) -> None:
    # Multiplied by 1000, equal moves of a few ticks may differ by rounding, and Wilder's +DM and -DM then take another
    # side; Backtrader's arithmetic has it so. A power of two rounds nothing. The bands square with the C library's pow,
    # which does not scale.
    data = real_data(name, 0, 5_000)
    bars = {column: getattr(data, column) for column in INPUTS}
    scaled = {column: values * (8.0 if column == "volume" else 1024.0) for column, values in bars.items()}
    bands = [MARKET_FEATURES.index("bb_position"), MARKET_FEATURES.index("bb_width")]
    one, other = (np.delete(features_of(some).raw[120:], bands, axis=1) for some in (bars, scaled))
    assert one.tobytes() == other.tobytes()


def test_a_shorter_history_gives_the_same_bits(random_bars: Bars) -> None:
    bars = random_bars(1_200, seed=5)
    whole = features_of(bars, 900)
    regimes = label_regimes(whole)
    for cut in (1, 13, 15, 119, 120, 121, 122, 250, 700, 1_199):
        part = features_of({name: values[:cut] for name, values in bars.items()}, 900)
        assert part.raw.tobytes() == whole.raw[:cut].tobytes()
        assert part.vector.tobytes() == whole.vector[:cut].tobytes()
        assert part.atr.tobytes() == whole.atr[:cut].tobytes()
        labels = label_regimes(part)
        assert labels.labels.tolist() == regimes.labels[:cut].tolist()
        assert labels.high_volatility.tolist() == regimes.high_volatility[:cut].tolist()


def test_a_shorter_history_gives_the_same_bits_across_the_blocks_of_the_batch(random_bars: Bars) -> None:
    bars = random_bars(9_000, seed=6)
    whole = features_of(bars)
    for cut in (4_095, 4_096, 4_097, 8_300):
        part = features_of({name: values[:cut] for name, values in bars.items()})
        assert part.raw.tobytes() == whole.raw[:cut].tobytes()


def test_the_future_changes_nothing(random_bars: Bars) -> None:
    bars = random_bars(600, seed=7)
    other = {name: values.copy() for name, values in bars.items()}
    for name in INPUTS:
        other[name][400:] *= 3.0
    one, changed = features_of(bars), features_of(other)
    assert one.raw[:400].tobytes() == changed.raw[:400].tobytes()
    assert one.vector[:400].tobytes() == changed.vector[:400].tobytes()
    assert one.raw[400:].tobytes() != changed.raw[400:].tobytes()


def test_no_continuous_entry_saturates_often_on_real_data(real_data: Callable[..., MarketData]) -> None:
    stepped = {"macd_signal_cross", "high_volatility", "trend_direction", "ema_alignment"}
    continuous = [k for k, name in enumerate(MARKET_FEATURES) if name not in stepped]
    features = compute_features(real_data("BTCUSDT-1h-2018-2023", 0, 20_000))
    saturated = (np.abs(features.vector[features.ready_from :, continuous]) >= 1.0).mean(axis=0)
    assert saturated.max() < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_entries_stay_bounded_on_a_million_hostile_bars(seed: int) -> None:
    features = features_of(hostile_bars(100_000, 100 + seed))
    vector = features.vector[features.ready_from :]
    assert np.isfinite(features.raw[features.ready_from :]).all()
    assert np.abs(vector).max() <= 1.0
