"""Trades and streams for the online learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.events import TradeClosed
from ai_backtrader.values import Direction, Regime

FEATURES = ("rsi", "macd_hist", "momentum_5", "atr_ratio", "bb_position", "volatility_ratio", "adx", "trend_strength",
            "ema_alignment", "volume_ratio")  # fmt: skip


def trade(pnl_pct: float, **facts: Any) -> TradeClosed:
    given = {"symbol": "X", "strategy_id": "s", "direction": Direction.LONG, "regime": Regime.BULL} | facts
    return TradeClosed(entry_price=100.0, exit_price=101.0, pnl_pct=pnl_pct, **given)


@pytest.fixture(scope="session")
def closed_trade() -> Callable[..., TradeClosed]:
    return trade


@pytest.fixture(scope="session")
def conditions() -> Callable[[np.random.Generator], dict[str, float]]:
    def draw(rng: np.random.Generator) -> dict[str, float]:
        return dict(zip(FEATURES, rng.normal(size=len(FEATURES)).tolist(), strict=True))

    return draw


@pytest.fixture(scope="session")
def streams() -> Callable[[int, int], NDArray[np.float64]]:
    """Numbers whose mean, spread or tails change on the way; four kinds in turn."""

    def draw(seed: int, n: int) -> NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        late = np.arange(n) > n // 2
        return (
            (rng.random(n) < np.where(late, 0.3, 0.6)).astype(float),
            rng.normal(size=n) + late,
            rng.standard_t(3, n) * (1.0 + 2.0 * late),
            rng.random(n) + np.sin(np.arange(n) / 200.0),
        )[seed % 4]

    return draw
