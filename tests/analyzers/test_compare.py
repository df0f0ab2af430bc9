"""compare: strategies side by side, with holding and the price of having looked at many."""

from __future__ import annotations

import math
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


def test_a_strategy_that_a_search_found_brings_its_trials_along(
    run: Callable[..., Any], walk: pd.DataFrame, cross: type[bt.Strategy]
) -> None:
    found = type("Found", (cross,), {"searched_trials": 924})
    results = {
        "found": run(walk, found, {"p": Performance}, fast=5, slow=20),
        "own": run(walk, cross, {"p": Performance}, fast=10, slow=40),
    }
    assert compare(results, resamples=0).family == 925
    assert compare(results, resamples=0, n_trials=2).family == 2
    assert "925 strategies looked at" in compare(results, resamples=0).verdict


def test_text_shows_the_table_and_says_what_it_means(three: dict[str, Any]) -> None:
    text = str(compare(three, resamples=50))
    assert [line.split("  ")[0] for line in text.splitlines()[2:6]][-1] == "buy and hold"
    assert "Nothing here beats holding: 3 strategies looked at" in text


@pytest.mark.parametrize(
    ("returns", "first", "last"),
    [
        (
            {"slow": -0.02, "fast": -0.05},
            "Nothing here beats holding beyond doubt: 2 strategies looked at, and none earned more beyond",
            "(level 0.05, Holm). On these bars slow ended 6.0 points above holding (-2.0% against -8.0%), and 1 more "
            "ended above it: that is what happened, not proof.",
        ),
        (
            {"slow": -0.1, "fast": -0.12},
            "Nothing here beats holding: 2 strategies looked at, and none earned more beyond",
            "(level 0.05, Holm). On these bars slow ended 2.0 points below holding (-10.0% against -8.0%).",
        ),
        (
            {"same": -0.08},
            "Nothing here beats holding: 1 strategy looked at, and none earned more beyond",
            "(level 0.05, Holm). On these bars the best, same, ended level with holding (-8.0% against -8.0%).",
        ),
    ],
    ids=["above", "below", "level"],
)  # fmt: skip
def test_the_verdict_tells_the_plain_difference_beside_the_evidence(
    returns: dict[str, float], first: str, last: str
) -> None:
    rng = np.random.default_rng(0)

    def path(end: float) -> np.ndarray:
        """Noise that ends where it shall."""
        walked = np.cumsum(rng.normal(0.0, 0.01, 400))
        return np.exp(walked - np.linspace(0.0, walked[-1] - np.log1p(end), 400))

    close = 100.0 * np.concatenate(([1.0], path(-0.08)))
    frame = pd.DataFrame(
        {"open": close, "high": close, "low": close, "close": close, "volume": 1.0},
        index=pd.date_range("2024-01-01", periods=401, freq="h", tz="UTC"),
    )
    data = MarketData.from_frame(frame, symbol="X")
    results = {
        name: SimulationResult(
            symbol="X", times=data.times, bars_per_year=data.bars_per_year, start_cash=1.0, leverage=1.0,
            fills=np.empty(0, FILL_DTYPE), equity=np.concatenate(([1.0], path(end))), cash=np.ones(401),
        )
        for name, end in returns.items()
    }  # fmt: skip
    found = compare(results, data=data, resamples=0)
    assert found.verdict.startswith(first)
    assert found.verdict.endswith(last)
    for name, end in returns.items():
        assert found.frame.loc[name, "over_holding"] == pytest.approx(end + 0.08)
    assert math.isnan(found.frame.loc["buy and hold", "over_holding"])


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
    with pytest.raises(SettingsError, match="'buy and hold' is put beside them anyway; give yours another name"):
        compare({"buy and hold": three["cross 5"]})
    with pytest.raises(SettingsError, match="n_trials must be at least 3"):
        compare(three, n_trials=2)
    short = run(walk.iloc[:500], type(three["cross 5"]), {"e": Evidence})
    with pytest.raises(SettingsError, match=r"results must be of the same bars, got cross 5: 800, .*short: 500"):
        compare({**three, "short": short})
