"""Objectives: the metrics of the simulation, discounted where trades are few, named where undefined."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import (
    OBJECTIVES,
    CompiledBacktests,
    Evaluator,
    NoScore,
    Objective,
    Outcome,
)
from ai_backtrader.parameter_optimizer.evaluation import outcome_of
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import Simulator, simulate
from ai_backtrader.values import Regime

Family = Callable[[Mapping[str, Any]], StrategyChromosome]


@pytest.fixture(scope="module")
def outcome(walk: MarketData, reversion: Family) -> Outcome:
    parameters = {"period": 20, "low": 0.0}
    result = simulate(walk, reversion(parameters))
    return outcome_of(parameters, result, walk.close, first=0, last=len(walk))


def test_over_a_whole_run_each_is_the_metric_of_the_simulation_to_the_last_bit(outcome: Outcome) -> None:
    metrics = outcome.result.metrics
    for name in OBJECTIVES:
        if name in metrics:
            assert outcome.metrics[name] == metrics[name], name
    assert outcome.metrics["trades"] == metrics["trades"] > 30
    assert outcome.metrics["exposure"] == metrics["exposure"]
    assert len(set(OBJECTIVES) - set(metrics)) == 1  # omega


def test_a_stretch_counts_its_own_bars_and_the_trades_that_close_in_it(walk: MarketData, outcome: Outcome) -> None:
    result = outcome.result
    parts = [
        outcome_of({}, result, walk.close, first=first, last=last)
        for first, last in ((0, 900), (900, 1_400), (1_400, 2_000))
    ]
    assert sum(len(part.trades) for part in parts) == len(result.trades)
    assert np.array_equal(np.concatenate([part.returns for part in parts]), outcome.returns)
    growth = math.prod(1.0 + part.metrics["total_return"] for part in parts)
    assert growth == pytest.approx(1.0 + outcome.metrics["total_return"], rel=1e-12)


def test_few_trades_discount_a_gain_and_deepen_a_loss(outcome: Outcome) -> None:
    count = len(outcome.trades)
    gain, loss = (Objective(measure=lambda o, v=v: v, min_trades=2 * count) for v in (1.0, -1.0))
    assert gain.score(outcome) == pytest.approx(0.5)
    assert loss.score(outcome) == pytest.approx(-2.0)
    assert gain.score(outcome, share=0.25) == 1.0
    assert Objective(measure=lambda o: 1.0, min_trades=0).score(outcome) == 1.0


def test_less_drawdown_is_better(outcome: Outcome) -> None:
    objective = Objective(measure="max_drawdown", min_trades=0)
    assert objective.score(outcome) == -objective.value(outcome) < 0.0


def test_what_has_no_score_says_why(walk: MarketData, reversion: Family) -> None:
    still = outcome_of({}, simulate(walk, reversion({"period": 20, "low": -2.0})), walk.close, first=0, last=2_000)
    with pytest.raises(NoScore, match="no trade was closed"):
        Objective().score(still)
    some = outcome_of({}, simulate(walk, reversion({"period": 20, "low": 0.0})), walk.close, first=0, last=2_000)
    with pytest.raises(NoScore, match=r"is undefined \(\d+ trades\)"):
        Objective(measure=lambda o: math.nan).score(some)
    with pytest.raises(NoScore, match=r"\d+ trades closed, 5000 are needed"):
        Objective(fewest_trades=5_000).score(some)
    assert Objective(measure=lambda o: math.inf, min_trades=0).score(some) == 100.0
    with pytest.raises(SettingsError, match="2 faults"):
        Objective(measure="sharp", min_trades=-1)


def test_failures_of_family_and_measure_are_told_as_the_trials(walk: MarketData, reversion: Family) -> None:
    def picky(parameters: Mapping[str, Any]) -> StrategyChromosome:
        return reversion(parameters) if parameters["period"] < 50 else "rules"  # type: ignore[return-value]

    def broken(outcome: Outcome) -> float:
        raise ZeroDivisionError("by hand")

    batch = [{"period": 20, "low": 0.0}, {"period": 55, "low": 0.0}, {"period": 500, "low": 0.0}]
    backtests = CompiledBacktests(picky, {})
    fine, wrong, worse = Evaluator(backtests, walk, Objective()).evaluate(batch)
    assert fine.failed is None
    assert wrong.failed == (
        "SettingsError: family: must give a StrategyChromosome, got str for {'period': 55, 'low': 0.0}"
    )
    assert worse.failed is not None
    late = Evaluator(CompiledBacktests(reversion, {}), walk.head(50), Objective()).evaluate(
        [{"period": 60, "low": 0.0}]
    )
    assert late[0].failed == "the strategy first decides at bar 60, but there are 50"
    found = Evaluator(backtests, walk, Objective(measure=broken)).evaluate(batch[:1])[0]
    assert found.failed == "ZeroDivisionError: by hand"
    assert found.trades == fine.trades


def test_any_number_of_threads_gives_the_same(walk: MarketData, reversion: Family) -> None:
    batch = [{"period": period, "low": 0.0} for period in range(10, 41)]
    one, three = (
        [e.score for e in Evaluator(CompiledBacktests(reversion, {}, jobs=jobs), walk, Objective()).evaluate(batch)]
        for jobs in (1, 3)
    )
    assert one == three


def test_a_regime_scores_its_own_trades_with_indicators_warm(walk: MarketData, reversion: Family) -> None:
    parameters = {"period": 20, "low": 0.0}
    evaluator = Evaluator(CompiledBacktests(reversion, {}), walk, Objective(min_trades=0), regime=Regime.BULL)
    found = evaluator.evaluate([parameters])[0]
    assert evaluator.chosen is not None
    assert found.outcome is not None
    whole = Simulator(walk).run(reversion(parameters)).trades
    assert 0 < found.trades < len(whole)
    assert all(evaluator.chosen[trade["entry_bar"] - 1] for trade in found.outcome.trades)
    assert set(found.outcome.trades["entry_bar"]) <= set(whole["entry_bar"])
