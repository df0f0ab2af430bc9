"""OneMax(100): evaluations until all bits are set, our evolver beside DEAP, same settings, same run.

Needs DEAP, which is no dependency of ours: ``pip install deap``. Run: ``python benchmarks/onemax.py``.

Both: population 50, tournaments of 3, two-point crossover with probability 0.7, mutation with probability 0.5 in which
each bit flips with probability 1/100, the best 2 live on, one population. DEAP runs its own operators in its own loop
(``varAnd`` of ``algorithms``), with the 2 best carried over, and counts an evaluation for each individual without a
valid fitness, as its ``eaSimple`` does. Without them it is shown as well.
"""

from __future__ import annotations

import random
import statistics
import sys

import numpy as np

from ai_backtrader.strategy_evolver import Evolution, EvolverSettings, Representation

BITS, SEEDS, LIMIT = 100, 50, 200_000
SETTINGS = EvolverSettings(population=50, islands=1, elites=2, tournament=3, crossover_rate=0.7, mutation_rate=0.5)


def _two_points(first: bytes, second: bytes, rng: np.random.Generator) -> bytes:
    low, high = sorted(rng.integers(BITS + 1, size=2).tolist())
    return first[:low] + second[low:high] + first[high:]


def _flip(bits: bytes, rng: np.random.Generator) -> bytes:
    flips = rng.random(BITS) < 1.0 / BITS
    return (np.frombuffer(bits, np.uint8) ^ flips).astype(np.uint8).tobytes()


def ours(seed: int, settings: EvolverSettings = SETTINGS) -> int | None:
    representation = Representation(
        random=lambda rng: rng.integers(2, size=BITS, dtype=np.uint8).tobytes(),
        crossover=_two_points,
        mutate=_flip,
        key=lambda bits: bits,
    )
    evolution = Evolution(representation, settings, rng=np.random.default_rng(seed))
    while evolution.evaluations < LIMIT:
        if evolution.tell([sum(bits) for bits in evolution.ask()]).best == BITS:
            return evolution.evaluations
    return None


def deap(seed: int, elites: int = 2) -> int | None:
    from deap import algorithms, base, creator, tools

    if not hasattr(creator, "Bits"):
        creator.create("FitnessMax", base.Fitness, weights=(1.0,))
        creator.create("Bits", list, fitness=creator.FitnessMax)
    random.seed(seed)
    toolbox = base.Toolbox()
    toolbox.register("bit", random.randint, 0, 1)
    toolbox.register("individual", tools.initRepeat, creator.Bits, toolbox.bit, BITS)
    toolbox.register("mate", tools.cxTwoPoint)
    toolbox.register("mutate", tools.mutFlipBit, indpb=1.0 / BITS)
    toolbox.register("select", tools.selTournament, tournsize=SETTINGS.tournament)
    population = [toolbox.individual() for _ in range(SETTINGS.population)]
    evaluations = 0
    while evaluations < LIMIT:
        for individual in population:
            if not individual.fitness.valid:
                individual.fitness.values = (sum(individual),)
                evaluations += 1
        if max(individual.fitness.values[0] for individual in population) == BITS:
            return evaluations
        best = [toolbox.clone(individual) for individual in tools.selBest(population, elites)]
        parents = toolbox.select(population, len(population) - elites)
        offspring = algorithms.varAnd(parents, toolbox, SETTINGS.crossover_rate, SETTINGS.mutation_rate)
        population = best + offspring
    return None


def _line(name: str, results: list[int | None]) -> str:
    solved = [count for count in results if count is not None]
    median = statistics.median(solved) if solved else float("nan")
    return f"{name:<28} solved {len(solved)} of {len(results)}, median {median:,.0f} evaluations"


def main() -> None:
    try:
        import deap as _  # noqa: F401  # only whether it is there
    except ImportError:
        sys.exit("benchmarks/onemax.py compares with DEAP, which is not installed: pip install deap")
    islands = EvolverSettings(population=50)
    rows = {
        "ours, same settings": [ours(seed) for seed in range(SEEDS)],
        "DEAP, same settings": [deap(seed) for seed in range(SEEDS)],
        "DEAP without elites": [deap(seed, elites=0) for seed in range(SEEDS)],
        "ours, defaults (2 islands)": [ours(seed, islands) for seed in range(SEEDS)],
    }
    for name, results in rows.items():
        print(_line(name, results))


if __name__ == "__main__":
    main()
