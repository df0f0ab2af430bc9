"""Proposals that need no model: the first design, and differential evolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.parameter_optimizer.space import Space

__all__ = ["differential_evolution", "first_design"]

_Array = NDArray[np.float64]


def first_design(space: Space, n: int, rng: np.random.Generator, *, tries: int = 16) -> _Array:
    """Coordinates that cover the space evenly, shape (n, dimensions).

    Latin hypercubes (McKay, Beckman & Conover 1979: each of n slices of each dimension is met once), repaired where a
    constraint is broken and drawn anew where it cannot be; of several, the one whose closest two points lie farthest
    apart (Johnson, Moore & Ylvisaker 1990). Different points, as far as the space has so many.
    """
    best, widest = np.empty((0, len(space))), -np.inf
    for _ in range(max(1, tries)):
        design = _latin_hypercube(n, len(space), rng)
        units, valid = space.repair(design)
        if not valid.all():
            units[~valid] = space.draw(rng, int((~valid).sum()))
        units = _different(space, units, rng)
        gap = _closest(space.features(units))
        if gap > widest:
            best, widest = units, gap
    return best


def differential_evolution(
    units: _Array, losses: _Array, space: Space, n: int, rng: np.random.Generator, *, population: int
) -> _Array:
    """Next generation of DE/current-to-best/1/bin (Storn & Price 1997), shape (n, dimensions).

    Parameters
    ----------
    units, losses
        Everything evaluated so far, in order, less is better; infinity where it failed. The population is what
        survived: trial ``t`` belongs to member ``t % population``.
    """
    members = _survivors(units, losses, population)
    best = members[np.argmin([losses[member] for member in members])]
    children = np.empty((n, units.shape[1]))
    for place in range(n):
        parent = units[members[(len(units) + place) % len(members)]]
        one, two = rng.choice(members, 2, replace=len(members) < 2)
        scale = rng.uniform(0.5, 1.0)  # dithered: a fixed scale stalls on few points
        mutant = parent + scale * (units[best] - parent) + scale * (units[one] - units[two])
        mutant = np.where(mutant < 0.0, -mutant, mutant)
        mutant = np.clip(np.where(mutant > 1.0, 2.0 - mutant, mutant), 0.0, 1.0)
        crossed: NDArray[np.bool_] = np.asarray(rng.random(units.shape[1]) < 0.9)
        crossed[rng.integers(units.shape[1])] = True
        children[place] = np.where(crossed, mutant, parent)
    children, valid = space.repair(children)
    if not valid.all():
        children[~valid] = space.draw(rng, int((~valid).sum()))
    return children


def _survivors(units: _Array, losses: _Array, population: int) -> list[int]:
    members = list(range(min(population, len(units))))
    for trial in range(population, len(units)):
        if losses[trial] <= losses[members[trial % population]]:
            members[trial % population] = trial
    return members


def _latin_hypercube(n: int, dimensions: int, rng: np.random.Generator) -> _Array:
    slices = np.column_stack([rng.permutation(n) for _ in range(dimensions)])
    return (slices + rng.random((n, dimensions))) / n


def _different(space: Space, units: _Array, rng: np.random.Generator) -> _Array:
    _, first = np.unique(units, axis=0, return_index=True)
    twice = np.setdiff1d(np.arange(len(units)), first)
    if len(twice):
        units = units.copy()
        units[twice] = space.draw(rng, len(twice))
    return units


def _closest(features: _Array) -> float:
    if len(features) < 2:
        return 0.0
    squares = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    return float(squares.min())
