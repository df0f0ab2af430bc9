"""StrategyEvolver: any fitness function, in a script, in a loop, on other processes."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategy_evolver import EvolverSettings, StrategyEvolver, evolve, open_executor

SMALL = EvolverSettings(population=12)


def seven_genes(chromosome: StrategyChromosome) -> float:
    return -abs(sum(map(len, chromosome.sections.values())) - 7) - chromosome.risk.position_size


def run(evolver: StrategyEvolver, n: int = 6, fitness_fn: Any = seven_genes, **options: Any) -> StrategyChromosome:
    return asyncio.run(evolver.run_evolution(n_generations=n, fitness_fn=fitness_fn, **options))


def test_the_best_strategy_comes_back() -> None:
    evolver = StrategyEvolver(seed=1)
    best = run(evolver, 15)
    assert isinstance(best, StrategyChromosome)
    assert best == evolver.best.candidate
    assert seven_genes(best) == evolver.best.score > -0.2
    assert len(evolver.history) == 15


def test_async_functions_and_running_loops_give_the_same_answer() -> None:
    async def later(chromosome: StrategyChromosome) -> float:
        await asyncio.sleep(0.001 * (hash(chromosome) % 3))
        return seven_genes(chromosome)

    async def in_a_loop() -> StrategyChromosome:
        return await StrategyEvolver(SMALL, seed=2).run_evolution(n_generations=5, fitness_fn=seven_genes)

    expected = run(StrategyEvolver(SMALL, seed=2), 5)
    assert run(StrategyEvolver(SMALL, seed=2), 5, later) == expected
    assert asyncio.run(in_a_loop()) == expected


def test_async_evaluations_of_a_generation_run_together() -> None:
    running = most = 0

    async def watched(chromosome: StrategyChromosome) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return seven_genes(chromosome)

    run(StrategyEvolver(SMALL, seed=3), 1, watched)
    assert most == 12


def test_others_in_the_loop_have_their_turn() -> None:
    turns = 0

    async def both() -> None:
        nonlocal turns
        done = asyncio.ensure_future(
            StrategyEvolver(SMALL, seed=3).run_evolution(n_generations=2, fitness_fn=seven_genes)
        )
        while not done.done():
            turns += 1
            await asyncio.sleep(0)
        await done

    asyncio.run(both())
    assert turns >= 20


def test_failures_are_the_worst_score_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def moody(chromosome: StrategyChromosome) -> float:
        if chromosome.risk.reverse:
            raise ZeroDivisionError("no trades")
        return math.nan if chromosome.risk.position_size > 0.8 else seven_genes(chromosome)

    evolver = StrategyEvolver(SMALL, seed=4)
    best = run(evolver, 4, moody)
    assert not best.risk.reverse
    reasons = {reason for generation in evolver.history for reason in generation.failures}
    assert reasons <= {"ZeroDivisionError: no trades", "not a finite number"}
    assert "ZeroDivisionError: no trades" in caplog.text


def test_a_function_that_always_fails_ends_the_search() -> None:
    def broken(chromosome: StrategyChromosome) -> float:
        raise KeyError("close")

    with pytest.raises(AIBacktraderError, match=r"failed for all 12 chromosomes.*KeyError: 'close'"):
        run(StrategyEvolver(SMALL), 3, broken)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, asyncio.CancelledError])
def test_an_interruption_is_no_bad_strategy(tmp_path: Path, interruption: type[BaseException]) -> None:
    calls = 0

    async def interrupted(chromosome: StrategyChromosome) -> float:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise interruption
        return seven_genes(chromosome)

    path = tmp_path / "search.json"
    with pytest.raises(interruption):
        run(StrategyEvolver(SMALL, seed=5), 8, interrupted, checkpoint=path)
    resumed = StrategyEvolver(SMALL, seed=5)
    assert run(resumed, 8, interrupted, checkpoint=path, resume=True) == run(StrategyEvolver(SMALL, seed=5), 8)
    assert len(resumed.history) == 8


def test_another_function_cannot_resume(tmp_path: Path) -> None:
    run(StrategyEvolver(SMALL, seed=5), 1, checkpoint=tmp_path / "search.json")
    with pytest.raises(SettingsError, match="fitness_fn was 'seven_genes'"):
        run(StrategyEvolver(SMALL, seed=5), 2, lambda _: 1.0, checkpoint=tmp_path / "search.json", resume=True)


def test_several_objectives_give_a_front() -> None:
    def both(chromosome: StrategyChromosome) -> tuple[float, float]:
        return sum(map(len, chromosome.sections.values())), -chromosome.risk.position_size

    evolver = StrategyEvolver(SMALL, seed=6)
    run(evolver, 6, both)
    assert evolver.evolution is not None
    scores = np.array([member.scores for member in evolver.evolution.front])
    assert len(scores) >= 2
    assert evolver.best.score == scores[:, 0].max()


def test_the_search_on_data_takes_the_evolvers_settings(walk: MarketData) -> None:
    evolver = StrategyEvolver(SMALL, seed=7, max_leverage=3.0)
    expected = evolve(walk, n_generations=2, settings=SMALL, seed=7, max_leverage=3.0)
    assert repr(evolver.evolve(walk, n_generations=2)) == repr(expected)  # NaN is not equal to itself


def test_a_simulated_sharpe_ratio_is_a_fitness(walk: MarketData) -> None:
    best = run(StrategyEvolver(SMALL, seed=8), 3, lambda c: simulate(walk, c).metrics["sharpe"])
    assert simulate(walk, best).metrics["sharpe"] > 0.0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(SettingsError, match="3 faults"):
        StrategyEvolver({"population": 5}, seed=-1, max_leverage=0.0)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="3 faults"):
        run(StrategyEvolver(), 0, None, resume=True)
    with pytest.raises(AIBacktraderError, match="nothing has evolved yet"):
        _ = StrategyEvolver().best
    with pytest.raises(SettingsError, match="executor must be one of"):
        run(StrategyEvolver(), 1, executor="moon")


@pytest.fixture
def _by_value() -> Iterator[None]:
    """The fitness functions of this file travel as code: no worker can import a test module."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.usefixtures("_by_value")
def test_two_processes_give_the_same_strategy_as_one() -> None:
    assert run(StrategyEvolver(SMALL, seed=9), 3, jobs=2) == run(StrategyEvolver(SMALL, seed=9), 3)


@pytest.mark.usefixtures("_by_value")
def test_a_failure_in_another_process_is_reported_like_one_here() -> None:

    def moody(chromosome: StrategyChromosome) -> float:
        if chromosome.risk.reverse:
            raise ZeroDivisionError("no trades")
        return seven_genes(chromosome)

    here, there = StrategyEvolver(SMALL, seed=4), StrategyEvolver(SMALL, seed=4)
    assert run(here, 3, moody) == run(there, 3, moody, jobs=2)
    assert here.history == there.history


def test_a_cluster_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(AIBacktraderError, match="distributed"), open_executor("dask"):
        pass
