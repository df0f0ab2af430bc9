"""A market with something to learn in it, and what could be earned there: the check that an agent learns at all."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market import MarketData
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.rl.env_kernels import EnvArrays
from ai_backtrader.rl.greedy_play import play_given
from ai_backtrader.rl.selection import growth_of

__all__ = ["PlantedMarket", "clairvoyant_growth", "planted_market"]

_SUBSTEPS = 8  # price changes inside a bar: its high and low lie on the path


class PlantedMarket(NamedTuple):
    """Bars, and the side (+1, -1) in which each of them drifts, shape (bars,)."""

    data: MarketData
    sides: NDArray[np.float64]


def planted_market(
    rng: np.random.Generator, *, bars: int = 6_000, drift: float = 0.002, noise: float = 0.003, leg: int = 48
) -> PlantedMarket:
    """Hourly bars that drift up and down in turns.

    Parameters
    ----------
    rng
        Where legs and noise come from.
    bars
        How many.
    drift, noise
        Mean (of either sign) and standard deviation of a bar's return, ln.
    leg
        Legs last from half of this to one and a half times this many bars, evenly.
    """
    faults = Faults("planted_market")
    faults.whole("bars", bars, low=2)
    faults.whole("leg", leg, low=2)
    faults.number("drift", drift, low=0.0, high=0.1)
    faults.number("noise", noise, low=0.0, high=0.1)
    faults.raise_if_any()
    sides = np.empty(bars)
    at, side = 0, 1.0
    while at < bars:
        length = int(rng.integers(leg // 2, leg * 3 // 2))
        sides[at : at + length] = side
        at, side = at + max(length, 1), -side
    changes = np.repeat(sides * drift / _SUBSTEPS, _SUBSTEPS)
    changes += rng.standard_normal(changes.size) * noise / math.sqrt(_SUBSTEPS)
    path = 100.0 * np.exp(np.cumsum(changes)).reshape(bars, _SUBSTEPS)
    close = path[:, -1]
    opening = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, path.max(axis=1)),
            "low": np.minimum(opening, path.min(axis=1)),
            "close": close,
            "volume": np.full(bars, 1000.0),
        },
        index=pd.date_range("1970-01-01", periods=bars, freq="h", tz="UTC"),
    )
    return PlantedMarket(MarketData.from_frame(frame, symbol="planted", spike_factor=1e9), sides)


def clairvoyant_growth(env: EnvArrays, sides: NDArray[np.float64]) -> float:
    """Growth (ln) of the best policy among those that know every leg in advance.

    Each is on the right side from a leg's first bar to its last, at one of the four leverages; some take their profit
    into a new position of full size after every so many bars of a leg, by closing or by way of another leverage. No
    agent can know a leg before its bars show it, so this is more than can be reached.

    Parameters
    ----------
    env
        Of the leverage environment; the segment is played from its first permitted start.
    sides
        Of every bar of the data.
    """
    shared = env.shared[0]
    first, last = int(shared["first_start"]), int(shared["last_bar"])
    coming = sides[first + 1 : last + 1]  # an order sent at a close trades the next bar
    fresh = np.concatenate(([True], coming[1:] != coming[:-1]))
    begun = np.maximum.accumulate(np.where(fresh, np.arange(coming.size), 0))
    age = np.arange(coming.size) - begun
    best = -math.inf
    for place in range(4):
        actions = np.where(coming > 0.0, LeverageAction.LONG_1X + place, LeverageAction.SHORT_1X + place)
        best = max(best, growth_of(play_given(env, actions.astype(np.int64))))
        other = np.where(coming > 0.0, LeverageAction.LONG_1X, LeverageAction.SHORT_1X) + (
            2 if place == 3 else place + 1
        )
        for every in (3, 6, 12, 24):
            renewed = (age > 0) & (age % every == 0)
            for detour in (np.full(coming.size, int(LeverageAction.CLOSE)), other):
                taken = np.where(renewed, detour, actions).astype(np.int64)
                best = max(best, growth_of(play_given(env, taken)))
    return best
