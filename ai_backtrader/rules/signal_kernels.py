"""Compiled comparison of series, packed 64 bars to a word."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.rules.genes import Operator

__all__ = ["OPERATOR_CODES", "compare_into", "compare_words", "pack"]

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

_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_GATHER = np.uint64(0x0102_0408_1020_4080)


@njit(cache=True, error_model="numpy")
def _pack_into(flags: NDArray[np.bool_], words: Words) -> None:
    eights = flags.view(np.uint64)  # eight bars each, a byte a bar
    for k in range(words.size):
        word = np.uint64(0)
        for j in range(8):
            # The product's highest byte gathers the eight lowest bits of the bytes: no two of its terms overlap.
            word |= ((eights[8 * k + j] * _GATHER) >> np.uint64(56)) << np.uint64(8 * j)
        words[k] = word


@njit(cache=True, error_model="numpy")
def pack(signal: NDArray[np.bool_]) -> Words:
    """Booleans as words: bar t is bit ``t % 64`` of word ``t // 64``; bits behind the last bar are 0."""
    n = signal.size
    words = np.zeros((n + 63) // 64, np.uint64)
    padded = np.zeros(64 * words.size, np.bool_)
    padded[:n] = signal
    _pack_into(padded, words)
    return words


@njit(cache=True, error_model="numpy")
def _below(left: Floats, right: Floats, wide: bool, out: NDArray[np.bool_]) -> None:
    if wide:
        for t in range(left.size):
            out[t] = left[t] < right[t]
    else:
        constant = right[0]
        for t in range(left.size):
            out[t] = left[t] < constant


@njit(cache=True, error_model="numpy")
def _above(left: Floats, right: Floats, wide: bool, out: NDArray[np.bool_]) -> None:
    if wide:
        for t in range(left.size):
            out[t] = left[t] > right[t]
    else:
        constant = right[0]
        for t in range(left.size):
            out[t] = left[t] > constant


@njit(cache=True, error_model="numpy")
def _cross(
    left: Floats, right: Floats, step: int, sign: float, first: int, n: int, now: Words, before: Words, words: Words
) -> None:
    """Crossings of 64 bars at once, from the bits where the left side is beyond (``now``) and short of the right."""
    memory = 0.0  # sign of the last difference that was not zero
    for k in range(words.size):
        low, high = max(64 * k, first), min(64 * k + 64, n)
        word = np.uint64(0)
        if now[k] | before[k] == _ALL and low == 64 * k:
            carry = np.uint64(1) if memory < 0.0 else np.uint64(0)
            word = now[k] & ((before[k] << np.uint64(1)) | carry)
            memory = 1.0 if now[k] >> np.uint64(63) else -1.0
        else:
            # Both sides are equal somewhere, or one is no number, or the series begin or end here.
            for t in range(low, high):
                difference = sign * (left[t] - right[t * step])
                if t > first and memory < 0.0 and difference > 0.0:
                    word |= np.uint64(1) << np.uint64(t - 64 * k)
                if difference != 0.0:
                    memory = difference
        words[k] = word


@njit(cache=True, error_model="numpy")
def compare_into(
    left: Floats,
    right: Floats,
    upper: float,
    operator: int,
    first: int,
    n: int,
    flags: NDArray[np.bool_],
    words: Words,
) -> None:
    """:func:`compare_words` into given words; ``flags`` are scratch, shape (2, 64 a word), false behind bar ``n``."""
    one, other = flags[0], flags[1]
    first = min(first, n)
    wide = right.size == n and n > 1
    constant = right[0]
    one[:first] = False
    # Slices that begin at 0: an index that could be negative would keep the compiler from comparing many at once.
    here = left[first:n]
    there = right[first:n] if wide else right
    if operator == 2:
        inside = one[first:n]
        for t in range(here.size):
            inside[t] = (constant <= here[t]) & (here[t] <= upper)
    elif operator == 0 or operator == 4:
        _below(here, there, wide, one[first:n])
    else:
        _above(here, there, wide, one[first:n])
    _pack_into(one, words)
    if operator < 3:
        return
    other[:first] = False
    if operator == 3:
        _below(here, there, wide, other[first:n])
    else:
        _above(here, there, wide, other[first:n])
    short = np.empty(words.size, np.uint64)
    _pack_into(other, short)
    _cross(left, right, 1 if wide else 0, 1.0 if operator == 3 else -1.0, first, n, words, short, words)


@njit(cache=True, error_model="numpy")
def compare_words(left: Floats, right: Floats, upper: float, operator: int, first: int) -> Words:
    """Signal of a comparison, packed as :func:`pack` does.

    ``right`` has shape (bars,), or (1,) for a constant. ``first`` is the index at which both sides have values.
    Crossing keeps the last difference that was not zero, as Backtrader's ``NonZeroDifference`` does.
    """
    words = np.empty((left.size + 63) // 64, np.uint64)
    flags = np.zeros((2, 64 * words.size), np.bool_)
    compare_into(left, right, upper, operator, first, left.size, flags, words)
    return words
