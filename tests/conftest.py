"""What every test may ask for: the shared market data, where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_csv() -> Callable[[str], Path]:
    """Path of a file of real market data beside the checkout; skips the test, saying so, where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"shared market data not found: {path}")
        return path

    return find
