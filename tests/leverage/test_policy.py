"""The volatility-target rule and the reading of indicators."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.leverage import LeverageProposal, LeverageSettings, VolatilityTargetPolicy, read_indicators
from ai_backtrader.values import Direction, Regime


def test_the_forecast_is_the_volatility_of_a_random_walk_whose_range_is_the_atr() -> None:
    rng = np.random.default_rng(1)
    bars, steps, per_bar = 1_500, 1_500, 0.004
    moves = rng.normal(0.0, per_bar / math.sqrt(steps), (bars, steps))
    paths = np.cumsum(moves, axis=1)
    ranges = np.maximum(paths.max(axis=1), 0.0) - np.minimum(paths.min(axis=1), 0.0)
    reading = read_indicators({"atr_pct": 100.0 * float(ranges.mean())}, bars_per_year=8766.0)
    # A walk in steps misses a little of the range (about 2 % at 1,500 steps).
    assert reading.volatility == pytest.approx(per_bar * math.sqrt(8766.0), rel=0.05)


def test_leverage_is_target_over_forecast() -> None:
    policy = VolatilityTargetPolicy(LeverageSettings(target_volatility=1.0))
    for volatility, expected in ((0.5, 2.0), (0.25, 4.0), (2.0, 0.5), (0.01, 10.0)):
        proposal = policy.propose({"close": 1.0, "volatility": volatility}, {}, {}, None)
        assert proposal.leverage == pytest.approx(expected)


def test_bars_per_year_of_the_caller_replace_the_settings() -> None:
    policy = VolatilityTargetPolicy()
    hourly = policy.propose({"atr_pct": 2.0}, {}, {}, None).leverage
    daily = policy.propose({"atr_pct": 2.0}, {}, {"bars_per_year": 8766.0 / 24}, None).leverage
    assert daily == pytest.approx(hourly * math.sqrt(24))


@pytest.mark.parametrize(
    ("alignment", "direction", "regime", "expected"),
    [
        (1.0, 1.0, None, Direction.LONG),
        (-1.0, -1.0, Regime.BEAR, Direction.SHORT),
        (0.0, 0.0, None, Direction.FLAT),
        (1.0, -1.0, None, Direction.FLAT),
        (1.0, -1.0, Regime.STRONG_BULL, Direction.LONG),
    ],
)
def test_the_direction_is_the_lean_of_the_trend(
    alignment: float, direction: float, regime: Regime | None, expected: Direction
) -> None:
    indicators = {"atr_pct": 1.0, "ema_alignment": alignment, "trend_direction": direction}
    assert VolatilityTargetPolicy().propose(indicators, {}, {}, regime).direction is expected


def test_confidence_grows_with_the_strength_of_the_trend() -> None:
    indicators = {"atr_pct": 1.0, "ema_alignment": 1.0, "trend_direction": 1.0, "trend_strength": 0.5}
    weak, strong = (
        VolatilityTargetPolicy().propose(indicators | {"adx": adx}, {}, {}, None).confidence for adx in (10.0, 40.0)
    )
    assert weak == pytest.approx(0.75)
    assert strong == pytest.approx(1.0)


def test_without_a_volatility_the_policy_has_no_view() -> None:
    proposal = VolatilityTargetPolicy().propose({"ema_alignment": 1.0, "trend_direction": 1.0}, {}, {}, None)
    assert (proposal.direction, proposal.leverage, proposal.confidence) == (Direction.FLAT, 1.0, 0.5)


def test_the_higher_of_two_forecasts_counts_and_the_stop_keeps_the_atr() -> None:
    reading = read_indicators({"close": 10.0, "atr": 0.1, "volatility": 3.0}, bars_per_year=8766.0)
    assert reading.volatility == 3.0
    assert reading.atr == pytest.approx(0.1)


def test_a_proposal_out_of_range_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"2 faults(?s:.)*leverage(?s:.)*confidence"):
        LeverageProposal(direction=Direction.LONG, leverage=0.0, confidence=1.5, reason="")
