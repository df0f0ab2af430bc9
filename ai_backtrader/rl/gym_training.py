"""Training in any Gymnasium environment with discrete actions: the loop in Python, the updates in the backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.dqn_kernels import EPISODES, STEPS, epsilon_at

__all__ = ["train_in_gymnasium"]


def train_in_gymnasium(
    dqn: DQN,
    env: gym.Env[Any, Any],
    n_steps: int,
    *,
    seed: int | None = None,
    on_step: Callable[[int], bool | None] | None = None,
) -> list[float]:
    """Train for so many steps and return the undiscounted returns of the finished episodes.

    Steps, epsilon and updates are counted as in :class:`~ai_backtrader.rl.trainer.Trainer`, which is some ten times as
    fast where an environment is compiled. The first episode begins anew at every call.

    Parameters
    ----------
    dqn
        What is trained.
    env
        Its states are one-dimensional, its actions 0 to n - 1. If it has ``action_masks()``, as sb3-contrib expects it,
        only those actions are taken.
    seed
        Of the environment's first reset.
    on_step
        Called after every step with the number of steps so far; returning False stops.

    Raises
    ------
    SettingsError
        If the spaces do not fit the network.
    AIBacktraderError
        If the training diverged.
    """
    space = env.action_space
    if not isinstance(space, gym.spaces.Discrete) or (space.start, space.n) != (0, dqn.n_actions):
        raise SettingsError(
            "train_in_gymnasium", [f"the action space must be Discrete({dqn.n_actions}) from 0, got {space}"]
        )
    if env.observation_space.shape != (dqn.n_features,):
        raise SettingsError(
            "train_in_gymnasium", [f"states must have shape ({dqn.n_features},), got {env.observation_space.shape}"]
        )
    masks_of: Callable[[], NDArray[np.bool_]] | None = getattr(env.unwrapped, "action_masks", None)
    settings, counters = dqn.settings, dqn.memory.counters
    returns: list[float] = []
    state, _ = env.reset(seed=seed)
    allowed = masks_of() if masks_of else None
    total = 0.0
    for _ in range(n_steps):
        action = dqn.act(state, allowed, epsilon=float(epsilon_at(dqn.hyper, counters[STEPS])))
        following, reward, terminated, truncated, _ = env.step(action)
        allowed = masks_of() if masks_of else None
        dqn.remember(
            state, action, float(reward), following, bool(terminated), truncated=bool(truncated), next_mask=allowed
        )
        state = following
        total += float(reward)
        counters[STEPS] += 1
        if terminated or truncated:
            counters[EPISODES] += 1
            returns.append(total)
            total = 0.0
            state, _ = env.reset()
            allowed = masks_of() if masks_of else None
        steps = int(counters[STEPS])
        if steps >= settings.learning_starts and steps % settings.train_every == 0:
            for _ in range(settings.gradient_steps):
                dqn.train_step()
        if on_step is not None and on_step(steps) is False:
            break
    return returns
