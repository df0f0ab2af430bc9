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


def run(package_parent: Path, cache: Path) -> list[int]:
    """Cache hits and misses of the kernel in a fresh process."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(package_parent)}
    command = [sys.executable, "-W", "error", "-c", RUN]
    done = subprocess.run(command, env=environment, cwd=package_parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


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
