"""Nearest remembered trades without measuring most of them, compiled.

Beside the features of the trades stand codes: the features in thousandths of their scales as 16-bit numbers, which a
processor compares sixteen at a time. The sum of the codes' differences is the distance but for rounding, so that few
trades more than those asked for can be among the nearest; only of these the distance itself is measured. What is found
is what measuring all would find, always: where the codes cannot prove that, all are measured.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.online_learner.pattern_kernels import nearest

__all__ = ["encode", "judged", "nearest_coded"]

Array = NDArray[np.float64]
Codes = NDArray[np.int16]

_MOST = 32_767  # stands for what is missing, and in sums for what cannot be compared
_FINEST = 1_000.0  # codes a robust standard deviation, at most
_CHUNK = 8_192  # trades whose sums are held at once: they stay in the first-level cache
_GROUP = 16  # trades that are passed over together
_SAMPLE = 512


@njit(cache=True)
def _resolution(n_features: int, cap: float) -> float:
    # No sum of capped differences may pass what 16 bits hold, and half of the codes are left for the values.
    return min(_FINEST, (_MOST - 1) / (n_features * cap), 0.5 * _MOST / cap)


@njit(cache=True)
def _code(value: float, inverse: float, resolution: float, highest: int) -> int:
    if not np.isfinite(value):
        return _MOST
    middle = 0.5 * highest
    return round(min(max(value * inverse * resolution + middle, 0.0), float(highest)))


@njit(cache=True)
def encode(
    memory: Array, sides: NDArray[np.int8], first: int, end: int, inverse: Array, cap: float, codes: Codes
) -> None:
    """Write the codes of the trades from place ``first`` to before ``end``; the sides go into the last row.

    Parameters
    ----------
    memory, sides, inverse, cap
        As in :func:`~ai_backtrader.online_learner.pattern_kernels.nearest`.
    codes
        (features + 1, capacity), written to.
    """
    resolution = _resolution(memory.shape[0], cap)
    highest = _MOST - int(cap * resolution)  # whatever is missing lies the cap away from every value
    for d in range(memory.shape[0]):
        for j in range(first, end):
            codes[d, j] = _code(memory[d, j], inverse[d], resolution, highest)
    for j in range(first, end):
        codes[memory.shape[0], j] = sides[j]


@njit(cache=True)
def _add_differences(
    codes: Codes, used: NDArray[np.int64], start: int, size: int, query: Codes, cap: int, sums: Codes
) -> None:
    # Every step is cast to 16 bits, or the sums would be taken four at a time and not sixteen.
    most = np.int16(cap)
    for j in range(size):
        sums[j] = 0
    pairs = used.shape[0] // 2
    for p in range(pairs):
        x, y = query[2 * p], query[2 * p + 1]
        x_row, y_row = codes[used[2 * p], start : start + size], codes[used[2 * p + 1], start : start + size]
        for j in range(size):
            t, u = np.int16(x - x_row[j]), np.int16(y - y_row[j])
            t = t if t >= 0 else np.int16(-t)
            u = u if u >= 0 else np.int16(-u)
            t = t if t < most else most
            u = u if u < most else most
            sums[j] = np.int16(sums[j] + np.int16(t + u))
    if 2 * pairs < used.shape[0]:
        x = query[2 * pairs]
        x_row = codes[used[2 * pairs], start : start + size]
        for j in range(size):
            t = np.int16(x - x_row[j])
            t = t if t >= 0 else np.int16(-t)
            t = t if t < most else most
            sums[j] = np.int16(sums[j] + t)


@njit(cache=True)
def _rank(values: Codes, n: int, rank: int) -> int:
    """The ``rank``-th smallest (from 1) of the first ``n`` values; the largest where there are fewer."""
    low, high = -1, _MOST
    while high - low > 1:
        middle = np.int16((low + high) // 2)
        count = 0
        for j in range(n):
            count += values[j] <= middle
        if count >= rank:
            high = int(middle)
        else:
            low = int(middle)
    return high


@njit(cache=True)
def _collect(
    sums: Codes,
    width: int,
    least: Codes,
    start: int,
    limit: int,
    places: NDArray[np.int32],
    found: Codes,
    n: int,
) -> int:
    """Append the trades whose sum is at most ``limit``; ``sums`` are ``_GROUP`` runs of ``width``."""
    for c in range(width):
        least[c] = sums[c]
    for g in range(1, _GROUP):
        run = sums[g * width : (g + 1) * width]
        for c in range(width):
            least[c] = run[c] if run[c] < least[c] else least[c]
    most = np.int16(limit)
    for c in range(width):
        if least[c] <= most:
            for j in range(c, _GROUP * width, width):
                if sums[j] <= most:
                    places[n], found[n] = start + j, sums[j]
                    n += 1
    return n


@njit(cache=True)
def _keep(places: NDArray[np.int32], found: Codes, n: int, limit: int) -> int:
    kept = 0
    for i in range(n):
        if found[i] <= limit:
            places[kept], found[kept] = places[i], found[i]
            kept += 1
    return kept


@njit(cache=True)
def _first_limit(sums: Codes, size: int, k: int) -> int:
    """A sum that probably a few more than ``k`` trades do not pass, from every so many-th of them."""
    step = max(1, size // _SAMPLE)
    sample = np.empty(_SAMPLE + 1, dtype=np.int16)
    n = 0
    for j in range(0, size, step):
        if n <= _SAMPLE:
            sample[n] = sums[j]
            n += 1
    share = k / step
    return _rank(sample, n, int(share + 2.0 * np.sqrt(share)) + 1)


@njit(cache=True)
def _measure(
    memory: Array,
    places: NDArray[np.int32],
    n: int,
    used: NDArray[np.int64],
    inverse: Array,
    cap: float,
    query: Array,
    distances: Array,
) -> None:
    # Added up in pairs of features, as `nearest` does: the same to the last bit.
    pairs = used.shape[0] // 2
    for i in range(n):
        distances[i] = 0.0
    for p in range(pairs):
        d, e = used[2 * p], used[2 * p + 1]
        x, x_scale, y, y_scale = query[d], inverse[d], query[e], inverse[e]
        for i in range(n):
            t = abs(x - memory[d, places[i]]) * x_scale
            u = abs(y - memory[e, places[i]]) * y_scale
            distances[i] += (t if t < cap else cap) + (u if u < cap else cap)
    if 2 * pairs < used.shape[0]:
        d = used[2 * pairs]
        for i in range(n):
            t = abs(query[d] - memory[d, places[i]]) * inverse[d]
            distances[i] += t if t < cap else cap


@njit(cache=True)
def _drop_farthest(distances: Array, places: NDArray[np.int32], n: int, k: int) -> float:
    """Move the ``k`` nearest to the front, of equal ones the lower places; how far the farthest of these is."""
    while n > k:
        worst = 0
        for i in range(1, n):
            if distances[i] > distances[worst] or (distances[i] == distances[worst] and places[i] > places[worst]):
                worst = i
        n -= 1
        distances[worst], places[worst] = distances[n], places[n]
    return float(distances[:n].max()) if n else 0.0


@njit(cache=True)
def nearest_coded(
    memory: Array,
    codes: Codes,
    n: int,
    inverse: Array,
    cap: float,
    query: Array,
    side: int,
    k: int,
) -> NDArray[np.int64]:
    """Places of the ``k`` trades nearest to ``query`` in ascending order; empty where the codes cannot tell.

    Parameters
    ----------
    codes
        (features + 1, capacity) as :func:`encode` wrote them.
    memory, n, inverse, cap, query, side, k
        As in :func:`~ai_backtrader.online_learner.pattern_kernels.nearest`.
    """
    n_features = memory.shape[0]
    resolution = _resolution(n_features, cap)
    capped = int(cap * resolution)
    used = np.flatnonzero(np.isfinite(query) & (inverse > 0.0))
    coded = np.empty(used.shape[0], dtype=np.int16)
    for i in range(used.shape[0]):
        coded[i] = _code(query[used[i]], inverse[used[i]], resolution, _MOST - capped)
    slack = used.shape[0] + 1  # a rounded difference is at most one off
    longest = -(-min(n, _CHUNK) // _GROUP)
    sums, least = np.empty(_GROUP * longest, dtype=np.int16), np.empty(longest, dtype=np.int16)
    places = np.empty(sums.shape[0] + _CHUNK + 8 * k, dtype=np.int32)
    found = np.empty(places.shape[0], dtype=np.int16)
    limit, m = _MOST - 1, 0
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        if m + size > places.shape[0]:
            return np.empty(0, dtype=np.int64)  # thousands at equal distances
        _add_differences(codes, used, start, size, coded, capped, sums)
        if side != 0:
            other = np.int16(-side)
            of_side = codes[n_features, start : start + size]
            for j in range(size):
                sums[j] = sums[j] if of_side[j] != other else np.int16(_MOST)
        width = -(-size // _GROUP)
        for j in range(size, _GROUP * width):
            sums[j] = _MOST
        if start == 0:
            limit = min(_first_limit(sums, size, k), _MOST - 1)
        m = _collect(sums, width, least, start, limit, places, found, m)
        if start == 0 and m < k:
            limit = _MOST - 1
            m = _collect(sums, width, least, start, limit, places, found, 0)
        if m > 4 * k or (m > k and start + size == n):
            limit = min(limit, _rank(found, m, k) + 2 * slack)
            m = _keep(places, found, m, limit)
    if m > k + 2 * _GROUP:
        return np.empty(0, dtype=np.int64)  # many at nearly equal distances
    measured = np.empty(m)
    _measure(memory, places, m, used, inverse, cap, query, measured)
    farthest = _drop_farthest(measured, places, m, k)
    # Whatever was passed over has a sum above the limit, so it is farther than the farthest of these.
    if limit < _MOST - 1 and not (m >= k and farthest * resolution < limit - slack):
        return np.empty(0, dtype=np.int64)
    return np.sort(places[: min(m, k)].astype(np.int64))


@njit(cache=True)
def judged(
    memory: Array,
    codes: Codes,
    pnl_pcts: Array,
    n: int,
    inverse: Array,
    cap: float,
    query: Array,
    side: int,
    k: int,
) -> tuple[int, float]:
    """Wins and summed result (oldest place first) of the nearest trades; arguments as in :func:`nearest_coded`."""
    places = nearest_coded(memory, codes, n, inverse, cap, query, side, k)
    if places.shape[0] == 0:
        places = nearest(memory, codes[memory.shape[0]], n, inverse, cap, query, side, k)
    wins, total = 0, 0.0
    for place in places:
        wins += pnl_pcts[place] > 0.0
        total += pnl_pcts[place]
    return wins, total
