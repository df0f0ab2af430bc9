"""Compiled arithmetic of one bar: each ``*_at`` function gives the value at bar ``i`` from the past alone.

The array functions of :mod:`ai_backtrader.market.indicators` and the features of a live feed loop over the same
functions, which is why they agree to the last bit. ``first`` is the index of the first usable input.

Backtrader sums its windows with ``math.fsum``, the correctly rounded sum. A window sum is kept here as an unevaluated
pair ``high + low``; every operation on the pair reports whether it was exact. As long as all were, rounding the pair is
the correctly rounded sum, at two additions a bar; where one was not (values more than about 2**50 apart in one window,
NaN, infinity), the window is summed again, with as many partial sums as it takes.
"""

from __future__ import annotations

import platform

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Runtime values on purpose: a literal exponent is rewritten to x*x or sqrt(x), which differ from the C library's pow,
# Backtrader's, in the last bit of about one value in 1,200. Products and roots are rounded correctly, and glibc's pow
# errs by at most 0.511 + |log(power)| * 1.5 / 2**15 units in the last place (its source: 0.54 for the largest), 0.515
# between 1e-30 and 1e30. Where the exact power lies within 0.48 units of the rounded one, pow can therefore give
# nothing else, and is not asked. That distance is the last value; other libraries are always asked.
POWERS = np.array([2.0, 0.5, 0.48 if platform.libc_ver()[0] == "glibc" else -1.0])
POWERS.flags.writeable = False

SUM_STATE = 3  # floats of state that one running window sum needs


@njit(cache=True, error_model="numpy")
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Rounded sum and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True, error_model="numpy")
def _sum_with_partials(x: Floats, low: int, high: int) -> float:
    """Correctly rounded sum of ``x[low:high]`` by non-overlapping partial sums (Shewchuk), any range of magnitudes."""
    partials = np.empty(80)  # float64 spans 2098 bits: 40 partials of 53 bits cover it
    used = 0
    for j in range(low, high):
        value = x[j]
        kept = 0
        for k in range(used):
            value, error = two_sum(value, partials[k])
            if error != 0.0:
                partials[kept] = error
                kept += 1
        if not np.isfinite(value):
            return float(np.sum(x[low:high]))
        partials[kept] = value
        used = kept + 1
    if used == 0:
        return 0.0
    used -= 1
    total = partials[used]
    error = 0.0
    while used > 0 and error == 0.0:
        used -= 1
        total, error = two_sum(total, partials[used])
    # A tie was rounded to even without looking further down: the next partial breaks it.
    if used > 0 and ((error < 0.0 and partials[used - 1] < 0.0) or (error > 0.0 and partials[used - 1] > 0.0)):
        doubled = error * 2.0
        other = total + doubled
        if other - total == doubled:
            total = other
    return float(total)


@njit(cache=True, error_model="numpy")
def window_sum_at(x: Floats, i: int, period: int, first: int, state: Floats) -> float:
    """``math.fsum(x[i - period + 1 : i + 1])``; NaN before ``first + period - 1``. ``state`` moves with ``i``."""
    start = first + period - 1
    if i < start:
        state[2] = 0.0
        return np.nan
    exact = i > start and state[2] == 1.0
    high = 0.0
    low = 0.0
    if exact:
        high, error = two_sum(state[0], x[i])
        low, lost = two_sum(state[1], error)
        high, error = two_sum(high, -x[i - period])
        low, lost2 = two_sum(low, error)
        exact = lost == 0.0 and lost2 == 0.0
    if not exact:
        high = 0.0
        low = 0.0
        exact = True
        for j in range(i - period + 1, i + 1):
            high, error = two_sum(high, x[j])
            low, lost = two_sum(low, error)
            exact = exact and lost == 0.0
    high, low = two_sum(high, low)
    state[0] = high
    state[1] = low
    state[2] = 1.0 if exact else 0.0
    return high if exact else _sum_with_partials(x, i - period + 1, i + 1)


@njit(cache=True, error_model="numpy")
def smooth_at(x: Floats, out: Floats, i: int, period: int, alpha: float, first: int) -> float:
    """Exponential smoothing seeded with the mean of the first ``period`` inputs; needs ``out[i - 1]``."""
    start = first + period - 1
    if i < start:
        return np.nan
    if i == start:
        return window_sum_at(x, i, period, first, np.zeros(SUM_STATE)) / period
    return float(out[i - 1] * (1.0 - alpha) + x[i] * alpha)


@njit(cache=True, error_model="numpy")
def relative_strength(up: float, down: float) -> float:
    """RSI of the two averages as RSI_Safe has it: 50 without any movement, 100 without falls."""
    if down == 0.0:
        return 50.0 if up == 0.0 else 100.0
    return 100.0 - 100.0 / (1.0 + up / down)


@njit(cache=True, error_model="numpy")
def true_range_at(high: Floats, low: Floats, close: Floats, i: int) -> float:
    """True range with the close before; the caller starts at the second bar."""
    return float(max(high[i], close[i - 1]) - min(low[i], close[i - 1]))


@njit(cache=True, error_model="numpy")
def directional_moves_at(high: Floats, low: Floats, i: int) -> tuple[float, float]:
    """+DM and -DM of Wilder."""
    up = high[i] - high[i - 1]
    down = low[i - 1] - low[i]
    return (up if up > down and up > 0.0 else 0.0), (down if down > up and down > 0.0 else 0.0)


@njit(cache=True, error_model="numpy")
def directional_index(average: float, atr: float) -> float:
    """+DI or -DI in percent; 0 where the true range is zero (Backtrader raises there)."""
    return 100.0 * average / atr if atr != 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def directional_spread(plus: float, minus: float) -> float:
    """DX as a fraction; 0 where neither side moved (Backtrader raises there)."""
    total = plus + minus
    return abs(plus - minus) / total if total != 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def deviation(mean: float, mean_of_squares: float, powers: Floats) -> float:
    """Population standard deviation from the two means, in Backtrader's arithmetic."""
    return float(abs(mean_of_squares - mean ** powers[0]) ** powers[1])


@njit(cache=True, error_model="numpy")
def _last_place(x: float) -> float:
    """Value of a unit in the last place of a number far from overflow and underflow (Rump's ufp)."""
    scaled = (2.0**52 + 1.0) * x
    return abs(scaled - (1.0 - 2.0**-53) * scaled) * 2.0**-52


@njit(cache=True, error_model="numpy")
def _square_error(x: float, square: float) -> float:
    """``x * x`` less its rounded value, exactly (Veltkamp, Dekker)."""
    part = 134217729.0 * x
    high = part - (part - x)
    low = x - high
    return ((high * high - square) + 2.0 * high * low) + low * low


@njit(cache=True, error_model="numpy")
def _doubtful_square(x: float, rounded: float, powers: Floats) -> bool:
    """Whether pow(x, 2) may be another number than ``rounded``, which is x * x."""
    near = abs(_square_error(x, rounded)) <= powers[2] * _last_place(rounded)
    return not (near & (rounded > 1e-30) & (rounded < 1e30))


@njit(cache=True, error_model="numpy")
def _doubtful_root(x: float, rounded: float, powers: Floats) -> bool:
    """Whether pow(x, 0.5) may be another number than ``rounded``, which is sqrt(x)."""
    again = rounded * rounded
    # The exact root is rounded + rest / (2 rounded), but for a term below 2**-54 units.
    rest = (x - again) - _square_error(rounded, again)
    near = abs(rest) <= powers[2] * _last_place(rounded) * 2.0 * rounded
    return not (near & (x > 1e-30) & (x < 1e30))


@njit(cache=True, error_model="numpy")
def deviations(mean: Floats, mean_of_squares: Floats, first: int, powers: Floats, out: Floats) -> None:
    """:func:`deviation` of many, from ``first`` on; pow is called for the few that are in doubt."""
    # Slices that begin at 0: an index that could be negative would keep the compiler from taking many at once.
    means, mean_squares, found = mean[first:], mean_of_squares[first:], out[first:]
    n = means.size
    doubtful = np.empty(n, np.bool_)
    for i in range(n):
        rounded = means[i] * means[i]
        variance = abs(mean_squares[i] - rounded)
        found[i] = np.sqrt(variance)
        doubtful[i] = _doubtful_square(means[i], rounded, powers) | _doubtful_root(variance, found[i], powers)
    places = np.empty(n, np.int64)
    count = 0
    for i in range(n):  # without a branch: which ones is luck
        places[count] = i
        count += doubtful[i]
    for i in places[:count]:
        square = means[i] * means[i]
        if _doubtful_square(means[i], square, powers):
            square = means[i] ** powers[0]
        variance = abs(mean_squares[i] - square)
        found[i] = np.sqrt(variance)
        if _doubtful_root(variance, found[i], powers):
            found[i] = variance ** powers[1]


@njit(cache=True, error_model="numpy")
def _slide(high: float, low: float, entering: float, leaving: float) -> tuple[float, float, bool]:
    """The running sum of :func:`window_sum_at` one bar on, and whether the step was exact."""
    high, error = two_sum(high, entering)
    low, lost = two_sum(low, error)
    high, error = two_sum(high, -leaving)
    low, lost2 = two_sum(low, error)
    high, low = two_sum(high, low)
    return high, low, lost == 0.0 and lost2 == 0.0


@njit(cache=True, error_model="numpy")
def sma(x: Floats, period: int, first: int) -> Floats:
    """Mean of each window."""
    n = x.size
    out = np.full(n, np.nan)
    state = np.zeros(SUM_STATE)
    high = low = 0.0
    exact = False
    for i in range(first + period - 1, n):
        # The step of window_sum_at without the call, which costs more than the step.
        if exact:
            high, low, exact = _slide(high, low, x[i], x[i - period])
        if exact:
            out[i] = high / period
        else:
            state[2] = 0.0
            out[i] = window_sum_at(x, i, period, first, state) / period
            high, low, exact = state[0], state[1], state[2] == 1.0
    return out


@njit(cache=True, error_model="numpy")
def smooth(x: Floats, period: int, alpha: float, first: int) -> Floats:
    """Exponential smoothing (EMA, SMMA)."""
    n = x.size
    out = np.full(n, np.nan)
    start = first + period - 1
    if start < n:
        # After the seed, the step of smooth_at without the call, which costs more than the step.
        value = smooth_at(x, out, start, period, alpha, first)
        out[start] = value
        for i in range(start + 1, n):
            value = value * (1.0 - alpha) + x[i] * alpha
            out[i] = value
    return out


@njit(cache=True, error_model="numpy")
def rsi(x: Floats, period: int, first: int) -> Floats:
    """Relative strength index."""
    n = x.size
    up = np.full(n, np.nan)
    down = np.full(n, np.nan)
    for i in range(first + 1, n):
        up[i] = max(x[i] - x[i - 1], 0.0)
        down[i] = max(x[i - 1] - x[i], 0.0)
    up_average = smooth(up, period, 1.0 / period, first + 1)
    down_average = smooth(down, period, 1.0 / period, first + 1)
    out = np.full(n, np.nan)
    for i in range(first + period, n):
        out[i] = relative_strength(up_average[i], down_average[i])
    return out


@njit(cache=True, error_model="numpy")
def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """True range from the second bar on."""
    out = np.full(close.size, np.nan)
    for i in range(1, close.size):
        out[i] = true_range_at(high, low, close, i)
    return out


@njit(cache=True, error_model="numpy")
def directional_movement(high: Floats, low: Floats, close: Floats, period: int) -> tuple[Floats, Floats, Floats]:
    """+DI, -DI and ADX."""
    n = close.size
    alpha = 1.0 / period
    atr = smooth(true_range(high, low, close), period, alpha, 1)
    plus = np.full(n, np.nan)
    minus = np.full(n, np.nan)
    for i in range(1, n):
        plus[i], minus[i] = directional_moves_at(high, low, i)
    plus = smooth(plus, period, alpha, 1)
    minus = smooth(minus, period, alpha, 1)
    spread = np.full(n, np.nan)
    for i in range(period, n):
        plus[i] = directional_index(plus[i], atr[i])
        minus[i] = directional_index(minus[i], atr[i])
        spread[i] = directional_spread(plus[i], minus[i])
    return plus, minus, 100.0 * smooth(spread, period, alpha, period)


@njit(cache=True, error_model="numpy")
def squares(x: Floats, powers: Floats) -> Floats:
    """Square of each value, by the C library."""
    out = np.empty_like(x)
    for i in range(x.size):
        rounded = x[i] * x[i]
        out[i] = x[i] ** powers[0] if _doubtful_square(x[i], rounded, powers) else rounded
    return out


@njit(cache=True, error_model="numpy")
def standard_deviation(
    x: Floats, squares_of_x: Floats, period: int, first: int, powers: Floats
) -> tuple[Floats, Floats]:
    """Mean and population standard deviation of each window."""
    n = x.size
    mean = np.full(n, np.nan)
    mean_of_squares = np.empty(n)
    out = np.full(n, np.nan)
    state = np.zeros(SUM_STATE)
    state2 = np.zeros(SUM_STATE)
    high = low = high2 = low2 = 0.0
    exact = False
    # Both means in one loop: their chains of additions run side by side.
    start = first + period - 1
    for i in range(start, n):
        if exact:
            high, low, exact = _slide(high, low, x[i], x[i - period])
            high2, low2, exact2 = _slide(high2, low2, squares_of_x[i], squares_of_x[i - period])
            exact = exact and exact2
        if exact:
            mean[i] = high / period
            mean_of_squares[i] = high2 / period
        else:
            state[2] = state2[2] = 0.0
            mean[i] = window_sum_at(x, i, period, first, state) / period
            mean_of_squares[i] = window_sum_at(squares_of_x, i, period, first, state2) / period
            high, low, high2, low2 = state[0], state[1], state2[0], state2[1]
            exact = state[2] == 1.0 and state2[2] == 1.0
    deviations(mean, mean_of_squares, start, powers, out)
    return mean, out


@njit(cache=True, error_model="numpy")
def extreme(x: Floats, period: int, first: int, sign: float) -> Floats:
    """Largest (sign 1) or smallest (sign -1) of each window: a queue of candidates, each bar enters and leaves once."""
    n = x.size
    out = np.full(n, np.nan)
    queue = np.empty(n, np.int64)
    head = 0
    tail = 0
    for i in range(first, n):
        while tail > head and sign * x[queue[tail - 1]] < sign * x[i]:
            tail -= 1
        queue[tail] = i
        tail += 1
        if queue[head] <= i - period:
            head += 1
        if i >= first + period - 1:
            out[i] = x[queue[head]]
    return out


@njit(cache=True, error_model="numpy")
def non_zero_difference(a: Floats, b: Floats, first: int) -> Floats:
    """Difference, or the last one that was not zero."""
    out = np.full(a.size, np.nan)
    for i in range(first, a.size):
        difference = a[i] - b[i]
        out[i] = difference if difference != 0.0 or i == first else out[i - 1]
    return out


@njit(cache=True, error_model="numpy")
def cross(a: Floats, b: Floats, first: int, sign: float) -> Floats:
    """1.0 where ``a`` crosses ``b`` upward (sign 1) or downward (sign -1), else 0.0."""
    difference = non_zero_difference(a, b, first)
    out = np.full(a.size, np.nan)
    for i in range(first + 1, a.size):
        out[i] = 1.0 if sign * difference[i - 1] < 0.0 and sign * a[i] > sign * b[i] else 0.0
    return out
