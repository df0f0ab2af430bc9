"""Chromosomes on one feed: scores of many at once, compiled, here or elsewhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.executors import Map
from ai_backtrader.market import MarketData, compute_features, label_regimes
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import Simulator
from ai_backtrader.strategy_evolver.fitness import Fitness, gene_count, worst_of_regimes

__all__ = ["Evaluator", "measure_chunk", "regime_trend"]


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """The fast fitness: everything that decides a score besides the chromosome.

    Attributes
    ----------
    data
        The bars of the search.
    fitness
        How statistics become scores.
    options
        Keyword arguments of :class:`~ai_backtrader.simulation.Simulator`.
    """

    data: MarketData
    fitness: Fitness
    options: Mapping[str, Any]

    @functools.cached_property
    def simulator(self) -> Simulator:
        """Made on first use, in whatever process that is."""
        return Simulator(self.data, **self.options)

    @functools.cached_property
    def _regime(self) -> NDArray[np.int64]:
        """Label of each bar: 0 bear, 1 sideways, 2 bull."""
        return regime_trend(self.data).astype(np.int64) + 1

    def __getstate__(self) -> dict[str, Any]:
        # Workers make their own simulator: series are cheaper to compute than to send.
        return {"data": self.data, "fitness": self.fitness, "options": dict(self.options)}

    def scores(self, chromosomes: Sequence[StrategyChromosome], *, threads: int | None = 1) -> list[tuple[float, ...]]:
        """Scores in the order of the chromosomes; NaN for one that never traded."""
        return self.measure(chromosomes, threads=threads)[0]

    def measure(
        self, chromosomes: Sequence[StrategyChromosome], *, threads: int | None = 1
    ) -> tuple[list[tuple[float, ...]], list[float]]:
        """Scores, and the Sharpe ratios per bar that a trial ledger counts; NaN where there is none."""
        by_regime: NDArray[np.float64] | None = None
        if self.fitness.worst_regime:
            statistics, by_regime = self.simulator.run_labelled(chromosomes, self._regime, threads=threads)
        else:
            statistics = self.simulator.run_many(chromosomes, threads=threads)
        sharpes = statistics["sharpe"] / math.sqrt(self.data.bars_per_year)
        if by_regime is not None:
            statistics["sharpe"] = worst_of_regimes(by_regime, np.bincount(self._regime))
        genes = [gene_count(chromosome) for chromosome in chromosomes]
        return [tuple(row) for row in self.fitness.scores(statistics, genes).tolist()], sharpes.tolist()

    def measure_through(
        self, apply: Map, chromosomes: Sequence[StrategyChromosome], *, chunks: int
    ) -> tuple[list[tuple[float, ...]], list[float]]:
        """The same, computed wherever ``apply`` runs, in ``chunks`` parts."""
        parts = np.array_split(np.arange(len(chromosomes)), min(max(chunks, 1), max(len(chromosomes), 1)))
        items = [(self, [chromosomes[place] for place in part]) for part in parts if len(part)]
        scores: list[tuple[float, ...]] = []
        sharpes: list[float] = []
        for some, others in apply(measure_chunk, items):
            scores += some
            sharpes += others
        return scores, sharpes


def regime_trend(data: MarketData) -> NDArray[np.int8]:
    """Sign of the regime that each bar's position was decided in, at the bar before: 1 bull, 0 sideways, -1 bear."""
    labels = np.sign(label_regimes(compute_features(data)).labels)
    return np.concatenate((np.zeros(1), labels[:-1])).astype(np.int8)


_KEPT: dict[str, Evaluator] = {}  # one feed in a worker process: its series are computed once, not once a task


def measure_chunk(work: tuple[Evaluator, list[StrategyChromosome]]) -> tuple[list[tuple[float, ...]], list[float]]:
    """Scores and Sharpe ratios of one part of a population, in a worker process."""
    evaluator, chromosomes = work
    name = repr((evaluator.data.fingerprint, evaluator.fitness, sorted(evaluator.options.items(), key=str)))
    if name not in _KEPT:
        _KEPT.clear()
        _KEPT[name] = evaluator
    return _KEPT[name].measure(chromosomes)
