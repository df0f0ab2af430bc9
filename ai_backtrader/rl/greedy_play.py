"""An agent let loose on a segment, or given actions: every bar's action and equity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.rl.dqn_kernels import best_action
from ai_backtrader.rl.env_kernels import EnvArrays, mask, observe, reset, step
from ai_backtrader.rl.environment import episode_figures
from ai_backtrader.rl.network_kernels import forward_one
from ai_backtrader.simulation.compiling import compiled

__all__ = ["Play", "play_given", "play_network"]

Floats = NDArray[Any]


class Play(NamedTuple):
    """One episode over a segment.

    Attributes
    ----------
    actions
        (steps,) int64.
    equity
        (steps + 1,) at each close, the first before any trade.
    figures
        Of :func:`~ai_backtrader.rl.episode_figures`.
    """

    actions: NDArray[np.int64]
    equity: NDArray[np.float64]
    figures: dict[str, float | int]


@compiled
def _follow_network(
    env: EnvArrays,
    start: int,
    sizes: NDArray[np.int64],
    parameters: Floats,
    single: Floats,
    state: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    actions: NDArray[np.int64],
    equity: NDArray[np.float64],
) -> int:
    reset(env, 0, start)
    run = env.lanes[0]
    equity[0] = run.equity
    for place in range(actions.size):
        observe(env, 0, state)
        mask(env, 0, allowed)
        actions[place] = best_action(forward_one(sizes, parameters, state, single), allowed)
        _, terminated, truncated = step(env, 0, actions[place])
        equity[place + 1] = run.equity
        if terminated or truncated:
            return place + 1
    return int(actions.size)


@compiled
def _follow_actions(env: EnvArrays, start: int, actions: NDArray[np.int64], equity: NDArray[np.float64]) -> int:
    reset(env, 0, start)
    run = env.lanes[0]
    equity[0] = run.equity
    for place in range(actions.size):
        _, terminated, truncated = step(env, 0, actions[place])
        equity[place + 1] = run.equity
        if terminated or truncated:
            return place + 1
    return int(actions.size)


def play_network(env: EnvArrays, sizes: Sequence[int], parameters: Floats) -> Play:
    """Let a network choose at every bar of the environment's segment, without exploring; lane 0 is used up.

    Parameters
    ----------
    env
        From :func:`~ai_backtrader.rl.build_arrays`; the episode begins at the first permitted start.
    sizes
        Widths of the network.
    parameters
        Its weights, shape (n_parameters,).
    """
    start, steps = _span(env)
    actions, equity = np.zeros(steps, np.int64), np.empty(steps + 1)
    widths = np.array(sizes, np.int64)
    state, allowed = np.empty(widths[0], np.float32), np.empty(widths[-1], np.bool_)
    single = np.zeros(int(widths.sum()), parameters.dtype)
    taken = _follow_network(env, start, widths, parameters, single, state, allowed, actions, equity)
    return Play(actions[:taken], equity[: taken + 1], episode_figures(env))


def play_given(env: EnvArrays, actions: NDArray[np.int64]) -> Play:
    """Take given actions, one a bar, from the first permitted start until they or the episode end."""
    start, steps = _span(env)
    given = actions[:steps]
    equity = np.empty(len(given) + 1)
    taken = _follow_actions(env, start, given, equity)
    return Play(given[:taken], equity[: taken + 1], episode_figures(env))


def _span(env: EnvArrays) -> tuple[int, int]:
    shared = env.shared[0]
    start = int(shared["first_start"])
    return start, int(min(shared["episode_bars"], shared["last_bar"] - start))
