"""Changes of a win rate, found by likelihood ratios over every place where it may have changed.

Compiled like the other detectors: a step over a flat float64 vector, all zeros for a fresh start. With k of the n
trades so far before a change, twice the log likelihood ratio is the G statistic of the 2 x 2 table of wins and losses
before and after. It is a convex function of (k, wins of the first k), so that its maximum over all k lies at a corner
of the convex hull of that path: the corners alone are kept, some ten for a thousand trades and some thirty for a
million. That is the idea of Romano, Eckley, Fearnhead and Rigaill, "Fast online changepoint detection via functional
pruning CUSUM statistics" (Journal of Machine Learning Research 24, 2023), here for Bernoulli values with an unknown
rate before as well as after.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["bernoulli_glr_size", "bernoulli_glr_step"]

Array = NDArray[np.float64]

_CORNERS = 64  # of each side of the hull: a million trades of a steady rate have ten to twenty
_TRADES, _WINS, _LOWER, _UPPER, _HEADER = range(5)


def bernoulli_glr_size() -> int:
    """Length of the state: counts, then place, wins and log likelihood of each corner of the two sides of the hull."""
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
def _add_corner(corners: Array, held: int, side: float, place: float, wins: float, likelihood: float) -> int:
    # Andrew's monotone chain: a corner that the new point leaves inside the hull goes.
    while held >= 2:
        run, rise = corners[held - 1, 0] - corners[held - 2, 0], corners[held - 1, 1] - corners[held - 2, 1]
        if side * (run * (wins - corners[held - 2, 1]) - rise * (place - corners[held - 2, 0])) > 0.0:
            break
        held -= 1
    if held == _CORNERS:  # the oldest but the start: a change there would have been seen long ago
        for i in range(1, held - 1):
            corners[i] = corners[i + 1]
        held -= 1
    corners[held, 0], corners[held, 1], corners[held, 2] = place, wins, likelihood
    return held + 1


@njit(cache=True)
def bernoulli_glr_step(params: Array, state: Array, x: float) -> bool:
    """Feed one trade, a win where ``x`` is greater than 0; whether a change of the rate is likely beyond the threshold.

    Parameters
    ----------
    params
        Threshold of the log likelihood ratio.
    """
    if state[_LOWER] == 0.0:
        state[_LOWER] = state[_UPPER] = 1.0  # the corner at the start: all zeros
    state[_TRADES] += 1.0
    if x > 0.0:
        state[_WINS] += 1.0
    n, wins = state[_TRADES], state[_WINS]
    whole = _log_likelihood(wins, n - wins)
    highest = 0.0
    for which in range(2):
        start = _HEADER + which * 3 * _CORNERS
        corners = state[start : start + 3 * _CORNERS].reshape(_CORNERS, 3)
        held = int(state[_LOWER + which])
        for i in range(1, held):
            won = wins - corners[i, 1]
            highest = max(highest, corners[i, 2] + _log_likelihood(won, n - corners[i, 0] - won) - whole)
        state[_LOWER + which] = _add_corner(corners, held, 1.0 - 2.0 * which, n, wins, whole)
    return bool(highest > params[0])
