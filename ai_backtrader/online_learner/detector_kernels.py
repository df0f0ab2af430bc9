"""Drift detectors, compiled: each is a step over a flat state vector, so that a batch and a stream run the same code.

A state is a float64 vector and nothing else: it is copied, compared and stored as such. All zeros is a fresh start.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.online_learner.garch_kernels import garch_cusum_restart, garch_cusum_step
from ai_backtrader.online_learner.glr_kernels import bernoulli_glr_step, mean_glr_step

__all__ = [
    "ADWIN",
    "BERNOULLI_GLR",
    "GARCH_CUSUM",
    "MEAN_GLR",
    "PAGE_HINKLEY",
    "WINDOWED_Z",
    "adwin_size",
    "channel_scan",
    "channel_size",
    "channel_step",
]

Array = NDArray[np.float64]

WINDOWED_Z, ADWIN, PAGE_HINKLEY, GARCH_CUSUM, BERNOULLI_GLR, MEAN_GLR = 0, 1, 2, 3, 4, 5

_ADWIN_HEADER = 5  # width, total, variance, rows in use, ticks
_ADWIN_ROWS = 40  # a row holds buckets of 2**row values: more than any run will see
_PAGE_HINKLEY_SIZE = 6
_CHANNEL_HEADER = 5  # learnt?, count, location, scale, inflation
_GATE, _SHORT_SAMPLE = 1.5, 2.5
_MAD_TO_SD, _MEAN_DEVIATION_TO_SD = 1.482602218505602, 1.2533141373155003  # of a normal


def adwin_size(max_buckets: int) -> int:
    """Length of ADWIN's state: a header, then one row of counts, totals and variances for each bucket size."""
    return _ADWIN_HEADER + _ADWIN_ROWS * (1 + 2 * (max_buckets + 1))


def channel_size(warm_up: int, sizes: list[int]) -> int:
    """Length of a channel's state: header, warm-up values, detectors."""
    return _CHANNEL_HEADER + warm_up + sum(sizes)


@njit(cache=True)
def _windowed_z_step(params: Array, state: Array, inflation: float, x: float) -> bool:
    # state: count, place of the oldest value, then a ring of reference + test values
    n_reference, n_test, threshold = int(params[0]), int(params[1]), params[2]
    size = n_reference + n_test
    count, place = int(state[0]), int(state[1])
    ring = state[2 : 2 + size]
    ring[place] = x
    place = place + 1 if place + 1 < size else 0
    state[1] = place
    if count + 1 < size:
        state[0] = count + 1
        return False
    state[0] = size
    # Sums are taken afresh: running ones would gather rounding, and 230 values cost a tenth of a microsecond.
    total = 0.0
    for i in range(n_reference):
        j = place + i
        total += ring[j if j < size else j - size]
    mean = total / n_reference
    squares = 0.0
    for i in range(n_reference):
        j = place + i
        deviation = ring[j if j < size else j - size] - mean
        squares += deviation * deviation
    total = 0.0
    for i in range(n_reference, size):
        j = place + i
        total += ring[j if j < size else j - size]
    variance = squares / (n_reference - 1)
    if not variance > 0.0:
        return False
    error = math.sqrt(inflation * variance * (1.0 / n_reference + 1.0 / n_test))
    return bool(abs(total / n_test - mean) > threshold * error)


@njit(cache=True)
def _adwin_insert(state: Array, capacity: int, x: float) -> None:
    stride = 1 + 2 * capacity
    width, total = state[0], state[1]
    if width > 0.0:
        deviation = x - total / width
        state[2] += width * deviation * deviation / (width + 1.0)
    state[0] = width + 1.0
    state[1] = total + x
    if state[3] == 0.0:
        state[3] = 1.0
    u, v = x, 0.0
    for row in range(_ADWIN_ROWS):
        start = _ADWIN_HEADER + row * stride
        held = int(state[start])
        totals = state[start + 1 : start + 1 + capacity]
        variances = state[start + 1 + capacity : start + stride]
        totals[held], variances[held] = u, v
        held += 1
        if held < capacity:
            state[start] = held
            return
        # One too many of this size: the two oldest become one of the next size.
        n = 2.0**row
        difference = totals[0] / n - totals[1] / n
        u = totals[0] + totals[1]
        v = variances[0] + variances[1] + n * n * difference * difference / (n + n)
        for k in range(held - 2):
            totals[k], variances[k] = totals[k + 2], variances[k + 2]
        state[start] = held - 2
        if state[3] < row + 2:
            state[3] = row + 2


@njit(cache=True)
def _adwin_step(params: Array, state: Array, inflation: float, x: float) -> bool:
    delta, clock, capacity = params[0], int(params[1]), int(params[2]) + 1
    shortest, grace = params[3], params[4]
    _adwin_insert(state, capacity, x)
    state[4] += 1.0
    width = state[0]
    if int(state[4]) % clock != 0 or width <= grace:
        return False
    stride = 1 + 2 * capacity
    log_term = math.log(2.0 * math.log(width) / delta)
    variance = inflation * state[2] / width
    n0, u0 = 0.0, 0.0
    n1, u1 = width, state[1]
    for row in range(int(state[3]) - 1, -1, -1):
        start = _ADWIN_HEADER + row * stride
        n = 2.0**row
        for k in range(int(state[start])):
            n0 += n
            n1 -= n
            u0 += state[start + 1 + k]
            u1 -= state[start + 1 + k]
            if n1 >= shortest and n0 >= shortest:
                inverse = 1.0 / (n0 - shortest + 1.0) + 1.0 / (n1 - shortest + 1.0)
                bound = math.sqrt(2.0 * inverse * variance * log_term) + 2.0 / 3.0 * log_term * inverse
                if abs(u0 / n0 - u1 / n1) > bound:
                    return True
    return False


@njit(cache=True)
def _page_hinkley_step(params: Array, state: Array, inflation: float, x: float) -> bool:
    # state: count, mean, rising sum, falling sum, smallest rising sum, largest falling sum
    least, delta, threshold, alpha = params[0], params[1], params[2] * math.sqrt(inflation), params[3]
    first = state[0] == 0.0
    state[0] += 1.0
    state[1] += (x - state[1]) / state[0]
    deviation = x - state[1]
    state[2] = alpha * state[2] + deviation - delta
    state[3] = alpha * state[3] + deviation + delta
    if first or state[2] < state[4]:
        state[4] = state[2]
    if first or state[3] > state[5]:
        state[5] = state[3]
    if state[0] < least:
        return False
    return bool(state[2] - state[4] > threshold or state[5] - state[3] > threshold)


@njit(cache=True)
def _detect(
    kinds: NDArray[np.int64], params: Array, offsets: NDArray[np.int64], state: Array, inflation: float, x: float
) -> int:
    # Every detector sees every value, also after one of them has raised its alarm: bit i is detector i.
    alarms = 0
    for i in range(kinds.shape[0]):
        part = state[offsets[i] : offsets[i + 1]]
        if kinds[i] == WINDOWED_Z:
            alarm = _windowed_z_step(params[i], part, inflation, x)
        elif kinds[i] == ADWIN:
            alarm = _adwin_step(params[i], part, inflation, x)
        elif kinds[i] == PAGE_HINKLEY:
            alarm = _page_hinkley_step(params[i], part, inflation, x)
        elif kinds[i] == MEAN_GLR:
            alarm = mean_glr_step(params[i], part, inflation, x)
        else:
            alarm = False  # needs no scale: see _detect_unscaled
        if alarm:
            alarms |= 1 << i
    return alarms


@njit(cache=True)
def _detect_unscaled(
    kinds: NDArray[np.int64], params: Array, offsets: NDArray[np.int64], state: Array, x: float
) -> int:
    alarms = 0
    for i in range(kinds.shape[0]):
        part = state[offsets[i] : offsets[i + 1]]
        if kinds[i] == GARCH_CUSUM:
            alarm = garch_cusum_step(params[i], part, x)
        elif kinds[i] == BERNOULLI_GLR:
            alarm = bernoulli_glr_step(params[i], part, x)
        else:
            alarm = False
        if alarm:
            alarms |= 1 << i
    return alarms


@njit(cache=True)
def _restart(kinds: NDArray[np.int64], offsets: NDArray[np.int64], state: Array, unscaled: bool) -> None:
    for i in range(kinds.shape[0]):
        part = state[offsets[i] : offsets[i + 1]]
        if kinds[i] == GARCH_CUSUM:
            if unscaled:
                garch_cusum_restart(part)
        elif unscaled or kinds[i] != BERNOULLI_GLR:
            part[:] = 0.0


@njit(cache=True)
def _standardised(state: Array, clip: float, x: float) -> float:
    return float(min(max((x - state[2]) / state[3], -clip), clip))


@njit(cache=True)
def _inflation(y: Array, lags: int) -> float:
    # Variance of a mean of correlated values over that of independent ones: Bartlett's kernel, Newey and West (1987).
    n = y.shape[0]
    y = y - y.sum() / n
    squares = (y * y).sum()
    inflation = 1.0
    for lag in range(1, min(lags, n - 1) + 1):
        products = 0.0
        for i in range(lag, n):
            products += y[i] * y[i - lag]
        inflation += 2.0 * (1.0 - lag / (lags + 1.0)) * products / squares
    # Below the gate it is the noise of the estimate, and correcting for noise costs power. Above it the estimate is too
    # low, because slow correlations show only in part in a short sample: GARCH(0.10, 0.85) wants 2.5 times it.
    return 1.0 if inflation < _GATE else _SHORT_SAMPLE * inflation


@njit(cache=True)
def _learn(state: Array, values: Array, clip: float, lags: int) -> bool:
    # Median and MAD: a tail of the warm-up must not widen the scale that all later values are measured with.
    location = np.median(values)
    deviations = np.abs(values - location)
    scale = _MAD_TO_SD * np.median(deviations)
    if scale == 0.0:  # more than half of the values are equal, as returns of a market that hardly trades
        scale = _MEAN_DEVIATION_TO_SD * deviations.sum() / values.shape[0]
    if not scale > 0.0:
        return False
    state[2], state[3] = location, scale
    y = np.empty_like(values)
    for i in range(values.shape[0]):
        y[i] = _standardised(state, clip, values[i])
    state[4] = _inflation(y, lags)
    return True


@njit(cache=True)
def channel_step(
    warm_up: int,
    clip: float,
    lags: int,
    kinds: NDArray[np.int64],
    params: Array,
    offsets: NDArray[np.int64],
    state: Array,
    x: float,
) -> int:
    """Feed one value; return a bit for each detector that raises an alarm, 0 for none.

    Values that are not finite are passed over. After an alarm the detectors start afresh with the next value; the scale
    is learnt anew meanwhile, and the one known so far serves until then.
    """
    if not math.isfinite(x):
        return 0
    first = _CHANNEL_HEADER + warm_up
    alarms = _detect_unscaled(kinds, params, offsets, state, x)
    if warm_up == 0:
        alarms |= _detect(kinds, params, offsets, state, 1.0, x)
    elif state[0] == 1.0:
        alarms |= _detect(kinds, params, offsets, state, state[4], _standardised(state, clip, x))
    count = int(state[1])
    if alarms == 0 and count < warm_up:
        values = state[_CHANNEL_HEADER:first]
        values[count] = x
        state[1] = count + 1
        if count + 1 == warm_up:
            if _learn(state, values, clip, lags):
                state[0] = 1.0
                _restart(kinds, offsets, state, False)
                for i in range(warm_up):
                    alarms |= _detect(kinds, params, offsets, state, state[4], _standardised(state, clip, values[i]))
            else:
                state[1] = 0.0  # constant: nothing to measure with; wait for values that move
    if alarms:
        state[1] = 0.0
        _restart(kinds, offsets, state, True)
    return alarms


@njit(cache=True)
def channel_scan(
    warm_up: int,
    clip: float,
    lags: int,
    kinds: NDArray[np.int64],
    params: Array,
    offsets: NDArray[np.int64],
    state: Array,
    values: Array,
    alarms: NDArray[np.int64],
) -> None:
    """Feed ``values`` in order; ``alarms[i]`` receives what the step on ``values[i]`` returns."""
    for i in range(values.shape[0]):
        alarms[i] = channel_step(warm_up, clip, lags, kinds, params, offsets, state, values[i])
