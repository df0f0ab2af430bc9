"""Markets on which the compiled simulation is compared with Cerebro."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.market import MarketData

FILES = {
    "BTC perpetual": "BTCUSDT-perp-1h-2020-2023.csv.gz",
    "ETH perpetual": "ETHUSDT-perp-1h-2020-2023.csv.gz",
    "DOGE perpetual": "DOGE-perp-binance-1h-2025-2026-oi.csv.gz",
    "LTC": "LTCUSDT-1h-2020-2023.csv.gz",
    "EURUSD": "EURUSD-1h-2017-2022.csv.gz",
    "SP500": "SP500-1d-1999-2018.csv.gz",
}


def _jumpy(n: int) -> pd.DataFrame:
    """Fat tails, gaps, spikes, a mark price that leaves the last one, funding of both signs."""
    rng = np.random.default_rng(99)
    close = 100.0 * np.exp(np.cumsum(rng.standard_t(3, n) * 0.012))
    gaps = np.where(rng.random(n) < 0.04, rng.normal(0.0, 0.06, n), rng.normal(0.0, 0.002, n))
    opening = np.concatenate(([100.0], close[:-1])) * np.exp(gaps)
    high = np.maximum(opening, close) * np.exp(np.abs(rng.standard_t(3, n)) * 0.006)
    low = np.minimum(opening, close) * np.exp(-np.abs(rng.standard_t(3, n)) * 0.006)
    basis = np.exp(rng.normal(0.0, 0.004, n))
    return pd.DataFrame(
        {
            "open": opening, "high": high, "low": low, "close": close, "volume": rng.lognormal(5.0, 1.0, n),
            "mark_open": opening * basis, "mark_high": high * basis, "mark_low": low * basis,
            "mark_close": close * basis,
            "funding_rate": np.where(np.arange(n) % 8 == 0, rng.normal(0.0, 0.002, n), np.nan),
        }
    )  # fmt: skip


def _coarse(n: int) -> pd.DataFrame:
    """Prices on a grid of halves, many bars without movement: opens, stops and targets meet exactly."""
    rng = np.random.default_rng(7)
    close = np.maximum(4.0, 20.0 + np.cumsum(rng.integers(-2, 3, n)) / 2.0)
    opening = np.where(rng.random(n) < 0.8, np.concatenate(([20.0], close[:-1])), close)
    still = rng.random(n) < 0.3
    high = np.maximum(opening, close) + np.where(still, 0.0, rng.integers(0, 3, n) / 2.0)
    low = np.minimum(opening, close) - np.where(still, 0.0, rng.integers(0, 3, n) / 2.0)
    volume = rng.integers(0, 5, n).astype(float)
    return pd.DataFrame({"open": opening, "high": high, "low": low, "close": close, "volume": volume})


@pytest.fixture(scope="session")
def market(shared_csv: Callable[[str], Path]) -> Callable[[str, np.random.Generator, int], MarketData]:
    """``market(name, rng, bars)``: that many bars of a market, from a random place on."""

    @functools.cache
    def whole(name: str) -> MarketData:
        if name in FILES:
            return MarketData.from_csv(shared_csv(FILES[name]), symbol=name)
        frame = (_jumpy if name == "jumpy" else _coarse)(6000)
        frame.index = pd.date_range("2024-01-01", periods=len(frame), freq="h", tz="UTC")
        return MarketData.from_frame(frame, symbol=name, spike_factor=1e9)

    def part(name: str, rng: np.random.Generator, bars: int) -> MarketData:
        data = whole(name)
        first = int(rng.integers(0, len(data) - bars))
        return data.between(data.times[first], data.times[first + bars])

    return part
