"""The room's names: all there, and none opens Numba before it is needed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from ai_backtrader import evidence


def test_every_public_name_is_that_of_its_file() -> None:
    for name, file in evidence._FILE_OF.items():
        assert getattr(evidence, name) is getattr(import_module(f"ai_backtrader.evidence.{file}"), name)
    ledger = {"MemoryLedger", "SealedOpening", "TrialCount", "TrialKey", "TrialLedger"}
    assert set(evidence.__all__) == set(evidence._FILE_OF) | ledger
    assert set(evidence.__all__) <= set(dir(evidence))


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sharp_ratio'"):
        evidence.sharp_ratio  # noqa: B018  # the point of the test


def test_the_ledger_opens_no_kernels() -> None:
    code = "import sys; from ai_backtrader.evidence import MemoryLedger; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
