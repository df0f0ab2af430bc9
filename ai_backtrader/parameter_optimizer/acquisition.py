"""Where a model promises most: expected improvement over a space, for one point or a batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.parameter_optimizer.surrogate import Surrogate

__all__ = ["log_expected_improvement", "most_promising"]

_Array = NDArray[np.float64]

# Deviations below the mean, for trials that explore.
_BOLD = 2.0

# Coordinates closer than this are the same point.
_SAME = 1e-7


def log_expected_improvement(mean: _Array, spread: _Array, best: float) -> _Array:
    """Logarithm of the expected improvement below ``best`` (Jones, Schonlau & Welch 1998), stable in the tail.

    The form of Ament et al. 2023, "Unexpected improvements to expected improvement": where improvement is hopeless
    the plain one is 0 everywhere and tells no direction.
    """
    from scipy.special import erfcx, ndtr

    z = (best - mean) / spread
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    near = z > -1.0
    inside = np.where(near, density + z * ndtr(z), 1.0)
    tail = np.minimum(z, -1.0)
    # phi(z) + z Phi(z) = phi(z) (1 - |z| sqrt(pi/2) erfcx(|z|/sqrt 2)); far out the bracket is 1/z^2.
    bracket = 1.0 + tail * math.sqrt(0.5 * math.pi) * erfcx(-tail / math.sqrt(2.0))
    far = -0.5 * tail * tail - 0.5 * math.log(2.0 * math.pi) + np.log(np.maximum(bracket, 1e-3 / (tail * tail)))
    return np.log(spread) + np.where(near, np.log(np.maximum(inside, 1e-300)), far)


def most_promising(
    model: Surrogate,
    space: Space,
    units: _Array,
    losses: _Array,
    n: int,
    rng: np.random.Generator,
    *,
    candidates: int = 1000,
) -> _Array:
    """Coordinates of ``n`` new points, shape (n, dimensions), mostly by expected improvement.

    Every third trial goes where the mean less two deviations is lowest (lower confidence bound): a model that is too
    sure of itself stays in the first good valley otherwise. Random points and neighbours of the best trials are looked
    at, then steps that shrink from the most promising. For a batch the model believes its own prediction at each point
    chosen (Ginsbourger, Le Riche & Carraro 2010); a model that cannot is asked for a distance between the points
    instead (Gonzalez et al. 2016, local penalization).
    """
    best = float(losses.min())
    chosen = np.empty((0, units.shape[1]))
    apart: _Array = np.empty((0, units.shape[1]))
    for place in range(n):
        taken = np.vstack([units, chosen])

        def worth(points: _Array, *, apart: _Array = apart, bold: bool = (len(units) + place) % 3 == 0) -> _Array:
            mean, spread = model.predict(space.features(points))
            promise = _BOLD * spread - mean if bold else log_expected_improvement(mean, spread, best)
            return promise + _distance_bonus(points, apart)

        pool = _pool(space, units[np.argsort(losses, kind="stable")[:5]], candidates, rng)
        pool = pool[_new(pool, taken)]
        if not len(pool):
            pool = _any_new(space, taken, rng)
        point = _climb(worth, space, pool, taken, rng, rounds=14 if model.smooth else 3)
        chosen = np.vstack([chosen, point])
        if place + 1 < n and not model.believe(space.features(point[None])[0]):
            apart = chosen
    return chosen


def _pool(space: Space, leaders: _Array, n: int, rng: np.random.Generator) -> _Array:
    near = []
    for radius in (0.2, 0.05, 0.01):
        steps = rng.normal(scale=radius, size=(n // 12, *leaders.shape))
        moved = rng.random(steps.shape) < max(0.3, 2.0 / len(space))  # a few coordinates at a time
        near.append((leaders + steps * moved).reshape(-1, len(space)))
    around, valid = space.repair(np.clip(np.concatenate(near), 0.0, 1.0))
    return np.vstack([space.draw(rng, n), around[valid]])


def _climb(
    worth: Callable[[_Array], _Array],
    space: Space,
    pool: _Array,
    taken: _Array,
    rng: np.random.Generator,
    *,
    rounds: int,
) -> _Array:
    values = worth(pool)
    order = np.argsort(-values, kind="stable")[:6]
    leaders, heights = pool[order], values[order]
    radius = 0.1
    for _ in range(rounds):
        shape = (20, *leaders.shape)
        moved = rng.random(shape) < max(0.3, 1.5 / len(space))
        steps = leaders + rng.normal(scale=radius, size=shape) * moved
        around, valid = space.repair(np.clip(steps.reshape(-1, len(space)), 0.0, 1.0))
        origin = np.tile(np.arange(len(leaders)), 20)
        keep = valid & _new(around, taken)
        if keep.any():
            around, origin = around[keep], origin[keep]
            found = worth(around)
            for leader in range(len(leaders)):
                mine = np.flatnonzero(origin == leader)
                if len(mine) and found[mine].max() > heights[leader]:
                    step = mine[np.argmax(found[mine])]
                    leaders[leader], heights[leader] = around[step], found[step]
        radius *= 0.65
    return np.asarray(leaders[int(np.argmax(heights))])


def _new(points: _Array, taken: _Array) -> NDArray[np.bool_]:
    from scipy.spatial import KDTree

    apart = KDTree(taken).query(points, p=np.inf, distance_upper_bound=_SAME)[0]
    new: NDArray[np.bool_] = np.isinf(apart)
    return new


def _any_new(space: Space, taken: _Array, rng: np.random.Generator) -> _Array:
    for _ in range(20):
        pool = space.draw(rng, 1000)
        pool = pool[_new(pool, taken)]
        if len(pool):
            return pool
    return space.draw(rng, 1)  # everything within reach is known


def _distance_bonus(points: _Array, apart: _Array) -> _Array:
    if not len(apart):
        return np.zeros(len(points))
    squares = ((points[:, None] - apart[None]) ** 2).mean(axis=2)
    bonus: _Array = np.log1p(-np.exp(-squares / (2.0 * 0.05**2)) + 1e-12).sum(axis=1)
    return bonus
