"""The 23 market features: their contract, and an independent slow reading of the formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import (
    MARKET_FEATURES,
    NEUTRAL_VALUES,
    STRUCTURE_FEATURES,
    FeatureSettings,
    MarketData,
    MarketFeatures,
    compute_features,
    feature_vector,
    indicators,
)

Bars = Callable[..., dict[str, np.ndarray]]
Make = Callable[..., MarketData]


@pytest.fixture
def make_data(random_bars: Bars) -> Make:
    def make(n: int, *, bar_seconds: int = 3600, seed: int = 0, **optional: np.ndarray) -> MarketData:
        times = np.datetime64("2021-01-01", "ns") + np.arange(n) * np.timedelta64(bar_seconds, "s")
        bars = random_bars(n, seed=seed, step=0.005)
        return MarketData(symbol="RANDOM", times=times, bar_seconds=bar_seconds, **bars, **optional)

    return make


def test_names_and_order_are_the_contracts() -> None:
    assert MARKET_FEATURES == (
        "price_change_1h", "price_change_4h", "price_change_24h", "price_vs_ema20", "price_vs_ema50", "price_vs_vwap",
        "rsi", "rsi_change", "macd_hist", "macd_signal_cross", "momentum_5", "momentum_20",
        "atr_ratio", "bb_position", "bb_width", "volatility_ratio", "high_volatility",
        "adx", "trend_direction", "trend_strength", "ema_alignment",
        "volume_ratio", "buy_volume_ratio",
    )  # fmt: skip
    assert STRUCTURE_FEATURES == ("funding_rate", "open_interest_change", "long_short_ratio")


def reference(d: MarketData, b1: int, b4: int, b24: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Raw features and entries, written from the contract with pandas; slow, and by another hand."""
    c, h, lo, v = (pd.Series(x) for x in (d.close, d.high, d.low, d.volume))
    i = indicators
    ema20, ema50, ema100 = (pd.Series(i.ema(d.close, n)) for n in (20, 50, 100))
    atr = pd.Series(i.atr(d.high, d.low, d.close))
    rsi, adx = pd.Series(i.rsi(d.close)), pd.Series(i.adx(d.high, d.low, d.close))
    macd, bands = i.macd(d.close), i.bollinger(d.close)
    typical = (h + lo + c) / 3
    vwap = (typical * v).rolling(b24).sum() / v.rolling(b24).sum()
    returns = np.log(c / c.shift())
    x = pd.DataFrame(
        {
            "price_change_1h": 100 * (c / c.shift(b1) - 1),
            "price_change_4h": 100 * (c / c.shift(b4) - 1),
            "price_change_24h": 100 * (c / c.shift(b24) - 1),
            "price_vs_ema20": 100 * (c / ema20 - 1),
            "price_vs_ema50": 100 * (c / ema50 - 1),
            "price_vs_vwap": 100 * (c / vwap - 1),
            "rsi": rsi,
            "rsi_change": rsi - rsi.shift(3),
            "macd_hist": macd.histogram / atr,
            "macd_signal_cross": i.cross_up(macd.line, macd.signal) - i.cross_down(macd.line, macd.signal),
            "momentum_5": 100 * (c / c.shift(5) - 1),
            "momentum_20": 100 * (c / c.shift(20) - 1),
            "atr_ratio": atr / atr.rolling(100).mean(),
            "bb_position": (c - bands.lower) / (bands.upper - bands.lower),
            "bb_width": (bands.upper - bands.lower) / bands.middle,
            "volatility_ratio": returns.rolling(20).std(ddof=0) / returns.shift(20).rolling(100).std(ddof=0),
        }
    )
    x["high_volatility"] = (x["volatility_ratio"] > 1.5).astype(float)
    x["adx"] = adx
    gap = ema20 - ema50
    x["trend_direction"] = np.sign(gap).where(gap.abs() > 0.25 * atr, 0.0)
    x["trend_strength"] = (c - c.shift(20)).abs() / c.diff().abs().rolling(20).sum()
    x["ema_alignment"] = (np.sign(c - ema20) + np.sign(gap) + np.sign(ema50 - ema100)) / 3
    x["volume_ratio"] = v / v.shift().rolling(20).mean()
    location = (c - lo) / (h - lo)
    x["buy_volume_ratio"] = (location * v).rolling(5).sum() / v.rolling(5).sum()

    m = (100 * atr / c).rolling(100).median()

    def u(bars: int) -> pd.Series:
        return (m * np.sqrt(bars)).clip(lower=0.01)

    e = pd.DataFrame(index=x.index)
    scales = {"price_change_1h": 3 * u(b1), "price_change_4h": 3 * u(b4), "price_change_24h": 3 * u(b24),
              "price_vs_ema20": 4 * m, "price_vs_ema50": 8 * m, "price_vs_vwap": 1.5 * u(b24), "rsi_change": 30.0,
              "macd_hist": 1.0, "momentum_5": 3 * u(5), "momentum_20": 3 * u(20)}  # fmt: skip
    for name, scale in scales.items():
        e[name] = (x[name] / scale).clip(-1, 1)
    e["rsi"] = (x["rsi"] - 50) / 50
    for name in ("macd_signal_cross", "high_volatility", "trend_direction", "ema_alignment"):
        e[name] = x[name]
    for name in ("atr_ratio", "volatility_ratio"):
        e[name] = (np.log2(x[name]) / 2).clip(-1, 1)
    e["bb_position"] = (2 * x["bb_position"] - 1).clip(-2, 2) / 2
    e["bb_width"] = (np.log2(x["bb_width"] / x["bb_width"].rolling(100).median()) / 2).clip(-1, 1)
    e["adx"] = ((x["adx"] - 25) / 25).clip(-1, 1)
    e["trend_strength"] = (3 * x["trend_strength"] - 1).clip(-1, 1)
    e["volume_ratio"] = (np.log2(x["volume_ratio"].clip(lower=1 / 16)) / 4).clip(-1, 1)
    e["buy_volume_ratio"] = 2 * x["buy_volume_ratio"] - 1
    return x[list(MARKET_FEATURES)], e[list(MARKET_FEATURES)]


@pytest.mark.parametrize(
    ("bar_seconds", "spans"), [(300, (12, 48, 288)), (3600, (1, 4, 24)), (14_400, (1, 4, 24)), (86_400, (1, 4, 24))]
)
def test_features_equal_a_slow_reading_of_the_contract(
    make_data: Make, bar_seconds: int, spans: tuple[int, ...]
) -> None:
    data = make_data(900, bar_seconds=bar_seconds)
    features = compute_features(data)
    raw, vector = reference(data, *spans)
    ready = features.ready_from
    for column, name in enumerate(MARKET_FEATURES):
        np.testing.assert_allclose(features.raw[ready:, column], raw[name][ready:], rtol=1e-9, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(features.vector[ready:, column], vector[name][ready:], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["BTCUSDT-1h-2018-2023", "SP500-1d-1999-2018"])
def test_features_equal_the_slow_reading_on_real_data(real_data: Callable[..., MarketData], name: str) -> None:
    data = real_data(name, 0, 4_000)
    features = compute_features(data)
    raw, vector = reference(data, 1, 4, 24)
    ready = features.ready_from
    np.testing.assert_allclose(features.raw[ready:], raw[ready:], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(features.vector[ready:], vector[ready:], atol=1e-6)


@pytest.mark.parametrize(
    ("bar_seconds", "ready_from"), [(60, 1440), (300, 288), (900, 120), (3600, 120), (14_400, 120), (86_400, 120)]
)
def test_first_ready_bar_is_the_121st_or_the_one_after_a_day(
    make_data: Make, bar_seconds: int, ready_from: int
) -> None:
    features = compute_features(make_data(ready_from + 5, bar_seconds=bar_seconds))
    assert features.ready_from == ready_from
    assert np.isnan(features.raw[:ready_from]).all()
    assert np.isnan(features.vector[:ready_from]).all()
    assert np.isfinite(features.raw[ready_from:]).all()
    assert np.isfinite(features.vector[ready_from:]).all()


@pytest.mark.parametrize("n", [1, 2, 14, 120])
def test_data_shorter_than_the_warm_up_are_nan_and_no_error(make_data: Make, n: int) -> None:
    features = compute_features(make_data(n))
    assert features.raw.shape == features.vector.shape == (n, 23)
    assert np.isnan(features.raw).all()
    assert features.ready_from == 120


@pytest.mark.parametrize("bar_seconds", [300, 3600, 86_400])
def test_the_three_price_changes_differ(make_data: Make, bar_seconds: int) -> None:
    features = compute_features(make_data(600, bar_seconds=bar_seconds))
    changes = features.raw[features.ready_from :, :3]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(changes[:, one], changes[:, other])


def test_hours_on_daily_bars_are_there_for_who_asks(make_data: Make) -> None:
    features = compute_features(make_data(200, bar_seconds=86_400), FeatureSettings(change_unit="hours"))
    assert features.spans[:3] == (1, 1, 1)


def test_types_shapes_and_immutability(make_data: Make) -> None:
    features = compute_features(make_data(300))
    assert isinstance(features, MarketFeatures)
    assert features.names == MARKET_FEATURES
    assert features.raw.dtype == np.float64
    assert features.vector.dtype == np.float32
    assert len(features) == features.atr.size == features.close.size == 300
    for array in (features.raw, features.vector, features.atr, features.close, features.structure):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_indicators_name_the_raw_features_and_what_sizes_a_trade(make_data: Make) -> None:
    data = make_data(200)
    features = compute_features(data)
    given = features.indicators(150)
    assert set(given) == {*MARKET_FEATURES, "close", "atr", "atr_pct", "atr_pct_median", "bb_width_median"}
    assert [given[name] for name in MARKET_FEATURES] == features.raw[150].tolist()
    assert given["close"] == data.close[150]
    assert given["atr"] == indicators.atr(data.high, data.low, data.close)[150]
    assert given["atr_pct"] == 100.0 * given["atr"] / given["close"]
    assert all(type(value) is float for value in given.values())


def test_standard_indicators_inside_the_features_have_the_indicators_bits(make_data: Make) -> None:
    data = make_data(700)
    features = compute_features(data)
    column = {name: features.raw[120:, k] for k, name in enumerate(MARKET_FEATURES)}
    bands = indicators.bollinger(data.close)
    atr = indicators.atr(data.high, data.low, data.close)
    assert features.atr.tobytes() == atr.tobytes()
    assert column["rsi"].tobytes() == indicators.rsi(data.close)[120:].tobytes()
    assert column["adx"].tobytes() == indicators.adx(data.high, data.low, data.close)[120:].tobytes()
    assert column["momentum_20"].tobytes() == (100.0 * indicators.rate_of_change(data.close, 20))[120:].tobytes()
    assert column["atr_ratio"].tobytes() == (atr / indicators.sma(atr, 100))[120:].tobytes()
    assert column["bb_width"].tobytes() == ((bands.upper - bands.lower) / bands.middle)[120:].tobytes()


def test_the_vector_comes_again_from_the_named_indicators(make_data: Make) -> None:
    for bar_seconds in (300, 3600, 86_400):
        features = compute_features(make_data(400, bar_seconds=bar_seconds))
        for t in range(features.ready_from, 400, 17):
            vector, missing = feature_vector(features.indicators(t), bar_seconds=bar_seconds)
            assert vector[:23].tobytes() == features.vector[t].tobytes()
            assert missing == STRUCTURE_FEATURES
            assert vector[23:].tolist() == [0.0, 0.0, 0.0]


def test_a_few_keys_make_a_vector_and_the_rest_are_listed() -> None:
    vector, missing = feature_vector({"rsi": 75.0, "adx": float("nan"), "unknown": 3.0})
    expected = np.zeros(26, dtype=np.float32)
    expected[6] = 0.5
    expected[19] = np.float32(3 * 0.33 - 1)
    assert vector.tolist() == expected.tolist()
    assert "rsi" not in missing
    assert missing[-1] == "atr_pct_median"
    assert {"adx", "bb_width", "funding_rate"} < set(missing)


def test_neutral_values_make_neutral_entries() -> None:
    vector, _ = feature_vector(NEUTRAL_VALUES)
    assert np.abs(vector).max() < 0.011  # 0.33 of trend strength is a hundredth off the third


def test_optional_series_are_read_where_they_speak(make_data: Make) -> None:
    n = 200
    funding = np.where(np.arange(n) % 8 == 0, 1e-4 * (1 + np.arange(n) // 8), 0.0)
    funding[:80] = np.nan
    interest = 1e6 * np.exp(0.01 * np.arange(n))
    interest[170] = np.nan
    ratio = np.full(n, 2.0)
    data = make_data(n, funding_rate=funding, open_interest=interest, long_short_ratio=ratio)
    features = compute_features(data)
    assert np.isnan(features.structure[:80, 0]).all()
    assert features.structure[85, 0] == features.structure[87, 0] == funding[80]
    assert features.structure[88, 0] == funding[88]
    assert np.isnan(features.structure[:24, 1]).all()
    assert features.structure[100, 1] == pytest.approx(0.24)
    assert np.isnan(features.structure[170, 1])
    assert np.isnan(features.structure[194, 1])
    assert "open_interest_change" not in features.indicators(170)
    vector, missing = feature_vector(features.indicators(150))
    assert missing == ()
    assert vector[23:].tolist() == pytest.approx([1.0, 1.0, 0.5])


def test_taker_volume_is_the_buy_ratio_where_the_feed_has_it(make_data: Make) -> None:
    plain = make_data(150)
    taken = 0.25 * plain.volume
    taken[140] = np.nan
    with_taker = compute_features(make_data(150, taker_buy_volume=taken)).raw[:, 22]
    without = compute_features(plain).raw[:, 22]
    assert with_taker[139] == pytest.approx(0.25)
    assert with_taker[140] == without[140]


def test_funding_of_the_real_perpetual_is_the_last_settled_rate(real_data: Callable[..., MarketData]) -> None:
    data = real_data("BTCUSDT-perp-1h-2020-2023", 0, 500)
    features = compute_features(data)
    assert features.structure[0, 0] == -0.00012359
    settled = np.flatnonzero(data.funding_rate)
    for t in (130, 137, 333):
        assert features.structure[t, 0] == data.funding_rate[settled[settled <= t][-1]]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"change_unit": "days"}, "change_unit must be one of"),
        ({"high_volatility_ratio": 0.0}, "high_volatility_ratio must be greater than 0"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        FeatureSettings(**options)  # type: ignore[arg-type]


def test_the_high_volatility_threshold_is_a_setting(make_data: Make) -> None:
    data = make_data(600)
    low = compute_features(data, FeatureSettings(high_volatility_ratio=0.8)).raw[120:, 16].sum()
    high = compute_features(data, FeatureSettings(high_volatility_ratio=3.0)).raw[120:, 16].sum()
    assert low > high
