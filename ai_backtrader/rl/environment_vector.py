"""Thousands of episodes side by side: gymnasium's vector interface over the compiled kernels."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market import MarketData, MarketFeatures
from ai_backtrader.rl.env_kernels import EnvArrays, draw, mask, observe, reset, step
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment, build_arrays
from ai_backtrader.rl.states import BASIC_FEATURES, LEVERAGE_FEATURES
from ai_backtrader.simulation.compiling import compiled

__all__ = ["VectorTradingEnv"]

# Lanes below which a second thread costs more than it brings.
_WORTH_A_THREAD: Final = 2048

Floats = NDArray[np.float64]
States = NDArray[np.float32]
Flags = NDArray[np.bool_]


@compiled
def _step_lanes(
    env: EnvArrays,
    first: int,
    last: int,
    actions: NDArray[np.int64],
    starts: Floats,
    states: States,
    final_states: States,
    rewards: Floats,
    terminations: Flags,
    truncations: Flags,
    masks: Flags,
) -> int:
    """Step some lanes, reset those whose episode ended; gives the number of those."""
    ended = 0
    for lane in range(first, last):
        reward, terminated, truncated = step(env, lane, actions[lane])
        rewards[lane] = reward
        terminations[lane] = terminated
        truncations[lane] = truncated
        if terminated or truncated:
            ended += 1
            observe(env, lane, final_states[lane])
            reset(env, lane, draw(env, lane, starts[lane]))
        observe(env, lane, states[lane])
        mask(env, lane, masks[lane])
    return ended


@compiled
def _reset_lanes(env: EnvArrays, starts: Floats, states: States) -> None:
    for lane in range(len(env.lanes)):
        reset(env, lane, draw(env, lane, starts[lane]))
        observe(env, lane, states[lane])


@compiled
def _mask_lanes(env: EnvArrays, masks: Flags) -> None:
    for lane in range(len(env.lanes)):
        mask(env, lane, masks[lane])


class VectorTradingEnv(VectorEnv[States, NDArray[np.int64], Floats]):
    """Many episodes on one market, stepped together by compiled code; an ended one starts again in the same step.

    Each lane does exactly what the single environment does. An ended episode's last observation is in
    ``infos["final_obs"]``, its mask in ``infos["_final_obs"]``.

    Parameters
    ----------
    data, settings, segment, features
        As for :class:`TradingEnv`.
    num_envs
        Episodes side by side.
    leveraged
        True: as :class:`LeverageTradingEnv`; False: as :class:`TradingEnv`.
    threads
        Threads that share the lanes; None takes the processors this process may use where that pays. The result is the
        same for any number.

    Raises
    ------
    SettingsError
        Naming every fault.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> envs = VectorTradingEnv(load_sample(), num_envs=64, segment="train")
    >>> states, infos = envs.reset(seed=1)
    >>> states, rewards, terminations, truncations, infos = envs.step(np.full(64, 2))
    >>> states.shape, rewards.shape, infos["action_mask"].shape
    ((64, 35), (64,), (64, 11))
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # gymnasium does not say ClassVar
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        data: MarketData,
        settings: EnvironmentSettings | None = None,
        *,
        num_envs: int = 256,
        leveraged: bool = True,
        segment: Segment | str = "whole",
        features: MarketFeatures | None = None,
        threads: int | None = None,
    ) -> None:
        faults = Faults("VectorTradingEnv")
        faults.whole("num_envs", num_envs, low=1)
        if threads is not None:
            faults.whole("threads", threads, low=1)
        faults.raise_if_any()
        self.settings = EnvironmentSettings() if settings is None else settings
        self.arrays = build_arrays(
            data, self.settings, leveraged=leveraged, lanes=num_envs, segment=segment, features=features
        )
        self.num_envs = num_envs
        names = LEVERAGE_FEATURES if leveraged else BASIC_FEATURES
        self.single_observation_space = gym.spaces.Box(-1.0, 1.0, (len(names),), np.float32)
        self.single_action_space = gym.spaces.Discrete(int(self.arrays.shared["n_actions"][0]))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        if threads is None:
            threads = min(len(os.sched_getaffinity(0)), 1 + num_envs // _WORTH_A_THREAD)
        self._edges = np.linspace(0, num_envs, min(threads, num_envs) + 1).astype(int).tolist()
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._final_states = self._empty_states()
        self._running = False

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[States, dict[str, Any]]:
        """Start an episode in every lane.

        Parameters
        ----------
        seed
            Seeds the random starts of all lanes; None goes on with the generator there is. Of a list, the first.
        options
            None are known.

        Returns
        -------
        observations : ndarray
            (num_envs, features) float32.
        infos : dict
            ``action_mask``, (num_envs, actions) bool.
        """
        faults = Faults("VectorTradingEnv.reset")
        faults.known_keys("options", options or {}, ())
        faults.raise_if_any()
        if isinstance(seed, list):
            seed = seed[0] if seed else None
        if seed is not None:
            self._np_random, self._np_random_seed = gym.utils.seeding.np_random(seed)
        states = self._empty_states()
        _reset_lanes(self.arrays, self.np_random.random(self.num_envs), states)
        self._running = True
        return states, {"action_mask": self.action_masks()}

    def step(  # type: ignore[override]  # gymnasium types flags as it types rewards
        self, actions: NDArray[np.int64]
    ) -> tuple[States, Floats, Flags, Flags, dict[str, Any]]:
        """Step every lane.

        Parameters
        ----------
        actions
            (num_envs,) whole numbers.

        Returns
        -------
        observations, rewards, terminations, truncations, infos
            ``infos`` has ``action_mask`` and, when an episode ended, ``final_obs`` (rows of the lanes that ended; the
            others are zero) with ``_final_obs`` (which lanes those are).

        Raises
        ------
        SettingsError
            If the actions have another shape or one is out of range, or ``reset`` has not been called.
        """
        taken = self._checked(actions)
        n = self.num_envs
        states, final_states = self._empty_states(), self._final_states
        rewards = np.empty(n)
        terminations, truncations = np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.bool_)
        starts, masks = self.np_random.random(n), self._empty_masks()

        def run(part: int) -> int:
            ended: int = _step_lanes(
                self.arrays, self._edges[part], self._edges[part + 1], taken, starts, states, final_states, rewards,
                terminations, truncations, masks,
            )  # fmt: skip
            return ended

        parts = len(self._edges) - 1
        jobs = [] if self._pool is None else [self._pool.submit(run, part) for part in range(1, parts)]
        ended = run(0) + sum(job.result() for job in jobs)
        infos: dict[str, Any] = {"action_mask": masks}
        if ended:
            over = terminations | truncations
            infos |= {"final_obs": np.where(over[:, None], final_states, np.float32(0.0)), "_final_obs": over}
        return states, rewards, terminations, truncations, infos

    def action_masks(self) -> Flags:
        """Which actions each lane may take, shape (num_envs, actions)."""
        masks = self._empty_masks()
        _mask_lanes(self.arrays, masks)
        return masks

    @property
    def _width(self) -> int:
        return int(self.single_observation_space.shape[0])  # type: ignore[index]  # a Box has a shape

    def close_extras(self, **kwargs: Any) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()

    def _empty_states(self) -> States:
        return np.empty((self.num_envs, self._width), dtype=np.float32)

    def _empty_masks(self) -> Flags:
        return np.empty((self.num_envs, int(self.arrays.shared["n_actions"][0])), dtype=np.bool_)

    def _checked(self, actions: object) -> NDArray[np.int64]:
        given = np.asarray(actions)
        count = int(self.arrays.shared["n_actions"][0])
        faults = Faults("VectorTradingEnv.step")
        if not self._running:
            faults.add("call reset() first")
        if given.shape != (self.num_envs,) or given.dtype.kind not in "iu":
            faults.add(f"actions must be {self.num_envs} whole numbers, got shape {given.shape} of type {given.dtype}")
        elif int(given.min()) < 0 or int(given.max()) >= count:
            faults.add(f"actions must be between 0 and {count - 1}, got {int(given.min())} to {int(given.max())}")
        faults.raise_if_any()
        return given.astype(np.int64, copy=False)
