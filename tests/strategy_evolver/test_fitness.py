"""Fitness: the discount, the charge, the worst regime, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import bar_returns, sharpe_ratio
from ai_backtrader.market import MarketData, compute_features, label_regimes
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import STATISTICS_DTYPE, simulate
from ai_backtrader.strategy_evolver import Fitness
from ai_backtrader.strategy_evolver.evaluation import Evaluator
from ai_backtrader.strategy_evolver.fitness import gene_count, worst_regime_sharpe


def figures(**values: float) -> np.ndarray:
    row = np.zeros(1, STATISTICS_DTYPE)
    for name, value in values.items():
        row[name] = value
    return row


def score(fitness: Fitness, genes: int = 0, share: float = 1.0, **values: float) -> Any:
    return fitness.scores(figures(**values), [genes], share=share)[0].tolist()


@pytest.mark.parametrize(
    ("sharpe", "trades", "expected"),
    [(2.0, 30, 2.0), (2.0, 300, 2.0), (2.0, 15, 1.0), (2.0, 3, 0.2), (-2.0, 15, -4.0), (-2.0, 30, -2.0)],
)
def test_few_trades_are_discounted_by_degrees(sharpe: float, trades: int, expected: float) -> None:
    assert score(Fitness(complexity_charge=0.0), sharpe=sharpe, trades=trades) == [pytest.approx(expected)]


def test_a_trade_more_is_never_worse() -> None:
    for sharpe in (1.5, -1.5):
        scores = [score(Fitness(), sharpe=sharpe, trades=trades)[0] for trades in range(1, 60)]
        assert scores == sorted(scores)


def test_shorter_stretches_need_fewer_trades() -> None:
    assert score(Fitness(complexity_charge=0.0), share=0.5, sharpe=2.0, trades=15) == [2.0]


def test_each_gene_is_charged() -> None:
    assert score(Fitness(complexity_charge=0.05), genes=4, sharpe=1.0, trades=30) == [pytest.approx(0.8)]


def test_a_strategy_that_never_trades_has_no_score() -> None:
    assert math.isnan(score(Fitness(), sharpe=math.nan, trades=0)[0])
    assert math.isnan(score(Fitness(min_trades=0), sharpe=math.nan, trades=0)[0])


def test_objectives_to_make_small_are_turned_round() -> None:
    fitness = Fitness(objectives=("total_return", "max_drawdown"), complexity_charge=0.0)
    assert score(fitness, total_return=0.2, max_drawdown=0.1, trades=30) == [0.2, -0.1]


def test_settings_report_all_their_faults() -> None:
    with pytest.raises(SettingsError) as caught:
        Fitness(objectives=("beauty",), min_trades=-1, complexity_charge=math.nan, worst_regime=1)  # type: ignore[arg-type]
    assert len(caught.value.faults) == 4
    with pytest.raises(SettingsError, match="worst_regime needs 'sharpe'"):
        Fitness(objectives=("total_return",), worst_regime=True)


def test_the_worst_regime_is_the_lowest_of_three() -> None:
    rng = np.random.default_rng(1)
    trend = np.repeat(np.array([1, 0, -1], np.int8), 200)
    returns = rng.normal(0.0, 0.01, 600) + 0.004 * trend
    expected = sharpe_ratio(returns[400:], bars_per_year=252.0)
    assert worst_regime_sharpe(returns, trend, bars_per_year=252.0) == expected < 0.0
    assert math.isnan(worst_regime_sharpe(returns[:30], trend[:30], bars_per_year=252.0))


def test_the_evaluator_scores_regimes_as_their_definition_says(edge_market: MarketData) -> None:
    data = edge_market.head(2_500)
    rng = np.random.default_rng(2)
    chromosomes = [StrategyChromosome.random(rng) for _ in range(12)]
    evaluator = Evaluator(data=data, fitness=Fitness(worst_regime=True, min_trades=0), options={})
    scores = [first for (first,) in evaluator.scores(chromosomes)]
    labels = np.sign(label_regimes(compute_features(data)).labels)
    checked = 0
    for chromosome, found in zip(chromosomes, scores, strict=True):
        result = simulate(data, chromosome)
        if not len(result.trades):
            assert math.isnan(found)
            continue
        returns = bar_returns(result.equity, start=result.start_cash)
        parts = [returns[1:][labels[:-1] == sign] for sign in (1, 0, -1)]
        worst = min(np.nan_to_num(sharpe_ratio(part, bars_per_year=data.bars_per_year)) for part in parts)
        assert found == pytest.approx(worst - 0.02 * gene_count(chromosome), rel=0.02, abs=0.02)
        checked += 1
    assert checked >= 6


def test_scores_of_chunks_are_the_scores_of_the_whole(walk: MarketData) -> None:
    rng = np.random.default_rng(3)
    chromosomes = [StrategyChromosome.random(rng) for _ in range(23)]
    evaluator = Evaluator(data=walk, fitness=Fitness(), options={"commission": 0.001})
    whole = np.array(evaluator.scores(chromosomes))
    chunked = np.array(
        evaluator.measure_through(lambda function, items: [function(item) for item in items], chromosomes, chunks=5)[0]
    )
    np.testing.assert_array_equal(whole, chunked)
    assert np.array_equal(whole, np.array(evaluator.scores(chromosomes, threads=2)), equal_nan=True)
