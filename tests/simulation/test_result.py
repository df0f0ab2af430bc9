"""Trades, metrics and comparison of a result, by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ai_backtrader.simulation import FILL_DTYPE, FillReason, SimulationResult, trades_of_fills

FILLS = np.array(
    [
        (2, 100.0, 3.0, 0.3, 0.0, 0.0, FillReason.ENTRY),
        (5, 110.0, -3.0, 0.43, 0.1, 30.0, FillReason.TARGET),
        (7, 50.0, -4.0, 0.2, 0.0, 0.0, FillReason.ENTRY),
        (8, 55.0, 4.0, 0.22, 0.0, -20.0, FillReason.LIQUIDATION),
        (9, 60.0, 1.0, 0.06, 0.0, 0.0, FillReason.ENTRY),
    ],
    FILL_DTYPE,
)


@pytest.fixture
def result() -> SimulationResult:
    equity = np.array([1000, 1000, 1000, 1010, 1020, 1029.27, 1029.27, 1029.07, 1008.85, 1010.0])
    return SimulationResult(
        symbol="HAND",
        times=np.arange(10).astype("datetime64[D]"),
        bars_per_year=365.25,
        start_cash=1000.0,
        leverage=2.0,
        fills=FILLS,
        equity=equity,
        cash=equity.copy(),
        rejected=3,
        funding_paid=0.15,
    )


def test_fills_make_closed_trades(result: SimulationResult) -> None:
    first, second = result.trades.tolist()
    assert first == (2, 5, 1, 100.0, 110.0, 3.0, 30.0, 30.0 - (0.3 + 0.43), 2.0, FillReason.TARGET, False)
    assert second == (7, 8, -1, 50.0, 55.0, 4.0, -20.0, -20.0 - (0.2 + 0.22), 2.0, FillReason.LIQUIDATION, True)


def test_additions_average_and_a_crossing_fill_closes_one_trade_and_opens_the_next() -> None:
    fills = np.array(
        [
            (0, 100.0, 1.0, 0.0, 0.0, 0.0, FillReason.ENTRY),
            (1, 110.0, 1.0, 0.0, 0.0, 0.0, FillReason.ENTRY),
            (2, 120.0, -1.0, 0.0, 0.0, 15.0, FillReason.EXIT),
            (3, 120.0, -3.0, 3.0, 0.0, 15.0, FillReason.ENTRY),
            (4, 100.0, 2.0, 0.0, 0.0, 40.0, FillReason.EXIT),
        ],
        FILL_DTYPE,
    )
    trades = trades_of_fills(fills)
    assert trades["entry_price"].tolist() == [105.0, 120.0]
    assert trades["exit_bar"].tolist() == [3, 4]
    assert trades["side"].tolist() == [1, -1]
    assert trades["size"].tolist() == [2.0, 2.0]
    assert trades["pnlcomm"].tolist() == [29.0, 38.0]


def test_position_at_each_close(result: SimulationResult) -> None:
    assert result.position.tolist() == [0, 0, 3, 3, 3, 0, 0, -4, 0, 1]


def test_metrics_by_hand(result: SimulationResult) -> None:
    figures = result.metrics
    assert figures["final_equity"] == 1010.0
    assert figures["total_return"] == pytest.approx(0.01)
    assert figures["exposure"] == 0.5
    assert figures["trades"] == 2
    assert figures["win_rate"] == 0.5
    assert figures["profit_factor"] == pytest.approx(29.27 / 20.42)
    assert figures["fees"] == pytest.approx(0.3 + 0.33 + 0.2 + 0.22 + 0.06)
    assert figures["funding"] == 0.15
    assert figures["liquidations"] == 1
    assert figures["rejected"] == 3
    assert figures["max_drawdown"] == pytest.approx((1029.27 - 1008.85) / 1029.27)
    returns = np.diff(np.concatenate(([1000.0], result.equity))) / np.concatenate(([1000.0], result.equity[:-1]))
    assert figures["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(365.25))


def test_equal_results_have_no_difference(result: SimulationResult) -> None:
    assert result.first_difference(dataclasses.replace(result)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fills": FILLS[:-1]}, "5 fills against 4: first extra is entry at bar 9"),
        ({"rejected": 2}, "3 refused orders against 2"),
        ({"cash": np.full(10, 7.0)}, "cash at bar 0"),
        ({"equity": np.full(9, 7.0)}, "10 bars of equity against 9"),
    ],
)
def test_the_first_difference_is_named(result: SimulationResult, change: dict[str, Any], words: str) -> None:
    assert words in str(result.first_difference(dataclasses.replace(result, **change)))


def test_the_earliest_fill_that_differs_is_named(result: SimulationResult) -> None:
    fills = FILLS.copy()
    fills["pnl"][3] = np.nextafter(-20.0, 0.0)
    fills["price"][4] = 61.0
    said = str(result.first_difference(dataclasses.replace(result, fills=fills)))
    assert said.startswith("fill 3 (bar 8): pnl -20.0 against -19.99")
