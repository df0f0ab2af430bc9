"""The steps and conditions of :mod:`ai_backtrader.rules.series_kernels`, one bar after the other.

Each formula goes on from what it left at the bar before, by the functions of one bar that the market room's arrays are
made of, or by the same operations in the same order: the same bits, in constant time a bar. What a formula keeps stands
in its row of ``state``; the rows of the table hold the last bars alone, as many as the longest window looks back on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.market import indicator_kernels as k
from ai_backtrader.rules import series_kernels
from ai_backtrader.rules.series_kernels import Formula, arithmetic

__all__ = ["FIRSTS", "SEEN", "STATE", "UNKNOWN", "take_bars"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATE = k.SUM_STATE  # floats that the most demanding formula keeps, a running window sum
UNKNOWN = np.iinfo(np.int64).max // 2  # first number of a row that has none yet
SEEN, FIRSTS = 0, 1  # of ``clock``: bars taken, and the bar that stands first in the table


@njit(error_model="numpy")
def _mean(x: Floats, i: int, period: int, first: int, state: Floats) -> float:
    return k.window_sum_at(x, i, period, first, state) / period


@njit(error_model="numpy")
def _step(step: Any, table: Floats, i: int, base: int, firsts: Ints, state: Floats, powers: Floats) -> None:
    """One step at the bar that stands at ``i``; the table's first bar is ``base``."""
    out, a, b, c = table[step.out], table[step.a], table[step.b], table[step.c]
    formula, period = step.formula, step.period
    first = firsts[step.a] - base
    t = i + base
    if formula == Formula.EMA:
        out[i] = k.smooth_at(a, out, i, period, 2.0 / (1.0 + period), first)
    elif formula == Formula.SMMA:
        out[i] = k.smooth_at(a, out, i, period, 1.0 / period, first)
    elif formula == Formula.SMA or formula == Formula.MEAN:
        out[i] = _mean(a, i, period, first, state)
    elif formula == Formula.TOTALS:
        pass  # of use to whole rows alone
    elif formula == Formula.RISES:
        out[i] = max(a[i] - a[i - 1], 0.0) if i > first else np.nan
    elif formula == Formula.FALLS:
        out[i] = max(a[i - 1] - a[i], 0.0) if i > first else np.nan
    elif formula == Formula.TRUE_RANGE:
        out[i] = k.true_range_at(a, b, c, i) if t > 0 else np.nan
    elif formula == Formula.DEVIATION:
        if i < first:
            out[i] = np.nan
        else:
            k.deviations(a[i : i + 1], b[i : i + 1], 0, powers, out[i : i + 1])
    elif formula == Formula.HIGHEST:
        if i < first + period:
            out[i] = np.nan
        else:
            out[i] = a[i] if a[i] > a[i - period] else a[i - period]
    elif formula == Formula.LOWEST:
        if i < first + period:
            out[i] = np.nan
        else:
            out[i] = a[i] if a[i] < a[i - period] else a[i - period]
    elif formula == Formula.UPWARD:
        out[i] = k.directional_moves_at(a, b, i)[0] if t > 0 else np.nan
    elif formula == Formula.DOWNWARD:
        out[i] = k.directional_moves_at(a, b, i)[1] if t > 0 else np.nan
    elif formula == Formula.SQUARES:
        out[i] = k.squares(a[i : i + 1], powers)[0]
    elif formula == Formula.CHANGE:
        if t < period:
            out[i] = np.nan
        else:
            past = a[i - period]
            out[i] = (a[i] - past) / past if past != 0.0 else np.nan
    else:
        arithmetic(formula, out[i : i + 1], a[i : i + 1], b[i : i + 1], c[i : i + 1], period, step.number)


@njit(error_model="numpy")
def _holds(test: Any, table: Floats, i: int, base: int, memory: Floats) -> bool:
    """One condition; ``memory`` is the last difference that was not zero, as a crossing needs it."""
    t = i + base
    if t < test.first:
        return False
    left = table[test.left, i]
    right = test.constant if test.right < 0 else table[test.right, i]
    if test.operator == 0:
        return bool(left < right)
    if test.operator == 1:
        return bool(left > right)
    if test.operator == 2:
        return bool((right <= left) & (left <= test.upper))
    difference = left - right if test.operator == 3 else right - left
    crossed = t > test.first and memory[0] < 0.0 and difference > 0.0
    if difference != 0.0:
        memory[0] = difference
    return bool(crossed)


def _version_of_sources() -> int:
    """A number of the sources of all that is compiled into the kernel."""
    modules = [Path(str(series_kernels.__file__)), Path(str(k.__file__)), Path(__file__)]
    return int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in modules)).digest()[:6], "big")


def _compiled(version: int) -> Any:
    # As in series_kernels: the version is a part of the cache's key.
    @njit(cache=True, nogil=True, error_model="numpy")
    def take_bars(
        bars: Floats,
        revise: bool,
        prices: Ints,
        steps: Any,
        tests: Any,
        required: Ints,
        table: Floats,
        keep: int,
        clock: Ints,
        firsts: Ints,
        state: Floats,
        memory: Floats,
        sides: NDArray[np.int8],
        powers: Floats,
    ) -> None:
        """Take bars, and say at each which side's conditions hold.

        Parameters
        ----------
        bars
            (n, 5): open, high, low, close, volume.
        revise
            Whether the first bar takes the place of the last one.
        prices
            (m, 3): a row of the table and its column of ``bars``; or, where the third is no -1, the row whose last bar
            it holds.
        steps, tests
            In order; the number of a test's section stands in ``out``: 0 long, 1 short, 2 filters.
        required
            How many must hold of each section; entries with 0 never hold, filters with 0 always.
        table
            (rows, capacity), the last bars of each row.
        keep
            Bars that stay where the table is full.
        clock, firsts
            See :data:`SEEN`; and per row the bar of its first number.
        state, memory
            (2, steps, 3) and (2, tests, 1): now, and as it was before the last bar.
        sides
            (n,): +1, -1 or 0.
        powers
            See :data:`ai_backtrader.market.indicator_kernels.POWERS`.
        """
        _ = version
        capacity = table.shape[1]
        held = np.empty(3, np.int64)
        for number in range(len(bars)):
            if revise and number == 0:
                clock[SEEN] -= 1
                state[0] = state[1]
                memory[0] = memory[1]
                for row in range(firsts.size):
                    if firsts[row] == clock[SEEN]:
                        firsts[row] = UNKNOWN
            else:
                state[1] = state[0]
                memory[1] = memory[0]
            if clock[SEEN] - clock[FIRSTS] == capacity:
                table[:, :keep] = table[:, capacity - keep :].copy()
                clock[FIRSTS] += capacity - keep
            base = clock[FIRSTS]
            i = clock[SEEN] - base
            for p in range(len(prices)):
                row, column, before = prices[p]
                if before < 0:
                    table[row, i] = bars[number, column]
                else:
                    table[row, i] = np.nan if clock[SEEN] == 0 else table[before, i - 1]
                if firsts[row] == UNKNOWN and not np.isnan(table[row, i]):
                    firsts[row] = clock[SEEN]
            for s in range(len(steps)):
                step = steps[s]
                _step(step, table, i, base, firsts, state[0, s], powers)
                if step.formula == Formula.TOTALS:
                    continue
                if firsts[step.out] == UNKNOWN and not np.isnan(table[step.out, i]):
                    firsts[step.out] = clock[SEEN]
            held[:] = 0
            for s in range(len(tests)):
                if _holds(tests[s], table, i, base, memory[0, s]):
                    held[tests[s].out] += 1
            sides[number] = 0
            if held[2] >= required[2]:
                if required[0] > 0 and held[0] >= required[0]:
                    sides[number] = 1
                elif required[1] > 0 and held[1] >= required[1]:
                    sides[number] = -1
            clock[SEEN] += 1

    return take_bars


take_bars = _compiled(_version_of_sources())
