"""Compiled comparison of series, packed 64 bars to a word."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.rules.genes import Operator

__all__ = ["OPERATOR_CODES", "compare_words", "pack"]

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

OPERATOR_CODES = {
    Operator.BELOW: 0,
    Operator.ABOVE: 1,
    Operator.BETWEEN: 2,
    Operator.CROSSES_ABOVE: 3,
    Operator.CROSSES_BELOW: 4,
}
"""What :func:`compare_words` calls the operators."""

_GATHER = np.uint64(0x0102_0408_1020_4080)


@njit(cache=True, error_model="numpy")
def pack(signal: NDArray[np.bool_]) -> Words:
    """Booleans as words: bar t is bit ``t % 64`` of word ``t // 64``; bits behind the last bar are 0."""
    n = signal.size
    words = np.zeros((n + 63) // 64, np.uint64)
    padded = np.zeros(64 * words.size, np.bool_)
    padded[:n] = signal
    eights = padded.view(np.uint64)  # eight bars each, a byte a bar
    for k in range(words.size):
        word = np.uint64(0)
        for j in range(8):
            # The product's highest byte gathers the eight lowest bits of the bytes: no two of its terms overlap.
            word |= ((eights[8 * k + j] * _GATHER) >> np.uint64(56)) << np.uint64(8 * j)
        words[k] = word
    return words


@njit(cache=True, error_model="numpy")
def _crossing(left: Floats, right: Floats, step: int, sign: float, first: int, signal: NDArray[np.bool_]) -> None:
    memory = left[first] - right[first * step]  # the last difference that was not zero
    for t in range(first + 1, left.size):
        difference = left[t] - right[t * step]
        signal[t] = sign * memory < 0.0 and sign * difference > 0.0
        memory = difference if difference != 0.0 else memory


@njit(cache=True, error_model="numpy")
def compare_words(left: Floats, right: Floats, upper: float, operator: int, first: int) -> Words:
    """Signal of a comparison, packed as :func:`pack` does.

    ``right`` has shape (bars,), or (1,) for a constant. ``first`` is the index at which both sides have values.
    Crossing keeps the last difference that was not zero, as Backtrader's ``NonZeroDifference`` does.
    """
    n = left.size
    signal = np.zeros(n, np.bool_)
    constant = right[0]
    if operator == 2:
        for t in range(first, n):
            signal[t] = (constant <= left[t]) & (left[t] <= upper)
    elif operator > 2:
        if first < n:
            _crossing(left, right, 1 if right.size == n else 0, 1.0 if operator == 3 else -1.0, first, signal)
    elif right.size == n:
        for t in range(first, n):
            signal[t] = left[t] < right[t] if operator == 0 else left[t] > right[t]
    else:
        for t in range(first, n):
            signal[t] = left[t] < constant if operator == 0 else left[t] > constant
    return pack(signal)
