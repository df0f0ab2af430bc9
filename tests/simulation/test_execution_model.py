"""The kernels against Backtrader's brokers, decided from the same signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers, bankruptcy_price
from ai_backtrader.rules import Gene, HoldGene, RiskParameters, Section, Series, SeriesBank, StrategyChromosome
from ai_backtrader.simulation import FillReason, SimulationResult, Simulator, simulate

CerebroRun = Callable[..., tuple[SimulationResult, list[tuple[Any, ...]]]]

TIERS = MaintenanceTiers([(0, 5_000, 0.004, 0, 125), (5_000, 25_000, 0.005, None, 100), (25_000, 1e7, 0.01, None, 50)])

UP = Gene(Series("close"), ">", Series("sma", (5,)))
DOWN = Gene(Series("close"), "<", Series("sma", (5,)))


@pytest.mark.parametrize(
    "costs",
    [
        {},
        {"commission": 0.0},
        {"slippage": 0.002, "commission": 0.001},
        {"shortcash": False},
    ],
    ids=["default", "no costs", "slippage", "shorts cost cash"],
)
def test_at_leverage_one_runs_equal_backtraders_own_broker(
    jumpy_data: MarketData, cerebro_run: CerebroRun, costs: dict[str, Any]
) -> None:
    bank = SeriesBank(jumpy_data)
    simulator = Simulator(jumpy_data, bank=bank, funding=0.0, **costs)
    fills = 0
    for seed in range(12):
        chromosome = StrategyChromosome.random(np.random.default_rng(seed))
        result = simulator.run(chromosome)
        reference, _ = cerebro_run(jumpy_data, chromosome, broker="plain", bank=bank, **costs)
        assert result.first_difference(reference) is None
        fills += len(result.fills)
    assert fills > 200


@pytest.mark.parametrize(
    "costs",
    [
        {},
        {"slippage": 0.001, "funding": 0.001},
        {"tiers": TIERS, "liquidation_fee": 0.01, "cash": 30_000.0},
        {"commission": 0.003, "funding": -0.002, "shortcash": False},
    ],
    ids=["default", "slippage and funding", "tiers and liquidation fee", "high costs"],
)
def test_with_leverage_runs_equal_the_leverage_broker(
    jumpy_data: MarketData, cerebro_run: CerebroRun, costs: dict[str, Any]
) -> None:
    bank = SeriesBank(jumpy_data)
    simulator = Simulator(jumpy_data, bank=bank, **costs)
    reasons = np.zeros(len(FillReason), dtype=int)
    for seed in range(12):
        chromosome = StrategyChromosome.random(np.random.default_rng(seed), max_leverage=(125.0, 20.0)[seed % 2])
        result = simulator.run(chromosome)
        reference, trades = cerebro_run(jumpy_data, chromosome, bank=bank, **costs)
        assert result.first_difference(reference) is None
        assert result.funding_paid == reference.funding_paid
        assert_trades_equal(result, trades)
        reasons += np.bincount(result.fills["reason"], minlength=len(reasons))
    assert reasons[FillReason.LIQUIDATION] > 5


def assert_trades_equal(result: SimulationResult, trades: list[tuple[Any, ...]]) -> None:
    """Against Backtrader's Trade objects; prices and profits to the rounding of its running means."""
    assert len(result.trades) == len(trades)
    for name, column in (("entry_bar", 0), ("exit_bar", 1)):
        np.testing.assert_array_equal(result.trades[name], [trade[column] for trade in trades])
    for name, column in (("entry_price", 2), ("pnl", 3), ("pnlcomm", 4)):
        np.testing.assert_allclose(result.trades[name], [trade[column] for trade in trades], rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("need", [None, 2, 3])
def test_hold_genes_among_other_exits_count_from_the_fill(
    jumpy_data: MarketData, cerebro_run: CerebroRun, need: int | None
) -> None:
    exits = (HoldGene(4), HoldGene(9), Gene(Series("rsi", (7,)), ">", 55.0), Gene(Series("adx", (9,)), "<", 25.0))
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)),
        exit=Section(exits, need),
        risk=RiskParameters(stop_atr=0.0, reverse=False, position_size=0.9),
    )
    result = simulate(jumpy_data, chromosome)
    reference, _ = cerebro_run(jumpy_data, chromosome)
    assert len(result.trades) > 10
    assert result.first_difference(reference) is None


def test_a_position_is_closed_on_the_first_bar_beyond_its_hold(jumpy_data: MarketData) -> None:
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)), exit=Section((HoldGene(10),)), risk=RiskParameters(stop_atr=0.0, reverse=False)
    )
    trades = simulate(jumpy_data, chromosome).trades
    # Decided at the close of the eleventh bar after the fill, filled at the open of the twelfth.
    assert len(trades) > 10
    assert set(trades["exit_bar"] - trades["entry_bar"]) == {12}


def test_an_isolated_position_never_loses_more_than_its_margin(jumpy_data: MarketData) -> None:
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)),
        entry_short=Section((DOWN,)),
        exit=Section((HoldGene(24),)),
        risk=RiskParameters(leverage=50.0, position_size=0.02, stop_atr=0.0, reverse=False),
    )
    result = simulate(jumpy_data, chromosome, funding=0.0, liquidation_fee=0.02, cash=1e6)
    lost = result.trades[result.trades["liquidated"]]
    assert len(lost) > 30
    margin = lost["size"] * lost["entry_price"] / 50.0
    entry_fee = lost["size"] * lost["entry_price"] * 0.0005
    assert (lost["pnlcomm"] >= -margin * (1.0 + 1e-12) - entry_fee * (1.0 + 1e-12)).all()
    assert (result.equity >= 0.0).all()
    for trade in lost:
        side = "long" if trade["side"] > 0 else "short"
        posted = trade["size"] * trade["entry_price"] / 50.0
        bankrupt = bankruptcy_price(
            side=side, entry_price=trade["entry_price"], size=float(trade["size"]), margin=float(posted)
        )
        assert trade["side"] * (trade["exit_price"] - bankrupt) >= -1e-9 * bankrupt


def test_orders_above_the_cash_are_refused_and_counted(jumpy_data: MarketData, cerebro_run: CerebroRun) -> None:
    # All of the equity at the close, bought at a higher open or with a commission on top, is more than there is.
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)), exit=Section((DOWN,)), risk=RiskParameters(position_size=1.0, stop_atr=3.0)
    )
    result = simulate(jumpy_data, chromosome, funding=0.0, shortcash=False)
    reference, _ = cerebro_run(jumpy_data, chromosome, funding=0.0, shortcash=False)
    assert result.rejected > 50
    assert result.first_difference(reference) is None


def test_leverage_above_the_tiers_limit_is_refused(jumpy_data: MarketData, cerebro_run: CerebroRun) -> None:
    chromosome = StrategyChromosome(
        entry_long=Section((UP,)), exit=Section((DOWN,)), risk=RiskParameters(leverage=60.0, position_size=0.1)
    )
    # 60 % of the cash: within the first tier with 5,000, where 125x are allowed; in the third, of 50x, with 50,000.
    small = simulate(jumpy_data, chromosome, tiers=TIERS, cash=1_000.0)
    large = simulate(jumpy_data, chromosome, tiers=TIERS, cash=50_000.0)
    assert len(small.fills) > 0
    assert len(large.fills) == 0
    assert large.rejected > 0
    reference, _ = cerebro_run(jumpy_data, chromosome, tiers=TIERS, cash=50_000.0)
    assert large.first_difference(reference) is None


def test_the_future_does_not_change_the_past(jumpy_data: MarketData) -> None:
    for seed in range(8):
        chromosome = StrategyChromosome.random(np.random.default_rng(seed), max_leverage=20.0)
        whole = simulate(jumpy_data, chromosome)
        for bars in (350, 500, 637):
            part = simulate(jumpy_data.head(bars), chromosome)
            np.testing.assert_array_equal(part.equity, whole.equity[:bars])
            np.testing.assert_array_equal(part.cash, whole.cash[:bars])
            np.testing.assert_array_equal(part.fills, whole.fills[whole.fills["bar"] < bars])


def test_longs_pay_what_shorts_receive(jumpy_data: MarketData) -> None:
    risk = RiskParameters(leverage=2.0, position_size=0.2, stop_atr=0.0, reverse=False)
    long = StrategyChromosome(entry_long=Section((UP,)), risk=risk)
    short = StrategyChromosome(entry_short=Section((UP,)), risk=risk)
    paid = [
        simulate(jumpy_data.head(60), rules, commission=0.0, funding=0.0003).funding_paid for rules in (long, short)
    ]
    assert paid[0] > 0.0
    assert abs(paid[0] + paid[1]) < 1e-12 * paid[0]
