"""Whatever operators are given, a valid chromosome comes out."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import Simulator
from ai_backtrader.strategies import compile_strategy
from ai_backtrader.strategy_evolver import crossover, mutate
from ai_backtrader.strategy_evolver.operators import MOST_GENES


def breed(count: int, seed: int, *, max_leverage: float = 10.0) -> list[StrategyChromosome]:
    """So many children of a population that is replaced by its children as it goes: drift far from the start."""
    rng = np.random.default_rng(seed)
    pool = [StrategyChromosome.random(rng, max_leverage=max_leverage) for _ in range(200)]
    made = []
    for _ in range(count // 2):
        first, second, replaced = rng.integers(len(pool), size=3).tolist()
        child = crossover(pool[first], pool[second], rng)
        mutant = mutate(child, rng, max_leverage=max_leverage)
        made += [child, mutant]
        pool[replaced] = mutant
    return made


def assert_valid(chromosome: StrategyChromosome, *, max_leverage: float) -> None:
    # Reading goes through every check of untrusted files, and rebuilds each part.
    assert StrategyChromosome.from_json(chromosome.to_json()) == chromosome
    assert chromosome.entry_long.genes or chromosome.entry_short.genes
    assert 1.0 <= chromosome.risk.leverage <= max_leverage


def test_three_thousand_children_are_valid() -> None:
    for chromosome in breed(3_000, 1):
        assert_valid(chromosome, max_leverage=10.0)


@pytest.mark.slow
def test_a_hundred_thousand_children_are_valid_and_compile(walk: MarketData) -> None:
    made = breed(100_000, 2)
    for chromosome in made:
        assert_valid(chromosome, max_leverage=10.0)
    statistics = Simulator(walk.head(600)).run_many(made)
    assert np.isfinite(statistics["final_equity"]).all()
    assert (statistics["trades"] > 0).mean() > 0.2
    # Classes stay in Backtrader's registries for good, so one in a hundred.
    for chromosome in made[::100]:
        assert compile_strategy(chromosome).chromosome == chromosome


def test_parents_stay_as_they_are() -> None:
    rng = np.random.default_rng(3)
    first, second = (StrategyChromosome.random(rng) for _ in range(2))
    before = first.to_json(), second.to_json()
    for _ in range(200):
        mutate(crossover(first, second, rng), rng)
    assert (first.to_json(), second.to_json()) == before


def test_a_child_has_no_gene_that_no_parent_has() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        first, second = (StrategyChromosome.random(rng) for _ in range(2))
        child = crossover(first, second, rng)
        for name, section in child.sections.items():
            assert set(section.genes) <= set(getattr(first, name).genes) | set(getattr(second, name).genes)


def test_children_of_a_long_and_a_short_strategy_can_always_enter() -> None:
    rng = np.random.default_rng(5)
    section = StrategyChromosome.random(rng).entry_long
    long_only = StrategyChromosome(entry_long=section)
    short_only = StrategyChromosome(entry_short=section)
    sides = {
        (bool(child.entry_long.genes), bool(child.entry_short.genes))
        for child in (crossover(long_only, short_only, rng) for _ in range(300))
    }
    assert sides == {(True, False), (False, True), (True, True)}


def test_mutation_reaches_every_part() -> None:
    rng = np.random.default_rng(6)
    start = StrategyChromosome.random(np.random.default_rng(8))
    mutants = [mutate(start, rng) for _ in range(2_000)]
    for name in start.sections:
        assert any(getattr(mutant, name) != getattr(start, name) for mutant in mutants)
    for name in ("position_size", "stop_atr", "take_profit_atr", "trailing_atr", "atr_period", "reverse"):
        assert len({getattr(mutant.risk, name) for mutant in mutants}) > 1, name
    sizes = {len(mutant.exit) - len(start.exit) for mutant in mutants}
    assert {-1, 0, 1} <= sizes
    unchanged = sum(mutant == start for mutant in mutants)
    assert unchanged < 0.06 * len(mutants)


def test_rules_do_not_grow_without_end() -> None:
    rng = np.random.default_rng(7)
    chromosome = StrategyChromosome.random(rng)
    longest = 0
    for _ in range(3_000):
        chromosome = mutate(chromosome, rng)
        longest = max(longest, *(len(section) for section in chromosome.sections.values()))
    assert 3 <= longest <= MOST_GENES


def test_leverage_stays_at_one_unless_it_is_allowed() -> None:
    assert {chromosome.risk.leverage for chromosome in breed(600, 8, max_leverage=1.0)} == {1.0}
    assert max(chromosome.risk.leverage for chromosome in breed(600, 9, max_leverage=5.0)) > 1.0


def test_the_same_generator_gives_the_same_children() -> None:
    assert breed(300, 10) == breed(300, 10)
    assert breed(300, 10) != breed(300, 11)
