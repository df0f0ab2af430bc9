"""Nearest remembered trades, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["binomial_tail", "inverse_scales", "nearest"]

Array = NDArray[np.float64]

_BLOCK = 512  # trades whose distances are held at once: they stay in the first-level cache


@njit(cache=True)
def inverse_scales(memory: Array, n: int) -> Array:
    """One over the robust standard deviation (1.4826 MAD) of each feature; 0 for one that does not vary.

    Parameters
    ----------
    memory
        (features, capacity), of which the first ``n`` columns hold trades; NaN is missing.

    Notes
    -----
    Where more than half of the values are equal (a flag) the MAD is 0: the mean absolute deviation stands in, times
    1.2533, which gives a normal's standard deviation too.
    """
    found = np.zeros(memory.shape[0])
    for d in range(memory.shape[0]):
        row = memory[d, :n]
        values = row[np.isfinite(row)]
        if values.shape[0] == 0:
            continue
        deviations = np.abs(values - np.median(values))
        scale = 1.482602218505602 * np.median(deviations)
        if scale == 0.0:
            scale = 1.2533141373155003 * deviations.sum() / deviations.shape[0]
        if scale > 0.0:
            found[d] = 1.0 / scale
    return found


@njit(cache=True)
def _farther(distances: Array, places: NDArray[np.int64], i: int, j: int) -> bool:
    if distances[i] == distances[j]:
        return bool(places[i] > places[j])
    return bool(distances[i] > distances[j])


@njit(cache=True)
def _sift_down(distances: Array, places: NDArray[np.int64], size: int) -> None:
    """Let the top of a heap sink; the farthest is on top, of equal ones the highest place."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            return
        if child + 1 < size and _farther(distances, places, child + 1, child):
            child += 1
        if not _farther(distances, places, child, i):
            return
        distances[i], distances[child] = distances[child], distances[i]
        places[i], places[child] = places[child], places[i]
        i = child


@njit(cache=True)
def nearest(
    memory: Array,
    sides: NDArray[np.int16],
    n: int,
    inverse: Array,
    cap: float,
    query: Array,
    side: int,
    k: int,
) -> NDArray[np.int64]:
    """Places of the ``k`` trades nearest to ``query`` (fewer if fewer are comparable), ascending: all are measured.

    The distance is the sum over the query's features of ``min(|difference| / scale, cap)``; a feature that the
    remembered trade lacks adds ``cap``, one that the query lacks is left out. Of equal distances the lower place
    stays.

    Parameters
    ----------
    memory, sides, n
        (features, capacity) and (capacity,), of which the first ``n`` columns hold trades; sides are +1, -1 or 0
        (not told).
    inverse
        (features,) one over the scales; 0 leaves a feature out.
    query
        (features,) NaN where missing.
    side
        +1 or -1 leaves out trades of the other side; 0 none.
    """
    distances = np.full(k, np.inf)
    places = np.full(k, -1)
    block = np.empty(_BLOCK)
    used = np.flatnonzero(np.isfinite(query) & (inverse > 0.0))
    pairs = used.shape[0] // 2
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        for j in range(size):
            block[j] = 0.0
        # Two features at a time halve the traffic to the block; NaN is not below the cap.
        for p in range(pairs):
            d, e = used[2 * p], used[2 * p + 1]
            x, x_scale, x_row = query[d], inverse[d], memory[d, start : start + size]
            y, y_scale, y_row = query[e], inverse[e], memory[e, start : start + size]
            for j in range(size):
                t = abs(x - x_row[j]) * x_scale
                u = abs(y - y_row[j]) * y_scale
                block[j] += (t if t < cap else cap) + (u if u < cap else cap)
        if 2 * pairs < used.shape[0]:
            d = used[2 * pairs]
            x, x_scale, x_row = query[d], inverse[d], memory[d, start : start + size]
            for j in range(size):
                t = abs(x - x_row[j]) * x_scale
                block[j] += t if t < cap else cap
        for j in range(size):
            if block[j] < distances[0] and side * sides[start + j] >= 0:
                distances[0], places[0] = block[j], start + j
                _sift_down(distances, places, k)
    return np.sort(places[places >= 0])


@njit(cache=True)
def binomial_tail(wins: int, n: int, probability: float) -> float:
    """Probability of at most ``wins`` successes in ``n`` independent trials."""
    if probability <= 0.0 or wins >= n:
        return 1.0
    if probability >= 1.0:
        return 0.0
    total = 0.0
    for i in range(wins + 1):
        total += math.exp(
            math.lgamma(n + 1.0)
            - math.lgamma(i + 1.0)
            - math.lgamma(n - i + 1.0)
            + i * math.log(probability)
            + (n - i) * math.log(1.0 - probability)
        )
    return min(total, 1.0)
