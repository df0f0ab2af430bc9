"""Sharpe ratios by label, from compiled batches: against single runs that record their equity."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import bar_returns, sharpe_ratio
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import Simulator


def test_ratios_of_labels_are_those_of_the_recorded_returns(jumpy_data: MarketData) -> None:
    data = jumpy_data
    rng = np.random.default_rng(4)
    chromosomes = [StrategyChromosome.random(rng, max_leverage=20.0) for _ in range(40)]
    labels = rng.integers(3, size=len(data))
    simulator = Simulator(data)
    statistics, ratios = simulator.run_labelled(chromosomes, labels, threads=1)
    assert statistics.tobytes() == simulator.run_many(chromosomes).tobytes()
    np.testing.assert_array_equal(ratios, simulator.run_labelled(chromosomes, labels, threads=2)[1])
    compared = 0
    for chromosome, found in zip(chromosomes, ratios, strict=True):
        result = simulator.run(chromosome)
        returns = np.nan_to_num(bar_returns(result.equity, start=result.start_cash))
        expected = [sharpe_ratio(returns[labels == label], bars_per_year=data.bars_per_year) for label in range(3)]
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
        compared += np.count_nonzero(np.isfinite(found))
    assert compared > 60


def test_labels_that_do_not_fit_the_bars_are_refused(jumpy_data: MarketData) -> None:
    simulator = Simulator(jumpy_data.head(300))
    chromosome = StrategyChromosome.random(np.random.default_rng(1))
    with pytest.raises(SettingsError, match=r"one entry a bar, shape \(300,\), got shape \(299,\)"):
        simulator.run_labelled([chromosome], np.zeros(299, np.int64))
    with pytest.raises(SettingsError, match="whole numbers from 0"):
        simulator.run_labelled([chromosome], np.full(300, -1))
    with pytest.raises(SettingsError, match="whole numbers from 0"):
        simulator.run_labelled([chromosome], np.zeros(300))
    statistics, ratios = simulator.run_labelled([], np.zeros(300, np.int64))
    assert statistics.shape == (0,)
    assert ratios.shape == (0, 1)
