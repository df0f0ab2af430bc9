"""Random markets, accounts and managers for the laws of the leverage manager."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from ai_backtrader.events import TradeClosed
from ai_backtrader.leverage import LeverageManager, LeverageSettings
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.values import Direction, Regime

# Three tables of different steepness; the last is small, so that its cap binds.
TIERS = (
    MaintenanceTiers.flat(0.005),
    MaintenanceTiers(
        [
            (0, 50_000, 0.004, 0, 125),
            (50_000, 600_000, 0.005, None, 100),
            (600_000, 3_000_000, 0.01, None, 50),
            (3_000_000, 12_000_000, 0.025, None, 20),
            (12_000_000, 70_000_000, 0.05, None, 10),
            (70_000_000, 100_000_000, 0.10, None, 5),
        ]
    ),
    MaintenanceTiers([(0, 5_000, 0.02, 0, 25), (5_000, 25_000, 0.05, None, 8), (25_000, 100_000, 0.2, None, 2)]),
)


def trade(pnl_pct: float, **facts: Any) -> TradeClosed:
    given = {"direction": Direction.LONG, "leverage": 2.0, "regime": Regime.BULL} | facts
    return TradeClosed(symbol="X", strategy_id="s", entry_price=100.0, exit_price=101.0, pnl_pct=pnl_pct, **given)


@pytest.fixture(scope="session")
def closed_trade() -> Callable[..., TradeClosed]:
    return trade


def _manager(rng: random.Random) -> LeverageManager:
    settings = LeverageSettings(
        max_leverage=rng.choice([1.0, 3.0, 10.0, 50.0]),
        leverage_step=rng.choice([0.1, 0.25, 1.0]),
        target_volatility=rng.uniform(0.2, 5.0),
        trend_floor=rng.uniform(0.0, 1.0),
        confidence_floor=rng.uniform(0.0, 1.0),
        max_margin_fraction=rng.choice([0.1, 0.25, 1.0]),
        prior_risk=rng.choice([0.005, 0.01, 0.05]),
        stop_atr=rng.uniform(0.5, 4.0),
        liquidation_buffer=rng.uniform(0.0, 2.0),
        liquidation_fee=rng.choice([0.0, 0.0125]),
    )
    manager = LeverageManager(settings)
    # None, too few, and enough trades; the mean return is positive, so that most are sized.
    for _ in range(rng.choice([0, 0, 12, 60, 120])):
        manager.on_trade_complete(
            trade(
                rng.gauss(0.8, 3.0),
                direction=rng.choice([Direction.LONG, Direction.SHORT]),
                leverage=rng.choice([1.0, 2.5, 4.0, 8.0]),
                regime=rng.choice([None, Regime.BULL, Regime.BEAR]),
            )
        )
    return manager


@pytest.fixture(scope="session")
def managers() -> list[LeverageManager]:
    rng = random.Random(20)
    return [_manager(rng) for _ in range(60)]


@pytest.fixture(scope="session")
def random_call() -> Callable[[random.Random], dict[str, Any]]:
    """Arguments of ``calculate_optimal_leverage`` over everything that may come."""

    def call(rng: random.Random) -> dict[str, Any]:
        price = 10.0 ** rng.uniform(-3, 5)
        atr_pct = 10.0 ** rng.uniform(-1.7, 1.3)
        return {
            "indicators": {
                "close": price,
                "atr_pct": atr_pct,
                "volatility_ratio": 2.0 ** rng.gauss(0, 0.7),
                "atr_ratio": 2.0 ** rng.gauss(0, 0.7),
                "high_volatility": float(rng.random() < 0.2),
                "adx": rng.uniform(5, 60),
                "trend_strength": rng.random(),
                "trend_direction": rng.choice([-1.0, 0.0, 1.0]),
                "ema_alignment": rng.choice([-1.0, -1 / 3, 1 / 3, 1.0]),
            },
            "account_balance": 10.0 ** rng.uniform(2, 8),
            "current_position": {"margin_ratio": max(0.0, rng.uniform(-0.5, 0.9))},
            "risk_info": {"drawdown": max(0.0, rng.uniform(-0.3, 0.5))},
            "risk_budget": rng.choice([0.002, 0.01, 0.02, 0.1]),
            "regime": rng.choice([None, "bull", "strong_bear", "sideways"]),
            "direction": rng.choice(["LONG", "SHORT", None]),
            "confidence": rng.choice([None, rng.random()]),
            "stop_distance": rng.choice([None, price * atr_pct / 100.0 * rng.uniform(0.3, 6.0)]),
            "tiers": rng.choice(TIERS),
            "fee_rate": rng.choice([0.0, 0.0005, 0.01]),
            "slippage": rng.choice([0.0, 0.001]),
            "funding_rate": rng.choice([None, 0.0001, -0.0003]),
        }

    return call
