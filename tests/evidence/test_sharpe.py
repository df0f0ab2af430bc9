"""Sharpe ratios under search: the papers' printed figures, an independent inversion, and what is undefined."""

from __future__ import annotations

import dataclasses
import doctest
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import ai_backtrader.evidence.sharpe as sharpe_module
from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError

DAY, MONTH = 250**0.5, 12**0.5
# Bailey and Lopez de Prado (2014), "A numerical example": annual 2.5 on 1250 days, variance of the trials' annual
# Sharpe ratios 1/2.
FOUND = {"sharpe": 2.5 / DAY, "n_obs": 1250, "trials_sharpe_std": 0.5**0.5 / DAY}
# Bailey and Lopez de Prado (2012): months of the hedge fund, skewness and kurtosis.
FUND = {"skew": -2.448, "kurtosis": 10.164}


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(sharpe_module)
    assert outcome.attempted >= 8
    assert outcome.failed == 0


def test_deflated_sharpe_of_the_paper() -> None:
    crooked, normal = {"skew": -3.0, "kurtosis": 10.0}, {"skew": 0.0, "kurtosis": 3.0}
    assert round(ev.deflated_sharpe_ratio(**FOUND, **crooked, n_trials=100), 4) == 0.9004
    assert round(ev.deflated_sharpe_ratio(**FOUND, **crooked, n_trials=46), 4) == 0.9505
    assert round(ev.deflated_sharpe_ratio(**FOUND, **normal, n_trials=88), 4) == 0.9505
    assert round(ev.expected_maximum_sharpe(100, FOUND["trials_sharpe_std"]), 4) == 0.1132


def test_probabilistic_sharpe_of_the_paper_of_2012() -> None:
    assert round(ev.probabilistic_sharpe_ratio(sharpe=0.458, n_obs=24, **FUND), 3) == 0.913
    assert round(ev.probabilistic_sharpe_ratio(sharpe=0.458, n_obs=24, skew=0.0, kurtosis=3.0), 3) == 0.982


def test_probabilistic_sharpe_of_the_paper_of_2025() -> None:
    fund = {**FUND, "sharpe": 0.036 / 0.079, "convention": "2025"}
    assert round(ev.probabilistic_sharpe_ratio(n_obs=24, **fund), 3) == 0.987
    assert round(ev.probabilistic_sharpe_ratio(n_obs=24, benchmark=0.1, **fund), 3) == 0.939
    assert round(ev.minimum_track_record_length(**fund), 3) == 13.029


def test_minimum_track_record_of_the_paper() -> None:
    hedge_fund = {"sharpe": 2 / MONTH, "benchmark": 1 / MONTH, "skew": -0.72, "kurtosis": 5.78}
    months = ev.minimum_track_record_length(**hedge_fund)
    assert round(months, 3) == 59.895
    assert round(months / 12, 2) == 4.99
    days = ev.minimum_track_record_length(sharpe=2 / DAY, benchmark=1 / DAY, skew=0.0, kurtosis=3.0)
    assert round(days / 250, 2) == 2.73


def test_minimum_backtest_length_of_the_paper() -> None:
    assert round(ev.expected_maximum_sharpe(10, 1.0), 2) == 1.57
    assert round(ev.minimum_backtest_length(n_trials=45)) == 5  # five years: no more than 45 trials
    assert round(ev.minimum_backtest_length(n_trials=7)) == 2  # seven trials fit in two years
    for n in (2, 10, 1000, 10**6):
        assert ev.minimum_backtest_length(n_trials=n) < 2 * math.log(n)  # the bound of equation 6


@pytest.mark.parametrize("n_trials", [20, 50, 500])
def test_the_expected_maximum_is_that_of_normal_draws(n_trials: int) -> None:
    draws = np.random.default_rng(7).standard_normal((20_000, n_trials)).max(axis=1)
    assert ev.expected_maximum_sharpe(n_trials, 0.3) == pytest.approx(0.3 * draws.mean(), rel=0.025)


def test_the_expected_maximum_keeps_its_digits_for_huge_searches() -> None:
    gamma = np.euler_gamma
    n = 1e15
    exact = (1 - gamma) * scipy.stats.norm.isf(1 / n) + gamma * scipy.stats.norm.isf(1 / (n * math.e))
    assert ev.expected_maximum_sharpe(n, 1.0) == pytest.approx(exact, rel=1e-12)


@given(
    sharpe=st.floats(0.05, 0.5),
    benchmark=st.floats(-0.2, 0.04),
    skew=st.floats(-3, 3),
    excess=st.floats(0.1, 20),
    confidence=st.floats(0.6, 0.999),
    convention=st.sampled_from(["2012", "2025"]),
)
def test_the_minimum_track_record_is_where_the_probability_reaches_the_confidence(
    sharpe: float, benchmark: float, skew: float, excess: float, confidence: float, convention: ev.Convention
) -> None:
    moments = {"skew": skew, "kurtosis": 1 + skew**2 + excess}
    n = ev.minimum_track_record_length(
        sharpe=sharpe, benchmark=benchmark, confidence=confidence, convention=convention, **moments
    )
    # The probability takes whole observations: the length lies between the last that fails and the first that passes.
    enough = max(2, math.ceil(n + 1e-6))
    given_ = {"sharpe": sharpe, "benchmark": benchmark, "convention": convention, **moments}
    assert ev.probabilistic_sharpe_ratio(n_obs=enough, **given_) >= confidence - 1e-9
    if enough > 3:
        assert ev.probabilistic_sharpe_ratio(n_obs=math.floor(n - 1e-6), **given_) <= confidence + 1e-9


def test_the_probability_is_scipys_normal() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        sharpe, benchmark, skew = rng.normal(0, 0.1), rng.normal(0, 0.05), rng.normal()
        kurtosis, n = 1.5 + skew**2 + rng.exponential(), int(rng.integers(2, 5000))
        variance = (1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (n - 1)
        expected = scipy.stats.norm.cdf(sharpe, loc=benchmark, scale=math.sqrt(variance))
        got = ev.probabilistic_sharpe_ratio(
            sharpe=sharpe, benchmark=benchmark, n_obs=n, skew=skew, kurtosis=kurtosis, convention="2012"
        )
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_the_evidence_of_a_series_is_that_of_its_moments() -> None:
    returns = np.random.default_rng(5).standard_t(5, 800) * 0.01 + 0.001
    found = ev.sharpe_evidence(returns, n_trials=30, trials_sharpe_std=0.05)
    moments = {
        "sharpe": returns.mean() / returns.std(ddof=1),
        "skew": scipy.stats.skew(returns),
        "kurtosis": scipy.stats.kurtosis(returns, fisher=False),
    }
    assert found.sharpe == pytest.approx(moments["sharpe"], rel=1e-12)
    assert found.probabilistic == pytest.approx(ev.probabilistic_sharpe_ratio(n_obs=800, **moments), rel=1e-10)
    assert found.deflated == pytest.approx(
        ev.deflated_sharpe_ratio(n_obs=800, n_trials=30, trials_sharpe_std=0.05, **moments), rel=1e-10
    )
    assert found.minimum_track_record == pytest.approx(ev.minimum_track_record_length(**moments), rel=1e-10)
    assert found.minimum_backtest == pytest.approx((ev.expected_maximum_sharpe(30, 1) / moments["sharpe"]) ** 2)
    assert found.expected_maximum == ev.expected_maximum_sharpe(30, 0.05)
    holes = np.insert(returns, [0, 100, 800], np.nan)
    assert ev.sharpe_evidence(holes, n_trials=30, trials_sharpe_std=0.05) == found


@pytest.mark.parametrize(
    ("seed", "n", "n_trials", "expected_maximum", "deflated"),
    [
        (1, 300, 10, 0.10645100579951557, 0.47451711523626244),
        (2, 900, 40, 0.14055887406009562, 0.13645666616646718),
        (3, 60, 200, 0.15399893364133563, 0.8901279956658132),
    ],
)
def test_the_deflated_sharpe_of_a_series_is_that_of_trialgate(
    seed: int, n: int, n_trials: int, expected_maximum: float, deflated: float
) -> None:
    # trialgate 0.6.0, autocorrelation="ignore"; it takes annual Sharpe ratios of the trials, 252 days a year.
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(5, n) * 0.01 + 0.002
    spread = rng.normal(0, 0.9, n_trials).std() / 252**0.5
    found = ev.sharpe_evidence(returns, n_trials=n_trials, trials_sharpe_std=spread)
    assert found.expected_maximum == pytest.approx(expected_maximum, rel=1e-9)
    assert found.deflated == pytest.approx(deflated, rel=1e-9)


def test_the_standard_error_is_the_spread_of_simulated_sharpe_ratios() -> None:
    rng = np.random.default_rng(11)
    samples = rng.exponential(1.0, (4000, 500)) - 0.8  # skewness 2, kurtosis 9
    spread = (samples.mean(axis=1) / samples.std(axis=1, ddof=1)).std()
    errors = [ev.sharpe_evidence(sample).standard_error for sample in samples[:100]]
    assert np.mean(errors) == pytest.approx(spread, rel=0.05)


def test_without_the_deviation_of_the_trials_that_of_pure_chance_is_taken() -> None:
    returns = np.random.default_rng(2).normal(0, 1, 401)
    assert ev.sharpe_evidence(returns, n_trials=9).trials_sharpe_std == 1 / 20


@pytest.mark.parametrize(("returns", "n_obs"), [([], 0), ([0.01], 1), ([0.01] * 30, 30), ([math.nan] * 30, 0)], ids=str)
def test_nothing_one_constant_and_unknown_returns_have_no_evidence(returns: list[float], n_obs: int) -> None:
    found = ev.sharpe_evidence(returns, n_trials=10)
    assert found.n_obs == n_obs
    for name in ("sharpe", "standard_error", "probabilistic", "deflated", "minimum_track_record", "minimum_backtest"):
        assert math.isnan(getattr(found, name)), name


def test_unknown_arguments_give_unknown_results() -> None:
    known = {"sharpe": 0.1, "skew": 0.0, "kurtosis": 3.0}
    for name in known:
        assert math.isnan(ev.probabilistic_sharpe_ratio(n_obs=100, **{**known, name: math.nan}))
        assert math.isnan(ev.minimum_track_record_length(**{**known, name: math.nan}))
    assert math.isnan(ev.probabilistic_sharpe_ratio(n_obs=1, **known))
    assert math.isnan(ev.deflated_sharpe_ratio(n_obs=100, n_trials=5, trials_sharpe_std=math.nan, **known))
    assert math.isnan(ev.minimum_backtest_length(n_trials=math.nan))
    assert math.isnan(ev.expected_maximum_sharpe(math.nan, 1.0))


def test_the_ends_of_the_range_are_documented_values() -> None:
    known = {"sharpe": 0.1, "skew": 0.0, "kurtosis": 3.0}
    one = ev.deflated_sharpe_ratio(n_obs=100, n_trials=1, trials_sharpe_std=math.nan, **known)
    assert one == ev.probabilistic_sharpe_ratio(n_obs=100, **known)
    assert ev.minimum_track_record_length(benchmark=0.1, **known) == math.inf
    assert ev.minimum_backtest_length(n_trials=1) == 0.0
    assert ev.minimum_backtest_length(n_trials=10, max_sharpe=-1.0) == math.inf
    assert ev.expected_maximum_sharpe(1.001, 1.0) == 0.0


def test_impossible_arguments_are_named_together() -> None:
    with pytest.raises(SettingsError, match=r"kurtosis must be at least 1[\s\S]*convention must be one of[\s\S]*n_obs"):
        ev.probabilistic_sharpe_ratio(sharpe=0.1, n_obs=-1, skew=0.0, kurtosis=0.0, convention="1999")
    with pytest.raises(SettingsError, match="n_trials must be at least 1, got 0"):
        ev.expected_maximum_sharpe(0, 1.0)
    with pytest.raises(SettingsError, match="confidence must lie between"):
        ev.minimum_track_record_length(sharpe=0.1, skew=0.0, kurtosis=3.0, confidence=1.0)
    with pytest.raises(SettingsError, match="expected finite numbers"):
        ev.sharpe_evidence([0.1, math.inf])


def test_evidence_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="deflated"):
        ev.sharpe_evidence([0.1, 0.2, 0.1]).deflated = 1.0  # type: ignore[misc]  # the point of the test
