"""Whole numbers drawn one at a time: numpy's own, and numpy's state after them."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.rules.drawing import below


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_numbers_and_state_are_those_of_numpy_with_other_draws_in_between(kind: type) -> None:
    ours, theirs = np.random.Generator(kind(3)), np.random.Generator(kind(3))
    counts = np.random.default_rng(5)
    for place in range(5_000):
        # Counts just below 2**32 are redrawn often, 3 * 2**30 one time in four.
        count = (int(counts.integers(1, 60)), int(counts.integers(1, 2**31)), 3 * 2**30, 2**32 - 2)[place % 4]
        assert below(ours, count) == int(theirs.integers(count))
        if place % 5 == 0:
            assert ours.random() == theirs.random()
        if place % 7 == 0:
            assert ours.normal() == theirs.normal()
    assert repr(ours.bit_generator.state) == repr(theirs.bit_generator.state)


def test_two_generators_in_turn_do_not_mix() -> None:
    ours = [np.random.default_rng(seed) for seed in (1, 2)]
    theirs = [np.random.default_rng(seed) for seed in (1, 2)]
    for place in range(100):
        assert below(ours[place % 2], 10) == int(theirs[place % 2].integers(10))


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match=r"low >= high|high <= 0"):
        below(np.random.default_rng(1), 0)
