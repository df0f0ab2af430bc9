"""Made-up markets whose every price is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.market import MarketData

Bars = Sequence[tuple[float, float, float, float]]


def market(
    bars: Bars, *, symbol: str = "COIN", hours: float = 1.0, start: str = "2024-01-01", **columns: Sequence[float]
) -> MarketData:
    """Market data of (open, high, low, close) bars."""
    index = pd.date_range(start, periods=len(bars), freq=pd.Timedelta(hours=hours), tz="UTC")
    frame = pd.DataFrame(np.array(bars, dtype=float), columns=["open", "high", "low", "close"], index=index)
    frame["volume"] = 1_000.0
    for name, values in columns.items():
        frame[name] = np.array(values, dtype=float)
    return MarketData.from_frame(frame, symbol=symbol, bar_seconds=round(hours * 3600))


def path(closes: Sequence[float], *, margin: float = 0.0, **options: object) -> MarketData:
    """Market data whose bars go straight from close to close; ``margin`` widens the range as a fraction."""
    before = [closes[0], *closes[:-1]]
    bars = [(a, max(a, b) * (1.0 + margin), min(a, b) * (1.0 - margin), b) for a, b in zip(before, closes, strict=True)]
    return market(bars, **options)  # type: ignore[arg-type]  # options are those of market()


@pytest.fixture(scope="session")
def make_market() -> Callable[..., MarketData]:
    return market


@pytest.fixture(scope="session")
def make_path() -> Callable[..., MarketData]:
    return path
