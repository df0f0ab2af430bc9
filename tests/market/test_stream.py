"""The live feed has the batch's numbers, bar by bar, to the last bit."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from ai_backtrader.errors import DataError
from ai_backtrader.market import FeatureStream, MarketData, compute_features, label_regimes

OPTIONAL = ("taker_buy_volume", "funding_rate", "open_interest", "long_short_ratio")


def feed(stream: FeatureStream, data: MarketData, start: int, stop: int) -> None:
    for t in range(start, stop):
        update(stream, data, t)


def update(stream: FeatureStream, data: MarketData, t: int, *, revise: bool = False, factor: float = 1.0) -> None:
    optional = {name: getattr(data, name)[t] for name in OPTIONAL if getattr(data, name) is not None}
    stream.update(
        data.times[t],
        data.open[t] * factor,
        data.high[t] * factor,
        data.low[t] * factor,
        data.close[t] * factor,
        data.volume[t],
        revise=revise,
        **optional,
    )


def bits(indicators: dict[str, float]) -> tuple[tuple[str, ...], bytes]:
    return tuple(indicators), np.array(list(indicators.values())).tobytes()


@pytest.mark.parametrize(
    ("name", "start", "bars"),
    [
        ("BTCUSDT-perp-1h-2020-2023", 1_500, 1_500),
        ("EURUSD-1h-2017-2022", 0, 600),
        ("SP500-1d-1999-2018", 0, 600),
        ("LTCUSDT-1h-2020-2023", 0, 600),
    ],
)
def test_every_bar_of_the_stream_has_the_batchs_bits(
    real_data: Callable[..., MarketData], name: str, start: int, bars: int
) -> None:
    data = real_data(name, start, start + bars)
    features = compute_features(data)
    regimes = label_regimes(features)
    stream = FeatureStream(data.bar_seconds)
    for t in range(len(data)):
        update(stream, data, t)
        assert bits(stream.indicators()) == bits(features.indicators(t)), t
        assert stream.vector.tobytes() == features.vector[t].tobytes(), t
        assert stream.raw.tobytes() == features.raw[t].tobytes(), t
        assert stream.regime is regimes.label(t)
        assert stream.high_volatility == regimes.high_volatility[t]
        assert stream.ready == (t >= features.ready_from)


@pytest.mark.parametrize("bar_seconds", [60, 300, 86_400])
def test_other_bar_lengths_too(random_bars: Callable[..., dict[str, np.ndarray]], bar_seconds: int) -> None:
    n = 2_000
    times = np.datetime64("2021-01-01", "ns") + np.arange(n) * np.timedelta64(bar_seconds, "s")
    data = MarketData(symbol="X", times=times, bar_seconds=bar_seconds, **random_bars(n, step=0.002))
    features = compute_features(data)
    stream = FeatureStream(bar_seconds)
    for t in range(n):
        update(stream, data, t)
        if t % 7 == 0 or t in (features.ready_from - 1, features.ready_from):
            assert bits(stream.indicators()) == bits(features.indicators(t)), t


def test_a_stream_pickled_on_the_way_goes_on_alike(real_data: Callable[..., MarketData]) -> None:
    data = real_data("BTCUSDT-perp-1h-2020-2023", 0, 900)
    stream = FeatureStream(data.bar_seconds)
    feed(stream, data, 0, 500)
    stored = pickle.dumps(stream)
    assert len(stored) < 200_000
    copy = pickle.loads(stored)  # noqa: S301  # our own bytes
    feed(stream, data, 500, 900)
    feed(copy, data, 500, 900)
    assert bits(copy.indicators()) == bits(stream.indicators()) == bits(compute_features(data).indicators(899))
    assert copy.regime is stream.regime


def test_a_bar_that_is_revised_leaves_no_trace(real_data: Callable[..., MarketData]) -> None:
    data = real_data("BTCUSDT-perp-1h-2020-2023", 0, 700)
    features = compute_features(data)
    regimes = label_regimes(features)
    stream = FeatureStream(data.bar_seconds)
    rng = np.random.default_rng(3)
    for t in range(len(data)):
        for attempt in range(int(rng.integers(0, 4))):  # the bar while it forms
            update(stream, data, t, revise=attempt > 0, factor=float(rng.uniform(0.5, 2.0)))
        update(stream, data, t, revise=stream.seen == t + 1)
        assert bits(stream.indicators()) == bits(features.indicators(t)), t
        assert stream.regime is regimes.label(t)
        assert stream.high_volatility == regimes.high_volatility[t]


def test_no_volume_may_be_nan_or_zero() -> None:
    with_nan, with_zero = FeatureStream(3600), FeatureStream(3600)
    for t in range(130):
        price = 100.0 + math.sin(t)
        with_nan.update(t, price, price + 1, price - 1, price, math.nan)
        with_zero.update(t, price, price + 1, price - 1, price, 0.0)
    assert bits(with_nan.indicators()) == bits(with_zero.indicators())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"close": math.nan}, "price is not a positive finite number.*column close, found nan"),
        ({"open": 0.0}, "price is not a positive finite number.*column open"),
        ({"low": -1.0}, "price is not a positive finite number.*column low"),
        ({"high": math.inf}, "price is not a positive finite number.*column high"),
        ({"high": 98.0}, "high is below low"),
        ({"volume": -1.0}, "volume is negative or infinite"),
        ({"time": 9}, "time is not after the last bar's, 9"),
        ({"time": 8}, "time is not after the last bar's, 9"),
        ({"time": 8, "revise": True}, "time is not after the last bar's, 9"),
    ],
)
def test_a_faulty_bar_is_refused_and_leaves_the_stream_as_it_was(change: dict[str, object], fault: str) -> None:
    good = {"time": 10, "open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": 1.0}
    stream = FeatureStream(3600)
    for t in range(10):
        stream.update(**{**good, "time": t})  # type: ignore[arg-type]
    before = bits(stream.indicators())
    with pytest.raises(DataError, match=fault):
        stream.update(**{**good, **change})  # type: ignore[arg-type]
    assert stream.seen == 10
    assert bits(stream.indicators()) == before
    stream.update(**good)  # type: ignore[arg-type]


def test_an_empty_stream_says_so() -> None:
    stream = FeatureStream(3600)
    assert not stream.ready
    with pytest.raises(DataError, match="no bar yet"):
        stream.indicators()
    with pytest.raises(DataError, match="there is no bar to revise"):
        stream.update(None, 1.0, 1.0, 1.0, 1.0, 1.0, revise=True)
