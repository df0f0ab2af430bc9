"""Ranks and fronts against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ai_backtrader.strategy_evolver.selection import best_first, crowding_distance, non_dominated_fronts, tournaments


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one >= other).all() and (one > other).any())


@given(arrays(np.float64, st.tuples(st.integers(1, 25), st.integers(2, 3)), elements=st.integers(-4, 4).map(float)))
def test_fronts_peel_off_those_whom_nobody_left_dominates(scores: np.ndarray) -> None:
    fronts = non_dominated_fronts(scores)
    left = set(range(len(scores)))
    for front in itertools.count():
        if not left:
            break
        free = {i for i in left if not any(dominates(scores[j], scores[i]) for j in left)}
        assert free == {i for i in range(len(scores)) if fronts[i] == front}
        left -= free


def test_crowding_by_hand() -> None:
    # Three inner points of (x, 10 - x): neighbours at 0, 2, 4, 10 over spans of 10, added over both objectives.
    scores = np.array([[0.0, 10.0], [2.0, 8.0], [4.0, 6.0], [10.0, 0.0]])
    np.testing.assert_allclose(crowding_distance(scores), [math.inf, 0.8, 1.6, math.inf])


def test_crowding_of_equals_is_zero_and_of_pairs_infinite() -> None:
    assert crowding_distance(np.ones((4, 2))).tolist() == [0.0] * 4
    assert crowding_distance(np.array([[1.0, 2.0], [2.0, 1.0]])).tolist() == [math.inf] * 2


def test_one_objective_ranks_by_score_and_keeps_the_order_of_equals() -> None:
    scores = np.array([[1.0], [3.0], [-math.inf], [3.0], [2.0]])
    assert best_first(scores).tolist() == [1, 3, 4, 0, 2]


def test_several_objectives_rank_by_front_and_then_by_loneliness() -> None:
    scores = np.array([[4.0, 6.0], [0.0, 10.0], [10.0, 0.0], [4.5, 5.5], [0.0, 0.0], [-math.inf, -math.inf]])
    ranks = best_first(scores).tolist()
    assert set(ranks[:2]) == {1, 2}
    assert set(ranks[2:4]) == {0, 3}
    assert ranks[4:] == [4, 5]


def test_tournaments_favour_the_first_as_the_formula_says() -> None:
    # The best of n wins a tournament of k with probability 1 - (1 - 1/n)^k.
    winners = tournaments(np.random.default_rng(0), 10, size=3, shape=(200_000,))
    assert abs((winners == 0).mean() - (1 - 0.9**3)) < 0.005
    assert abs((winners == 9).mean() - 0.1**3) < 0.001


def test_fronts_and_crowding_are_those_of_deap() -> None:
    base = pytest.importorskip("deap.base")
    emo = pytest.importorskip("deap.tools").emo

    class Fitness(base.Fitness):  # type: ignore[name-defined,misc]  # DEAP has no types
        weights = (1.0, 1.0)

    class Individual:
        def __init__(self, place: int, scores: list[float]) -> None:
            self.place = place
            self.fitness = Fitness(scores)

    rng = np.random.default_rng(0)
    for _ in range(100):
        scores = rng.normal(size=(int(rng.integers(3, 60)), 2))
        fronts = emo.sortNondominated([Individual(i, row) for i, row in enumerate(scores.tolist())], len(scores))
        mine = non_dominated_fronts(scores)
        assert [{one.place for one in front} for front in fronts] == [
            set(np.flatnonzero(mine == front)) for front in range(mine.max() + 1)
        ]
        emo.assignCrowdingDist(fronts[0])
        places = [one.place for one in fronts[0]]
        theirs = 2.0 * np.array([one.fitness.crowding_dist for one in fronts[0]])  # DEAP takes the mean
        np.testing.assert_allclose(crowding_distance(scores[places]), theirs)
