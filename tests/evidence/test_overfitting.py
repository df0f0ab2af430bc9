"""Probability of backtest overfitting against trialgate, the paper read literally, and searches of known worth."""

from __future__ import annotations

import doctest
import math
import time
from itertools import combinations

import numpy as np
import pytest

import ai_backtrader.evidence.overfitting as overfitting_module
from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError

# Splits in which the chosen trial fell into the lower half, and all splits, on the matrix of each seed: computed with
# trialgate 0.6.0, an independent implementation.
TRIALGATE = [
    (0, 6), (14, 20), (14, 70), (72, 252), (5, 6), (3, 20), (5, 70), (99, 252), (5, 6), (3, 20),
    (25, 70), (78, 252), (5, 6), (16, 20), (58, 70), (7, 252), (2, 6), (1, 20), (8, 70), (40, 252),
]  # fmt: skip


def matrix(seed: int) -> tuple[np.ndarray, int]:
    """Fat-tailed returns with, here and there, an edge, a copied trial and one that stops trading."""
    rng = np.random.default_rng(seed)
    blocks = (4, 6, 8, 10)[seed % 4]
    bars, trials = int(rng.integers(60, 160)), int(rng.integers(2, 14))
    returns = rng.standard_t(4, (bars, trials)) * 0.01
    if seed % 3 == 0:
        returns[:, 0] += 0.003
    if seed % 5 == 0:
        returns[:, -1] = returns[:, 0]
    if seed % 7 == 0:
        returns[bars // 3 :, 1] = 0.0
    return returns, blocks


def sharpe(returns: np.ndarray) -> np.ndarray:
    flat = np.ptp(returns, axis=0) == 0
    return np.where(flat, 0.0, returns.mean(axis=0) / np.where(flat, 1.0, returns.std(axis=0, ddof=1)))


def literally(returns: np.ndarray, blocks: int) -> list[tuple[int, float, float, float]]:
    """Chosen trial, its metric in training and test, and its logit, split by split as the paper tells it."""
    size = len(returns) // blocks
    pieces = [returns[b * size : (b + 1) * size] for b in range(blocks)]
    found = []
    for half in combinations(range(blocks), blocks // 2):
        train = sharpe(np.concatenate([pieces[b] for b in half]))
        test = sharpe(np.concatenate([pieces[b] for b in range(blocks) if b not in half]))
        best = int(np.argmax(train))
        rank = 1 + int(np.sum(test < test[best]))
        share = rank / (returns.shape[1] + 1)
        found.append((best, train[best], test[best], math.log(share / (1 - share))))
    return found


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(overfitting_module, extraglobs={"np": np})
    assert outcome.attempted >= 4
    assert outcome.failed == 0


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_trialgate_on_twenty_matrices(seed: int) -> None:
    returns, blocks = matrix(seed)
    found = ev.probability_of_backtest_overfitting(returns, blocks=blocks)
    assert (round(found.probability * found.n_splits), found.n_splits) == TRIALGATE[seed]


@pytest.mark.parametrize("seed", range(20))
def test_every_split_is_that_of_the_literal_procedure(seed: int) -> None:
    returns, blocks = matrix(seed)
    found = ev.probability_of_backtest_overfitting(returns, blocks=blocks)
    chosen, inside, outside, logits = map(np.array, zip(*literally(returns, blocks), strict=True))
    # Between a trial and its copy the last bit of a sum may choose: copies are one trial.
    copies = returns[:, found.chosen] == returns[:, chosen]
    assert copies.all()
    np.testing.assert_allclose(found.in_sample, inside, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.out_of_sample, outside, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12)
    slope, intercept = np.polyfit(inside, outside, 1)
    assert found.degradation_slope == pytest.approx(slope, rel=1e-6)
    assert found.degradation_intercept == pytest.approx(intercept, rel=1e-6)
    assert found.probability_of_loss == np.mean(outside < 0)


def test_a_metric_of_ones_own_is_taken_as_the_built_in_one() -> None:
    returns, _ = matrix(3)
    built_in = ev.probability_of_backtest_overfitting(returns, blocks=8)
    own = ev.probability_of_backtest_overfitting(returns, blocks=8, metric=sharpe)
    assert own.probability == built_in.probability
    assert own.standard_error == built_in.standard_error
    np.testing.assert_allclose(own.in_sample, built_in.in_sample, rtol=1e-9)
    mean = ev.probability_of_backtest_overfitting(returns, blocks=8, metric="mean")
    means = ev.probability_of_backtest_overfitting(returns, blocks=8, metric=lambda r: r.mean(axis=0))
    np.testing.assert_allclose(mean.out_of_sample, means.out_of_sample, rtol=1e-9)
    assert mean.probability == means.probability


def test_noise_is_a_coin_and_an_edge_is_not() -> None:
    rng = np.random.default_rng(8)
    noise, edge = [], []
    for _ in range(24):
        returns = rng.normal(0, 0.01, (480, 20))
        noise.append(ev.probability_of_backtest_overfitting(returns, blocks=12).probability)
        returns[:, 4] += 0.0025
        edge.append(ev.probability_of_backtest_overfitting(returns, blocks=12).probability)
    assert 0.4 < np.mean(noise) < 0.6
    assert np.std(noise) > 0.1  # why a lone number says little
    assert np.mean(edge) < 0.1


def test_the_standard_error_is_of_the_size_of_the_spread_and_not_below_it() -> None:
    rng = np.random.default_rng(9)
    found = [ev.probability_of_backtest_overfitting(rng.normal(0, 1, (480, 20)), blocks=12) for _ in range(60)]
    spread = np.std([one.probability for one in found])
    errors = np.array([one.standard_error for one in found])
    assert spread < np.sqrt(np.mean(errors**2)) < 2 * spread
    covered = [one.interval[0] <= 0.5 <= one.interval[1] for one in found]
    assert np.mean(covered) >= 0.9


def test_copies_of_a_trial_do_not_make_it_look_better() -> None:
    returns = np.random.default_rng(4).normal(0, 0.01, (200, 6))
    alone = ev.probability_of_backtest_overfitting(returns, blocks=8).probability
    with_copies = ev.probability_of_backtest_overfitting(np.repeat(returns, 3, axis=1), blocks=8).probability
    assert with_copies >= alone


@pytest.mark.parametrize(
    "returns",
    [np.empty((0, 5)), np.empty((50, 0)), np.full((50, 5), 0.01), np.full((50, 5), np.nan), np.ones((50, 1)),
     np.random.default_rng(0).normal(size=(3, 5))],
    ids=["no bars", "no trials", "constant", "unknown", "one trial", "fewer bars than blocks"],
)  # fmt: skip
def test_where_nothing_can_be_chosen_the_probability_is_unknown(returns: np.ndarray) -> None:
    found = ev.probability_of_backtest_overfitting(returns, blocks=4)
    assert math.isnan(found.probability)
    assert math.isnan(found.standard_error)
    assert math.isnan(found.probability_of_loss)
    assert found.n_splits == found.logits.size == 0


def test_bars_without_any_return_are_dropped_and_the_last_that_fill_no_block_unused() -> None:
    returns, blocks = matrix(3)
    expected = ev.probability_of_backtest_overfitting(returns[: len(returns) // blocks * blocks], blocks=blocks)
    holes = np.insert(returns, [0, 5], np.nan, axis=0)
    found = ev.probability_of_backtest_overfitting(holes, blocks=blocks)
    assert found.probability == expected.probability
    assert found.n_obs == expected.n_obs == len(returns) // blocks * blocks


def test_with_few_blocks_the_spread_is_unknown() -> None:
    found = ev.probability_of_backtest_overfitting(np.random.default_rng(1).normal(size=(40, 3)), blocks=4)
    assert not math.isnan(found.probability)
    assert math.isnan(found.standard_error)
    assert all(map(math.isnan, found.interval))


def test_wrong_input_is_named() -> None:
    good = np.random.default_rng(1).normal(size=(40, 3))
    with pytest.raises(SettingsError, match="blocks must be even, got 5"):
        ev.probability_of_backtest_overfitting(good, blocks=5)
    with pytest.raises(SettingsError, match="blocks must be between 2 and 20, got 40"):
        ev.probability_of_backtest_overfitting(good, blocks=40)
    with pytest.raises(SettingsError, match=r"shape \(bars, trials\), got \(40,\)"):
        ev.probability_of_backtest_overfitting(good[:, 0])
    with pytest.raises(SettingsError, match="metric must be one of"):
        ev.probability_of_backtest_overfitting(good, metric="sortino")
    with pytest.raises(SettingsError, match="one number for each of 3 trials"):
        ev.probability_of_backtest_overfitting(good, blocks=4, metric=lambda r: r.mean())
    bad = good.copy()
    bad[7, 2] = np.nan
    with pytest.raises(SettingsError, match="trial 2 has nan on a bar where others have a return"):
        ev.probability_of_backtest_overfitting(bad)


@pytest.mark.slow
def test_sixteen_blocks_over_ten_thousand_trials_take_seconds() -> None:
    returns = np.random.default_rng(1).normal(0, 0.01, (2000, 10_000))
    ev.probability_of_backtest_overfitting(returns[:, :3])  # compile
    start = time.process_time()
    found = ev.probability_of_backtest_overfitting(returns)
    assert found.n_splits == 12_870
    assert time.process_time() - start < 15
