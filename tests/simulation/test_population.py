"""Many rules at once: the same figures as one by one, whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.rules import Gene, RiskParameters, Section, Series, SeriesBank, StrategyChromosome
from ai_backtrader.simulation import STATISTICS_DTYPE, Simulator


@pytest.fixture(scope="module")
def chromosomes() -> list[StrategyChromosome]:
    rng = np.random.default_rng(11)
    return [StrategyChromosome.random(rng, max_leverage=(1.0, 20.0)[k % 2]) for k in range(120)]


def test_statistics_equal_the_metrics_of_single_runs(
    jumpy_data: MarketData, chromosomes: list[StrategyChromosome]
) -> None:
    simulator = Simulator(jumpy_data, liquidation_fee=0.01, slippage=0.0005)
    statistics = simulator.run_many(chromosomes)
    exact = {"final_equity", "total_return", "max_drawdown", "exposure", "trades", "win_rate", "liquidations"}
    for row, chromosome in zip(statistics, chromosomes, strict=True):
        metrics = simulator.run(chromosome).metrics
        for name in STATISTICS_DTYPE.names or ():
            if name in exact or name == "rejected":
                np.testing.assert_array_equal(row[name], metrics[name], err_msg=name)
            else:
                np.testing.assert_allclose(row[name], metrics[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_any_number_of_threads_and_any_company_give_the_same_bits(
    jumpy_data: MarketData, chromosomes: list[StrategyChromosome]
) -> None:
    simulator = Simulator(jumpy_data)
    alone = simulator.run_many(chromosomes, threads=1)
    assert len(np.unique(alone["final_equity"])) > 60
    for threads in (2, 3, 7):
        assert simulator.run_many(chromosomes, threads=threads).tobytes() == alone.tobytes()
    backwards = Simulator(jumpy_data).run_many(chromosomes[::-1])
    assert backwards[::-1].tobytes() == alone.tobytes()
    one_by_one = [simulator.run_many([chromosome])[0] for chromosome in chromosomes]
    assert np.array(one_by_one, STATISTICS_DTYPE).tobytes() == alone.tobytes()


def test_more_chromosomes_than_one_condition_table_takes(
    jumpy_data: MarketData, chromosomes: list[StrategyChromosome]
) -> None:
    simulator = Simulator(jumpy_data.head(200))
    once = simulator.run_many(chromosomes)
    many = simulator.run_many(chromosome for _ in range(6) for chromosome in chromosomes)
    assert many.tobytes() == once.tobytes() * 6


def test_strategies_go_from_bank_to_bank_whatever_their_room(
    jumpy_data: MarketData, chromosomes: list[StrategyChromosome]
) -> None:
    # Sections remember where a bank has their conditions: not where another has them, nor where this one had them.
    one, other = jumpy_data, jumpy_data.head(300)
    expected = {id(data): Simulator(data).run_many(chromosomes).tobytes() for data in (one, other)}
    simulators = [
        Simulator(data, bank=SeriesBank(data, memory=memory)) for data in (one, other) for memory in (0, 100_000, 2**24)
    ]
    for _ in range(2):
        for simulator in simulators:
            parts = [simulator.run_many(part) for part in (chromosomes[:50], chromosomes[50:53], chromosomes[53:])]
            assert b"".join(part.tobytes() for part in parts) == expected[id(simulator.data)]


def test_no_chromosomes_give_no_statistics(jumpy_data: MarketData) -> None:
    assert Simulator(jumpy_data).run_many([]).shape == (0,)


def test_a_rule_that_waits_longer_than_the_data_never_trades(jumpy_data: MarketData) -> None:
    slow = StrategyChromosome(
        entry_long=Section((Gene(Series("close"), ">", Series("sma", (300,))),)), risk=RiskParameters(stop_atr=0.0)
    )
    statistics = Simulator(jumpy_data.head(200)).run_many([slow])
    assert statistics["trades"][0] == 0
    assert statistics["final_equity"][0] == 10_000.0
    assert np.isnan(statistics["sharpe"][0])
    assert np.isnan(statistics["profit_factor"][0])


def test_a_bankrupt_account_has_statistics(jumpy_data: MarketData) -> None:
    # Shorts without margin (Backtrader's shortcash) can owe money: returns after that have no meaning.
    always = Gene(Series("rsi", (2,)), "between", 0.0, 100.0)
    short = StrategyChromosome(
        entry_short=Section((always,)), risk=RiskParameters(position_size=1.0, stop_atr=0.0, reverse=False)
    )
    frame = jumpy_data.to_frame()[["open", "high", "low", "close", "volume"]].head(100)
    growth = np.linspace(1.0, 4.0, 100)
    for name in ("open", "high", "low", "close"):
        frame[name] *= growth
    simulator = Simulator(MarketData.from_frame(frame, symbol="ROCKET"))
    metrics, row = simulator.run(short).metrics, simulator.run_many([short])[0]
    assert row["final_equity"] < 0.0
    assert row["max_drawdown"] > 1.0
    np.testing.assert_allclose(row["sharpe"], metrics["sharpe"], rtol=1e-12)
