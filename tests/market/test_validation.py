"""The rules of validation: what they must let pass (what they refuse stands in the table of faulty inputs)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ai_backtrader.errors import DataError
from ai_backtrader.market import MarketData
from ai_backtrader.market.validation import spikes


def from_close(close: NDArray[np.float64], freq: str = "h") -> pd.DataFrame:
    open_ = np.concatenate((close[:1], close[:-1]))
    table = {"open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close), "close": close}
    index = pd.date_range("2024-01-01", periods=len(close), freq=freq, tz="UTC")
    return pd.DataFrame({**table, "volume": 1.0}, index=index)


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT-1h-2018-2023.csv.gz",
        "BTCUSDT-perp-1h-2020-2023.csv.gz",
        "DOGE-perp-binance-1h-2025-2026-oi.csv.gz",
        "ETHUSDT-perp-1h-2020-2023.csv.gz",
        "LTCUSDT-1h-2020-2023.csv.gz",
        "ORCL-1d-1995-2014-backtrader-sample.csv.gz",
    ],
)
def test_real_crashes_are_far_from_the_spike_rules(name: str, shared_csv: Callable[[str], Path]) -> None:
    # Half of the limits would do: the real data do not live at their edge.
    MarketData.from_csv(shared_csv(name), spike_factor=1.5, jump_factor=3.0, max_funding_rate=0.01)


def test_a_crash_that_stays_and_a_slow_return_are_no_spikes() -> None:
    crash = np.array([100.0] * 10 + [15.0] * 10)
    returns = np.array([100.0] * 10 + [15.0, 20.0, 30.0, 50.0, 100.0])
    for close in (crash, returns):
        assert len(MarketData.from_frame(from_close(close), symbol="X")) == len(close)


def test_the_spike_rule_is_symmetric_and_never_accuses_the_ends() -> None:
    close = np.full(9, 100.0)
    for at in range(9):
        for factor in (6.0, 1 / 6.0):
            spiked = close.copy()
            spiked[at] *= factor
            found = spikes(spiked, 5.0)
            assert list(np.flatnonzero(found)) == ([at] if 0 < at < 8 else [])
            assert list(np.flatnonzero(spikes(spiked * 1e-8, 5.0))) == list(np.flatnonzero(found))
    assert not spikes(close * 1.0, 5.0).any()
    assert not spikes(close[:2], 5.0).any()


def test_factors_allow_what_they_say() -> None:
    spiked = np.full(20, 100.0)
    spiked[10] = 600.0
    with pytest.raises(DataError, match="factor of 5 and comes back"):
        MarketData.from_frame(from_close(spiked), symbol="X")
    assert MarketData.from_frame(from_close(spiked), symbol="X", spike_factor=7.0).high.max() == 600.0
    jumped = np.where(np.arange(20) < 10, 1.0, 25.0)
    with pytest.raises(DataError, match="factor of 20 in one bar"):
        MarketData.from_frame(from_close(jumped), symbol="X")
    assert MarketData.from_frame(from_close(jumped), symbol="X", jump_factor=30.0).close[-1] == 25.0


def test_empty_optional_cells_are_allowed_and_counted() -> None:
    table = from_close(np.linspace(100, 110, 20))
    for name in ("funding_rate", "open_interest", "long_short_ratio", "taker_buy_volume"):
        table[name] = np.where(np.arange(20) == 3, 0.01, np.nan)
    data = MarketData.from_frame(table, symbol="X")
    assert set(data.report.missing.values()) == {19}
    assert len(data.report.missing) == 4


def test_bars_without_a_mark_price_carry_the_last_price() -> None:
    table = from_close(np.linspace(100, 110, 20))
    for name in ("open", "high", "low", "close"):
        table[f"mark_{name}"] = table[name] * 1.01
    table.loc[table.index[4], ["mark_open", "mark_high", "mark_low", "mark_close"]] = np.nan
    table.loc[table.index[7], "mark_low"] = np.nan
    data = MarketData.from_frame(table, symbol="X")
    assert data.report.mark_filled == 2
    assert data.mark_low is not None
    assert data.mark_close is not None
    for row in (4, 7):
        assert (data.mark_low[row], data.mark_close[row]) == (data.low[row], data.close[row])
    assert data.mark_close[5] == table["mark_close"].iloc[5]


def test_bar_length_is_the_commonest_step_and_gaps_are_no_fault() -> None:
    table = from_close(np.linspace(100, 110, 40))
    data = MarketData.from_frame(table.drop(table.index[[3, 4, 5, 20, 21]]), symbol="X")
    assert (data.bar_seconds, data.report.gaps, data.report.longest_gap_seconds) == (3600, 2, 4 * 3600)
    late = table.set_axis(table.index.where(table.index < table.index[10], table.index + pd.Timedelta("20min")), axis=0)
    assert MarketData.from_frame(late, symbol="X").report.off_grid_steps == 1


@pytest.mark.parametrize(("freq", "seconds"), [("W-MON", 7 * 86_400), ("MS", 31 * 86_400), ("B", 86_400)])
def test_calendar_bars_have_a_nominal_length(freq: str, seconds: int) -> None:
    assert MarketData.from_frame(from_close(np.linspace(100, 110, 40), freq), symbol="X").bar_seconds == seconds


def test_a_given_bar_length_is_taken_where_none_can_be_inferred() -> None:
    one = from_close(np.array([100.0]))
    with pytest.raises(DataError, match="bar length cannot be inferred"):
        MarketData.from_frame(one, symbol="X", min_bars=1)
    assert MarketData.from_frame(one, symbol="X", min_bars=1, bar_seconds=3600).bar_seconds == 3600
    steps = np.cumsum(np.arange(30) % 7 + 1)
    uneven = from_close(np.linspace(100, 110, 30)).set_axis(
        pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(steps, unit="h"), axis=0
    )
    with pytest.raises(DataError, match="bar length cannot be inferred"):
        MarketData.from_frame(uneven, symbol="X")
    assert MarketData.from_frame(uneven, symbol="X", bar_seconds=3600).bar_seconds == 3600
