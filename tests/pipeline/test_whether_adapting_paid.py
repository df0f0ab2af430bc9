"""A walk in which something passes on the way stands beside the same walk without adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.market import MarketData
from ai_backtrader.pipeline import PipelineResult, Profile, run_pipeline

OPTIONS: dict[str, Any] = {
    "profile": Profile(
        name="tiny", trials=8, surrogate="random", regimes=(), generations=4, population=24, champions=1, agent_steps=0,
        agent_seeds=1,
    ),
    "seed": 1, "commission": 0.00005, "design_share": 0.65,
}  # fmt: skip


def market(bars: int = 1_700, change: int = 1_250) -> MarketData:
    """A share of each hour's move goes on in the next; from the change on it moves twice as far."""
    rng = np.random.default_rng(0)
    shocks = rng.normal(0.0, 0.004, bars) * np.where(np.arange(bars) >= change, 2.0, 1.0)
    moves = np.zeros(bars)
    for bar in range(1, bars):
        moves[bar] = 0.6 * moves[bar - 1] + shocks[bar]
    close = 100.0 * np.exp(np.cumsum(moves))
    open_ = np.concatenate(([100.0], close[:-1]))
    reach = np.abs(rng.normal(0.0, 0.001, (2, bars)))
    times = np.datetime64("2020-01-01", "ns") + np.arange(bars) * np.timedelta64(3_600 * 10**9, "ns")
    return MarketData(
        symbol="DRIFT", times=times, bar_seconds=3_600, open=open_, high=np.maximum(open_, close) * (1 + reach[0]),
        low=np.minimum(open_, close) * (1 - reach[1]), close=close, volume=rng.lognormal(8.0, 1.0, bars),
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[PipelineResult, Path]:
    database = tmp_path_factory.mktemp("adapted") / "ai.db"
    return run_pipeline(market(), database=database, **OPTIONS), database


def test_the_walk_beside_it_is_that_of_a_run_without_adaptation(adapted: tuple[PipelineResult, Path]) -> None:
    result, _ = adapted
    plain = run_pipeline(market(), without=("adaptation",), **OPTIONS)
    assert "without_ai" in result.arrays
    assert "without_ai" not in plain.arrays
    for name, other in (("without_ai", "member_ai"), ("without_fund", "fund")):
        np.testing.assert_array_equal(result.arrays[name], plain.arrays[other])
        assert not np.array_equal(result.arrays[name], result.arrays[other])
    found = result.walk["adaptation"]
    for name in ("fund", "ai"):
        assert found[name]["return"] == pytest.approx(result.walk["members"][name]["total_return"], abs=1e-12)
        assert found[name]["without"] == pytest.approx(plain.walk["members"][name]["total_return"], abs=1e-12)
    assert found["trades_without"] == plain.walk["members"]["ai"]["trades"]


def test_each_adaptation_says_what_it_changed_and_whether_it_paid(adapted: tuple[PipelineResult, Path]) -> None:
    result, _ = adapted
    found, searches, times = result.walk["adaptation"], result.walk["adaptations"], result.arrays["times"]
    changed = [one for one in found["adaptations"] if one["changed"]]
    assert changed
    assert sum(len(one["changed"]) for one in searches) == sum(len(one["changed"]) for one in changed)
    assert {one["place"] for one in found["adaptations"]} == {search["bar"] for search in searches}
    for one in changed:
        assert times[one["place"]] == np.datetime64(one["at"])
        own, other = result.arrays["member_ai"], result.arrays["without_ai"]
        gain = (own[one["last"]] / own[one["place"]]) / (other[one["last"]] / other[one["place"]]) - 1.0
        assert one["gain"] == pytest.approx(gain, abs=1e-12)
        assert one["low"] < one["gain"] < one["high"]
    first = changed[0]["place"]
    np.testing.assert_array_equal(
        result.arrays["member_ai"][: first + 1], result.arrays["without_ai"][: first + 1]
    )  # nothing differs before something changed
    assert found["verdict"].startswith(f"{len(searches)} searches: ")


def test_nothing_of_the_walk_without_is_kept(adapted: tuple[PipelineResult, Path]) -> None:
    result, database = adapted
    with LearningDatabase(database, read_only=True) as kept:
        closed = kept.trades(strategy_id="ai")
    walked = closed[closed["closed_at"] > result.arrays["times"][0]]
    assert len(walked[~walked["paper"].astype(bool)]) == result.walk["adaptation"]["trades"]
