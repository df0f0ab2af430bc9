"""The evolver as the engine hands it out."""

from __future__ import annotations

import asyncio

import pytest

from ai_backtrader import Engine, EngineSettings, StrategyChromosome, get_strategy_evolver
from ai_backtrader.engine import reset_engine
from ai_backtrader.errors import SettingsError
from ai_backtrader.strategy_evolver import EvolverSettings


def few_genes(chromosome: StrategyChromosome) -> float:
    return -float(len(chromosome.series))


def test_the_printed_usage_runs() -> None:
    reset_engine(EngineSettings(seed=2, evolver=EvolverSettings(population=10)))

    async def usage() -> StrategyChromosome:
        evolver = get_strategy_evolver()
        return await evolver.run_evolution(n_generations=4, fitness_fn=few_genes)

    try:
        best_strategy = asyncio.run(usage())
        assert few_genes(best_strategy) == get_strategy_evolver().best.score
    finally:
        reset_engine()


def test_an_engine_passes_on_its_seed_and_settings() -> None:
    settings = EvolverSettings(population=12)
    evolver = Engine(EngineSettings(seed=7, evolver=settings)).evolver
    assert (evolver.seed, evolver.settings) == (7, settings)
    with pytest.raises(SettingsError, match="evolver must be EvolverSettings"):
        EngineSettings(evolver=50)  # type: ignore[arg-type]
