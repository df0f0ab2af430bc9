"""What is refused, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rules import Gene, Section, Series, SeriesBank, StrategyChromosome
from ai_backtrader.simulation import Simulator, simulate

RULES = StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 30.0),)))
TOO_MANY_TIERS = MaintenanceTiers([(k * 1000.0, (k + 1) * 1000.0, 0.004, 0, 125) for k in range(65)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cash": 0.0}, "cash must be greater than 0"),
        ({"cash": float("nan")}, "cash must be finite"),
        ({"commission": -0.1}, "commission must be between 0 and 0.5"),
        ({"commission": "free"}, "commission must be a number"),
        ({"slippage": 2.0}, "slippage must be between"),
        ({"liquidation_fee": 1.0}, "liquidation_fee must be between"),
        ({"tiers": [(0, 1, 2, 3, 4)]}, "tiers must be MaintenanceTiers or None"),
        ({"tiers": TOO_MANY_TIERS}, "tiers may have at most 64 rows, got 65"),
        ({"funding": True}, "funding must be a rate, False or None, got True"),
        ({"funding": "funding_rate"}, "funding must be a number"),
        ({"shortcash": 1}, "shortcash must be True or False"),
    ],
)
def test_faulty_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        simulate(load_sample().head(100), RULES, **options)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(SettingsError, match="3 faults"):
        simulate(load_sample().head(100), RULES, cash=-1, commission=9, slippage=9)


def test_too_few_bars_are_refused() -> None:
    with pytest.raises(SettingsError, match="first decides at bar 15, but the data have 14"):
        simulate(load_sample().head(14), RULES)
    assert len(simulate(load_sample().head(15), RULES).equity) == 15


def test_data_must_be_market_data() -> None:
    frame: Any = load_sample().to_frame()
    with pytest.raises(SettingsError, match="data must be MarketData, got DataFrame; load it with"):
        simulate(frame, RULES)


def test_rules_must_be_chromosomes() -> None:
    text: Any = RULES.to_json()
    with pytest.raises(SettingsError, match="chromosome 0 must be a StrategyChromosome, got str"):
        simulate(load_sample().head(100), text)
    with pytest.raises(SettingsError, match="chromosome 1 must be a StrategyChromosome, got int"):
        Simulator(load_sample().head(100)).run_many([RULES, 3])  # type: ignore[list-item]


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_must_be_a_whole_number_above_zero(threads: Any) -> None:
    with pytest.raises(SettingsError, match="threads must be"):
        Simulator(load_sample().head(100)).run_many([RULES], threads=threads)


def test_a_bank_of_other_data_is_refused() -> None:
    data: MarketData = load_sample()
    with pytest.raises(SettingsError, match="bank holds the series of other data"):
        Simulator(data.head(100), bank=SeriesBank(data.head(101)))


def test_no_trade_is_a_result() -> None:
    never = StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 0.0),)))
    result = simulate(load_sample().head(300), never)
    assert len(result.fills) == len(result.trades) == 0
    assert (result.equity == 10_000.0).all()
    assert np.isnan(result.metrics["sharpe"])
    assert "0 trades" in repr(result)
