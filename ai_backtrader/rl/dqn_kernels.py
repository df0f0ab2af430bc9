"""One agent's memory as arrays, and the compiled steps of Q-learning on it: act, draw, learn, settle.

The parts of an update are separate so that another backend can stand in for ``learn`` alone: what is drawn, the
priorities, the target network and every random number are the same whichever backend computes the gradient.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.rl.network_kernels import backward_batch, forward_batch, forward_one
from ai_backtrader.rl.networks import initial_parameters, n_parameters
from ai_backtrader.rl.optimizers import adam_compiled, clip_norm_compiled
from ai_backtrader.rl.random_numbers import below, generator_state, uniform
from ai_backtrader.rl.replay import (
    Replay,
    Window,
    draw_evenly,
    draw_prioritised,
    new_replay,
    new_window,
    set_priority,
)
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.simulation.compiling import compiled

__all__ = [
    "EPISODES",
    "STEPS",
    "TARGET_MOVES",
    "UPDATES",
    "Hyper",
    "Memory",
    "act",
    "best_action",
    "draw",
    "epsilon_at",
    "hyper_of",
    "learn",
    "learning_rate_at",
    "new_memory",
    "settle",
    "update",
]

Floats = NDArray[Any]

STEPS, UPDATES, TARGET_MOVES, EPISODES = 0, 1, 2, 3
"""Places in ``Memory.counters``."""


class Hyper(NamedTuple):
    """The settings as the kernels read them; see :class:`~ai_backtrader.rl.settings.DQNSettings`."""

    gamma: float
    learning_rate: float
    learning_rate_end_factor: float
    learning_rate_steps: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    batch_size: int
    learning_starts: int
    train_every: int
    gradient_steps: int
    target_every: int
    tau: float
    double: bool
    prioritised: bool
    priority_alpha: float
    priority_beta: float
    priority_beta_steps: float
    priority_floor: float
    huber_delta: float
    max_grad_norm: float
    epsilon_start: float
    epsilon_end: float
    epsilon_steps: float


class Memory(NamedTuple):
    """All that an agent knows, and the scratch of its updates.

    Attributes
    ----------
    sizes
        Widths of the network.
    online, target, first, second
        Parameters of both networks and Adam's moments, shape (n_parameters,).
    replay, window
        See ``replay``.
    rng
        State of the random numbers.
    counters
        Environment steps, updates, moves of the target network, episodes; int64.
    rows, weights, errors
        The last batch: rows of the replay, importance weights, temporal differences; shape (batch,).
    gradient, buffer, next_buffer, slopes, transposed, choices, single
        Scratch.
    """

    sizes: NDArray[np.int64]
    online: Floats
    target: Floats
    first: Floats
    second: Floats
    replay: Replay
    window: Window
    rng: NDArray[np.uint64]
    counters: NDArray[np.int64]
    rows: NDArray[np.int64]
    weights: Floats
    errors: Floats
    gradient: Floats
    buffer: Floats
    next_buffer: Floats
    slopes: Floats
    transposed: Floats
    choices: NDArray[np.int64]
    single: Floats


def hyper_of(settings: DQNSettings) -> Hyper:
    """The settings with one type a field, so that kernels compile once."""
    kinds: dict[str, Any] = get_type_hints(Hyper)
    return Hyper(**{name: kind(getattr(settings, name)) for name, kind in kinds.items()})


def new_memory(
    n_features: int, n_actions: int, settings: DQNSettings, rng: np.random.Generator, *, lanes: int = 1
) -> Memory:
    """A fresh agent: random weights, target equal to online, empty replay."""
    sizes = (n_features, *settings.hidden, n_actions)
    dtype, batch = settings.dtype, settings.batch_size
    online = initial_parameters(sizes, rng, dtype)
    widest = max(a * b for a, b in pairwise(sizes))
    return Memory(
        sizes=np.array(sizes, np.int64),
        online=online,
        target=online.copy(),
        first=np.zeros_like(online),
        second=np.zeros_like(online),
        replay=new_replay(settings.buffer_size, n_features, n_actions, dtype=dtype, prioritised=settings.prioritised),
        window=new_window(lanes, settings.n_step, n_features, dtype=dtype),
        rng=generator_state(rng),
        counters=np.zeros(4, np.int64),
        rows=np.zeros(batch, np.int64),
        weights=np.ones(batch, dtype),
        errors=np.zeros(batch, dtype),
        gradient=np.zeros(n_parameters(sizes), dtype),
        buffer=np.zeros(batch * sum(sizes), dtype),
        next_buffer=np.zeros(batch * sum(sizes), dtype),
        slopes=np.zeros(batch * sum(sizes), dtype),
        transposed=np.zeros(widest, dtype),
        choices=np.zeros(batch, np.int64),
        single=np.zeros(sum(sizes), dtype),
    )


@compiled
def epsilon_at(hyper: Hyper, step: int) -> float:
    """Share of random actions at a step."""
    way = min(step / hyper.epsilon_steps, 1.0)
    return hyper.epsilon_start + way * (hyper.epsilon_end - hyper.epsilon_start)


@compiled
def learning_rate_at(hyper: Hyper, step: int) -> float:
    """Adam's rate at a step."""
    way = min(step / hyper.learning_rate_steps, 1.0)
    return hyper.learning_rate * (1.0 + way * (hyper.learning_rate_end_factor - 1.0))


@compiled
def best_action(values: Floats, mask: NDArray[np.bool_]) -> int:
    """Allowed action of the highest value, the first of equals; -1 if none is allowed."""
    best = -1
    for action in range(values.size):
        if mask[action] and (best < 0 or values[action] > values[best]):
            best = action
    return best


@compiled
def act(memory: Memory, state: Floats, mask: NDArray[np.bool_], epsilon: float) -> int:
    """Action by epsilon-greedy choice among the allowed ones; no random number is drawn at epsilon 0."""
    if epsilon > 0.0 and uniform(memory.rng) < epsilon:
        nth = below(memory.rng, mask.sum())
        for action in range(mask.size):
            if mask[action]:
                if nth == 0:
                    return action
                nth -= 1
    return best_action(forward_one(memory.sizes, memory.online, state, memory.single), mask)


@compiled
def draw(hyper: Hyper, memory: Memory) -> None:
    """Draw the rows of a batch and their importance weights."""
    if hyper.prioritised:
        way = min(memory.counters[STEPS] / hyper.priority_beta_steps, 1.0)
        beta = hyper.priority_beta + way * (1.0 - hyper.priority_beta)
        draw_prioritised(memory.replay, memory.rng, beta, memory.rows, memory.weights)
    else:
        draw_evenly(memory.replay, memory.rng, memory.rows)


@compiled
def _gather(source: Floats, rows: NDArray[np.int64], buffer: Floats) -> None:
    width = source.shape[1]
    for i in range(rows.size):
        row = source[rows[i]]
        at = i * width
        for j in range(width):
            buffer[at + j] = row[j]


@compiled
def learn(hyper: Hyper, memory: Memory) -> float:
    """One gradient step on the drawn batch; the mean loss is returned and the temporal differences are written."""
    batch = memory.rows.size
    n_actions = memory.sizes[-1]
    values_at = batch * (memory.sizes.sum() - n_actions)
    values = memory.buffer[values_at:].reshape((batch, n_actions))
    next_values = memory.next_buffer[values_at:].reshape((batch, n_actions))
    replay = memory.replay
    if hyper.double:
        _gather(replay.next_states, memory.rows, memory.buffer)
        forward_batch(memory.sizes, memory.online, memory.buffer, batch)
        for i in range(batch):
            memory.choices[i] = best_action(values[i], replay.next_masks[memory.rows[i]])
    _gather(replay.next_states, memory.rows, memory.next_buffer)
    forward_batch(memory.sizes, memory.target, memory.next_buffer, batch)
    if not hyper.double:
        for i in range(batch):
            memory.choices[i] = best_action(next_values[i], replay.next_masks[memory.rows[i]])
    _gather(replay.states, memory.rows, memory.buffer)
    forward_batch(memory.sizes, memory.online, memory.buffer, batch)

    kind = memory.online.dtype.type
    delta = kind(hyper.huber_delta)
    slopes = memory.slopes[values_at:].reshape((batch, n_actions))
    slopes[:] = kind(0)
    loss = 0.0
    for i in range(batch):
        row = memory.rows[i]
        goal = replay.rewards[row]
        # A state without any allowed action has no value to bootstrap from, as after termination.
        if replay.discounts[row] != 0 and memory.choices[i] >= 0:
            goal += replay.discounts[row] * next_values[i, memory.choices[i]]
        action = replay.actions[row]
        error = values[i, action] - goal
        memory.errors[i] = error
        size = abs(error)
        weight = memory.weights[i]
        if size <= delta:
            loss += weight * kind(0.5) * error * error
        else:
            loss += weight * delta * (size - kind(0.5) * delta)
        slopes[i, action] = weight * min(max(error, -delta), delta) / kind(batch)
    backward_batch(memory.sizes, memory.online, memory.buffer, memory.slopes, memory.transposed, memory.gradient, batch)
    clip_norm_compiled(memory.gradient, hyper.max_grad_norm)
    adam_compiled(
        memory.online, memory.gradient, memory.first, memory.second, memory.counters[UPDATES] + 1,
        learning_rate_at(hyper, memory.counters[STEPS]), hyper.adam_beta1, hyper.adam_beta2, hyper.adam_epsilon,
    )  # fmt: skip
    return loss / batch


@compiled
def settle(hyper: Hyper, memory: Memory) -> None:
    """After a gradient step: count it, renew the priorities, move the target network when its time has come."""
    memory.counters[UPDATES] += 1
    if hyper.prioritised:
        replay = memory.replay
        for i in range(memory.rows.size):
            priority = (abs(np.float64(memory.errors[i])) + hyper.priority_floor) ** hyper.priority_alpha
            if math.isfinite(priority):
                replay.highest[0] = max(replay.highest[0], priority)
                set_priority(replay.tree, memory.rows[i], priority)
    if memory.counters[UPDATES] % hyper.target_every == 0:
        memory.counters[TARGET_MOVES] += 1
        if hyper.tau == 1.0:
            memory.target[:] = memory.online
        else:
            tau = memory.online.dtype.type(hyper.tau)
            for i in range(memory.online.size):
                memory.target[i] += tau * (memory.online[i] - memory.target[i])


@compiled
def update(hyper: Hyper, memory: Memory) -> float:
    """Draw a batch, learn from it, settle; the mean loss is returned."""
    draw(hyper, memory)
    loss = learn(hyper, memory)
    settle(hyper, memory)
    return loss
