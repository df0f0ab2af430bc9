"""Walk-forward: each test by what was found before it, stitched end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.evidence import MemoryLedger, TrialKey, bar_returns
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import Fold, WalkForwardResult, walk_forward
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate

Family = Callable[[Mapping[str, Any]], StrategyChromosome]
OPTIONS: dict[str, Any] = {
    "train_bars": 1_500, "test_bars": 600, "purge": 20, "embargo": 10, "n_trials": 12, "surrogate": "random", "seed": 1,
    "commission": 0.0002,
}  # fmt: skip


@pytest.fixture(scope="module")
def walked(edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]) -> WalkForwardResult:
    return walk_forward(reversion, edge_market, reversion_space, **OPTIONS)


def test_tests_lie_end_to_end_behind_their_purged_searches(walked: WalkForwardResult) -> None:
    borders = [(fold.train, fold.test) for fold in walked.folds]
    assert borders == [
        ((0, 1_500), (1_530, 2_130)), ((600, 2_100), (2_130, 2_730)), ((1_200, 2_700), (2_730, 3_330)),
        ((1_800, 3_300), (3_330, 3_930)), ((2_400, 3_900), (3_930, 4_000)),
    ]  # fmt: skip
    assert len(walked.returns) == len(walked.times) == len(walked.equity) == 4_000 - 1_530
    np.testing.assert_allclose(walked.equity, np.cumprod(1.0 + walked.returns))


def test_the_stitched_returns_are_those_of_the_runs_less_the_changes_over(
    walked: WalkForwardResult, edge_market: MarketData, reversion: Family
) -> None:
    weight = 0.0
    for fold in walked.folds:
        result = simulate(edge_market, reversion(fold.parameters), commission=0.0002)
        first, last = fold.test
        own = bar_returns(result.equity[first:last], start=float(result.equity[first - 1]))
        held = result.position * edge_market.close / result.equity
        own[0] -= abs(held[first - 1] - weight) * 0.0002
        weight = held[last - 1]
        np.testing.assert_allclose(walked.returns[first - 1_530 : last - 1_530], own, rtol=0.0, atol=1e-12)


def test_an_edge_is_carried_forward_and_noise_is_not(
    walked: WalkForwardResult,
    make_market: Callable[..., MarketData],
    reversion: Family,
    reversion_space: dict[str, Any],
) -> None:
    assert walked.verdict.startswith("Holds up")
    assert walked.efficiency > 0.5
    noise = walk_forward(reversion, make_market(61, bars=4_000), reversion_space, **OPTIONS)
    assert not noise.verdict.startswith("Holds up")


def test_what_comes_later_changes_no_earlier_fold(
    walked: WalkForwardResult, edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    shorter = walk_forward(reversion, edge_market.head(2_730), reversion_space, **OPTIONS)
    assert len(shorter.folds) == 2
    assert [(f.parameters, f.train_score, f.test_score) for f in shorter.folds] == [
        (f.parameters, f.train_score, f.test_score) for f in walked.folds[:2]
    ]
    assert np.array_equal(shorter.returns, walked.returns[:1_200])


def test_the_drift_table_has_a_row_a_fold(walked: WalkForwardResult) -> None:
    frame = walked.to_frame()
    assert list(frame["test_first"]) == [1_530, 2_130, 2_730, 3_330, 3_930]
    assert {"period", "low", "train_score", "test_score", "trades", "drift"} <= set(frame.columns)
    assert np.isnan(frame["drift"].iloc[0])
    one, two = walked.folds[:2]
    moved = [
        abs(one.parameters["period"] - two.parameters["period"]) / 51,
        abs(one.parameters["low"] - two.parameters["low"]) / 0.5,
    ]
    assert two.drift == pytest.approx(np.mean(moved))


def test_every_search_and_every_test_is_counted(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    ledger, folds = MemoryLedger(), list[Fold]()
    result = walk_forward(reversion, edge_market, reversion_space, ledger=ledger, on_fold=folds.append, **OPTIONS)
    key = TrialKey(edge_market.fingerprint, "_reversion")
    assert ledger.trials(key).n_trials == result.trials == 5 * 12
    assert tuple(folds) == result.folds
    again = ledger.open_sealed(key, start=edge_market.times[1_600], end=edge_market.times[1_700], by="someone")
    assert again.number == 2


def test_a_search_that_finds_nothing_goes_on_with_what_there_was(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    calls = []

    def tiring(parameters: Mapping[str, Any]) -> StrategyChromosome:
        calls.append(parameters)
        if 13 < len(calls) <= 13 + 12:  # the second search: 12 trials and a test came before
            raise ValueError("tired")
        return reversion(parameters)

    result = walk_forward(tiring, edge_market, reversion_space, **OPTIONS)
    assert result.folds[1].parameters == result.folds[0].parameters
    assert result.folds[1].train_score is None
    assert "ValueError: tired (12x)" in str(result.folds[1].failed)
    assert result.folds[2].failed is None


def test_what_cannot_be_walked_is_refused(walk: MarketData, reversion: Family, reversion_space: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="2000 bars hold no search of 1990 with a test behind it"):
        walk_forward(reversion, walk, reversion_space, train_bars=1_990, test_bars=10, purge=50)
    with pytest.raises(SettingsError, match="2 faults"):
        walk_forward(reversion, walk, reversion_space, train_bars=5, test_bars=0)
    with pytest.raises(AIBacktraderError, match="walk_forward: none of 3 parameter sets has a score"):
        walk_forward(
            reversion, walk, {"period": (10, 60), "low": (-2.0, -1.9)}, train_bars=900, test_bars=300, n_trials=3
        )
