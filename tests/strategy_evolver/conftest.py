"""Markets made to order: a random walk, and one with an edge planted in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.market import MarketData

MakeMarket = Callable[..., MarketData]


def _market(seed: int, *, bars: int = 6_000, edge: float = 0.0, drift: float = 0.0) -> MarketData:
    volatility = 0.006
    rng = np.random.default_rng([77, seed])
    shocks = rng.normal(0.0, volatility, bars)
    above, below = rng.exponential(volatility / 3, (2, bars))
    close = np.empty(bars)
    price = 100.0
    for t in range(bars):
        expected = drift
        if edge and t > 25:
            window = close[t - 20 : t]
            stretch = (close[t - 1] - window.mean()) / window.std()
            expected += edge * volatility * (float(stretch < -1.5) - float(stretch > 1.5))
        price *= np.exp(expected + shocks[t])
        close[t] = price
    start = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": start,
            "high": np.maximum(start, close) * np.exp(above),
            "low": np.minimum(start, close) * np.exp(-below),
            "close": close,
            "volume": rng.lognormal(3.0, 0.5, bars),
        },
        index=pd.date_range("2020-01-01", periods=bars, freq="h", tz="UTC"),
    )
    return MarketData.from_frame(frame, symbol="WALK")


@pytest.fixture(scope="session")
def make_market() -> MakeMarket:
    """Hourly bars of a log-normal walk, 0.6 % a bar.

    ``edge``: in deviations, the drift of the next bar where the close lies 1.5 deviations or more below (above: minus)
    the mean of 20 closes; prices revert and drift nowhere by themselves. ``drift``: of every bar.
    """
    return _market


@pytest.fixture(scope="session")
def walk() -> MarketData:
    """2,000 bars without any edge."""
    return _market(1, bars=2_000)


@pytest.fixture(scope="session")
def edge_market() -> MarketData:
    """4,000 bars with an edge of one deviation."""
    return _market(2, bars=4_000, edge=1.0)
