"""Indicators that write straight into given rows: the arithmetic of the market room in fewer steps, to the same bits.

:mod:`ai_backtrader.market.indicators` is the plain form of each, and what the tests compare with. Three things make
these faster, and none rounds differently:

- Window means take two running totals of the whole row, in which nothing is ever rounded (see :func:`running_totals`),
  so that a window of any period is a difference of two totals, and rounded once.
- Exponential averages are chains: each bar waits for the one before. Four of them run side by side.
- The extreme of a window is that of two shorter windows that cover it.

None is cached on disk by itself: what calls them is, under a key of all these sources.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.market import indicator_kernels as k

__all__ = [
    "changes_into",
    "first_number",
    "moves_into",
    "running_totals",
    "smooth_four",
    "standard_deviation_into",
    "wider_extreme",
    "window_means",
]

Floats = NDArray[np.float64]

_SIZE_BITS = np.uint64(0x7FFF_FFFF_FFFF_FFFF)
_ONE = np.uint64(1)


@njit(error_model="numpy")
def first_number(x: Floats) -> int:
    """Index of the first value that is not NaN; the length where there is none."""
    for i in range(x.size):
        if not np.isnan(x[i]):
            return i
    return int(x.size)


@njit(error_model="numpy")
def _largest_and_smallest(x: Floats) -> tuple[float, float]:
    """Largest magnitude, and the smallest that is not 0 (infinity or NaN where there is none)."""
    # Magnitudes have the order of their bits read as whole numbers; less 1, a zero becomes the largest of all.
    bits = x.view(np.uint64)
    largest = np.uint64(0)
    smallest = ~np.uint64(0)
    for i in range(bits.size):
        size = bits[i] & _SIZE_BITS
        largest = max(largest, size)
        smallest = min(smallest, size - _ONE)
    both = np.empty(2, np.uint64)
    both[0] = largest
    both[1] = smallest + _ONE if smallest < _SIZE_BITS else _SIZE_BITS
    sizes = both.view(np.float64)
    return sizes[0], sizes[1]


@njit(error_model="numpy")
def running_totals(x: Floats, first: int, high: Floats, low: Floats) -> None:
    """Running total of ``x[first:]`` as an unevaluated sum ``high + low``, exactly; NaN at the end where that fails.

    Each value is split at one place for all: into a multiple of ``2**k`` and a rest of at most half of that. ``k`` is
    chosen so that no total of multiples needs more than 53 bits. The rests are multiples of the last place of the
    smallest value; their totals need no more than 53 bits either where ``n * 2**(k - 1)`` is at most that value, for a
    number is at most ``2**53`` of its last places. Values too far apart for that (or NaN, infinity) are not summed.
    """
    n = x.size
    if first >= n:
        if n > 0:
            high[n - 1] = np.nan
        return
    largest, smallest = _largest_and_smallest(x[first:])
    bound = largest * (n - first)
    if not bound < 1e300:
        high[n - 1] = np.nan
        return
    _, exponent = math.frexp(bound)  # bound < 2**exponent, k = exponent - 51
    if largest > 0.0 and not (n - first) * math.ldexp(1.0, exponent - 52) <= smallest:
        high[n - 1] = np.nan
        return
    rounder = math.ldexp(1.5, exponent + 1)
    total = 0.0
    rest = 0.0
    for t in range(first, n):
        part = (x[t] + rounder) - rounder
        total += part
        rest += x[t] - part
        high[t] = total
        low[t] = rest


@njit(error_model="numpy")
def window_means(x: Floats, high: Floats, low: Floats, period: int, first: int, out: Floats) -> None:
    """Mean of each window of ``x``, correctly rounded sum over ``period``, from its running totals."""
    n = x.size
    start = min(first + period - 1, n)
    out[:start] = np.nan
    if start == n:
        return
    if np.isnan(high[n - 1]):
        out[:] = k.sma(x, period, first)
        return
    out[start] = (high[start] + low[start]) / period
    here, rest_here, means = high[start + 1 :], low[start + 1 :], out[start + 1 :]
    there, rest_there = high[first:], low[first:]
    for t in range(means.size):
        means[t] = ((here[t] - there[t]) + (rest_here[t] - rest_there[t])) / period


@njit(error_model="numpy")
def standard_deviation_into(mean: Floats, mean_of_squares: Floats, powers: Floats, out: Floats) -> None:
    """Population standard deviation from the means of values and of their squares."""
    first = first_number(mean)
    out[:first] = np.nan
    k.deviations(mean, mean_of_squares, first, powers, out)


@njit(error_model="numpy")
def _begin(x: Floats, period: int, alpha: float, first: int, stop: int, out: Floats) -> float:
    """Smooth up to ``stop``; gives the last value."""
    start = first + period - 1
    out[: min(start, stop)] = np.nan
    if start >= stop:
        return np.nan
    value = k.smooth_at(x, out, start, period, alpha, first)
    out[start] = value
    for t in range(start + 1, stop):
        value = value * (1.0 - alpha) + x[t] * alpha
        out[t] = value
    return float(value)


@njit(error_model="numpy")
def smooth_four(
    a: Floats, b: Floats, c: Floats, d: Floats,
    periods: NDArray[np.int64], alphas: Floats, firsts: NDArray[np.int64],
    out_a: Floats, out_b: Floats, out_c: Floats, out_d: Floats,
) -> None:  # fmt: skip
    """Four exponential averages (``indicator_kernels.smooth``), side by side."""
    n = a.size
    stop = 0
    for j in range(4):
        stop = max(stop, min(n, firsts[j] + periods[j]))
    p, q, r, s = alphas[0], alphas[1], alphas[2], alphas[3]
    one = _begin(a, periods[0], p, firsts[0], stop, out_a)
    two = _begin(b, periods[1], q, firsts[1], stop, out_b)
    three = _begin(c, periods[2], r, firsts[2], stop, out_c)
    four = _begin(d, periods[3], s, firsts[3], stop, out_d)
    for t in range(stop, n):
        one = one * (1.0 - p) + a[t] * p
        two = two * (1.0 - q) + b[t] * q
        three = three * (1.0 - r) + c[t] * r
        four = four * (1.0 - s) + d[t] * s
        out_a[t] = one
        out_b[t] = two
        out_c[t] = three
        out_d[t] = four


@njit(error_model="numpy")
def changes_into(x: Floats, sign: float, out: Floats) -> None:
    """Rises of a series from bar to bar where ``sign`` is 1, falls where it is -1; 0 where it went the other way."""
    first = min(first_number(x) + 1, x.size)
    out[:first] = np.nan
    here, there, found = x[first:], x[first - 1 :], out[first:]
    for t in range(found.size):
        found[t] = max(here[t] - there[t] if sign > 0.0 else there[t] - here[t], 0.0)


@njit(error_model="numpy")
def moves_into(high: Floats, low: Floats, upward: bool, out: Floats) -> None:
    """+DM of Wilder, or -DM."""
    out[:1] = np.nan
    if upward:
        for t in range(1, out.size):
            out[t] = k.directional_moves_at(high, low, t)[0]
    else:
        for t in range(1, out.size):
            out[t] = k.directional_moves_at(high, low, t)[1]


@njit(error_model="numpy")
def wider_extreme(shorter: Floats, shift: int, sign: float, out: Floats) -> None:
    """Extremes of windows longer by ``shift``, at most twice as long: of a shorter window and of that ``shift`` ago.

    Largest where ``sign`` is 1, smallest where it is -1.
    """
    start = min(first_number(shorter) + shift, out.size)
    out[:start] = np.nan
    here, there, found = shorter[start:], shorter[start - shift :], out[start:]
    if sign > 0.0:
        for t in range(found.size):
            found[t] = here[t] if here[t] > there[t] else there[t]
    else:
        for t in range(found.size):
            found[t] = here[t] if here[t] < there[t] else there[t]
