"""The compiled simulation against Cerebro running the compiled strategy: every fill, equity and cash at every bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import FillReason, simulate
from ai_backtrader.strategies import run_in_cerebro

MARKETS = ("BTC perpetual", "ETH perpetual", "DOGE perpetual", "LTC", "EURUSD", "SP500", "jumpy", "coarse")

_STEEP = MaintenanceTiers(
    [
        (0, 5_000, 0.004, 0, 125),
        (5_000, 25_000, 0.005, None, 100),
        (25_000, 100_000, 0.01, None, 50),
        (100_000, 1e7, 0.025, None, 20),
    ]
)
COSTS: tuple[dict[str, Any], ...] = (
    {},
    {"commission": 0.0, "funding": 0.0},
    {"slippage": 0.001, "commission": 0.002},
    {"shortcash": False, "funding": 0.0005},
    {"tiers": _STEEP, "liquidation_fee": 0.0125, "slippage": 0.0005},
    {"cash": 250_000.0, "tiers": _STEEP, "funding": -0.001},
)
LEVERAGES = (1.0, 5.0, 20.0, 1.0, 125.0)

Market = Callable[[str, np.random.Generator, int], MarketData]


def compare(market: Market, name: str, seeds: range, bars: int) -> np.ndarray:
    """Compare one random chromosome a seed; gives the number of fills by reason."""
    reasons = np.zeros(len(FillReason), dtype=int)
    for seed in seeds:
        rng = np.random.default_rng([20240101, MARKETS.index(name), seed])
        chromosome = StrategyChromosome.random(rng, max_leverage=LEVERAGES[seed % len(LEVERAGES)])
        costs = COSTS[seed % len(COSTS)]
        data = market(name, rng, bars)
        compiled, cerebro = simulate(data, chromosome, **costs), run_in_cerebro(data, chromosome, **costs)
        difference = compiled.first_difference(cerebro)
        assert difference is None, f"{name}, seed {seed}, {costs}: {difference}\n{chromosome.to_json()}"
        assert compiled.funding_paid == cerebro.funding_paid
        reasons += np.bincount(compiled.fills["reason"], minlength=len(reasons))
    return reasons


@pytest.mark.parametrize("name", MARKETS)
def test_random_strategies_fill_as_in_cerebro_to_the_last_bit(market: Market, name: str) -> None:
    reasons = compare(market, name, range(30), 500)
    assert reasons[FillReason.ENTRY] > 100, "the strategies hardly traded: nothing was compared"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("name", MARKETS)
def test_ten_thousand_random_strategies_fill_as_in_cerebro_to_the_last_bit(
    market: Market, name: str, part: int
) -> None:
    reasons = compare(market, name, range(1000 + 250 * part, 1250 + 250 * part), 700)
    assert (reasons[[FillReason.ENTRY, FillReason.EXIT, FillReason.REVERSAL, FillReason.STOP]] > 0).all()
