"""How often the evolver claims a discovery where there is none, and how often it misses one that is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.strategy_evolver import evolve

MakeMarket = Callable[..., MarketData]


def discoveries(make_market: MakeMarket, seeds: range, *, commission: float = 0.0005, **market: float) -> list[int]:
    """Seeds for which something passed."""
    return [seed for seed in seeds if evolve(make_market(seed, **market), seed=seed, commission=commission).passed]


def test_a_few_random_walks_hold_no_discovery(make_market: MakeMarket) -> None:
    found = [
        seed
        for seed in range(5)
        if evolve(make_market(seed, bars=2_000), n_generations=8, seed=seed, commission=0.0).passed
    ]
    assert not found


@pytest.mark.slow
def test_at_most_one_in_twenty_of_200_random_walks_holds_a_discovery(make_market: MakeMarket) -> None:
    assert len(discoveries(make_market, range(200))) <= 10


@pytest.mark.slow
def test_without_costs_it_is_no_more(make_market: MakeMarket) -> None:
    # Costs push luck below zero; without them the level alone keeps the rate.
    assert len(discoveries(make_market, range(200), commission=0.0)) <= 10


@pytest.mark.slow
def test_a_market_that_only_rises_is_no_discovery(make_market: MakeMarket) -> None:
    # A twentieth of a deviation a bar: holding has a Sharpe ratio of 4.7 a year. A passive gain is not skill. Measured
    # 4 of 100; 5 % of 100 may be 10 by chance (with probability 0.03).
    assert len(discoveries(make_market, range(100), drift=0.0003)) <= 10


@pytest.mark.slow
def test_a_planted_edge_is_found_nine_times_in_ten(make_market: MakeMarket) -> None:
    assert len(discoveries(make_market, range(100), edge=0.8)) >= 90
