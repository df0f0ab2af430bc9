"""Champions of a search, run again in Cerebro and compared with their simulation to the last bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategies.running import run_in_cerebro
from ai_backtrader.strategy_evolver import EvolutionResult, Proof

__all__ = ["prove", "prove_champions"]


def prove(data: MarketData, chromosome: StrategyChromosome, **options: Any) -> Proof:
    """Run a chromosome compiled and in Cerebro, and compare every fill, and cash and equity at every bar.

    Parameters
    ----------
    data
        The feed.
    chromosome
        The rules.
    **options
        Of :func:`~ai_backtrader.simulation.simulate`, the same for both.
    """
    compiled = simulate(data, chromosome, **options)
    difference = compiled.first_difference(run_in_cerebro(data, chromosome, **options))
    return Proof(fills=len(compiled.fills), difference=difference)


def prove_champions(
    data: MarketData,
    result: EvolutionResult,
    *,
    on_proof: Callable[[int], None] | None = None,
    **options: Any,
) -> EvolutionResult:
    """The result with a proof, or the first difference, stored with each champion.

    Parameters
    ----------
    data
        The feed that was searched; each champion runs on all of it.
    result
        Of :func:`~ai_backtrader.strategy_evolver.evolve`.
    on_proof
        Called with the number of champions done: Cerebro takes seconds where the search took less.
    **options
        Those that the search had for its broker (cash, commission, …).
    """
    champions = []
    for champion in result.champions:
        proof = prove(data, champion.chromosome, **options)
        champions.append(dataclasses.replace(champion, proof=proof))
        if on_proof is not None:
            on_proof(len(champions))
    return dataclasses.replace(result, champions=tuple(champions))
