"""Series and conditions of a whole generation in two compiled calls: rows of a table, one step after the other.

A step reads rows of the table and writes others; :mod:`ai_backtrader.rules.signals` writes the steps down. The formulas
are those of :mod:`ai_backtrader.market.indicators`, operation by operation.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.market import indicator_kernels as k
from ai_backtrader.rules import row_kernels
from ai_backtrader.rules.row_kernels import (
    changes_into,
    first_number,
    moves_into,
    running_totals,
    smooth_four,
    standard_deviation_into,
    wider_extreme,
    window_means,
)
from ai_backtrader.rules.signal_kernels import compare_into

__all__ = [
    "STEP_DTYPE",
    "STEP_RECORD",
    "TEST_DTYPE",
    "TEST_RECORD",
    "Formula",
    "arithmetic",
    "compare_rows",
    "fill_rows",
]

Floats = NDArray[np.float64]

STEP_DTYPE = np.dtype(
    [
        ("formula", np.int64),
        ("out", np.int64),
        ("out2", np.int64),
        ("a", np.int64),
        ("b", np.int64),
        ("c", np.int64),
        ("period", np.int64),
        ("number", np.float64),
    ],
    align=True,
)
"""One step: formula, rows written, rows read, period, and a factor or what division by zero gives."""

TEST_DTYPE = np.dtype(
    [
        ("left", np.int64),
        ("right", np.int64),
        ("operator", np.int64),
        ("first", np.int64),
        ("constant", np.float64),
        ("upper", np.float64),
        ("out", np.int64),
    ],
    align=True,
)
"""One condition: rows of its series (``right`` -1 for the constant), operator, first bar, row of its words."""


# As bytes: NumPy takes five times as long to make records of tuples.
STEP_RECORD = struct.Struct("@7qd")
TEST_RECORD = struct.Struct("@4q2dq")


class Formula(enum.IntEnum):
    """What a step computes, by number."""

    EMA = 0  # the two exponential averages come first: four of them run side by side
    SMMA = 1
    SMA = 2  # of a with running totals b and c
    RISES = 3  # of a from bar to bar, 0 where it fell
    FALLS = 4
    STRENGTH = 5  # relative strength index of average rises a and falls b
    TRUE_RANGE = 6  # of high a, low b, close c
    UPWARD = 7  # directional movement, +DM, of high a and low b
    DOWNWARD = 8
    DIRECTION = 9  # +DI of average +DM a and average true range b; -DI
    SPREAD = 10  # DX of +DI a and -DI b, a fraction
    TIMES = 11  # a times number
    DEVIATION = 12  # of means a, means of squares b
    HIGHEST = 13  # of a, the same of a shorter period, and a as many bars ago as the period
    LOWEST = 14
    DIFFERENCE = 15
    BAND = 16  # mean a, deviation b, number of them
    POSITION = 17  # of close c between the bands
    WIDTH = 18  # of the bands over their middle
    CHANGE = 19  # relative, over the period
    PERCENT = 20  # 100 a / b
    VOLUME_RATIO = 21  # of a to its mean b
    RATIO = 22  # a / b, number where b is zero
    DISTANCE = 23  # (a - b) / c, 0 where c is zero
    STOCHASTIC = 24  # of close c between lowest a and highest b
    SQUARES = 25
    TOTALS = 26  # running totals of a, two rows
    MEAN = 27  # SMA of a without ready totals


@njit(error_model="numpy")
def _ratio(top: float, bottom: float, zero: float) -> float:
    if bottom != 0.0:
        return top / bottom
    return top if np.isnan(top) else zero


@njit(error_model="numpy")
def arithmetic(formula: int, out: Floats, a: Floats, b: Floats, c: Floats, period: int, number: float) -> None:
    """What needs no other bar of other rows than the same one, or one of a period ago."""
    n = out.size
    if formula == Formula.DIFFERENCE:
        for t in range(n):
            out[t] = a[t] - b[t]
    elif formula == Formula.BAND:
        for t in range(n):
            out[t] = a[t] + number * b[t]
    elif formula == Formula.POSITION:
        for t in range(n):
            lower = a[t] - number * b[t]
            out[t] = _ratio(c[t] - lower, (a[t] + number * b[t]) - lower, 0.5)
    elif formula == Formula.WIDTH:
        for t in range(n):
            out[t] = ((a[t] + number * b[t]) - (a[t] - number * b[t])) / a[t]
    elif formula == Formula.CHANGE:
        out[:period] = np.nan
        for t in range(period, n):
            past = a[t - period]
            out[t] = (a[t] - past) / past if past != 0.0 else np.nan
    elif formula == Formula.PERCENT:
        for t in range(n):
            out[t] = 100.0 * a[t] / b[t]
    elif formula == Formula.VOLUME_RATIO:
        for t in range(n):
            out[t] = a[t] / b[t] if b[t] != 0.0 else 0.0
    elif formula == Formula.RATIO:
        for t in range(n):
            out[t] = _ratio(a[t], b[t], number)
    elif formula == Formula.DISTANCE:
        for t in range(n):
            out[t] = _ratio(a[t] - b[t], c[t], 0.0)
    elif formula == Formula.STOCHASTIC:
        for t in range(n):
            out[t] = 100.0 * _ratio(c[t] - a[t], b[t] - a[t], 0.5)
    elif formula == Formula.STRENGTH:
        for t in range(n):
            out[t] = k.relative_strength(a[t], b[t])
    elif formula == Formula.DIRECTION:
        for t in range(n):
            out[t] = k.directional_index(a[t], b[t])
    elif formula == Formula.SPREAD:
        for t in range(n):
            out[t] = k.directional_spread(a[t], b[t])
    elif formula == Formula.TIMES:
        for t in range(n):
            out[t] = number * a[t]


@njit(error_model="numpy")
def _smooth(steps: Any, four: NDArray[np.int64], table: Floats) -> None:
    """Four exponential averages; where there are fewer, the first one again."""
    periods = np.empty(4, np.int64)
    alphas = np.empty(4)
    firsts = np.empty(4, np.int64)
    for j in range(4):
        step = steps[four[j]]
        periods[j] = step.period
        alphas[j] = 2.0 / (1.0 + step.period) if step.formula == Formula.EMA else 1.0 / step.period
        firsts[j] = first_number(table[step.a])
    one, two, three, last = steps[four[0]], steps[four[1]], steps[four[2]], steps[four[3]]
    smooth_four(
        table[one.a], table[two.a], table[three.a], table[last.a], periods, alphas, firsts,
        table[one.out], table[two.out], table[three.out], table[last.out],
    )  # fmt: skip


@njit(error_model="numpy")
def _fill(step: Any, table: Floats, powers: Floats) -> None:
    """Any other step."""
    out, a, b, c = table[step.out], table[step.a], table[step.b], table[step.c]
    period = step.period
    if step.formula == Formula.SMA:
        window_means(a, b, c, period, first_number(a), out)
    elif step.formula == Formula.MEAN:
        first = first_number(a)
        totals = np.empty((2, a.size))
        running_totals(a, first, totals[0], totals[1])
        window_means(a, totals[0], totals[1], period, first, out)
    elif step.formula == Formula.TOTALS:
        running_totals(a, first_number(a), out, table[step.out2])
    elif step.formula == Formula.RISES:
        changes_into(a, 1.0, out)
    elif step.formula == Formula.FALLS:
        changes_into(a, -1.0, out)
    elif step.formula == Formula.TRUE_RANGE:
        out[:1] = np.nan
        for t in range(1, out.size):
            out[t] = k.true_range_at(a, b, c, t)
    elif step.formula == Formula.DEVIATION:
        standard_deviation_into(a, b, powers, out)
    elif step.formula == Formula.HIGHEST:
        wider_extreme(a, period, 1.0, out)
    elif step.formula == Formula.LOWEST:
        wider_extreme(a, period, -1.0, out)
    elif step.formula == Formula.UPWARD:
        moves_into(a, b, True, out)
    elif step.formula == Formula.DOWNWARD:
        moves_into(a, b, False, out)
    elif step.formula == Formula.SQUARES:
        out[:] = k.squares(a, powers)
    else:
        arithmetic(step.formula, out, a, b, c, period, step.number)


def _version_of_sources() -> int:
    """A number of the sources of both rooms' kernels."""
    modules = (Path(str(row_kernels.__file__)), Path(str(k.__file__)))
    paths = [Path(__file__), Path(__file__).with_name("signal_kernels.py"), *modules]
    return int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()[:6], "big")


def _compiled(version: int) -> tuple[Any, Any]:
    # Numba renews a cached kernel when its own file changes, not when a function that it calls does. A closure's
    # variables are part of the cache's key.
    @njit(cache=True, nogil=True, error_model="numpy")
    def fill_rows(steps: Any, table: Floats, powers: Floats) -> None:
        """Compute the rows of ``table`` that the steps (``STEP_DTYPE``) write; none is written twice."""
        _ = version
        # A step comes after all that write what it reads; among those that may come now, averages run in fours.
        level_of_row = np.zeros(table.shape[0], np.int64)
        levels = np.empty(len(steps), np.int64)
        deepest = 0
        for s in range(len(steps)):
            step = steps[s]
            level = 1 + max(level_of_row[step.a], level_of_row[step.b], level_of_row[step.c])
            levels[s] = level
            level_of_row[step.out] = level_of_row[step.out2] = level
            deepest = max(deepest, level)
        four = np.empty(4, np.int64)
        for level in range(1, deepest + 1):
            waiting = 0
            for s in range(len(steps)):
                if levels[s] == level and steps[s].formula <= Formula.SMMA:
                    four[waiting] = s
                    waiting += 1
                    if waiting == 4:
                        _smooth(steps, four, table)
                        waiting = 0
            if waiting > 0:
                four[waiting:] = four[0]
                _smooth(steps, four, table)
            for s in range(len(steps)):
                if levels[s] == level and steps[s].formula > Formula.SMMA:
                    _fill(steps[s], table, powers)

    @njit(cache=True, nogil=True, error_model="numpy")
    def compare_rows(tests: Any, table: Floats, words: NDArray[np.uint64]) -> None:
        """Compute the rows of ``words`` that the conditions (``TEST_DTYPE``) write, from the rows of ``table``."""
        _ = version
        n = table.shape[1]
        flags = np.zeros((2, 64 * words.shape[1]), np.bool_)
        constant = np.empty(1)
        for s in range(len(tests)):
            test = tests[s]
            constant[0] = test.constant
            right = constant if test.right < 0 else table[test.right]
            compare_into(table[test.left], right, test.upper, test.operator, test.first, n, flags, words[test.out])

    return fill_rows, compare_rows


fill_rows, compare_rows = _compiled(_version_of_sources())
