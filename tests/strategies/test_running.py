"""A chromosome in Cerebro gives the same result as the compiled simulation, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rules import Gene, HoldGene, RiskParameters, Section, Series, StrategyChromosome
from ai_backtrader.simulation import FillReason, simulate
from ai_backtrader.strategies import run_in_cerebro

SETTINGS: list[dict[str, Any]] = [
    {},
    {"commission": 0.0, "slippage": 0.002},
    {"cash": 500.0, "funding": 0.001, "liquidation_fee": 0.005},
    {"tiers": MaintenanceTiers.flat(0.02), "shortcash": False},
]


def assert_twins(data: MarketData, chromosomes: Iterator[StrategyChromosome]) -> set[int]:
    seen: set[int] = set()
    for position, chromosome in enumerate(chromosomes):
        settings = SETTINGS[position % len(SETTINGS)]
        slow, fast = run_in_cerebro(data, chromosome, **settings), simulate(data, chromosome, **settings)
        assert fast.first_difference(slow) is None, (chromosome.describe(), settings)
        assert fast.funding_paid == slow.funding_paid or abs(fast.funding_paid - slow.funding_paid) < 1e-9
        seen |= set(slow.fills["reason"].tolist())
    return seen


def test_cerebro_and_the_compiled_simulation_agree(
    walk: Callable[..., MarketData], rules: Callable[..., Iterator[StrategyChromosome]]
) -> None:
    seen = assert_twins(walk(350, seed=3, step=0.02), rules(32, bars=200, seed=3, max_leverage=20))
    assert seen == {int(reason) for reason in FillReason}


@pytest.mark.slow
def test_cerebro_and_the_compiled_simulation_agree_on_real_bars(
    shared_csv: Callable[[str], Path], rules: Callable[..., Iterator[StrategyChromosome]]
) -> None:
    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).between("2020-02-01", "2020-04-01")
    seen = assert_twins(data, rules(200, bars=1000, seed=3, max_leverage=20))
    assert seen == {int(reason) for reason in FillReason}


def test_a_result_has_a_value_for_every_bar_and_every_fill_a_reason(walk: Callable[..., MarketData]) -> None:
    data = walk(300)
    chromosome = StrategyChromosome(
        entry_long=Section((Gene(Series("close"), ">", Series("sma", (50,))),)), exit=Section((HoldGene(3),))
    )
    result = run_in_cerebro(data, chromosome, cash=2_000.0)
    assert len(result.equity) == len(result.cash) == 300
    assert result.equity[:49].tolist() == [2_000.0] * 49  # the warm-up
    assert result.fills["bar"][0] >= 50
    assert {FillReason(reason).name for reason in result.fills["reason"]} <= {"ENTRY", "EXIT", "STOP"}
    traded = float(np.sum(result.trades["pnlcomm"]))
    open_profit = result.equity[-1] - 2_000.0 - traded
    assert abs(open_profit) < 1e-9 or result.fills["reason"][-1] == FillReason.ENTRY


def test_refused_orders_are_counted_with_their_brackets(walk: Callable[..., MarketData]) -> None:
    # 100 % of equity plus commission is more than there is, once the price gaps up.
    chromosome = StrategyChromosome(
        entry_long=Section((Gene(Series("close"), ">", Series("open")),)),
        exit=Section((HoldGene(1),)),
        risk=RiskParameters(position_size=1.0, stop_atr=3.0, take_profit_atr=3.0),
    )
    result = run_in_cerebro(walk(300), chromosome)
    assert result.rejected > 30
    assert result.rejected == simulate(walk(300), chromosome).rejected


def test_what_cannot_run_is_refused(walk: Callable[..., MarketData]) -> None:
    chromosome = StrategyChromosome(entry_long=Section((Gene(Series("close"), ">", Series("sma", (50,))),)))
    with pytest.raises(SettingsError, match="first decides at bar 50, but the data have 40; give more bars or shorter"):
        run_in_cerebro(walk(40), chromosome)
    with pytest.raises(SettingsError, match="4 faults"):
        run_in_cerebro(walk(100), chromosome, cash=0.0, commission=-1.0, slippage=2.0, funding=True)
