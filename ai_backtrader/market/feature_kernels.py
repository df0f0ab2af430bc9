"""Compiled arithmetic of the market features: one bar after the other, whether a data set or a live feed asks.

A table holds one series a row, one bar a column: the inputs first, then everything that the next bars need. The batch
feeds it blocks of bars, the live feed one bar at a time; both run :func:`fill`, so that their numbers cannot differ.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.market import indicator_kernels as k

Floats = NDArray[np.float64]

N_FEATURES = 23
N_INPUTS = 8

# Rows of the table.
(HIGH, LOW, CLOSE, VOLUME, TAKER_BUY, FUNDING, OPEN_INTEREST, LONG_SHORT) = range(N_INPUTS)
(EMA12, EMA20, EMA26, EMA50, EMA100, MACD, SIGNAL, CROSSING) = range(8, 16)
(UP, DOWN, UP_MEAN, DOWN_MEAN, RSI) = range(16, 21)
(TRUE_RANGE, ATR, ATR_PCT, PLUS_DM, MINUS_DM, PLUS_MEAN, MINUS_MEAN, SPREAD, SPREAD_MEAN) = range(21, 30)
(SQUARE, WIDTH, LOG_RETURN, TYPICAL, TURNOVER, LOCATION) = range(30, 36)
(CLOSE_MEAN, SQUARE_MEAN, ATR_MEAN, VOLUME_MEAN, DAY_VOLUME, DAY_TURNOVER, DAY_TYPICAL) = range(36, 43)
N_ROWS = 43

# Smoothings and window means, as source row, target row, period, bars before the source's first value. One loop each:
# unrolled by hand they take the compiler three times as long.
_SMOOTHED = np.array(
    [
        (CLOSE, EMA12, 12, 0),
        (CLOSE, EMA20, 20, 0),
        (CLOSE, EMA26, 26, 0),
        (CLOSE, EMA50, 50, 0),
        (CLOSE, EMA100, 100, 0),
        (MACD, SIGNAL, 9, 25),
        (UP, UP_MEAN, 14, 1),
        (DOWN, DOWN_MEAN, 14, 1),
        (TRUE_RANGE, ATR, 14, 1),
        (PLUS_DM, PLUS_MEAN, 14, 1),
        (MINUS_DM, MINUS_MEAN, 14, 1),
        (SPREAD, SPREAD_MEAN, 14, 14),
    ]
)
_ALPHAS = np.array([1.0 / n if n == 14 else 2.0 / (1.0 + n) for _, _, n, _ in _SMOOTHED.tolist()])  # Wilder's, EMA's
_SUMMED = np.array(
    [
        (CLOSE, CLOSE_MEAN, 20, 0),
        (SQUARE, SQUARE_MEAN, 20, 0),
        (ATR, ATR_MEAN, 100, 14),
        (VOLUME, VOLUME_MEAN, 20, 0),
        (VOLUME, DAY_VOLUME, 0, 0),  # period 0: a day
        (TURNOVER, DAY_TURNOVER, 0, 0),
        (TYPICAL, DAY_TYPICAL, 0, 0),
    ]
)

# Extra outputs, one row each: what scales the vector, and the ATR in price units.
(ATR_OUT, ATR_PCT_MEDIAN, WIDTH_MEDIAN) = range(3)
N_EXTRAS = 3

# State beside the table: seven window sums, two sorted windows, the last settled funding rate.
MEDIAN_WINDOW = 100
_SORTED = 7 * k.SUM_STATE
LAST_FUNDING = _SORTED + 2 * MEDIAN_WINDOW
N_STATE = LAST_FUNDING + 1

WARM_UP = 120  # index of the first ready bar: 20 + 100 log returns

# Below these, relative to the price, a difference of doubles is rounding and no movement.
_RESOLUTION = 1e-12
_BAND_RESOLUTION = 5e-8  # mean of squares less square of mean loses half the digits
_SATURATED_RATIO = 4.0  # log2(4) / 2 = 1: where volatility comes out of none at all
_SATURATED_VOLUME = 16.0  # log2(16) / 4 = 1


@njit(cache=True, error_model="numpy")
def _clip(x: float, limit: float) -> float:
    return min(max(x, -limit), limit)


@njit(cache=True, error_model="numpy")
def _sign(difference: float, scale: float) -> float:
    """Sign, 0 within the rounding of ``scale``."""
    if difference > _RESOLUTION * scale:
        return 1.0
    if difference < -_RESOLUTION * scale:
        return -1.0
    return 0.0


@njit(cache=True, error_model="numpy")
def _rank(window: Floats, used: int, value: float) -> int:
    """Number of entries of the sorted window below ``value``."""
    low = 0
    high = used
    while low < high:
        middle = (low + high) // 2
        if window[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, error_model="numpy")
def _median_at(x: Floats, i: int, first: int, window: Floats) -> float:
    """Median of the last 100 values, kept sorted; NaN before there are 100."""
    used = min(i - first, MEDIAN_WINDOW)
    if used < 0:
        return np.nan
    if used == MEDIAN_WINDOW:
        used -= 1
        for j in range(_rank(window, MEDIAN_WINDOW, x[i - MEDIAN_WINDOW]), used):
            window[j] = window[j + 1]
    place = _rank(window, used, x[i])
    for j in range(used, place, -1):
        window[j] = window[j - 1]
    window[place] = x[i]
    if used + 1 < MEDIAN_WINDOW:
        return np.nan
    half = MEDIAN_WINDOW // 2
    return float(0.5 * (window[half - 1] + window[half]))


@njit(cache=True, error_model="numpy")
def _deviation(x: Floats, low: int, high: int) -> float:
    """Population standard deviation of ``x[low:high]`` in two passes."""
    mean = 0.0
    for j in range(low, high):
        mean += x[j]
    mean /= high - low
    total = 0.0
    for j in range(low, high):
        total += (x[j] - mean) * (x[j] - mean)
    return math.sqrt(total / (high - low))


@njit(cache=True, error_model="numpy")
def _log2_entry(x: float, scale: float) -> float:
    return _clip(math.log2(x) / scale, 1.0) if x > 0.0 else -1.0


@njit(cache=True, error_model="numpy")
def vector_row(raw: Floats, atr_pct_median: float, width_median: float, spans: NDArray[np.int64], out: Floats) -> None:
    """Network entries of one row of raw features, in their order; NaN stay NaN."""
    one = max(atr_pct_median, 0.01)
    out[0] = _clip(raw[0] / (3.0 * max(atr_pct_median * math.sqrt(spans[0]), 0.01)), 1.0)
    out[1] = _clip(raw[1] / (3.0 * max(atr_pct_median * math.sqrt(spans[1]), 0.01)), 1.0)
    day = max(atr_pct_median * math.sqrt(spans[2]), 0.01)
    out[2] = _clip(raw[2] / (3.0 * day), 1.0)
    out[3] = _clip(raw[3] / (4.0 * one), 1.0)
    out[4] = _clip(raw[4] / (8.0 * one), 1.0)
    out[5] = _clip(raw[5] / (1.5 * day), 1.0)
    out[6] = (raw[6] - 50.0) / 50.0
    out[7] = _clip(raw[7] / 30.0, 1.0)
    out[8] = _clip(raw[8], 1.0)
    out[9] = raw[9]
    out[10] = _clip(raw[10] / (3.0 * max(atr_pct_median * math.sqrt(5.0), 0.01)), 1.0)
    out[11] = _clip(raw[11] / (3.0 * max(atr_pct_median * math.sqrt(20.0), 0.01)), 1.0)
    out[12] = _log2_entry(raw[12], 2.0)
    out[13] = _clip(2.0 * raw[13] - 1.0, 2.0) / 2.0
    if width_median > 0.0:
        out[14] = _log2_entry(raw[14] / width_median, 2.0)
    else:
        out[14] = 1.0 if raw[14] > 0.0 else 0.0
    out[15] = _log2_entry(raw[15], 2.0)
    out[16] = raw[16]
    out[17] = _clip((raw[17] - 25.0) / 25.0, 1.0)
    out[18] = raw[18]
    out[19] = _clip(3.0 * raw[19] - 1.0, 1.0)
    out[20] = raw[20]
    out[21] = _log2_entry(max(raw[21], 0.0625), 4.0)
    out[22] = 2.0 * raw[22] - 1.0


@njit(cache=True, error_model="numpy")
def structure_vector_row(structure: Floats, out: Floats) -> None:
    """Network entries of funding rate, open interest change and long/short ratio; NaN stay NaN."""
    out[0] = _clip(structure[0] / 0.001, 1.0)
    out[1] = _clip(structure[1] / 0.2, 1.0)
    out[2] = _log2_entry(structure[2], 2.0) if structure[2] == structure[2] else np.nan


@njit(cache=True, error_model="numpy")
def _structure_row(table: Floats, state: Floats, i: int, first: int, day: int, out: Floats) -> None:
    """Last settled funding rate, open interest change, long/short ratio; NaN where the feed says nothing."""
    out[0] = state[LAST_FUNDING]
    now = table[OPEN_INTEREST, i]
    before = table[OPEN_INTEREST, i - day] if i - day >= first else np.nan
    known = now > 0.0 and before > 0.0 and now < np.inf and before < np.inf
    out[1] = math.log(now / before) if known else np.nan
    ratio = table[LONG_SHORT, i]
    out[2] = ratio if ratio > 0.0 and ratio < np.inf else np.nan


@njit(cache=True, error_model="numpy")
def fill(
    table: Floats,
    state: Floats,
    lo: int,
    hi: int,
    first: int,
    spans: NDArray[np.int64],
    high_volatility_ratio: float,
    powers: Floats,
    raw: Floats,
    structure: Floats,
    vector: NDArray[np.float32],
    extras: Floats,
) -> None:
    """Features of the columns ``lo`` to ``hi - 1`` of the table; column ``first`` (may be negative) is the first bar.

    ``spans`` are the bars of 1 h, 4 h and 24 h and the index of the first ready bar. Outputs have one row a bar
    (``extras`` one column).
    """
    day = spans[2]
    entries = np.empty(N_FEATURES)
    close = table[CLOSE]
    for i in range(lo, hi):
        t = i - lo
        c = close[i]
        # --- what later bars need ---
        if i > first:
            table[UP, i] = max(c - close[i - 1], 0.0)
            table[DOWN, i] = max(close[i - 1] - c, 0.0)
            table[TRUE_RANGE, i] = k.true_range_at(table[HIGH], table[LOW], close, i)
            table[PLUS_DM, i], table[MINUS_DM, i] = k.directional_moves_at(table[HIGH], table[LOW], i)
            table[LOG_RETURN, i] = math.log(c / close[i - 1])
        for j in range(_SMOOTHED.shape[0]):
            source, out, period, wait = _SMOOTHED[j]
            table[out, i] = k.smooth_at(table[source], table[out], i, period, _ALPHAS[j], first + wait)
            if out == EMA26:
                table[MACD, i] = table[EMA12, i] - table[EMA26, i]
            elif out == MINUS_MEAN:
                table[SPREAD, i] = k.directional_spread(
                    k.directional_index(table[PLUS_MEAN, i], table[ATR, i]),
                    k.directional_index(table[MINUS_MEAN, i], table[ATR, i]),
                )
        # Backtrader's CrossOver looks back to the last difference that was not zero.
        side = _sign(table[MACD, i] - table[SIGNAL, i], c)
        table[CROSSING, i] = 0.0
        if i >= first + 33:
            table[CROSSING, i] = side if side != 0.0 or i == first + 33 else table[CROSSING, i - 1]
        table[RSI, i] = k.relative_strength(table[UP_MEAN, i], table[DOWN_MEAN, i])
        atr = table[ATR, i]
        table[ATR_PCT, i] = 100.0 * atr / c
        volume = table[VOLUME, i]
        table[TYPICAL, i] = (table[HIGH, i] + table[LOW, i] + c) / 3.0
        table[TURNOVER, i] = table[TYPICAL, i] * volume
        table[SQUARE, i] = c ** powers[0]
        for j in range(_SUMMED.shape[0]):
            source, out, period, wait = _SUMMED[j]
            period = day if period == 0 else period
            table[out, i] = k.window_sum_at(table[source], i, period, first + wait, state[3 * j : 3 * j + 3]) / period

        middle = table[CLOSE_MEAN, i]
        deviation = k.deviation(middle, table[SQUARE_MEAN, i], powers)
        upper = middle + 2.0 * deviation
        lower = middle - 2.0 * deviation
        flat = not deviation > _BAND_RESOLUTION * middle
        table[WIDTH, i] = 0.0 if flat else (upper - lower) / middle
        span = table[HIGH, i] - table[LOW, i]
        table[LOCATION, i] = min(max((c - table[LOW, i]) / span, 0.0), 1.0) if span > 0.0 else 0.5
        if table[FUNDING, i] != 0.0 and abs(table[FUNDING, i]) < np.inf:
            state[LAST_FUNDING] = table[FUNDING, i]

        extras[ATR_OUT, t] = atr
        extras[ATR_PCT_MEDIAN, t] = _median_at(table[ATR_PCT], i, first + 14, state[_SORTED : _SORTED + MEDIAN_WINDOW])
        extras[WIDTH_MEDIAN, t] = _median_at(table[WIDTH], i, first + 19, state[_SORTED + MEDIAN_WINDOW : LAST_FUNDING])
        _structure_row(table, state, i, first, day, structure[t])
        if i < first + spans[3]:
            raw[t, :] = np.nan
            vector[t, :] = np.nan
            continue

        # --- the 23 features ---
        row = raw[t]
        row[0] = 100.0 * (c / close[i - spans[0]] - 1.0)
        row[1] = 100.0 * (c / close[i - spans[1]] - 1.0)
        row[2] = 100.0 * (c / close[i - day] - 1.0)
        row[3] = 100.0 * (c / table[EMA20, i] - 1.0)
        row[4] = 100.0 * (c / table[EMA50, i] - 1.0)
        traded = table[DAY_VOLUME, i] > 0.0 and table[DAY_TURNOVER, i] > 0.0
        vwap = table[DAY_TURNOVER, i] / table[DAY_VOLUME, i] if traded else table[DAY_TYPICAL, i]
        row[5] = 100.0 * (c / vwap - 1.0)
        row[6] = table[RSI, i]
        row[7] = table[RSI, i] - table[RSI, i - 3]
        row[8] = (table[MACD, i] - table[SIGNAL, i]) / max(atr, _RESOLUTION * c)
        row[9] = 0.5 * (side - table[CROSSING, i - 1]) if side * table[CROSSING, i - 1] < 0.0 else 0.0
        row[10] = 100.0 * ((c - close[i - 5]) / close[i - 5])
        row[11] = 100.0 * ((c - close[i - 20]) / close[i - 20])
        row[12] = atr / table[ATR_MEAN, i] if table[ATR_MEAN, i] > 0.0 else 1.0
        row[13] = 0.5 if flat else (c - lower) / (upper - lower)
        row[14] = table[WIDTH, i]
        recent = _deviation(table[LOG_RETURN], i - 19, i + 1)
        before = _deviation(table[LOG_RETURN], i - 119, i - 19)
        if before > _RESOLUTION:
            row[15] = recent / before
        else:
            row[15] = _SATURATED_RATIO if recent > _RESOLUTION else 1.0
        row[16] = 1.0 if row[15] > high_volatility_ratio else 0.0
        row[17] = 100.0 * table[SPREAD_MEAN, i]
        gap = table[EMA20, i] - table[EMA50, i]
        row[18] = _sign(gap, c) if abs(gap) > 0.25 * atr else 0.0
        path = 0.0
        for j in range(i - 19, i + 1):
            path += abs(close[j] - close[j - 1])
        row[19] = abs(c - close[i - 20]) / path if path > 0.0 else 0.33
        row[20] = (_sign(c - table[EMA20, i], c) + _sign(gap, c) + _sign(table[EMA50, i] - table[EMA100, i], c)) / 3.0
        usual = table[VOLUME_MEAN, i - 1]
        if usual > 0.0:
            row[21] = volume / usual
        else:
            row[21] = _SATURATED_VOLUME if volume > 0.0 else 1.0
        taken = table[TAKER_BUY, i]
        if volume > 0.0 and taken >= 0.0 and taken < np.inf:
            row[22] = min(taken / volume, 1.0)
        else:
            weighted = 0.0
            weight = 0.0
            for j in range(i - 4, i + 1):
                weighted += table[LOCATION, j] * table[VOLUME, j]
                weight += table[VOLUME, j]
            row[22] = weighted / weight if weight > 0.0 else 0.5
        vector_row(row, extras[ATR_PCT_MEDIAN, t], extras[WIDTH_MEDIAN, t], spans, entries)
        for j in range(N_FEATURES):
            vector[t, j] = entries[j]
