"""The examples in the docstrings of training, experiences and shipped agents run as they stand."""

from __future__ import annotations

import doctest

import pytest

from ai_backtrader.rl import experiences, shipped, training


@pytest.mark.parametrize("module", [experiences, shipped, training], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_hold(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]  # a module
    assert found.attempted > 0
    assert found.failed == 0
