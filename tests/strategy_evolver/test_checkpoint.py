"""Checkpoints: a search goes on from one as if nothing had happened, and refuses any other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.strategy_evolver import Evolution, EvolverSettings, Representation, chromosomes, evolve
from ai_backtrader.strategy_evolver.checkpoint import dump_evolution, load_evolution

SETTINGS = EvolverSettings(population=20, stagnation=2)


def genes_of(candidate: Any) -> float:
    return -abs(sum(map(len, candidate.sections.values())) - 7) - candidate.risk.position_size


def breed(evolution: Evolution[Any], generations: int) -> Evolution[Any]:
    for _ in range(generations):
        evolution.tell([genes_of(candidate) for candidate in evolution.ask()])
    return evolution


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_search_goes_on_as_if_it_had_not_stopped(kind: Any) -> None:
    whole = breed(Evolution(chromosomes(), SETTINGS, rng=np.random.Generator(kind(1))), 12)
    half = breed(Evolution(chromosomes(), SETTINGS, rng=np.random.Generator(kind(1))), 7)
    state = json.loads(json.dumps(dump_evolution(half)))
    other = Evolution(chromosomes(), SETTINGS, rng=np.random.Generator(kind(99)))
    load_evolution(other, state)
    breed(other, 5)
    assert other.population == whole.population
    assert other.history == whole.history
    assert other.evaluations == whole.evaluations


def test_random_numbers_of_another_kind_are_refused() -> None:
    state = dump_evolution(breed(Evolution(chromosomes(), SETTINGS, rng=np.random.default_rng(1)), 1))
    other = Evolution(chromosomes(), SETTINGS, rng=np.random.Generator(np.random.MT19937(1)))
    with pytest.raises(SettingsError, match="'PCG64', the search uses MT19937"):
        load_evolution(other, state)


def test_a_representation_without_text_says_what_it_lacks() -> None:
    bare = Representation(
        random=lambda rng: int(rng.integers(9)), crossover=lambda a, b, rng: a, mutate=lambda a, rng: a, key=lambda a: a
    )
    evolution = Evolution(bare, SETTINGS, rng=np.random.default_rng(1))
    with pytest.raises(SettingsError, match="has no dump"):
        dump_evolution(evolution)
    with pytest.raises(SettingsError, match="has no load"):
        load_evolution(evolution, {})


SEARCH = {"n_generations": 7, "population": 16, "seed": 3, "champions": 3}


def test_a_search_on_a_market_resumes_to_the_same_champions(walk: MarketData, tmp_path: Path) -> None:
    whole = evolve(walk, **SEARCH)

    class StopError(Exception):
        pass

    def stop(generation: Any) -> None:
        if generation.number == 2:
            raise StopError

    path = tmp_path / "search.json"
    with pytest.raises(StopError):
        evolve(walk, **SEARCH, checkpoint=path, on_generation=stop)
    seen: list[int] = []
    resumed = evolve(
        walk, **SEARCH, checkpoint=path, resume=True, on_generation=lambda generation: seen.append(generation.number)
    )
    assert seen == [3, 4, 5, 6]
    assert repr(resumed) == repr(whole)
    again = evolve(walk, **SEARCH, checkpoint=path, resume=True)
    assert repr(again) == repr(whole)


def test_a_test_that_was_opened_before_counts_as_opened(walk: MarketData, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    first = evolve(walk, **SEARCH, checkpoint=path)
    longer = evolve(walk, **{**SEARCH, "n_generations": 9}, checkpoint=path, resume=True)
    assert (first.examinations, longer.examinations) == (1, 2)
    opened = [champion.exam for champion in longer.champions if champion.exam is not None]
    if opened:
        assert max(exam.level for exam in opened) == pytest.approx(0.05 / 2)


def test_a_checkpoint_of_other_data_is_refused(walk: MarketData, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    evolve(walk, **{**SEARCH, "n_generations": 1}, checkpoint=path)
    with pytest.raises(SettingsError, match="data was"):
        evolve(walk.head(1_900), **SEARCH, checkpoint=path, resume=True)
    with pytest.raises(SettingsError, match="seed was 3, is 4"):
        evolve(walk, **{**SEARCH, "seed": 4}, checkpoint=path, resume=True)
    with pytest.raises(SettingsError, match="broker was"):
        evolve(walk, **SEARCH, commission=0.001, checkpoint=path, resume=True)


KILLED = """
import sys, time
from ai_backtrader.market import MarketData
from ai_backtrader.strategy_evolver import evolve

def wait(generation):
    print(generation.number, flush=True)
    time.sleep(0.2)

data = MarketData.from_csv(sys.argv[1], symbol="WALK")
evolve(data, n_generations=60, population=16, seed=3, checkpoint=sys.argv[2], on_generation=wait)
"""


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, None)])
def test_after_a_kill_or_ctrl_c_the_outcome_is_that_of_an_uninterrupted_search(
    walk: MarketData, tmp_path: Path, sign: signal.Signals, code: int | None
) -> None:
    bars, path = tmp_path / "walk.csv", tmp_path / "search.json"
    walk.to_frame().to_csv(bars)
    data = MarketData.from_csv(bars, symbol="WALK")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(bars), str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        # A shell that runs the tests in its background has children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 3:
                break
        time.sleep(0.05)
        process.send_signal(sign)
        left = process.wait(timeout=60)
    assert left == code if code is not None else left != 0
    resumed = evolve(data, n_generations=8, population=16, seed=3, checkpoint=path, resume=True)
    assert len(resumed.history) == 8
    assert repr(resumed) == repr(evolve(data, n_generations=8, population=16, seed=3))
