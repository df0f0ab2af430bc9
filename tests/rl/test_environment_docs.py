"""The examples in the docstrings of the environments' room."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module", ["states", "rewards", "reward_audit", "environment", "environment_vector", "environment_settings"]
)
def test_the_examples_give_what_they_print(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"ai_backtrader.rl.{module}"))
    assert failed == 0
