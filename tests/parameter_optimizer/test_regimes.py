"""What one regime's trades earned: parts that add up, decided on what was known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ai_backtrader.evidence import bar_returns
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import bars_in_regime, regime_run
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import FILL_DTYPE, FillReason, SimulationResult, Simulator
from ai_backtrader.values import Regime


def test_the_parts_of_a_run_add_up_to_its_returns_bar_by_bar(make_market: Callable[..., MarketData]) -> None:
    data = make_market(3, bars=1_500)
    rng = np.random.default_rng(4)
    simulator = Simulator(data, liquidation_fee=0.005, slippage=0.0003, funding=0.0004)
    fills = liquidations = 0
    for _ in range(60):
        result = simulator.run(StrategyChromosome.random(rng, max_leverage=60.0))
        label = rng.integers(0, 3, len(data))
        parts = [regime_run(result, data.close, label == k) for k in range(3)]
        whole = np.nan_to_num(bar_returns(result.equity, start=result.start_cash))
        np.testing.assert_allclose(sum(part.returns for part in parts), whole, rtol=0.0, atol=1e-9)
        assert sum(len(part.trades) for part in parts) == len(result.trades)
        fills += len(result.fills)
        liquidations += int(result.metrics["liquidations"])
    assert fills > 2_000
    assert liquidations > 20


def test_a_reversal_shares_its_bar_between_the_two_trades() -> None:
    # Long 10 from 100 at bar 1; at bar 3 it opens at 106 and turns short 10; closes 102, 104, 101, 99. No costs.
    close = np.array([100.0, 102.0, 104.0, 101.0, 99.0])
    fills = np.array(
        [
            (1, 100.0, 10.0, 0.0, 0.0, 0.0, FillReason.ENTRY),
            (3, 106.0, -10.0, 0.0, 0.0, 60.0, FillReason.REVERSAL),
            (3, 106.0, -10.0, 0.0, 0.0, 0.0, FillReason.ENTRY),
        ],
        dtype=FILL_DTYPE,
    )
    equity = np.array([1000.0, 1020.0, 1040.0, 1110.0, 1130.0])
    result = SimulationResult(
        symbol="X", times=np.arange(5).astype("datetime64[ns]"), bars_per_year=8766.0, start_cash=1000.0, leverage=1.0,
        fills=fills, equity=equity, cash=equity,
    )  # fmt: skip
    long_part = regime_run(result, close, np.array([True, False, False, False, False]))
    short_part = regime_run(result, close, np.array([False, False, True, False, False]))
    np.testing.assert_allclose(long_part.returns * [1000, 1000, 1020, 1040, 1110], [0, 20, 20, 20, 0], atol=1e-9)
    np.testing.assert_allclose(short_part.returns * [1000, 1000, 1020, 1040, 1110], [0, 0, 0, 50, 20], atol=1e-9)
    assert long_part.trades["pnl"].tolist() == [60.0]
    assert len(short_part.trades) == 0  # still open
    assert short_part.held.tolist() == [False, False, False, True, True]


def test_bull_includes_strong_bull_and_no_bar_changes_with_the_future(shared_csv: Callable[[str], Path]) -> None:
    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).head(4_000)
    every = {regime: bars_in_regime(data, regime) for regime in Regime}
    assert every[Regime.STRONG_BULL].any()
    assert not (every[Regime.STRONG_BULL] & ~every[Regime.BULL]).any()
    three = every[Regime.BULL].astype(int) + every[Regime.SIDEWAYS] + every[Regime.BEAR]
    ready = int(np.flatnonzero(three)[0])
    assert three[ready:].tolist() == [1] * (4_000 - ready)
    for cut in (1_500, 3_123):
        for regime in Regime:
            assert np.array_equal(bars_in_regime(data.head(cut), regime), every[regime][:cut])


@pytest.mark.parametrize("bars", [1, 40])
def test_before_anything_is_known_no_regime_is_there(make_market: Callable[..., MarketData], bars: int) -> None:
    assert not any(bars_in_regime(make_market(1, bars=60).head(bars), regime).any() for regime in Regime)
