"""What the replay holds, and how it is drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ai_backtrader.rl.random_numbers import below, generator_state, uniform
from ai_backtrader.rl.replay import (
    Replay,
    add_transition,
    draw_evenly,
    draw_prioritised,
    new_replay,
    new_window,
    observe_step,
    set_priority,
)

ALL = np.ones(2, np.bool_)


def filled(capacity: int, count: int, *, prioritised: bool = False) -> Replay:
    replay = new_replay(capacity, 1, 2, dtype="float64", prioritised=prioritised)
    for number in range(count):
        row = np.array([float(number)])
        add_transition(replay, row, number % 2, float(number), row + 0.5, ALL, 0.9)
    return replay


@pytest.mark.parametrize("count", [1, 36, 37, 38, 3 * 37, 3 * 37 + 11])
def test_the_replay_holds_the_last_transitions_and_no_others(count: int) -> None:
    replay = filled(37, count)
    kept = min(count, 37)
    assert replay.ring[1] == kept
    numbers = np.arange(count - kept, count)
    order = np.argsort(replay.states[:kept, 0])
    np.testing.assert_array_equal(replay.states[order, 0], numbers)
    np.testing.assert_array_equal(replay.rewards[order], numbers)
    np.testing.assert_array_equal(replay.next_states[order, 0], numbers + 0.5)
    np.testing.assert_array_equal(replay.actions[order], numbers % 2)


@settings(max_examples=60, deadline=None)
@given(
    n_step=st.integers(1, 5),
    lengths=st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8),
)
def test_no_transition_crosses_the_end_of_an_episode(n_step: int, lengths: list[tuple[int, bool]]) -> None:
    # A state tells its episode and its place; two lanes are fed in turn.
    gamma, capacity = 0.9, 400
    replay = new_replay(capacity, 3, 2, dtype="float64", prioritised=False)
    window = new_window(2, n_step, 3, dtype="float64")
    rng = np.random.default_rng(1)
    rewards, expected = {}, []
    for episode, (length, _) in enumerate(lengths):
        for lane in range(2):
            for place in range(length):
                rewards[lane, episode, place] = float(rng.normal())
    for episode, (length, terminates) in enumerate(lengths):
        for place in range(length):
            for lane in range(2):
                last = place == length - 1
                observe_step(
                    replay, window, lane, np.array([lane, episode, place], float), place % 2,
                    rewards[lane, episode, place], np.array([lane, episode, place + 1], float), ALL, gamma,
                    last and terminates, last and not terminates,
                )  # fmt: skip
        for lane in range(2):
            for place in range(length):
                taken = min(n_step, length - place)
                total = sum(gamma**age * rewards[lane, episode, place + age] for age in range(taken))
                ended = place + taken == length and terminates
                expected.append(((lane, episode, place), total, place + taken, 0.0 if ended else gamma**taken))
    count = int(replay.ring[1])
    assert count == len(expected)
    found = {tuple(state): i for i, state in enumerate(replay.states[:count])}
    for state, total, after, discount in expected:
        row = found[state]
        assert replay.rewards[row] == pytest.approx(total)
        np.testing.assert_array_equal(replay.next_states[row], (*state[:2], after))
        assert replay.discounts[row] == pytest.approx(discount)
    assert (window.ring[:, 1] == 0).all()


def test_even_draws_pass_the_chi_square_test() -> None:
    replay = filled(50, 130)
    rng, rows = generator_state(np.random.default_rng(2)), np.zeros(50_000, np.int64)
    draw_evenly(replay, rng, rows)
    assert stats.chisquare(np.bincount(rows, minlength=50)).pvalue > 0.001


def test_draws_by_priority_pass_the_chi_square_test_and_even_ones_fail_it() -> None:
    replay = filled(50, 130, prioritised=True)
    priorities = np.random.default_rng(3).uniform(0.0, 3.0, 50)
    priorities[7] = 0.0
    for row, priority in enumerate(priorities):
        set_priority(replay.tree, row, priority)
    rng = generator_state(np.random.default_rng(4))
    rows, weights = np.zeros(1, np.int64), np.zeros(1)
    counts = np.zeros(50)
    for _ in range(50_000):
        # One at a time: batches draw once from each equal share, which is more even than chance.
        draw_prioritised(replay, rng, 0.5, rows, weights)
        counts[rows[0]] += 1
    assert counts[7] == 0
    likely = priorities > 0
    expected = priorities[likely] / priorities.sum() * counts.sum()
    assert stats.chisquare(counts[likely], expected).pvalue > 0.001
    assert stats.chisquare(counts[likely]).pvalue < 1e-6


def test_a_batch_by_priority_is_spread_over_equal_shares_and_weighted() -> None:
    replay = filled(40, 40, prioritised=True)
    priorities = np.random.default_rng(5).uniform(0.1, 3.0, 40)
    for row, priority in enumerate(priorities):
        set_priority(replay.tree, row, priority)
    rows, weights = np.zeros(16, np.int64), np.zeros(16)
    draw_prioritised(replay, generator_state(np.random.default_rng(6)), 0.7, rows, weights)
    borders = np.concatenate([[0.0], np.cumsum(priorities)]) / priorities.sum() * 16
    for share, row in enumerate(rows):
        assert borders[row] < share + 1
        assert borders[row + 1] > share
    chances = priorities[rows] / priorities.sum()
    raw = (40 * chances) ** -0.7
    np.testing.assert_allclose(weights, raw / raw.max(), rtol=1e-12)


def test_the_trees_sums_are_those_of_its_leaves_after_many_changes() -> None:
    replay = filled(33, 33, prioritised=True)
    rng = np.random.default_rng(7)
    leaves = np.array([1.0] * 33)
    for _ in range(5_000):
        row, priority = int(rng.integers(33)), float(rng.exponential(10.0 ** rng.integers(-6, 6)))
        set_priority(replay.tree, row, priority)
        leaves[row] = priority
    assert replay.tree[1] == pytest.approx(leaves.sum(), rel=1e-14)
    np.testing.assert_array_equal(replay.tree[64 : 64 + 33], leaves)


def test_new_transitions_get_the_highest_priority_so_far() -> None:
    replay = filled(8, 3, prioritised=True)
    replay.highest[0] = 5.0
    add_transition(replay, np.zeros(1), 0, 0.0, np.zeros(1), ALL, 0.9)
    np.testing.assert_array_equal(replay.tree[8:], [1.0, 1.0, 1.0, 5.0, 0.0, 0.0, 0.0, 0.0])


def test_random_numbers_are_even_and_those_of_the_published_generator() -> None:
    # xoshiro256++ from the authors' C code (prng.di.unimi.it), state {1, 2, 3, 4}: its first outputs.
    published = [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205]
    state = np.array([1, 2, 3, 4], np.uint64)
    assert [uniform(state) for _ in published] == [(number >> 11) / 2**53 for number in published]
    state = generator_state(np.random.default_rng(8))
    assert stats.kstest([uniform(state) for _ in range(20_000)], "uniform").pvalue > 0.001
    counts = np.bincount([below(state, 7) for _ in range(20_000)], minlength=7)
    assert stats.chisquare(counts).pvalue > 0.001
