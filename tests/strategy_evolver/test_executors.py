"""Evaluations elsewhere: the same search, and nothing lost when a worker dies."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from ai_backtrader import executors
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategy_evolver import EvolverSettings, Generation, StrategyEvolver, evolve, open_executor


def slow_seven_genes(chromosome: StrategyChromosome) -> float:
    time.sleep(0.05)
    return -abs(sum(map(len, chromosome.sections.values())) - 7) - chromosome.risk.position_size


def test_results_come_in_the_order_of_the_items() -> None:
    with open_executor() as apply:
        assert list(apply(abs, [-3, 1, -2])) == [3, 1, 2]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Dask cluster with two worker processes and a client that is connected to it."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as made,
        distributed.Client(made) as client,
    ):
        yield client


class KillOne:
    """Kills a worker shortly after a generation, while the next one is evaluated."""

    def __init__(self, client: Any) -> None:
        self.pid = next(iter(client.run(os.getpid).values()))
        self.killed = False

    def __call__(self, generation: Generation) -> None:
        if generation.number == 1:
            threading.Timer(0.15, self._kill).start()

    def _kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.killed = True


@pytest.fixture
def _by_value() -> Iterator[None]:
    """The fitness functions of this file travel as code: no worker can import a test module."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.slow
@pytest.mark.usefixtures("_by_value")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the killed worker
def test_a_worker_of_a_cluster_dies_and_nothing_is_lost(cluster: Any) -> None:
    def run(**options: Any) -> StrategyEvolver:
        evolver = StrategyEvolver(EvolverSettings(population=16), seed=3)
        asyncio.run(evolver.run_evolution(5, fitness_fn=slow_seven_genes, **options))
        return evolver

    killer = KillOne(cluster)
    here, there = run(), run(executor="dask", on_generation=killer)
    assert killer.killed
    assert there.best == here.best
    assert there.history == here.history
    assert here.evolution is not None
    assert there.evolution is not None
    assert there.evolution.population == here.evolution.population


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as above
def test_a_search_on_data_gives_the_same_champions_on_a_cluster(cluster: Any, walk: MarketData) -> None:
    killer = KillOne(cluster)
    options: dict[str, Any] = {"n_generations": 6, "population": 24, "seed": 3, "champions": 3}
    there = evolve(walk, executor="dask", on_generation=killer, **options)
    assert repr(there) == repr(evolve(walk, **options))


@pytest.mark.slow
def test_a_function_that_no_worker_can_load_ends_the_search_in_an_error(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster
    (tmp_path / "only_here.py").write_text("def score(chromosome):\n    return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    score = importlib.import_module("only_here").score
    evolver = StrategyEvolver(EvolverSettings(population=8), seed=3)
    with pytest.raises(AIBacktraderError, match=r"cannot load the function .*'only_here'; install its module there"):
        asyncio.run(evolver.run_evolution(2, fitness_fn=score, executor="dask"))


@pytest.mark.slow
def test_workers_with_another_version_of_the_package_or_none_are_refused(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster
    monkeypatch.setattr(executors, "_version_here", lambda: "99.0")
    with pytest.raises(AIBacktraderError, match=r"is 99\.0 here and version 0\..* on the worker tcp"):
        open_executor("dask").__enter__()
    monkeypatch.setattr(executors, "_PACKAGE", "no-such-package")
    with pytest.raises(AIBacktraderError, match=r"and none \(PackageNotFoundError.* on the worker tcp"):
        open_executor("dask").__enter__()
