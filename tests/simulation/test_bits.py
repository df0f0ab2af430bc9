"""Conditions as bits against the same on booleans."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.rules import unpack_words
from ai_backtrader.rules.signal_kernels import pack
from ai_backtrader.simulation.bits import combine, is_set, keep_from, next_set

SIZES = (1, 63, 64, 65, 127, 200, 640)


@pytest.mark.parametrize("bars", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_the_next_bit_is_the_next_true_bar(bars: int, share: float) -> None:
    rng = np.random.default_rng(bars)
    a, b = rng.random(bars) < share, rng.random(bars) < share / 2
    words = np.array([pack(a), pack(b)])
    either = np.flatnonzero(a | b)
    for start in range(0, bars + 1, max(1, bars // 40)):
        for stop in (start, min(bars, start + 1), min(bars, start + 70), bars):
            ahead = either[(either >= start) & (either < stop)]
            assert next_set(words, 0, 1, start, stop) == (ahead[0] if len(ahead) else stop)


@pytest.mark.parametrize("bars", SIZES)
def test_single_bits_and_clearing_the_start(bars: int) -> None:
    flags = np.random.default_rng(bars).random(bars) < 0.5
    words = pack(flags)
    table = np.array([~words, words])
    assert [is_set(table, 1, bar) for bar in range(bars)] == flags.tolist()
    for start in (0, 1, bars // 2, bars - 1, bars, bars + 100):
        cleared = words.copy()
        keep_from(cleared, start)
        assert unpack_words(cleared, bars).tolist() == (flags & (np.arange(bars) >= start)).tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16])
def test_at_least_so_many_of_the_conditions(count: int) -> None:
    rng = np.random.default_rng(count)
    flags = rng.random((count + 4, 300)) < 0.45
    table = np.array([pack(row) for row in flags])
    rows = rng.permutation(count + 4)[:count]
    places = np.concatenate(([0, 1], rows, [2]))  # of other rules before and behind
    out = np.empty(table.shape[1], np.uint64)
    for need in range(-1, count + 2):
        combine(table, places, 2, count, need, out)
        expected = flags[rows].sum(axis=0) >= need
        assert unpack_words(out, 300).tolist() == expected.tolist()
