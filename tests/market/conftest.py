"""Bars for the tests of indicators, features and regimes: real slices and synthetic paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.market import MarketData


@pytest.fixture(scope="session")
def real_data(shared_csv: Callable[[str], Path]) -> Callable[..., MarketData]:
    """Real market data by file stem, loaded once, cut to the bars from ``start`` to before ``stop``."""
    loaded: dict[str, MarketData] = {}

    def load(name: str, start: int = 0, stop: int | None = None) -> MarketData:
        if name not in loaded:
            loaded[name] = MarketData.from_csv(shared_csv(f"{name}.csv.gz"))
        data = loaded[name]
        end = data.times[stop] if stop is not None and stop < len(data) else None
        return data.between(data.times[start], end)

    return load


@pytest.fixture(scope="session")
def random_bars() -> Callable[..., dict[str, NDArray[np.float64]]]:
    """Valid bars of a random walk with heavy tails: open, high, low, close, volume."""

    def make(n: int, *, seed: int = 0, step: float = 0.01, drift: float = 0.0) -> dict[str, NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        close = 100.0 * np.exp(np.cumsum(drift + step * rng.standard_t(4, n)))
        open_ = np.concatenate(([100.0], close[:-1]))
        reach = np.abs(rng.normal(0.0, step / 2, (2, n)))
        high = np.maximum(open_, close) * (1.0 + reach[0])
        low = np.minimum(open_, close) * (1.0 - np.minimum(reach[1], 0.5))
        return {"open": open_, "high": high, "low": low, "close": close, "volume": rng.lognormal(3.0, 1.0, n)}

    return make
