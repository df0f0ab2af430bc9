"""What the agents' votes come to on a stretch of bars at once, compiled; close to their own words, not bit for bit.

An agent's word on a bar is a state, a pass through its network and a softmax: tens of microseconds in Python, most of
it for names and checks. Whoever only has to know on which bars the agents cannot move a decision asks here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market.feature_kernels import structure_vector_row, vector_row
from ai_backtrader.market.features import MARKET_FEATURES, NEUTRAL_VALUES, STRUCTURE_FEATURES, MarketFeatures
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.rl.agents import DQNAgent
from ai_backtrader.rl.network_kernels import forward_batch
from ai_backtrader.rl.states import ACCOUNT_FEATURES, BASIC_FEATURES, write_account
from ai_backtrader.simulation.compiling import compiled

__all__ = ["Brain", "MarketRows", "brain_of", "pulls_of_stretch", "rows_of"]

Floats = NDArray[Any]

_N_MARKET = len(MARKET_FEATURES)
_N_STRUCTURE = len(STRUCTURE_FEATURES)
_N_ALL = _N_MARKET + _N_STRUCTURE
_WIDTH = MARKET_FEATURES.index("bb_width")
_NO_STRUCTURE = tuple(NEUTRAL_VALUES[name] for name in STRUCTURE_FEATURES)
_N_BASIC = len(BASIC_FEATURES)
_BASIC_COLUMNS = tuple((MARKET_FEATURES + STRUCTURE_FEATURES).index(name) for name in BASIC_FEATURES[:-3])
_N_ACCOUNT = len(ACCOUNT_FEATURES)
_SIDES = tuple(action.side for action in LeverageAction)
_KEEPS = tuple(action in (LeverageAction.HOLD, LeverageAction.REDUCE_HALF) for action in LeverageAction)
_CLOSE, _HALVE = int(LeverageAction.CLOSE), int(LeverageAction.REDUCE_HALF)

# The network in the kernel and the one in NumPy add up in another order: their Q values differ by about 1e-6 of the
# largest activation. A hundred times that is told as the error.
_ERROR = 1e-4


class MarketRows(NamedTuple):
    """What the states take from the market, bar by bar."""

    raw: NDArray[np.float64]
    structure: NDArray[np.float64]
    atr_pct_median: NDArray[np.float64]
    bb_width_median: NDArray[np.float64]


class Brain(NamedTuple):
    """An agent's network to be read: widths, weights, temperature of the softmax, room for a stretch of bars."""

    sizes: NDArray[np.int64]
    weights: Floats
    temperature: float
    room: Floats


def rows_of(features: MarketFeatures) -> MarketRows:
    """The columns that the kernel reads; no copies."""
    return MarketRows(features.raw, features.structure, features.atr_pct_median, features.bb_width_median)


def brain_of(agent: DQNAgent, bars: int) -> Brain:
    """Copy of an agent's network, for stretches of at most so many bars; of no width while it is not trained."""
    memory = agent.dqn.memory
    sizes = memory.sizes.copy() if agent.trained else np.zeros(0, np.int64)
    room = np.zeros(bars * int(sizes.sum()), memory.online.dtype)
    return Brain(sizes, memory.online.copy(), agent.temperature, room)


@compiled
def _write_market(
    raw: Floats, structure: Floats, scale: float, width: float, spans: NDArray[np.int64], row: Floats, out: Floats
) -> bool:
    # Entries of feature_vector into out[:26]; False where an agent may lack what it needs to act.
    known = math.isfinite(scale)
    for i in range(_N_MARKET):
        row[i] = raw[i]
        known = known and (math.isfinite(raw[i]) or i == _WIDTH)
    if not (math.isfinite(row[_WIDTH]) and math.isfinite(width)):
        row[_WIDTH] = width = 1.0
    for i in range(_N_STRUCTURE):
        value = structure[i]
        row[_N_MARKET + i] = _NO_STRUCTURE[i] if math.isnan(value) else value
    vector_row(row[:_N_MARKET], scale, width, spans, out[:_N_MARKET])
    structure_vector_row(row[_N_MARKET:_N_ALL], out[_N_MARKET:_N_ALL])
    return known


@compiled
def _soften(values: Floats, flat: bool, temperature: float, out: Floats) -> None:
    # Softmax into out; the actions that a flat agent may not take have probability 0.
    leveraged = values.size > 3
    best = -np.inf
    for i in range(values.size):
        out[i] = values[i] / temperature
        if leveraged and flat and i in (_CLOSE, _HALVE):
            out[i] = -np.inf
        best = max(best, out[i])
    total = 0.0
    for i in range(values.size):
        out[i] = math.exp(out[i] - best)
        total += out[i]
    for i in range(values.size):
        out[i] /= total


@compiled
def _error_of(room: Floats, sizes: NDArray[np.int64], count: int, temperature: float, errors: Floats) -> None:
    largest = 0.0
    for value in room[: count * sizes.sum()]:
        largest = max(largest, abs(value))
    for i in range(count):
        errors[i] += _ERROR * (1.0 + largest) / temperature


@compiled
def pulls_of_stretch(
    rows: MarketRows,
    spans: NDArray[np.int64],
    first: int,
    count: int,
    side: int,
    account: NDArray[np.float64],
    basic: Brain,
    leverage: Brain,
    pulls: NDArray[np.float64],
    errors: NDArray[np.float64],
) -> None:
    """Mean signed confidence of the trained agents on some bars, were the account the same on all of them.

    Parameters
    ----------
    rows, spans
        Of all bars; bars of the spans 1, 4 and 24.
    first, count
        Bars asked about.
    side
        +1 long, -1 short, 0 flat.
    account
        (9,) raw values of :data:`~ai_backtrader.rl.ACCOUNT_FEATURES`.
    basic, leverage
        The agents' networks; one of no width has no say.
    pulls, errors
        Written, (count,) at least: -1 to 1; how far the agents' own words may lie from it. NaN where an agent may lack
        what it needs to act, or the account is not known.
    """
    market = np.empty((count, _N_ALL))
    row = np.empty(_N_ALL)
    own = np.empty(_N_ACCOUNT, np.float32)
    chances = np.empty(len(_SIDES))
    voters = 0
    write_account(
        own, 0, account[0], account[1], account[2], account[3], account[4], account[5], account[6], account[7],
        account[8],
    )  # fmt: skip
    settled = True
    for value in account:
        settled = settled and math.isfinite(value)
    for i in range(count):
        bar = first + i
        known = _write_market(
            rows.raw[bar], rows.structure[bar], rows.atr_pct_median[bar], rows.bb_width_median[bar], spans, row,
            market[i],
        )  # fmt: skip
        pulls[i] = 0.0 if known and settled else np.nan
        errors[i] = 0.0
        for j in range(_N_ALL):
            market[i, j] = min(max(market[i, j], -1.0), 1.0)
    if leverage.sizes.size:
        voters += 1
        n_in, n_out = leverage.sizes[0], leverage.sizes[-1]
        for i in range(count):
            state = leverage.room[i * n_in : (i + 1) * n_in]
            for j in range(_N_ALL):
                state[j] = np.float32(market[i, j])
            for j in range(_N_ACCOUNT):
                state[_N_ALL + j] = own[j]
        forward_batch(leverage.sizes, leverage.weights, leverage.room, count)
        at = count * (leverage.sizes.sum() - n_out)
        for i in range(count):
            values = leverage.room[at + i * n_out : at + (i + 1) * n_out]
            _soften(values, own[0] == 0.0, leverage.temperature, chances)
            for j in range(n_out):
                pulls[i] += chances[j] * (_SIDES[j] if _SIDES[j] else (side if _KEEPS[j] else 0))
        _error_of(leverage.room, leverage.sizes, count, leverage.temperature, errors)
    if basic.sizes.size:
        voters += 1
        n_in, n_out = basic.sizes[0], basic.sizes[-1]
        gain = account[2] / account[1]  # of the entry value, not of the margin
        write_account(own, 0, float(side), 1.0, gain, account[3], 0.0, 0.0, 0.0, 0.0, 0.5)
        for i in range(count):
            state = basic.room[i * n_in : (i + 1) * n_in]
            for j in range(_N_BASIC - 3):
                state[j] = np.float32(market[i, _BASIC_COLUMNS[j]])
            state[_N_BASIC - 3], state[_N_BASIC - 2], state[_N_BASIC - 1] = own[0], own[2], own[3]
        forward_batch(basic.sizes, basic.weights, basic.room, count)
        at = count * (basic.sizes.sum() - n_out)
        for i in range(count):
            values = basic.room[at + i * n_out : at + (i + 1) * n_out]
            _soften(values, False, basic.temperature, chances)
            hold, buy, sell = chances[0], chances[1], chances[2]
            pulls[i] += buy * (side >= 0) - sell * (side <= 0) + hold * side
        _error_of(basic.room, basic.sizes, count, basic.temperature, errors)
    for i in range(count):
        pulls[i] /= voters
