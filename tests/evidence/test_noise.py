"""The noise floor against theory, simulation and what is too little to tell."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import scipy.stats

import ai_backtrader.evidence.noise as noise_module
from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(noise_module)
    assert outcome.attempted >= 3
    assert outcome.failed == 0


@pytest.mark.parametrize("n_trials", [1, 10, 100])
def test_the_floor_of_normal_noise_is_that_of_order_statistics(n_trials: int) -> None:
    floor = ev.noise_floor(np.random.default_rng(1).normal(size=200_000), n_trials=n_trials, levels=(0.5, 0.95))
    exact = scipy.stats.norm.ppf(np.array([0.5, 0.95]) ** (1 / n_trials))
    assert floor.quantiles == pytest.approx(exact, abs=0.05)
    best = np.random.default_rng(2).normal(size=(20_000, n_trials)).max(axis=1)
    assert floor.expected == pytest.approx(best.mean(), abs=0.03)


def test_the_mean_of_the_best_is_exact_on_few_results() -> None:
    pool = [1.0, 2.0, 4.0]
    pairs = [max(a, b) for a in pool for b in pool]
    assert ev.noise_floor(pool, n_trials=2).expected == pytest.approx(np.mean(pairs), rel=1e-12)


def test_a_search_in_noise_passes_as_rarely_as_its_p_value_says() -> None:
    rng = np.random.default_rng(3)
    floor = ev.noise_floor(rng.standard_t(4, 50_000), n_trials=30)
    p_values = [floor.p_value(float(best)) for best in rng.standard_t(4, (2000, 30)).max(axis=1)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.03)


def test_what_so_few_results_cannot_tell_stays_unknown() -> None:
    floor = ev.noise_floor(np.arange(100.0), n_trials=50)
    assert floor.quantiles[0] == 98.0  # the median of the best of 50 is within 100 results
    assert all(map(math.isnan, floor.quantiles[1:]))
    assert math.isnan(ev.noise_floor(np.arange(100.0), n_trials=101).expected)


def test_nothing_unknown_single_and_constant_results() -> None:
    for nothing in ([], [math.nan] * 4):
        floor = ev.noise_floor(nothing, n_trials=5)
        assert floor.n_random == 0
        assert math.isnan(floor.expected)
        assert all(map(math.isnan, floor.quantiles))
        assert math.isnan(floor.p_value(1.0))
    single = ev.noise_floor([2.0], n_trials=1)
    assert single.expected == 2.0
    constant = ev.noise_floor([2.0] * 1000, n_trials=3)
    assert constant.quantiles[:2] == (2.0, 2.0)
    assert constant.p_value(2.0) == 1.0
    assert constant.p_value(2.1) == pytest.approx(3 / 1001, rel=0.01)
    assert math.isnan(constant.p_value(math.nan))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(SettingsError, match="n_trials must be at least 1, got 0"):
        ev.noise_floor([1.0], n_trials=0)
    with pytest.raises(SettingsError, match="levels must lie between 0 and 1"):
        ev.noise_floor([1.0], n_trials=1, levels=(1.0,))
    with pytest.raises(SettingsError, match="an infinity"):
        ev.noise_floor([math.inf], n_trials=1)
    with pytest.raises(SettingsError, match="one dimension"):
        ev.noise_floor([[1.0]], n_trials=1)
