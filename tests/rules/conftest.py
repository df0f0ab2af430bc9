"""Market data for the tests of rules: random walks, quiet stretches, real bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome


def _market(symbol: str, open_: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> MarketData:
    n = len(close)
    times = np.datetime64("2024-01-01", "ns") + np.arange(n) * np.timedelta64(3_600 * 10**9, "ns")
    volume = np.random.default_rng(n).lognormal(3.0, 1.0, n)
    volume[n // 3 : n // 3 + 60] = 0.0
    return MarketData(
        symbol=symbol, times=times, bar_seconds=3_600, open=open_, high=high, low=low, close=close, volume=volume
    )


@pytest.fixture(scope="session")
def walk() -> Callable[..., MarketData]:
    """A random walk with heavy tails; prices move in ticks, so that equal values and touched levels occur."""

    def make(n: int = 600, *, seed: int = 0, tick: float = 0.0) -> MarketData:
        rng = np.random.default_rng(seed)
        close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_t(4, n)))
        open_ = np.concatenate(([100.0], close[:-1]))
        reach = np.abs(rng.normal(0.0, 0.005, (2, n)))
        high = np.maximum(open_, close) * (1.0 + reach[0])
        low = np.minimum(open_, close) * (1.0 - reach[1])
        if tick:
            open_, high, low, close = (np.round(x / tick) * tick for x in (open_, high, low, close))
        return _market(f"walk-{seed}", open_, high, low, close)

    return make


@pytest.fixture(scope="session")
def still() -> MarketData:
    """Bars in which nothing moves, then one move, then nothing again: every division by zero there is."""
    price = np.full(500, 5.0)
    price[420:] = 5.25
    return _market("still", price, price, price, price)


@pytest.fixture(scope="session")
def real(shared_csv: Callable[[str], Path]) -> MarketData:
    """Real bars of the BTC perpetual, those of spring 2020."""
    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz"))
    return data.between("2020-02-20", "2020-04-10")


@pytest.fixture(scope="session")
def many() -> Callable[..., list[StrategyChromosome]]:
    """Random chromosomes."""

    def make(count: int, *, seed: int = 0, max_leverage: float = 1.0) -> list[StrategyChromosome]:
        rng = np.random.default_rng(seed)
        return [StrategyChromosome.random(rng, max_leverage=max_leverage) for _ in range(count)]

    return make
