"""The deflated Sharpe ratio on searches whose worth is known: how often it is fooled, how often it sees an edge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ai_backtrader import evidence as ev

BARS, TRIALS = 1250, 50  # five years of days
EDGE = 3.0 / 250**0.5  # an annual Sharpe ratio of 3

Noise = Callable[[np.random.Generator], np.ndarray]


def independent(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((BARS, TRIALS))


def fat_tailed(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_t(4, (BARS, TRIALS)) / 2**0.5


def alike(rng: np.random.Generator) -> np.ndarray:
    """Trials of one family: correlated 0.6."""
    return 0.6**0.5 * rng.standard_normal((BARS, 1)) + 0.4**0.5 * rng.standard_normal((BARS, TRIALS))


def nearly_one(rng: np.random.Generator) -> np.ndarray:
    """Fifty names for one trial: correlated 0.95."""
    return 0.95**0.5 * rng.standard_normal((BARS, 1)) + 0.05**0.5 * rng.standard_normal((BARS, TRIALS))


def deflated_best(returns: np.ndarray, *, spread_known: bool, convention: ev.Convention = "2012") -> tuple[float, int]:
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = int(np.argmax(sharpes))
    spread = float(sharpes.std(ddof=1)) if spread_known else None
    found = ev.sharpe_evidence(returns[:, best], n_trials=TRIALS, trials_sharpe_std=spread, convention=convention)
    return found.deflated, best


def share_accepted(noise: Noise, searches: int, *, spread_known: bool, convention: ev.Convention = "2012") -> float:
    rng = np.random.default_rng(20_260)
    return float(
        np.mean(
            [
                deflated_best(noise(rng), spread_known=spread_known, convention=convention)[0] > 0.95
                for _ in range(searches)
            ]
        )
    )


def power(noise: Noise, searches: int, *, spread_known: bool) -> float:
    rng = np.random.default_rng(20_261)
    seen = 0
    for _ in range(searches):
        returns = noise(rng)
        returns[:, 17] += EDGE
        deflated, best = deflated_best(returns, spread_known=spread_known)
        seen += deflated > 0.95 and best == 17
    return seen / searches


def test_a_hundred_searches_in_noise_are_not_taken_for_an_edge() -> None:
    assert share_accepted(independent, 100, spread_known=True) <= 0.07


def test_without_deflation_nine_of_ten_searches_in_noise_look_like_an_edge() -> None:
    rng = np.random.default_rng(20_260)
    fooled = 0
    for _ in range(100):
        returns = independent(rng)
        best = returns[:, np.argmax(returns.mean(axis=0) / returns.std(axis=0, ddof=1))]
        fooled += ev.sharpe_evidence(best).probabilistic > 0.95
    assert fooled >= 85  # 1 - 0.95**50 is 0.92


def test_a_planted_edge_is_seen() -> None:
    assert power(independent, 60, spread_known=True) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["2012", "2025"])
@pytest.mark.parametrize("spread_known", [True, False])
@pytest.mark.parametrize("noise", [independent, fat_tailed, alike, nearly_one], ids=lambda noise: noise.__name__)
def test_of_a_thousand_searches_in_noise_few_are_taken_for_an_edge(
    noise: Noise, spread_known: bool, convention: ev.Convention
) -> None:
    assert share_accepted(noise, 1000, spread_known=spread_known, convention=convention) <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("spread_known", [True, False])
@pytest.mark.parametrize("noise", [independent, fat_tailed, alike], ids=lambda noise: noise.__name__)
def test_a_planted_edge_is_seen_in_nine_of_ten_searches(noise: Noise, spread_known: bool) -> None:
    assert power(noise, 300, spread_known=spread_known) >= 0.9
