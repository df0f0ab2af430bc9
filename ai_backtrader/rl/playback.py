"""A given sequence of actions, played in the environment: what Cerebro's replay of it is compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.rl.env_kernels import EnvArrays, observe, reset, step
from ai_backtrader.simulation.compiling import compiled

__all__ = ["Playback", "checked_actions", "play_actions"]

Floats = NDArray[np.float64]


class Playback(NamedTuple):
    """An episode, bar by bar; row 0 is the bar of the first decision.

    Attributes
    ----------
    equity, cash
        (steps + 1,) at each close, in account currency.
    states
        (steps + 1, features) float32: what the agent saw at each close.
    rewards
        (steps,) of each step.
    terminated
        Whether the account was ruined at the last bar.
    """

    equity: Floats
    cash: Floats
    states: NDArray[np.float32]
    rewards: Floats
    terminated: bool


@compiled
def _play(
    env: EnvArrays,
    lane: int,
    start: int,
    actions: NDArray[np.int64],
    equity: Floats,
    cash: Floats,
    states: NDArray[np.float32],
    rewards: Floats,
) -> tuple[int, bool]:
    reset(env, lane, start)
    run = env.lanes[lane]
    equity[0], cash[0] = run.equity, run.cash
    observe(env, lane, states[0])
    for place in range(len(actions)):
        reward, terminated, truncated = step(env, lane, actions[place])
        rewards[place] = reward
        equity[place + 1], cash[place + 1] = run.equity, run.cash
        observe(env, lane, states[place + 1])
        if terminated or truncated:
            return place + 1, terminated
    return len(actions), False


def checked_actions(subject: str, actions: ArrayLike, count: int) -> NDArray[np.int64]:
    """The actions as an array.

    Raises
    ------
    SettingsError
        If they are not one row of whole numbers from 0 to ``count`` - 1.
    """
    given = np.asarray(actions)
    faults = Faults(subject)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        faults.add(f"actions must be a row of whole numbers, got shape {given.shape} of type {given.dtype}")
    elif int(given.min()) < 0 or int(given.max()) >= count:
        faults.add(f"actions must be between 0 and {count - 1}, got {int(given.min())} to {int(given.max())}")
    faults.raise_if_any()
    return given.astype(np.int64)


def play_actions(env: EnvArrays, actions: ArrayLike, *, start: int | None = None, lane: int = 0) -> Playback:
    """Play a sequence of actions from a bar on, until it or the episode ends.

    Parameters
    ----------
    env
        From :func:`~ai_backtrader.rl.build_arrays`.
    actions
        Action numbers, one a bar.
    start
        Bar at whose close the first is decided; None is the first permitted one.
    lane
        Which lane to use up.

    Raises
    ------
    SettingsError
        If the actions or the start are not permitted.
    """
    shared = env.shared[0]
    taken = checked_actions("play_actions", actions, int(shared["n_actions"]))
    first, last = int(shared["first_start"]), int(shared["last_bar"])
    start = first if start is None else start
    faults = Faults("play_actions")
    faults.whole("start", start, low=first, high=last - 1)
    faults.raise_if_any()
    equity, cash, rewards = np.empty(len(taken) + 1), np.empty(len(taken) + 1), np.empty(len(taken))
    states = np.empty((len(taken) + 1, env.features.shape[1] + (9 if shared["leveraged"] else 3)), dtype=np.float32)
    steps, terminated = _play(env, lane, start, taken, equity, cash, states, rewards)
    return Playback(equity[: steps + 1], cash[: steps + 1], states[: steps + 1], rewards[:steps], bool(terminated))
