"""State vectors: order, units, neutral values, what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketFeatures, compute_features
from ai_backtrader.rl import (
    BASIC_FEATURES,
    LEVERAGE_FEATURES,
    EnvironmentSettings,
    LeverageState,
    State,
    build_arrays,
)


@pytest.fixture(scope="module")
def features() -> MarketFeatures:
    return compute_features(load_sample().head(600))


def test_the_lists_are_the_contract() -> None:
    leverage = (
        "price_change_1h price_change_4h price_change_24h price_vs_ema20 price_vs_ema50 price_vs_vwap "
        "rsi rsi_change macd_hist macd_signal_cross momentum_5 momentum_20 "
        "atr_ratio bb_position bb_width volatility_ratio high_volatility "
        "adx trend_direction trend_strength ema_alignment volume_ratio buy_volume_ratio "
        "funding_rate open_interest_change long_short_ratio "
        "current_position current_leverage position_pnl position_duration unrealized_pnl margin_ratio "
        "drawdown_current consecutive_losses win_rate_recent"
    )
    basic = (
        "price_change_1h price_change_4h price_change_24h price_vs_ema20 price_vs_ema50 rsi rsi_change macd_hist "
        "momentum_5 atr_ratio bb_position volatility_ratio adx trend_direction volume_ratio "
        "current_position position_pnl position_duration"
    )
    assert " ".join(LEVERAGE_FEATURES) == leverage
    assert " ".join(BASIC_FEATURES) == basic
    assert (State.version, LeverageState.version) == ("basic-state/1", "leverage-state/1")


def test_position_and_account_take_the_units_of_the_contract(features: MarketFeatures) -> None:
    state = LeverageState.from_market_data(
        features.indicators(500),
        {
            "current_position": -0.5, "current_leverage": 5, "position_pnl": 12.5, "position_duration": 25,
            "unrealized_pnl": -2.5, "margin_ratio": 0.7,
        },
        {"drawdown_current": 15.0, "consecutive_losses": 2, "win_rate_recent": 0.6},
    )  # fmt: skip
    expected = [-0.5, 0.5, 0.25, 0.25, -0.25, 0.7, 0.5, 0.4, 0.2]
    assert state.to_vector()[26:] == pytest.approx(expected, abs=1e-7)
    assert state.to_vector()[:23].tobytes() == features.vector[500].tobytes()
    assert set(state.missing) <= {"funding_rate", "open_interest_change", "long_short_ratio"}
    assert state.ready


def test_short_names_say_the_same() -> None:
    long = LeverageState.from_market_data({}, {"current_position": 1, "current_leverage": 3, "position_pnl": 4.0})
    short = LeverageState.from_market_data({}, {"position": 1, "leverage": 3, "pnl_pct": 4.0})
    assert np.array_equal(long.vector, short.vector)
    assert long.missing == short.missing


def test_the_designs_few_keys_are_accepted_and_the_rest_is_listed() -> None:
    state = LeverageState.from_market_data(
        indicators={"rsi": 28.0, "adx": 31.0},
        position_info={"position": 0, "leverage": 1, "margin_ratio": 0.2},
        risk_info={"consecutive_losses": 0, "win_rate_recent": 0.55},
    )
    assert state.named()["rsi"] == pytest.approx(-0.44)
    assert state.named()["margin_ratio"] == pytest.approx(0.2)
    assert "price_change_1h" in state.missing
    assert "drawdown_current" in state.missing
    assert "rsi" not in state.missing
    # Flat: there is no profit to know of.
    assert not {"position_pnl", "position_duration", "unrealized_pnl"} & set(state.missing)
    assert not state.ready


def test_an_open_position_must_be_told_whole() -> None:
    state = LeverageState.from_market_data({}, {"position": 1})
    assert {"current_leverage", "position_pnl", "margin_ratio"} <= set(state.missing)


def test_without_a_position_the_account_is_flat() -> None:
    state = LeverageState.from_market_data({"rsi": 50.0})
    assert state.vector[26:].tolist() == pytest.approx([0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert not {"current_position", "margin_ratio"} & set(state.missing)


def test_a_complete_state_is_ready_and_one_without_prices_is_not(features: MarketFeatures) -> None:
    indicators = features.indicators(500)
    assert State.from_market_data(indicators, position=1, position_pnl=0.4, position_duration=3).ready
    indicators["price_change_4h"] = float("nan")
    state = State.from_market_data(indicators)
    assert state.missing == ("price_change_4h",)
    assert not state.ready


def test_strict_names_all_that_is_missing(features: MarketFeatures) -> None:
    indicators = features.indicators(500)
    LeverageState.from_market_data(
        indicators, None, {"drawdown_current": 0.0, "consecutive_losses": 0, "win_rate_recent": 0.5}, strict=True
    )
    del indicators["rsi"], indicators["adx"]
    with pytest.raises(SettingsError, match="rsi, adx, drawdown_current"):
        LeverageState.from_market_data(indicators, None, {"consecutive_losses": 0, "win_rate_recent": 0.5}, strict=True)
    with pytest.raises(SettingsError, match="features are missing or NaN: rsi, adx;"):
        State.from_market_data(indicators, strict=True)


def test_what_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"position_info\['position'\] must be a number, got 'long'"):
        LeverageState.from_market_data({}, {"position": "long"})  # type: ignore[dict-item]
    with pytest.raises(SettingsError, match="risk_info must be a mapping"):
        LeverageState.from_market_data({}, {}, 3.0)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="position_pnl must be finite"):
        State.from_market_data({}, 1, position_pnl=float("inf"))
    with pytest.raises(SettingsError, match=r"shape \(18,\), got \(3,\)"):
        State(vector=np.zeros(3, dtype=np.float32), missing=())


def test_a_state_cannot_be_changed() -> None:
    state = State.from_market_data({"rsi": 60.0})
    with pytest.raises(ValueError, match="read-only"):
        state.vector[0] = 1.0
    copy = state.to_vector()
    copy[0] = 1.0
    assert state.vector[0] == 0.0


def test_single_states_equal_the_table_of_the_environment() -> None:
    data = load_sample().head(400)
    features = compute_features(data)
    env = build_arrays(data, EnvironmentSettings(episode_bars=None), leveraged=True, features=features)
    basic = build_arrays(data, EnvironmentSettings(episode_bars=None), leveraged=False, features=features)
    for bar in range(features.ready_from, len(data), 7):
        indicators = features.indicators(bar)
        assert LeverageState.from_market_data(indicators).vector[:26].tobytes() == env.features[bar].tobytes()
        assert State.from_market_data(indicators).vector[:15].tobytes() == basic.features[bar].tobytes()


_ANY = st.floats(-1e12, 1e12)


@given(
    indicators=st.dictionaries(st.sampled_from(LEVERAGE_FEATURES[:26]), _ANY),
    position=st.dictionaries(st.sampled_from(LEVERAGE_FEATURES[26:32]), _ANY),
    risk=st.dictionaries(st.sampled_from(LEVERAGE_FEATURES[32:]), _ANY),
)
def test_whatever_comes_the_entries_are_finite_and_within_one(
    indicators: dict[str, float], position: dict[str, float], risk: dict[str, float]
) -> None:
    vector = LeverageState.from_market_data(indicators, position, risk).vector
    assert np.isfinite(vector).all()
    assert np.abs(vector).max() <= 1.0
