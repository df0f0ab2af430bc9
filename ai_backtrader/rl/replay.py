"""Replay: transitions in a ring of arrays, drawn evenly or by priority; and the window that adds up n rewards.

A transition is complete in itself: state, action, summed rewards, the state to bootstrap from, the actions allowed
there, and the discount of its value. The discount is 0 where the episode terminated and ``gamma ** n`` everywhere else,
at a truncation too, because a cut-off episode would have gone on. Windows are emptied at an episode's end: no
transition crosses it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.rl.random_numbers import below, uniform
from ai_backtrader.simulation.compiling import compiled

__all__ = [
    "Replay",
    "Window",
    "add_transition",
    "draw_evenly",
    "draw_prioritised",
    "new_replay",
    "new_window",
    "observe_step",
    "set_priority",
]

Floats = NDArray[Any]


class Replay(NamedTuple):
    """Transitions; row ``i`` of every array is one.

    Attributes
    ----------
    states, next_states
        Shape (capacity, features).
    next_masks
        Actions allowed in the next state, shape (capacity, actions), bool.
    actions
        Shape (capacity,), int64.
    rewards, discounts
        Sum of the discounted rewards, and what the next state's value is multiplied with; shape (capacity,).
    tree
        Sums of the priorities in a binary tree: node ``i`` is the sum of ``2i`` and ``2i + 1``, the leaves begin at
        half of its length; of length 2 when priorities are not used.
    ring
        Next row to write, rows filled; int64, shape (2,).
    highest
        Highest priority so far, which new transitions get; shape (1,).
    """

    states: Floats
    next_states: Floats
    next_masks: NDArray[np.bool_]
    actions: NDArray[np.int64]
    rewards: Floats
    discounts: Floats
    tree: NDArray[np.float64]
    ring: NDArray[np.int64]
    highest: NDArray[np.float64]


class Window(NamedTuple):
    """The last steps of every lane that wait for their n rewards.

    Attributes
    ----------
    states
        Shape (lanes, n, features).
    actions, rewards
        Shape (lanes, n).
    ring
        Oldest step, steps waiting; int64, shape (lanes, 2).
    """

    states: Floats
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    ring: NDArray[np.int64]


def new_replay(capacity: int, n_features: int, n_actions: int, *, dtype: str, prioritised: bool) -> Replay:
    """An empty replay."""
    leaves = 1 << max(capacity - 1, 1).bit_length() if prioritised else 1
    return Replay(
        states=np.zeros((capacity, n_features), dtype),
        next_states=np.zeros((capacity, n_features), dtype),
        next_masks=np.zeros((capacity, n_actions), np.bool_),
        actions=np.zeros(capacity, np.int64),
        rewards=np.zeros(capacity, dtype),
        discounts=np.zeros(capacity, dtype),
        tree=np.zeros(2 * leaves),
        ring=np.zeros(2, np.int64),
        highest=np.ones(1),
    )


def new_window(lanes: int, n_step: int, n_features: int, *, dtype: str) -> Window:
    """An empty window."""
    return Window(
        states=np.zeros((lanes, n_step, n_features), dtype),
        actions=np.zeros((lanes, n_step), np.int64),
        rewards=np.zeros((lanes, n_step)),
        ring=np.zeros((lanes, 2), np.int64),
    )


@compiled
def set_priority(tree: NDArray[np.float64], row: int, priority: float) -> None:
    """Set a leaf and renew the sums above it."""
    node = row + tree.size // 2
    tree[node] = priority
    while node > 1:
        node //= 2
        # Added up anew, not by the difference: differences would pile up rounding errors.
        tree[node] = tree[2 * node] + tree[2 * node + 1]


@compiled
def _leaf(tree: NDArray[np.float64], mass: float) -> int:
    # Row at which the running sum of the priorities passes `mass`.
    node = 1
    leaves = tree.size // 2
    while node < leaves:
        node *= 2
        # The second test: rounding may lead past the last row that has a priority.
        if mass >= tree[node] and tree[node + 1] > 0.0:
            mass -= tree[node]
            node += 1
    return node - leaves


@compiled
def draw_evenly(replay: Replay, rng: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
    """Fill ``rows`` with rows of the replay, each equally likely, with replacement."""
    filled = replay.ring[1]
    for i in range(rows.size):
        rows[i] = below(rng, filled)


@compiled
def draw_prioritised(
    replay: Replay, rng: NDArray[np.uint64], beta: float, rows: NDArray[np.int64], weights: Floats
) -> None:
    """Fill ``rows`` in proportion to the priorities, one from each equal share of their sum (Schaul 2016, 3.3).

    ``weights`` become the importance weights ``(filled * p) ** -beta``, divided by the largest of the batch.
    """
    total = replay.tree[1]
    filled = replay.ring[1]
    leaves = replay.tree.size // 2
    share = total / rows.size
    largest = 0.0
    for i in range(rows.size):
        rows[i] = _leaf(replay.tree, (i + uniform(rng)) * share)
        weight = (filled * replay.tree[leaves + rows[i]] / total) ** -beta
        weights[i] = weight
        largest = max(largest, weight)
    for i in range(rows.size):
        weights[i] /= largest


@compiled
def add_transition(
    replay: Replay,
    state: Floats,
    action: int,
    reward: float,
    next_state: Floats,
    next_mask: NDArray[np.bool_],
    discount: float,
) -> None:
    """Write a transition over the oldest one."""
    row = replay.ring[0]
    replay.states[row] = state
    replay.next_states[row] = next_state
    replay.next_masks[row] = next_mask
    replay.actions[row] = action
    replay.rewards[row] = reward
    replay.discounts[row] = discount
    capacity = replay.actions.size
    if replay.tree.size > 2:
        set_priority(replay.tree, row, replay.highest[0])
    replay.ring[0] = (row + 1) % capacity
    replay.ring[1] = min(replay.ring[1] + 1, capacity)


@compiled
def _emit_oldest(
    replay: Replay,
    window: Window,
    lane: int,
    next_state: Floats,
    next_mask: NDArray[np.bool_],
    gamma: float,
    terminated: bool,
) -> None:
    oldest, waiting = window.ring[lane]
    length = window.actions.shape[1]
    total, discount = 0.0, 1.0
    for age in range(waiting):
        total += discount * window.rewards[lane, (oldest + age) % length]
        discount *= gamma
    if terminated:
        discount = 0.0
    add_transition(
        replay, window.states[lane, oldest], window.actions[lane, oldest], total, next_state, next_mask, discount
    )
    window.ring[lane, 0] = (oldest + 1) % length
    window.ring[lane, 1] = waiting - 1


@compiled
def observe_step(
    replay: Replay,
    window: Window,
    lane: int,
    state: Floats,
    action: int,
    reward: float,
    next_state: Floats,
    next_mask: NDArray[np.bool_],
    gamma: float,
    terminated: bool,
    truncated: bool,
) -> None:
    """Take one step of an episode in; transitions that have their n rewards, or whose episode ended, are stored."""
    length = window.actions.shape[1]
    place = (window.ring[lane, 0] + window.ring[lane, 1]) % length
    window.states[lane, place] = state
    window.actions[lane, place] = action
    window.rewards[lane, place] = reward
    window.ring[lane, 1] += 1
    if terminated or truncated:
        while window.ring[lane, 1] > 0:
            _emit_oldest(replay, window, lane, next_state, next_mask, gamma, terminated)
    elif window.ring[lane, 1] == length:
        _emit_oldest(replay, window, lane, next_state, next_mask, gamma, False)
