"""Who is better than whom: ranks for one objective or several, tournaments.

Scores are arrays of shape (candidates, objectives), higher is better, ``-inf`` is a failed evaluation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_first", "crowding_distance", "non_dominated_fronts", "tournaments"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def best_first(scores: Floats) -> Places:
    """Positions of the candidates, best first; equals keep their order.

    One objective: by score. Several: by front, inside a front the lonelier first (NSGA-II; Deb et al., 2002).
    """
    if scores.shape[1] == 1:
        return np.argsort(-scores[:, 0], kind="stable")
    fronts = non_dominated_fronts(scores)
    distance = np.empty(len(scores))
    for front in range(int(fronts.max(initial=-1)) + 1):
        members = np.flatnonzero(fronts == front)
        distance[members] = crowding_distance(scores[members])
    return np.lexsort((-distance, fronts))


def non_dominated_fronts(scores: Floats) -> Places:
    """Number of each candidate's front, shape (candidates,): 0 where nobody dominates it.

    A candidate dominates another when it is nowhere worse and somewhere better. Time and memory grow with the square
    of the candidates.
    """
    count = len(scores)
    no_worse = np.ones((count, count), dtype=np.bool_)
    better = np.zeros((count, count), dtype=np.bool_)
    for column in scores.T:
        no_worse &= column[:, None] >= column[None, :]
        better |= column[:, None] > column[None, :]
    dominates = no_worse & better
    fronts = np.full(count, -1, dtype=np.int64)
    dominators = dominates.sum(axis=0)
    front = 0
    while (fronts < 0).any():
        members = (dominators == 0) & (fronts < 0)
        fronts[members] = front
        dominators = dominators - dominates[members].sum(axis=0)
        front += 1
    return fronts


def crowding_distance(scores: Floats) -> Floats:
    """How lonely each candidate of one front is, shape (candidates,): the ends of each objective are infinitely so.

    Per objective the distance between both neighbours over the front's range, added up. An objective in which all are
    equal adds nothing.
    """
    count = len(scores)
    distance = np.zeros(count)
    if count <= 2:
        return np.full(count, np.inf)
    for column in scores.T:
        order = np.argsort(column, kind="stable")
        ranked = column[order]
        if ranked[0] == ranked[-1] or not np.isfinite(ranked[[0, -1]]).all():  # all equal, or failures among them
            continue
        span = ranked[-1] - ranked[0]
        distance[order[1:-1]] += (ranked[2:] - ranked[:-2]) / span
        distance[order[[0, -1]]] = np.inf
    return distance


def tournaments(rng: np.random.Generator, candidates: int, *, size: int, shape: tuple[int, ...]) -> Places:
    """Winners of as many tournaments as ``shape`` holds: places in a population sorted best first."""
    return np.asarray(rng.integers(candidates, size=(*shape, size)).min(axis=-1), dtype=np.int64)
