"""Each term of the score by itself."""

import math

import numpy as np
import pytest

from ai_backtrader.meta_allocator import (
    AllocatorSettings,
    StrategyRecord,
    crowding,
    estimate_covariance,
    forecast_loss,
    score_of,
    shrunk_sharpe,
)
from ai_backtrader.meta_allocator.records import RegimeTrades, checked_figures
from ai_backtrader.meta_allocator.scoring import (
    drawdown_term,
    profit_factor_term,
    regime_term,
    sharpe_term,
    win_rate_term,
)
from ai_backtrader.values import Regime

SETTINGS = AllocatorSettings()


def record(**figures: float) -> StrategyRecord:
    return StrategyRecord(strategy_id="a", figures=checked_figures("a", figures))


def test_a_long_record_keeps_its_sharpe_ratio_and_counts_it_twice() -> None:
    assert sharpe_term(record(sharpe_ratio=1.5, n_obs=1e9), SETTINGS) == pytest.approx(3.0, abs=1e-5)


def test_a_short_record_is_shrunk() -> None:
    lengths = [shrunk_sharpe(1.5, n, 252.0, 1.0) for n in (20, 60, 252, 2520)]
    assert lengths == sorted(lengths)
    assert 0.0 < lengths[0] < 0.15
    assert shrunk_sharpe(-1.5, 252, 252.0, 1.0) == -shrunk_sharpe(1.5, 252, 252.0, 1.0)


def test_shrinking_gives_the_mean_of_the_true_ratios() -> None:
    """Simulated: among strategies whose estimate came out near 1.5, the mean of the true ratios."""
    rng = np.random.default_rng(5)
    true = rng.normal(0.0, 1.0, 200_000)
    n = 252
    z = rng.normal(0.0, 1.0, len(true)) / math.sqrt(n)
    estimate = (true / math.sqrt(252.0) + z) * math.sqrt(252.0)
    near = np.abs(estimate - 1.5) < 0.05
    assert shrunk_sharpe(1.5, n, 252.0, 1.0) == pytest.approx(true[near].mean(), abs=0.03)


def test_only_a_win_rate_above_the_threshold_earns_a_bonus() -> None:
    assert win_rate_term(record(win_rate=0.50, n_trades=500), SETTINGS) == 0.0
    assert win_rate_term(record(win_rate=0.55, n_trades=10_000), SETTINGS) == 0.0
    bonus = win_rate_term(record(win_rate=0.65, n_trades=1e9), SETTINGS)
    assert bonus == pytest.approx(5.0 * 0.10, abs=1e-6)


def test_few_wins_are_not_a_win_rate() -> None:
    three = StrategyRecord(strategy_id="a", figures={})
    for _ in range(3):
        three = three.with_trade(0.05, None)
    assert win_rate_term(three, SETTINGS) == pytest.approx(5.0 * (13 / 23 - 0.55), abs=1e-12)


def test_a_drawdown_costs_three_times_its_size() -> None:
    assert drawdown_term(record(max_drawdown=0.2), SETTINGS) == pytest.approx(-0.6, abs=1e-15)


def test_a_profit_factor_earns_its_capped_logarithm() -> None:
    assert profit_factor_term(record(profit_factor=1.0), SETTINGS) == 0.0
    assert profit_factor_term(record(profit_factor=2.0), SETTINGS) == pytest.approx(0.5 * math.log(2.0))
    assert profit_factor_term(record(profit_factor=math.inf), SETTINGS) == pytest.approx(0.5 * math.log(3.0))
    assert profit_factor_term(record(profit_factor=0.5), SETTINGS) == pytest.approx(-0.5 * math.log(2.0))
    traded = StrategyRecord(strategy_id="a", figures={}).with_trade(0.04, None).with_trade(-0.02, None)
    assert profit_factor_term(traded, SETTINGS) == pytest.approx(0.5 * math.log(2.0) * 2 / 22)


def test_the_regime_counts_one_and_a_half_times() -> None:
    told = record(sharpe_bull=1.0, n_obs_bull=1e9)
    assert regime_term(told, Regime.BULL, SETTINGS) == pytest.approx(1.5, abs=1e-5)
    assert regime_term(told, Regime.BEAR, SETTINGS) is None
    assert regime_term(told, None, SETTINGS) is None


def test_trades_of_a_regime_speak_where_no_figure_was_told() -> None:
    trades = StrategyRecord(strategy_id="a", figures={})
    for value in (0.05, 0.03, -0.01, 0.04):
        trades = trades.with_trade(value, Regime.BEAR)
    assert trades.by_regime["bear"].ratio == pytest.approx(
        np.mean([0.05, 0.03, -0.01, 0.04]) / np.std([0.05, 0.03, -0.01, 0.04], ddof=1)
    )
    term = regime_term(trades, Regime.BEAR, SETTINGS)
    assert term is not None
    assert term > 0.0
    assert regime_term(trades, Regime.BULL, SETTINGS) is None


def test_a_ratio_needs_two_different_trades() -> None:
    assert math.isnan(RegimeTrades().with_trade(0.1).ratio)
    assert math.isnan(RegimeTrades().with_trade(0.1).with_trade(0.1).ratio)


def test_the_score_is_the_sum_of_its_terms_times_health() -> None:
    full = record(sharpe_ratio=1.0, win_rate=0.6, max_drawdown=0.1, profit_factor=1.5, sharpe_bull=1.2)
    score = score_of(full, Regime.BULL, 0.5, SETTINGS)
    assert set(score.terms) == {"Sharpe", "win rate", "drawdown", "profit factor", "regime"}
    assert score.value == pytest.approx(0.5 * sum(score.terms.values()), abs=1e-15)
    assert score_of(record(), None, 1.0, SETTINGS).value == 0.0


def test_independent_strategies_are_no_crowd() -> None:
    assert crowding(np.eye(3)).tolist() == [1.0, 1.0, 1.0]
    assert crowding(np.array([[1.0, -0.5], [-0.5, 1.0]])).tolist() == [1.0, 1.0]
    assert crowding(np.ones((2, 2))).tolist() == [2.0, 2.0]


def test_the_covariance_is_close_to_the_true_one() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[0.0004, 0.0001], [0.0001, 0.0001]])
    table = rng.multivariate_normal([0.0, 0.0], true, 5000)
    found = estimate_covariance([table[:, 0], table[:, 1]], [math.nan, math.nan], min_overlap=20)
    assert found.matrix == pytest.approx(true, rel=0.15)
    assert 0.0 <= found.shrinkage <= 1.0


def test_shrinkage_beats_the_sample_on_short_records() -> None:
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(50):
        table = rng.normal(0.0, 0.01, (25, 10))
        shrunk = estimate_covariance(list(table.T), [math.nan] * 10, min_overlap=20).correlation
        errors.append((np.abs(shrunk - np.eye(10)).sum(), np.abs(np.corrcoef(table.T) - np.eye(10)).sum()))
    assert np.mean([ours < sample for ours, sample in errors]) > 0.95


def test_unknown_correlations_are_taken_as_full_for_the_loss_and_none_for_the_crowd() -> None:
    found = estimate_covariance([None, None], [0.01, 0.02], min_overlap=20)
    assert found.matrix == pytest.approx(np.array([[1e-4, 2e-4], [2e-4, 4e-4]]), abs=1e-18)
    assert np.array_equal(found.correlation, np.eye(2))


def test_the_forecast_loss_is_a_quantile_of_the_mix() -> None:
    """Simulated: losses of a normal mix stay within the forecast on 95 % of days."""
    covariance = np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    weights = np.array([0.4, 0.3])
    loss = forecast_loss(weights, covariance, 0.95)
    mixed = np.random.default_rng(2).multivariate_normal([0.0, 0.0], covariance, 200_000) @ weights
    assert np.mean(-mixed <= loss) == pytest.approx(0.95, abs=0.003)
    assert forecast_loss(np.zeros(2), covariance, 0.95) == 0.0
    assert math.isnan(forecast_loss(weights, np.full((2, 2), np.nan), 0.95))


def test_flat_returns_have_no_risk_and_no_crowd() -> None:
    found = estimate_covariance([np.zeros(30), np.zeros(30)], [math.nan, math.nan], min_overlap=20)
    assert not found.matrix.any()
    assert np.array_equal(found.correlation, np.eye(2))
