"""compare: strategies side by side, with holding and the price of having looked at many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import Comparison, Evidence, Performance, compare
from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import holm
from ai_backtrader.market import MarketData
from ai_backtrader.simulation import FILL_DTYPE, SimulationResult


@pytest.fixture
def three(run: Callable[..., Any], walk: pd.DataFrame, cross: type[bt.Strategy]) -> dict[str, Any]:
    return {
        f"cross {fast}": run(
            walk, cross, {"e": Evidence} if fast == 5 else {"p": Performance}, fast=fast, slow=4 * fast
        )
        for fast in (5, 10, 20)
    }


def test_each_has_its_own_figures_and_holding_comes_last(three: dict[str, Any]) -> None:
    found = compare(three, resamples=100)
    assert isinstance(found, Comparison)
    frame = found.frame
    assert frame.index[-1] == "buy and hold"
    assert set(frame.index[:-1]) == set(three)
    assert frame["sharpe_ratio"].iloc[:-1].is_monotonic_decreasing
    own = three["cross 10"].analyzers.p.get_analysis()
    row = frame.loc["cross 10"]
    for name in ("total_return", "sharpe_ratio", "max_drawdown", "trades", "sortino_ratio"):
        assert row[name] == pytest.approx(own[name], rel=1e-9), name
    assert frame.loc["buy and hold", "total_return"] == pytest.approx(own.buy_and_hold.total_return, rel=1e-9)
    first = three["cross 5"].analyzers.e.get_analysis()
    assert frame.loc["cross 5", "sharpe_ratio"] == pytest.approx(first.sharpe_ratio, rel=1e-12)


def test_the_whole_family_pays_for_the_look(three: dict[str, Any]) -> None:
    alone, wide = compare(three, resamples=0), compare(three, resamples=0, n_trials=500)
    rows = alone.frame.iloc[:-1]
    assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p_value"].to_numpy()).tolist())
    assert (wide.frame["p_holm"].iloc[:-1] >= rows["p_holm"]).all()
    assert (wide.frame["deflated_sharpe"].iloc[:-1] <= rows["deflated_sharpe"]).all()
    assert (alone.family, wide.family) == (3, 500)


def test_text_shows_the_table_and_says_what_it_means(three: dict[str, Any]) -> None:
    text = str(compare(three, resamples=50))
    assert [line.split("  ")[0] for line in text.splitlines()[2:6]][-1] == "buy and hold"
    assert "Nothing here beats holding: 3 strategies looked at" in text


def test_an_edge_of_timing_is_told_from_more_of_the_market() -> None:
    rng = np.random.default_rng(1)
    n = 3_000
    steps = rng.normal(0.0005, 0.01, n)
    close = 100.0 * np.exp(np.cumsum(steps))
    frame = pd.DataFrame(
        {"open": close, "high": close, "low": close, "close": close, "volume": 1.0},
        index=pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC"),
    )
    data = MarketData.from_frame(frame, symbol="X")
    market = np.diff(close, prepend=close[0]) / np.concatenate((close[:1], close[:-1]))
    right = np.where(rng.random(n) < 0.7, 1.0, -1.0)
    made = {"twice the market": 2.0 * market, "timing": 0.2 * np.abs(market) * right, "half": 0.5 * market}
    results = {
        name: SimulationResult(
            symbol="X", times=data.times, bars_per_year=data.bars_per_year, start_cash=1.0, leverage=1.0,
            fills=np.empty(0, FILL_DTYPE), equity=np.cumprod(1.0 + returns), cash=np.ones(n),
        )
        for name, returns in made.items()
    }  # fmt: skip
    found = compare(results, data=data, resamples=0)
    assert not found.frame.loc["timing", "noise"]
    assert found.frame.loc["twice the market", "noise"]
    assert found.frame.loc["half", "noise"]
    assert found.verdict.startswith("More than luck beyond its share of the market: timing (3 strategies")


def test_what_cannot_be_compared_is_named(three: dict[str, Any], run: Callable[..., Any], walk: pd.DataFrame) -> None:
    with pytest.raises(SettingsError, match=r"'x' must be a strategy run with the analyzer .* got int"):
        compare({"x": 3})
    with pytest.raises(SettingsError, match="one or more, got"):
        compare({})
    with pytest.raises(SettingsError, match="n_trials must be at least 3"):
        compare(three, n_trials=2)
    short = run(walk.iloc[:500], type(three["cross 5"]), {"e": Evidence})
    with pytest.raises(SettingsError, match=r"results must be of the same bars, got cross 5: 800, .*short: 500"):
        compare({**three, "short": short})
