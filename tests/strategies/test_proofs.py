"""Champions and their proofs."""

from __future__ import annotations

import numpy as np

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.strategies.proofs import prove, prove_champions
from ai_backtrader.strategy_evolver import evolve


def test_every_champion_gets_a_proof() -> None:
    data = load_sample().head(800)
    result = evolve(data, n_generations=2, population=10, seed=1, champions=2, commission=0.0)
    done: list[int] = []
    proven = prove_champions(data, result, on_proof=done.append, commission=0.0)
    assert done == [1, 2]
    for before, after in zip(result.champions, proven.champions, strict=True):
        assert before.proof is None
        assert after.proof is not None
        assert after.proof.equal
        assert after.proof.fills == len(simulate(data, after.chromosome, commission=0.0).fills) > 0


def test_a_leveraged_chromosome_with_fees_is_proven_too() -> None:
    data = load_sample().head(700)
    rng = np.random.default_rng(3)
    proofs = [
        prove(data, StrategyChromosome.random(rng, max_leverage=20.0), liquidation_fee=0.005, slippage=0.0002)
        for _ in range(4)
    ]
    assert [proof.difference for proof in proofs] == [None] * 4
    assert sum(proof.fills for proof in proofs) > 0
