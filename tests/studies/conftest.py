"""The studies are programs beside the package: their folder is put on the path, as running one does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "studies"


@pytest.fixture(scope="session", autouse=True)
def _on_the_path() -> Iterator[None]:
    sys.path.insert(0, str(STUDIES))
    yield
    sys.path.remove(str(STUDIES))


@pytest.fixture(scope="session")
def study(_on_the_path: None) -> Callable[[str], Any]:
    """A module of the studies by its name."""
    return lambda name: __import__(name)
