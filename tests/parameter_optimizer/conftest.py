"""Markets made to order, a family with two parameters, and a store that keeps what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.events import Event, ParametersOptimized
from ai_backtrader.market import MarketData
from ai_backtrader.rules import Gene, RiskParameters, Section, Series, StrategyChromosome


def _market(seed: int, *, bars: int = 2_000, edge: float = 0.0) -> MarketData:
    volatility = 0.006
    rng = np.random.default_rng([78, seed])
    shocks = rng.normal(0.0, volatility, bars)
    above, below = rng.exponential(volatility / 3, (2, bars))
    close = np.empty(bars)
    price = 100.0
    for t in range(bars):
        expected = 0.0
        if edge and t > 25:
            window = close[t - 20 : t]
            stretch = (close[t - 1] - window.mean()) / window.std()
            expected = edge * volatility * (float(stretch < -1.5) - float(stretch > 1.5))
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


def _reversion(parameters: Mapping[str, Any]) -> StrategyChromosome:
    band = Series("percent_b", (parameters["period"], 2.0))
    low = float(parameters["low"])
    return StrategyChromosome(
        entry_long=Section((Gene(band, "<", low),)),
        entry_short=Section((Gene(band, ">", 1.0 - low),)),
        exit=Section((Gene(band, "between", 0.4, 0.6),)),
        risk=RiskParameters(position_size=0.5, stop_atr=0.0),
    )


class _Store:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def optimization(self, key: str) -> ParametersOptimized | None:
        found = [e for e in self.events if isinstance(e, ParametersOptimized) and e.key == key]
        return found[-1] if found else None


@pytest.fixture(scope="session")
def make_market() -> Callable[..., MarketData]:
    """Hourly bars of a log-normal walk, 0.6 % a bar; ``edge``: drift of reversion, in deviations."""
    return _market


@pytest.fixture(scope="session")
def walk() -> MarketData:
    """2,000 bars without any edge."""
    return _market(1)


@pytest.fixture(scope="session")
def edge_market() -> MarketData:
    """4,000 bars with an edge of one deviation."""
    return _market(2, bars=4_000, edge=1.0)


@pytest.fixture(scope="session")
def reversion() -> Callable[[Mapping[str, Any]], StrategyChromosome]:
    """Buys below the lower Bollinger band, sells above the upper one: parameters ``period`` and ``low``."""
    return _reversion


@pytest.fixture(scope="session")
def reversion_space() -> dict[str, Any]:
    return {"period": (10, 60), "low": (-0.3, 0.2)}


@pytest.fixture
def store() -> _Store:
    """A journal that answers too."""
    return _Store()
