"""The sealed test: its p-values are what they say, and its steps are Holm's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategy_evolver.exam import Exam, _drift, _judged, mean_p_value, noise_sharpes


def exam(p_value: float, *, enough_trades: bool = True) -> Exam:
    return Exam(
        p_return=p_value, p_timing=0.0, p_noise=0.0, noise_floor=0.0, level=0.0, passed=enough_trades, reason="few"
    )


def test_the_p_value_is_that_of_the_t_test_on_normal_returns() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.01, 0.05, 0.1):
        returns = rng.normal(shift, 1.0, 2_000)
        expected = stats.ttest_1samp(returns, 0.0, alternative="greater").pvalue
        assert mean_p_value(returns) == pytest.approx(expected if returns.mean() > 0 else 1.0, abs=0.01)


def test_luck_passes_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(2)
    returns = rng.standard_t(4, (4_000, 500)) * 0.01
    lucky = np.mean([mean_p_value(row) <= 0.05 for row in returns])
    assert 0.035 < lucky < 0.065


def test_nothing_that_never_moved_or_lost_is_significant() -> None:
    assert mean_p_value(np.zeros(100)) == mean_p_value(np.array([0.1])) == 1.0
    assert mean_p_value(np.array([-0.1, 0.05, -0.02])) == 1.0


def test_levels_follow_holm() -> None:
    # Against 0.05 / 4, 0.05 / 3, then the third fails, and takes the fourth along although 0.04 is below 0.05.
    judged = _judged([exam(0.04), exam(0.001), exam(0.03), exam(0.016)], 0.05)
    assert [item.passed for item in judged] == [False, True, False, True]
    assert [round(item.level, 4) for item in judged] == [0.05, 0.0125, 0.025, 0.0167]
    assert "a better one failed before it" in judged[0].reason
    assert "could be luck" in judged[2].reason


def test_few_trades_never_pass() -> None:
    judged = _judged([exam(0.0, enough_trades=False), exam(0.02)], 0.05)
    assert [item.passed for item in judged] == [False, True]
    assert judged[0].reason == "few"


def test_holding_the_market_is_no_skill(walk: MarketData) -> None:
    rng = np.random.default_rng(3)
    result = simulate(walk, StrategyChromosome.random(rng))
    held = _drift(walk, result, 1_000, 2_000)
    weight = result.position[999:1_999] * walk.close[999:1_999] / result.equity[999:1_999]
    market = walk.close[1_000:] / walk.close[999:1_999] - 1.0
    np.testing.assert_allclose(held, weight.mean() * market)


def test_the_noise_trades_the_same_sides_about_as_often(walk: MarketData) -> None:
    rng = np.random.default_rng(4)
    champions = [StrategyChromosome.random(rng) for _ in range(2)]
    floors = noise_sharpes(walk, 1_000, champions, options={}, max_leverage=1.0, rng=np.random.default_rng(5))
    again = noise_sharpes(walk, 1_000, champions, options={}, max_leverage=1.0, rng=np.random.default_rng(5))
    for (own, noise), (own_again, noise_again) in zip(floors, again, strict=True):
        assert 50 <= len(noise) <= 200
        assert np.isfinite(noise).all()
        assert repr(own) == repr(own_again)
        np.testing.assert_array_equal(noise, noise_again)
