"""Series and conditions of a whole generation in two compiled calls: rows of a table, one step after the other.

A step reads rows of the table and writes others; :mod:`ai_backtrader.rules.signals` writes the steps down. The formulas
are those of :mod:`ai_backtrader.market.indicators`, operation by operation.
"""

from __future__ import annotations

import enum
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.market import indicator_kernels as k
from ai_backtrader.rules.signal_kernels import compare_into

__all__ = ["STEP_DTYPE", "TEST_DTYPE", "Formula", "compare_rows", "fill_rows"]

Floats = NDArray[np.float64]

STEP_DTYPE = np.dtype(
    [
        ("formula", np.int64),
        ("out", np.int64),
        ("out2", np.int64),
        ("out3", np.int64),
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


class Formula(enum.IntEnum):
    """What a step computes, by number."""

    SMA = 0
    EMA = 1
    SMMA = 2
    RSI = 3
    TRUE_RANGE = 4  # of high a, low b, close c
    DEVIATION = 5  # of a with squares b; the mean goes to the second row written
    HIGHEST = 6
    LOWEST = 7
    MOVEMENT = 8  # of high a, low b, close c; +DI, -DI and ADX are three rows
    DIFFERENCE = 9
    BAND = 10  # mean a, deviation b, number of them
    POSITION = 11  # of close c between the bands
    WIDTH = 12  # of the bands over their middle
    CHANGE = 13  # relative, over the period
    PERCENT = 14  # 100 a / b
    VOLUME_RATIO = 15  # of a to its mean b
    RATIO = 16  # a / b, number where b is zero
    DISTANCE = 17  # (a - b) / c, 0 where c is zero
    STOCHASTIC = 18  # of close c between lowest a and highest b
    SQUARES = 19


@njit(cache=True, error_model="numpy")
def _first(x: Floats) -> int:
    for i in range(x.size):
        if not np.isnan(x[i]):
            return i
    return int(x.size)


@njit(cache=True, error_model="numpy")
def _ratio(top: float, bottom: float, zero: float) -> float:
    if bottom != 0.0:
        return top / bottom
    return top if np.isnan(top) else zero


@njit(cache=True, error_model="numpy")
def _arithmetic(
    formula: int, out: Floats, a: Floats, b: Floats, c: Floats, period: int, number: float
) -> None:  # one bar at a time, from the same bar of other rows
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


def _version_of_sources() -> int:
    """A number of the sources of both rooms' kernels."""
    paths = [Path(__file__), Path(__file__).with_name("signal_kernels.py"), Path(str(k.__file__))]
    return int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()[:6], "big")


def _compiled(version: int) -> tuple[Any, Any]:
    # Numba renews a cached kernel when its own file changes, not when a function that it calls does. A closure's
    # variables are part of the cache's key.
    @njit(cache=True, nogil=True, error_model="numpy")
    def fill_rows(steps: Any, table: Floats, powers: Floats) -> None:
        """Compute the rows of ``table`` that the steps (``STEP_DTYPE``) write, in their order."""
        _ = version
        for s in range(len(steps)):
            step = steps[s]
            out, a, b, c = table[step.out], table[step.a], table[step.b], table[step.c]
            period = step.period
            if step.formula == Formula.SMA:
                out[:] = k.sma(a, period, _first(a))
            elif step.formula == Formula.EMA:
                out[:] = k.smooth(a, period, 2.0 / (1.0 + period), _first(a))
            elif step.formula == Formula.SMMA:
                out[:] = k.smooth(a, period, 1.0 / period, _first(a))
            elif step.formula == Formula.RSI:
                out[:] = k.rsi(a, period, _first(a))
            elif step.formula == Formula.TRUE_RANGE:
                out[:] = k.true_range(a, b, c)
            elif step.formula == Formula.DEVIATION:
                table[step.out2][:], out[:] = k.standard_deviation(a, b, period, _first(a), powers)
            elif step.formula == Formula.HIGHEST:
                out[:] = k.extreme(a, period, _first(a), 1.0)
            elif step.formula == Formula.LOWEST:
                out[:] = k.extreme(a, period, _first(a), -1.0)
            elif step.formula == Formula.MOVEMENT:
                out[:], table[step.out2][:], table[step.out3][:] = k.directional_movement(a, b, c, period)
            elif step.formula == Formula.SQUARES:
                out[:] = k.squares(a, powers)
            else:
                _arithmetic(step.formula, out, a, b, c, period, step.number)

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
