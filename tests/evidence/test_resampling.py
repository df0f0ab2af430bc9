"""Bootstrap and Monte Carlo of trades against theory, independent figures and enumeration."""

from __future__ import annotations

import doctest
import itertools
import math

import numpy as np
import pytest

import ai_backtrader.evidence.resampling as resampling_module
from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError


def autoregression(seed: int, n: int, phi: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(n)
    series = np.empty(n)
    series[0] = noise[0]
    for t in range(1, n):
        series[t] = phi * series[t - 1] + noise[t]
    return series


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(resampling_module)
    assert outcome.attempted >= 6
    assert outcome.failed == 0


# ------------------------------------------------------------------------------------------------------ block bootstrap


def test_circular_blocks_have_the_length_asked_and_go_around() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        indices = ev.bootstrap_indices(23, block_length=5, rng=rng, scheme="circular")
        steps = np.diff(indices) % 23
        inside = np.ones(22, dtype=bool)
        inside[4::5] = False  # from one block to the next
        assert (steps[inside] == 1).all()


def test_stationary_blocks_have_the_mean_length_asked() -> None:
    indices = ev.bootstrap_indices(400_000, block_length=8.0, rng=np.random.default_rng(2))
    breaks = np.count_nonzero(np.diff(indices) % 400_000 != 1)
    assert 400_000 / breaks == pytest.approx(8.0, rel=0.02)


@pytest.mark.parametrize("scheme", ["stationary", "circular"])
def test_every_bar_is_as_likely_as_every_other(scheme: str) -> None:
    rng = np.random.default_rng(3)
    counts = np.zeros(20)
    for _ in range(5000):
        counts += np.bincount(ev.bootstrap_indices(20, block_length=6, rng=rng, scheme=scheme), minlength=20)
    assert counts / 5000 == pytest.approx(np.ones(20), abs=0.08)


def test_blocks_of_one_are_the_plain_bootstrap_and_know_the_error_of_the_mean() -> None:
    series = np.random.default_rng(4).normal(size=400)
    found = ev.block_bootstrap(series, np.mean, rng=np.random.default_rng(5), n_resamples=4000, block_length=1)
    assert found.standard_error == pytest.approx(series.std() / 20, rel=0.05)


@pytest.mark.parametrize("scheme", ["stationary", "circular"])
def test_blocks_see_the_dependence_that_single_bars_miss(scheme: str) -> None:
    n, phi = 4000, 0.6
    series = autoregression(6, n, phi)
    true = 1 / (1 - phi) / math.sqrt(n)  # error of the mean of an AR(1) with unit noise
    blocks = ev.block_bootstrap(series, np.mean, rng=np.random.default_rng(7), scheme=scheme)
    single = ev.block_bootstrap(series, np.mean, rng=np.random.default_rng(7), block_length=1, scheme=scheme)
    assert blocks.standard_error == pytest.approx(true, rel=0.2)
    assert single.standard_error < 0.6 * true


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    covered = 0
    for seed in range(150):
        found = ev.block_bootstrap(autoregression(seed, 400, 0.3), np.mean, rng=rng, n_resamples=200, confidence=0.9)
        covered += found.interval[0] <= 0 <= found.interval[1]
    assert 0.8 < covered / 150 < 0.97


@pytest.mark.parametrize(
    ("seed", "n", "phi", "stationary", "circular"),
    [(5, 2032, 0.97, 74.77431995223911, 85.59522902656789), (11, 453, 0.97, 28.503664772388458, 32.62855102991875)],
)
def test_block_lengths_are_those_of_arch_where_no_bandwidth_is_chosen(
    seed: int, n: int, phi: float, stationary: float, circular: float
) -> None:
    # arch 8.0.0 counts the first small correlation into the bandwidth, the paper the last large one: they agree where
    # memory is so long that the bandwidth is the largest allowed.
    rng = np.random.default_rng(seed)
    assert int(rng.integers(60, 3000)) == n
    noise = rng.standard_normal(n)
    series = np.empty(n)
    series[0] = noise[0]
    for t in range(1, n):
        series[t] = phi * series[t - 1] + noise[t]
    found = ev.optimal_block_length(series)
    assert found.stationary == pytest.approx(stationary, rel=1e-10)
    assert found.circular == pytest.approx(circular, rel=1e-10)


@pytest.mark.parametrize("phi", [0.3, 0.6, 0.8])
def test_block_lengths_are_on_average_the_theoretical_ones_of_an_autoregression(phi: float) -> None:
    n = 4000
    optimum = (2 * phi / (1 - phi**2)) ** (2 / 3) * n ** (1 / 3)
    found = [ev.optimal_block_length(autoregression(seed, n, phi)) for seed in range(40)]
    assert np.median([one.stationary for one in found]) == pytest.approx(optimum, rel=0.25)
    assert np.median([one.circular / one.stationary for one in found]) == pytest.approx(1.5 ** (1 / 3), rel=1e-6)


def test_the_same_generator_state_gives_the_same_bootstrap() -> None:
    series = np.random.default_rng(1).normal(size=100)
    one, two = (ev.block_bootstrap(series, np.std, rng=np.random.default_rng(9), n_resamples=50) for _ in range(2))
    assert one.samples.tolist() == two.samples.tolist()


def test_nothing_unknown_single_and_constant_series() -> None:
    rng = np.random.default_rng(1)
    for nothing in ([], [math.nan] * 5):
        found = ev.block_bootstrap(nothing, np.mean, rng=rng, n_resamples=7)
        assert math.isnan(found.estimate)
        assert np.isnan(found.samples).all()
        assert found.samples.size == 7
    for same in ([0.5], [0.5] * 30):
        found = ev.block_bootstrap(same, np.mean, rng=rng, n_resamples=7)
        assert found.samples.tolist() == [0.5] * 7
        assert found.interval == (0.5, 0.5)
        assert ev.optimal_block_length(same) == (1.0, 1.0)
    assert ev.bootstrap_indices(0, block_length=3, rng=rng).size == 0


# ---------------------------------------------------------------------------------------------- Monte Carlo of trades


def drawdown(results: tuple[float, ...], start: float) -> float:
    equity = start + np.concatenate(([0.0], np.cumsum(results)))
    return ev.max_drawdown(equity)


def test_shuffles_draw_from_all_orders_alike() -> None:
    trades = (50.0, -120.0, 80.0, -60.0, 30.0, -90.0)
    orders = np.array([drawdown(order, 1000.0) for order in itertools.permutations(trades)])
    found = ev.shuffle_trades(trades, start=1000.0, rng=np.random.default_rng(1), n_shuffles=20_000)
    assert found.max_drawdown == pytest.approx(drawdown(trades, 1000.0), rel=1e-12)
    assert found.max_drawdowns.mean() == pytest.approx(orders.mean(), rel=0.01)
    assert found.drawdown_quantile(0.9) == pytest.approx(np.quantile(orders, 0.9), rel=0.02)
    assert found.share_as_bad == pytest.approx(np.mean(orders >= found.max_drawdown), abs=0.02)
    assert found.final_equities == pytest.approx(np.full(20_000, 890.0))
    assert found.ruin_probability == 0.0


def test_compounded_trades_multiply() -> None:
    trades = [0.1, -0.2, 0.05, -0.1]
    found = ev.shuffle_trades(trades, start=500.0, rng=np.random.default_rng(1), n_shuffles=50, compound=True)
    assert found.max_drawdown == pytest.approx(ev.max_drawdown(500 * np.cumprod([1, *(1 + np.array(trades))])))
    assert found.final_equities == pytest.approx(np.full(50, 500 * 1.1 * 0.8 * 1.05 * 0.9))


def test_drawing_again_varies_the_end_around_the_mean() -> None:
    trades = np.random.default_rng(2).normal(10, 100, 50)
    found = ev.shuffle_trades(trades, start=1e5, rng=np.random.default_rng(3), n_shuffles=5000, replace=True)
    assert found.final_equities.mean() == pytest.approx(1e5 + trades.sum(), abs=50)
    assert found.final_equities.std() == pytest.approx(trades.std() * math.sqrt(50), rel=0.05)


def test_ruin_is_as_likely_as_the_orders_that_reach_zero() -> None:
    trades = (-60.0, -60.0, 100.0)  # from 100: ruined unless the gain comes first or second
    found = ev.shuffle_trades(trades, start=100.0, rng=np.random.default_rng(4), n_shuffles=6000)
    assert found.ruin_probability == pytest.approx(1 / 3, abs=0.03)
    ruined = found.final_equities <= 0
    assert ruined.mean() == found.ruin_probability
    assert (found.max_drawdowns[ruined] >= 1).all()


def test_without_trades_nothing_is_known() -> None:
    found = ev.shuffle_trades([math.nan], start=100.0, rng=np.random.default_rng(1))
    assert found.max_drawdowns.size == 0
    assert math.isnan(found.max_drawdown)
    assert math.isnan(found.drawdown_quantile(0.5))


def test_wrong_arguments_are_named() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(SettingsError, match=r"2 faults[\s\S]*start must be greater than 0[\s\S]*n_shuffles"):
        ev.shuffle_trades([1.0], start=0.0, rng=rng, n_shuffles=0)
    with pytest.raises(SettingsError, match="block_length must be at least 1"):
        ev.block_bootstrap([1.0, 2.0], np.mean, rng=rng, block_length=0.5)
    with pytest.raises(SettingsError, match="scheme must be one of"):
        ev.bootstrap_indices(5, block_length=2, rng=rng, scheme="moving")
    with pytest.raises(SettingsError, match="one dimension"):
        ev.optimal_block_length([[1.0, 2.0]])
    with pytest.raises(SettingsError, match="an infinity at position 1"):
        ev.shuffle_trades([1.0, math.inf], start=1.0, rng=rng)
