"""Only the first run compiles; changed sources compile again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ai_backtrader

RUN = """
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.rules import Gene, Section, Series, StrategyChromosome
from ai_backtrader.simulation import Simulator
from ai_backtrader.simulation.population import run_population
rules = StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 30.0),)))
simulator = Simulator(load_sample().head(200))
simulator.run(rules), simulator.run_many([rules], threads=2)
print(sum(run_population.stats.cache_hits.values()), sum(run_population.stats.cache_misses.values()))
"""


SEARCH_AND_STEP = """
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.rl import LeverageTradingEnv
from ai_backtrader.rules import Gene, Section, Series, StrategyChromosome
from ai_backtrader.simulation import Simulator
data = load_sample().head(600)
Simulator(data).run_many([StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 30.0),)))])
environment = LeverageTradingEnv(data)
environment.reset(seed=1)
environment.step(3)
"""


def output(code: str, package_parent: Path, cache: Path) -> str:
    """What a fresh process prints, in which a warning is an error."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(package_parent)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, cwd=package_parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(package_parent: Path, cache: Path) -> list[int]:
    """Cache hits and misses of the kernel in a fresh process."""
    return [int(number) for number in output(RUN, package_parent, cache).split()]


@pytest.mark.slow
def test_what_search_and_environments_share_compiles_for_both_without_a_warning(tmp_path: Path) -> None:
    # The bars of an environment begin as those of a simulation: Numba takes the one for the other where it may.
    output(SEARCH_AND_STEP, Path(ai_backtrader.__file__).parents[1], tmp_path)


@pytest.mark.slow
def test_a_second_process_compiles_nothing_until_a_source_changes(tmp_path: Path) -> None:
    package = tmp_path / "copy" / "ai_backtrader"
    shutil.copytree(Path(ai_backtrader.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(package.parent, tmp_path / "cache") == [0, 1]
    assert run(package.parent, tmp_path / "cache") == [1, 0]
    # A function that the kernel calls, in another file than the kernel's own.
    with (package / "simulation" / "fills.py").open("a") as source:
        source.write("# changed\n")
    assert run(package.parent, tmp_path / "cache") == [0, 1]
