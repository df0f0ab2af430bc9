"""Conditions as bits, packed as :mod:`ai_backtrader.rules.signals` packs them: bar t is bit t % 64 of word t // 64.

Strategies that share a condition share its words, sections combine 64 bars at a time, and the next signal is found by
looking for the next bit instead of visiting bars.

What the loop over bars calls takes a table and the number of a row: a row of its own would be an array whose
references are counted, with atomic operations, each time it is handed on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.compiling import compiled, inlined

__all__ = ["combine", "is_set", "keep_from", "next_set"]

Words = NDArray[np.uint64]

_ONE = np.uint64(1)
_LOW_SIX = np.int64(63)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_NONE = np.uint64(0)
_PLANES = 5  # bits of a section's counter: up to 31 genes

# A de Bruijn sequence: multiplied by a power of two, its six highest bits tell which one (Leiserson, Prokop and
# Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998).
_DE_BRUIJN = np.uint64(0x03F7_9D71_B4CB_0A89)
_SIX_HIGHEST = np.uint64(58)
_PLACES = np.empty(64, np.int64)
_PLACES[[((0x03F7_9D71_B4CB_0A89 << k) & 0xFFFF_FFFF_FFFF_FFFF) >> 58 for k in range(64)]] = np.arange(64)


@inlined
def next_set(words: Words, a: int, b: int, start: int, stop: int) -> int:
    """First bar in ``start <= bar < stop`` at which row ``a`` or row ``b`` is set; ``stop`` when there is none."""
    if start >= stop:
        return stop
    i = start >> 6
    word = (words[a, i] | words[b, i]) & (_ALL << np.uint64(start & _LOW_SIX))
    last = (stop - 1) >> 6
    while word == _NONE:
        i += 1
        if i > last:
            return stop
        word = words[a, i] | words[b, i]
    lowest = word & (~word + _ONE)
    found = (i << 6) + _PLACES[(lowest * _DE_BRUIJN) >> _SIX_HIGHEST]
    return int(min(stop, found))


@inlined
def is_set(words: Words, row: int, bar: int) -> bool:
    """Whether the condition of a row holds at a bar."""
    return bool((words[row, bar >> 6] >> np.uint64(bar & _LOW_SIX)) & _ONE)


@inlined
def keep_from(words: Words, start: int) -> None:
    """Clear all bits before bar ``start``."""
    whole = min(start >> 6, len(words))
    words[:whole] = _NONE
    if whole < len(words):
        words[whole] &= _ALL << np.uint64(start & _LOW_SIX)


@compiled
def combine(table: Words, places: NDArray[np.int64], first: int, count: int, need: int, out: Words) -> None:
    """Bars at which at least ``need`` of the conditions in the rows ``places[first : first + count]`` hold.

    ``need`` of 0 or less is true everywhere (bits behind the last bar included: AND them away), more than there are
    rows nowhere.
    """
    rows = places[first : first + count]
    if need <= 0:
        out[:] = _ALL
    elif need > count:
        out[:] = _NONE
    elif need == count:
        out[:] = table[rows[0]]
        for row in rows[1:]:
            out &= table[row]
    elif need == 1:
        out[:] = table[rows[0]]
        for row in rows[1:]:
            out |= table[row]
    else:
        # A counter a bar, its binary digits in separate words: adding a condition is a ripple of half adders.
        planes = np.empty(_PLANES, np.uint64)
        for i in range(len(out)):
            planes[:] = _NONE
            for row in rows:
                carry = table[row, i]
                for k in range(_PLANES):
                    planes[k], carry = planes[k] ^ carry, planes[k] & carry
            above, equal = _NONE, _ALL
            for k in range(_PLANES - 1, -1, -1):
                if (need >> k) & 1:
                    equal &= planes[k]
                else:
                    above |= equal & planes[k]
                    equal &= ~planes[k]
            out[i] = above | equal
