"""Indicators by themselves: exact sums, degenerate input, warm-up, no look-ahead, clear errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import indicators

Bars = Callable[..., dict[str, np.ndarray]]


def all_of(bars: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every indicator of the module on the bars."""
    high, low, close = bars["high"], bars["low"], bars["close"]
    made = {
        "sma": indicators.sma(close, 20),
        "ema": indicators.ema(close, 9),
        "smma": indicators.smma(close, 14),
        "rsi": indicators.rsi(close),
        "true_range": indicators.true_range(high, low, close),
        "atr": indicators.atr(high, low, close),
        "plus_di": indicators.plus_di(high, low, close),
        "minus_di": indicators.minus_di(high, low, close),
        "adx": indicators.adx(high, low, close),
        "std_dev": indicators.std_dev(close),
        "highest": indicators.highest(high, 10),
        "lowest": indicators.lowest(low, 10),
        "momentum": indicators.momentum(close),
        "rate_of_change": indicators.rate_of_change(close),
        "non_zero_difference": indicators.non_zero_difference(close, indicators.sma(close, 5)),
        "cross_up": indicators.cross_up(close, indicators.sma(close, 5)),
        "cross_down": indicators.cross_down(close, indicators.sma(close, 5)),
        "volume_ratio": indicators.volume_ratio(bars["volume"]),
    }
    made.update(indicators.macd(close)._asdict())
    made.update(indicators.bollinger(close)._asdict())
    return made


def test_a_shorter_history_gives_the_same_bits(random_bars: Bars) -> None:
    bars = random_bars(400)
    whole = all_of(bars)
    for cut in (1, 2, 14, 15, 28, 34, 77, 250, 399):
        for name, values in all_of({key: values[:cut] for key, values in bars.items()}).items():
            assert values.tobytes() == whole[name][:cut].tobytes(), f"{name} at {cut}"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300, allow_nan=False, width=64), min_size=1, max_size=40),
    st.integers(1, 12),
)
def test_window_sums_are_correctly_rounded_whatever_the_magnitudes(values: list[float], period: int) -> None:
    means = indicators.sma(values, period)
    for i in range(period - 1, len(values)):
        assert means[i] == math.fsum(values[i - period + 1 : i + 1]) / period


@pytest.mark.parametrize("period", [2, 3, 20, 100])
def test_window_sums_survive_cancellation_and_recover_from_it(period: int) -> None:
    rng = np.random.default_rng(1)
    wild = rng.choice([1.0, 2.0**53, -(2.0**53), 1e-300, 2.0**-60, 2.0**100, -(2.0**100)], 600)
    values = np.concatenate((wild, rng.normal(100.0, 1.0, 300), wild[:200]))
    means = indicators.sma(values, period)
    expected = [math.fsum(values[i - period + 1 : i + 1]) / period for i in range(period - 1, values.size)]
    assert means[period - 1 :].tolist() == expected


def test_nan_inside_an_input_stays_in_the_windows_that_hold_it() -> None:
    values = np.arange(1.0, 13.0)
    values[5] = np.nan
    means = indicators.sma(values, 3)
    assert np.isnan(means[[5, 6, 7]]).all()
    assert means[[2, 3, 4, 8, 9]].tolist() == [2.0, 3.0, 4.0, 8.0, 9.0]


def test_leading_nan_are_the_warm_up_of_the_input() -> None:
    values = np.array([np.nan, np.nan, 1.0, 2.0, 3.0, 4.0])
    assert indicators.first_valid(indicators.sma(values, 2)) == 3
    assert indicators.ema(values, 3)[4:].tolist() == [2.0, 3.0]
    assert indicators.first_valid(np.full(3, np.nan)) == 3


def test_flat_prices_have_values_where_backtrader_divides_by_zero() -> None:
    flat = np.full(80, 7.0)
    movement = indicators.directional_movement(flat, flat, flat)
    assert indicators.rsi(flat)[14:].tolist() == [50.0] * 66
    assert movement.plus_di[14:].tolist() == movement.minus_di[14:].tolist() == [0.0] * 66
    assert movement.adx[27:].tolist() == [0.0] * 53
    assert indicators.std_dev(flat)[19:].tolist() == [0.0] * 61
    assert indicators.volume_ratio(np.zeros(40))[19:].tolist() == [0.0] * 21


def test_prices_that_only_rise_have_rsi_100_and_no_minus_di() -> None:
    rising = np.arange(1.0, 61.0)
    movement = indicators.directional_movement(rising + 0.5, rising - 0.5, rising)
    assert indicators.rsi(rising)[14:].tolist() == [100.0] * 46
    assert movement.minus_di[14:].max() == 0.0
    assert movement.adx[27:].tolist() == [100.0] * 33


def test_rate_of_change_from_zero_is_unknown() -> None:
    change = indicators.rate_of_change([0.0, 2.0, 3.0], 1)
    assert np.isnan(change[:2]).all()
    assert change[2] == 0.5


def test_values_by_hand() -> None:
    assert indicators.sma([1.0, 2.0, 6.0], 2)[1:].tolist() == [1.5, 4.0]
    assert indicators.ema([1.0, 3.0, 5.0], 2).tolist()[1:] == pytest.approx([2.0, 4.0])
    assert indicators.smma([1.0, 3.0, 6.0], 2)[1:].tolist() == [2.0, 4.0]
    assert indicators.highest([1.0, 5.0, 2.0, 3.0], 2)[1:].tolist() == [5.0, 5.0, 3.0]
    assert indicators.lowest([4.0, 5.0, 2.0, 3.0], 2)[1:].tolist() == [4.0, 2.0, 2.0]
    assert indicators.true_range([5.0, 9.0], [4.0, 8.0], [4.0, 8.0])[1] == 5.0
    # 1 touches 2 from below, stays on it, then leaves upwards: one cross, at the end.
    assert indicators.cross_up([1.0, 2.0, 2.0, 3.0], [2.0, 2.0, 2.0, 2.0])[1:].tolist() == [0.0, 0.0, 1.0]
    assert indicators.cross_down([3.0, 2.0, 1.0], [2.0, 2.0, 2.0])[1:].tolist() == [0.0, 1.0]


def test_input_shorter_than_the_period_gives_nan_and_no_error(random_bars: Bars) -> None:
    for name, values in all_of(random_bars(1)).items():
        assert values.size == 1, name
        assert np.isnan(values[0]) or name == "non_zero_difference"
    assert np.isnan(indicators.sma([1.0, 2.0], 5)).all()
    assert indicators.ema([], 3).size == 0


def test_writable_read_only_and_list_input_give_the_same() -> None:
    values = np.linspace(1.0, 2.0, 50)
    frozen = values.copy()
    frozen.flags.writeable = False
    assert (
        indicators.rsi(values).tobytes()
        == indicators.rsi(frozen).tobytes()
        == indicators.rsi(values.tolist()).tobytes()
    )
    values[0] = 3.0  # still ours to write


@pytest.mark.parametrize("period", [0, -1, 2.5, True, "14", None])
def test_a_period_that_is_no_positive_whole_number_is_refused(period: object) -> None:
    with pytest.raises(SettingsError, match="period must be"):
        indicators.sma([1.0, 2.0], period)  # type: ignore[arg-type]


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(SettingsError, match="one length, got high 3, low 2, close 3"):
        indicators.atr([1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_table_is_no_series() -> None:
    with pytest.raises(SettingsError, match=r"one dimension, got shape \(2, 2\)"):
        indicators.sma(np.ones((2, 2)), 1)


def test_min_period_refuses_what_it_does_not_know() -> None:
    with pytest.raises(SettingsError, match="name must be one of"):
        indicators.min_period("vortex", 14)
    with pytest.raises(SettingsError, match="macd_line has 3 periods, got 2"):
        indicators.min_period("macd_line", 12, 26)
    with pytest.raises(SettingsError, match="period must be at least 1"):
        indicators.min_period("sma", 0)


@pytest.mark.parametrize(
    ("name", "periods", "values"),
    [
        ("sma", (20,), lambda b: indicators.sma(b["close"], 20)),
        ("rsi", (14,), lambda b: indicators.rsi(b["close"], 14)),
        ("adx", (14,), lambda b: indicators.adx(b["high"], b["low"], b["close"], 14)),
        ("macd_line", (12, 26, 9), lambda b: indicators.macd(b["close"]).line),
        ("macd_signal", (12, 26, 9), lambda b: indicators.macd(b["close"]).signal),
        ("momentum", (12,), lambda b: indicators.momentum(b["close"], 12)),
    ],
)
def test_the_first_value_lies_where_min_period_says(
    random_bars: Bars, name: str, periods: tuple[int, ...], values: Callable[[dict[str, np.ndarray]], np.ndarray]
) -> None:
    assert indicators.first_valid(values(random_bars(100))) == indicators.min_period(name, *periods).line - 1
