"""Adjusted p-values against the definition, and their promise on simulated families."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ai_backtrader.evidence.multiple as multiple_module
from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError


def rejected_by_holm(p_values: list[float], alpha: float) -> set[int]:
    """The procedure as the paper tells it: step down until one is too large."""
    rejected: set[int] = set()
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] * (len(p_values) - step) > alpha:
            break
        rejected.add(i)
    return rejected


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(multiple_module)
    assert outcome.attempted >= 1
    assert outcome.failed == 0


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    adjusted = ev.holm(p_values)
    assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected_by_holm(p_values, alpha)
    assert np.all(adjusted <= ev.bonferroni(p_values))
    assert np.all(adjusted >= p_values)


@pytest.mark.parametrize("adjust", [ev.holm, ev.bonferroni])
def test_among_twenty_true_hypotheses_a_false_discovery_is_as_rare_as_promised(adjust: object) -> None:
    rng = np.random.default_rng(1)
    families = rng.uniform(size=(4000, 20))
    share = np.mean([adjust(family).min() <= 0.05 for family in families])
    assert 0.035 < share < 0.06


def test_tests_not_at_hand_count() -> None:
    assert ev.bonferroni([0.001, 0.02], n_tests=100).tolist() == [0.1, 1.0]
    full = ev.holm([0.001, 0.002] + [1.0] * 98)
    assert ev.holm([0.001, 0.002], n_tests=100).tolist() == full[:2].tolist()


def test_nothing_one_and_unknown() -> None:
    assert ev.holm([]).size == 0
    assert ev.bonferroni([]).size == 0
    assert ev.holm([0.04]).tolist() == [0.04]
    got = ev.holm([math.nan, 0.01])
    assert math.isnan(got[0])
    assert got[1] == 0.02


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(SettingsError, match="between 0 and 1"):
        ev.holm([0.5, 1.5])
    with pytest.raises(SettingsError, match="n_tests must be at least 3, got 2"):
        ev.bonferroni([0.1, 0.2, 0.3], n_tests=2)
    with pytest.raises(SettingsError, match="one dimension"):
        ev.holm([[0.1]])
