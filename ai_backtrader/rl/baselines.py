"""Policies without learning, on the same bars and the same execution model as an agent."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketData, MarketFeatures
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.rl.env_kernels import EnvArrays
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment, build_arrays
from ai_backtrader.rl.greedy_play import Play, play_given

__all__ = ["SHIFTS", "baseline_plays", "judging_arrays", "shifted_growths", "without_leverage"]

SHIFTS = 200
"""Random shifts of an agent's actions."""

_WINDOW = 100  # bars over which the volatility target measures
_EVERY = 24  # bars between two of its decisions: at every bar it would pay more than it gains
_LEVERAGES = np.array([1.0, 3.0, 5.0, 10.0])


def judging_arrays(
    data: MarketData, settings: EnvironmentSettings, *, leveraged: bool, segment: Segment, features: MarketFeatures
) -> EnvArrays:
    """One lane that plays the whole segment from its first bar."""
    whole = dataclasses.replace(settings, episode_bars=None, random_start=False)
    return build_arrays(data, whole, leveraged=leveraged, segment=segment, features=features)


def without_leverage(env: EnvArrays) -> EnvArrays:
    """The same environment with every action at leverage 1."""
    shared = env.shared.copy()
    actions = shared["actions"]
    actions[0, :, 2] = np.minimum(actions[0, :, 2], 1.0)
    return env._replace(shared=shared, lanes=env.lanes.copy())


def baseline_plays(
    data: MarketData, settings: EnvironmentSettings, *, segments: dict[str, Segment], features: MarketFeatures
) -> dict[str, Play]:
    """Flat, buy and hold at 1x and 3x, and a volatility target, on the test bars.

    Parameters
    ----------
    data, settings, features
        As for the agent.
    segments
        ``"train"`` and ``"test"`` are read.

    Notes
    -----
    The volatility target is long at all times, at that of the leverages 1, 3, 5 and 10 which is nearest (in ratio) to
    the volatility of the train bars over that of the last 100 bars, decided once in 24 bars.
    """
    env = judging_arrays(data, settings, leveraged=True, segment=segments["test"], features=features)
    start, last = int(env.shared["first_start"][0]), int(env.shared["last_bar"][0])
    held = np.zeros(last - start, np.int64)
    plays = {"flat": play_given(env, held)}
    for name, action in (("buy_and_hold_1x", LeverageAction.LONG_1X), ("buy_and_hold_3x", LeverageAction.LONG_3X)):
        actions = held.copy()
        actions[0] = action
        plays[name] = play_given(env, actions)
    plays["volatility_target"] = play_given(env, _volatility_target(data, segments["train"], start, last))
    return plays


def _volatility_target(data: MarketData, train: Segment, start: int, last: int) -> NDArray[np.int64]:
    changes = np.diff(np.log(data.close))
    usual = float(np.std(changes[train.start : train.stop - 1]))
    actions = np.zeros(last - start, np.int64)
    for place in range(0, last - start, _EVERY):
        bar = start + place
        now = float(np.std(changes[max(0, bar - _WINDOW) : bar]))
        wanted = usual / max(now, 1e-12)
        nearest = int(np.argmin(np.abs(np.log(_LEVERAGES / max(wanted, 1e-12)))))
        actions[place] = LeverageAction.LONG_1X + nearest
    return actions


def shifted_growths(env: EnvArrays, actions: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Growth (ln) of the actions shifted around their own length by random distances, shape (SHIFTS,)."""
    growths = np.empty(SHIFTS)
    for place in range(SHIFTS):
        shifted = np.roll(actions, int(rng.integers(1, max(2, len(actions)))))
        play = play_given(env, shifted)
        growths[place] = np.log(max(play.equity[-1], 1e-300) / play.equity[0])
    return growths
