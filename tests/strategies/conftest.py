"""Market data and random rules for the tests of compiled and exported strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome, strategy_period


@pytest.fixture(scope="session")
def walk() -> Callable[..., MarketData]:
    """A random walk with heavy tails; with ``still``, its last third does not move at all."""

    def make(n: int = 400, *, seed: int = 0, still: bool = False, step: float = 0.01) -> MarketData:
        rng = np.random.default_rng(seed)
        close = 100.0 * np.exp(np.cumsum(step * rng.standard_t(4, n)))
        open_ = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0.0, step / 5, n))
        reach = np.abs(rng.normal(0.0, step / 2, (2, n)))
        high = np.maximum(open_, close) * (1.0 + reach[0])
        low = np.minimum(open_, close) * (1.0 - reach[1])
        if still:
            for prices in (open_, high, low, close):
                prices[2 * n // 3 :] = 50.0
        volume = rng.lognormal(3.0, 1.0, n)
        volume[n // 2 : n // 2 + 30] = 0.0
        times = np.datetime64("2024-01-01", "ns") + np.arange(n) * np.timedelta64(3_600 * 10**9, "ns")
        return MarketData(
            symbol=f"walk-{seed}", times=times, bar_seconds=3_600, open=open_, high=high, low=low, close=close,
            volume=volume,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def rules() -> Callable[..., Iterator[StrategyChromosome]]:
    """Random chromosomes that first decide within ``bars``."""

    def make(count: int, *, bars: int, seed: int = 0, max_leverage: float = 1.0) -> Iterator[StrategyChromosome]:
        rng = np.random.default_rng(seed)
        while count:
            chromosome = StrategyChromosome.random(rng, max_leverage=max_leverage)
            if strategy_period(chromosome) <= bars:
                count -= 1
                yield chromosome

    return make
