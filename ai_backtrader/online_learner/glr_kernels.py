"""Changes of a win rate or a mean, found by likelihood ratios over every place where it may have changed.

Compiled like the other detectors: a step over a flat float64 vector, all zeros for a fresh start. With k of the n
values so far before a change, the gain in log likelihood by two rates (means) instead of one is a convex function of k
and the sum of the first k. Its maximum over all k therefore lies at a corner of the convex hull of the path of sums:
the corners alone are kept, some fifteen for a thousand values and some thirty for a million. That is the idea of
Romano, Eckley, Fearnhead and Rigaill, "Fast online changepoint detection via functional pruning CUSUM statistics"
(Journal of Machine Learning Research 24, 2023), with the level before the change as unknown as the one after it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["bernoulli_glr_step", "glr_size", "mean_glr_step"]

Array = NDArray[np.float64]

_CORNERS = 64  # of each side of the hull: a million values of a steady level have ten to twenty
_FEWEST = 30.0  # values, before a mean is judged: its variance is taken from them too
_ROUNDING = 1e-9  # of the squares: what is left of a constant
_COUNT, _TOTAL, _SQUARES, _LOWER, _UPPER, _HEADER = range(6)


def glr_size() -> int:
    """Length of the state: sums, then place, sum and log likelihood of each corner on both sides of the hull."""
    return _HEADER + 2 * 3 * _CORNERS


@njit(cache=True)
def _log_likelihood(wins: float, losses: float) -> float:
    # Of so many wins and losses at the rate that fits them best.
    found = 0.0
    if wins > 0.0:
        found += wins * math.log(wins / (wins + losses))
    if losses > 0.0:
        found += losses * math.log(losses / (wins + losses))
    return found


@njit(cache=True)
def _start(state: Array) -> None:
    if state[_LOWER] == 0.0:
        state[_LOWER] = state[_UPPER] = 1.0  # the corner at the start: all zeros


@njit(cache=True)
def _corners(state: Array, which: int) -> Array:
    start = _HEADER + which * 3 * _CORNERS
    return state[start : start + 3 * _CORNERS].reshape(_CORNERS, 3)


@njit(cache=True)
def _add_corner(state: Array, which: int, place: float, total: float, likelihood: float) -> None:
    # Andrew's monotone chain: a corner that the new point leaves inside the hull goes.
    corners, held, side = _corners(state, which), int(state[_LOWER + which]), 1.0 - 2.0 * which
    while held >= 2:
        run, rise = corners[held - 1, 0] - corners[held - 2, 0], corners[held - 1, 1] - corners[held - 2, 1]
        if side * (run * (total - corners[held - 2, 1]) - rise * (place - corners[held - 2, 0])) > 0.0:
            break
        held -= 1
    if held == _CORNERS:  # the oldest but the start: a change there would have been seen long ago
        for i in range(1, held - 1):
            corners[i] = corners[i + 1]
        held -= 1
    corners[held, 0], corners[held, 1], corners[held, 2] = place, total, likelihood
    state[_LOWER + which] = held + 1


@njit(cache=True)
def bernoulli_glr_step(params: Array, state: Array, x: float) -> bool:
    """Feed one trade, a win where ``x`` is greater than 0; whether a change of the rate is likely beyond the threshold.

    Parameters
    ----------
    params
        Threshold of the log likelihood ratio.
    """
    _start(state)
    state[_COUNT] += 1.0
    if x > 0.0:
        state[_TOTAL] += 1.0
    n, wins = state[_COUNT], state[_TOTAL]
    whole = _log_likelihood(wins, n - wins)
    highest = 0.0
    for which in range(2):
        corners = _corners(state, which)
        for i in range(1, int(state[_LOWER + which])):
            won = wins - corners[i, 1]
            highest = max(highest, corners[i, 2] + _log_likelihood(won, n - corners[i, 0] - won) - whole)
        _add_corner(state, which, n, wins, whole)
    return bool(highest > params[0])


@njit(cache=True)
def mean_glr_step(params: Array, state: Array, inflation: float, x: float) -> bool:
    """Feed one value; whether a change of the mean is likely beyond the threshold.

    Parameters
    ----------
    params
        Threshold of the log likelihood ratio, and the limit of a value.
    inflation
        Variance of a mean of such values over that of independent ones.
    """
    _start(state)
    x = min(max(x, -params[1]), params[1])
    state[_COUNT] += 1.0
    state[_TOTAL] += x
    state[_SQUARES] += x * x
    n, total = state[_COUNT], state[_TOTAL]
    highest, base = 0.0, total * total / n  # of the squares, what two means explain beyond one
    for which in range(2):
        corners = _corners(state, which)
        for i in range(1, int(state[_LOWER + which])):
            place, before = corners[i, 0], corners[i, 1]
            after = total - before
            highest = max(highest, before * before / place + after * after / (n - place) - base)
        _add_corner(state, which, n, total, 0.0)
    unexplained = state[_SQUARES] - base
    if n < _FEWEST or not unexplained > _ROUNDING * state[_SQUARES]:
        return False
    ratio = -0.5 * n * math.log1p(-min(highest / unexplained, 1.0 - 1e-12))  # with the variance unknown, too
    return bool(ratio > inflation * params[0])
