"""Weights within limits, and how spread they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from ai_backtrader.meta_allocator import capped_weights, diversification_score, effective_number
from ai_backtrader.meta_allocator.constraints import within_budget


def test_proportions_hold_between_the_caps() -> None:
    weights = capped_weights(np.array([1.0, 2.0, 3.0, 4.0]), 0.05, 0.45)
    assert weights == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-12)


def test_what_a_cap_takes_goes_to_the_others_in_proportion() -> None:
    weights = capped_weights(np.array([100.0, 2.0, 1.0]), 0.05, 0.40)
    assert weights == pytest.approx([0.4, 0.4, 0.2], abs=1e-12)


def test_the_lowest_scores_are_dropped_where_the_minimum_does_not_fit() -> None:
    weights = capped_weights(np.arange(1.0, 26.0), 0.05, 0.40)
    assert np.count_nonzero(weights) == 20
    assert not weights[:5].any()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_one_strategy_gets_the_cap_and_no_more() -> None:
    assert capped_weights(np.array([7.0]), 0.05, 0.40).tolist() == [0.4]


@pytest.mark.parametrize("low", [0.05, 0.1, 0.2])
def test_exactly_as_many_as_fit_all_get_the_minimum(low: float) -> None:
    n = round(1.0 / low)
    assert capped_weights(np.ones(n), low, 0.40) == pytest.approx(np.full(n, low), abs=1e-12)


@settings(max_examples=500, deadline=None)
@given(
    scores=st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=20),
    total=st.floats(0.2, 1.0),
)
def test_weights_equal_those_of_a_root_finder(scores: list[float], total: float) -> None:
    """An independent way to the same weights: find the factor whose clipped sum is the total."""
    values = np.array(scores)
    weights = capped_weights(values, 0.05, 0.40, total=total)
    kept = weights > 0.0
    assert np.all((weights[kept] >= 0.05) & (weights[kept] <= 0.40))
    if 0.40 * kept.sum() <= total:
        assert np.all(weights[kept] == 0.40)
        return

    def gap(log_k: float) -> float:
        return float(np.clip(np.exp(log_k) * values[kept], 0.05, 0.40).sum()) - total

    assert weights.sum() == pytest.approx(total, abs=1e-9)
    if gap(-20.0) < -1e-9:
        expected = np.clip(np.exp(brentq(gap, -20.0, 20.0, xtol=1e-13)) * values[kept], 0.05, 0.40)
        assert weights[kept] == pytest.approx(expected, abs=1e-6)


def test_an_impossible_budget_leaves_cash() -> None:
    weights = within_budget(np.ones(3), 0.05, 0.4, risk=lambda w: float(w.sum()), budget=0.01)
    assert not weights.any()


def test_a_budget_is_used_to_the_full() -> None:
    weights = within_budget(np.ones(5), 0.05, 0.4, risk=lambda w: 0.1 * float(w.sum()), budget=0.05)
    assert weights.sum() == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_weights_are_perfectly_diversified(n: int) -> None:
    assert diversification_score(np.full(n, 1.0 / n)) == pytest.approx(1.0, abs=1e-12)
    assert effective_number(np.full(n, 0.5 / n)) == pytest.approx(n, abs=1e-9)


def test_all_in_one_strategy_is_not_diversified_at_all() -> None:
    assert diversification_score(np.array([0.0, 0.4, 0.0])) == 0.0
    assert diversification_score(np.array([0.4])) == 0.0
    assert effective_number(np.array([0.0, 0.4, 0.0])) == 1.0


def test_nothing_invested_is_neither() -> None:
    assert diversification_score(np.zeros(4)) == 0.0
    assert effective_number(np.zeros(4)) == 0.0
