"""Systems switched off: what is left of a run, and that every switch does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.orchestrator import OrchestratorSettings
from ai_backtrader.pipeline import SYSTEMS, Crew, PipelineSettings, run_fund, run_pipeline
from ai_backtrader.pipeline.trading import adaptation_of, crew_of, engine_of


def test_what_is_off_is_said_in_one_way_only() -> None:
    assert PipelineSettings().without == ()
    assert PipelineSettings(adapt=False) == PipelineSettings(without=("adaptation",))
    several = PipelineSettings(without=["allocator", "rl", "rl"])  # type: ignore[arg-type]  # as JSON gives it
    assert several.without == ("rl", "allocator")
    assert PipelineSettings.from_dict(several.to_dict()).without == several.without
    assert several.to_dict() != PipelineSettings().to_dict()


def test_wrong_names_and_nobody_left_to_vote_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"without must be one of 'technical', .*, got 'llm'"):
        PipelineSettings(without=("llm",))
    with pytest.raises(SettingsError, match=r"without must name systems, any of technical, .*, got 'rl'"):
        PipelineSettings(without="rl")  # type: ignore[arg-type]  # the fault under test
    with pytest.raises(SettingsError, match="nobody would vote"):
        PipelineSettings(without=("technical", "evolved", "rl"))


def test_without_the_technical_systems_agent_leverage_and_allocator_the_rest_still_runs(base: Any) -> None:
    off = ("technical", "rl", "leverage", "allocator")
    result = run_pipeline(base.data, without=off, **base.options)
    assert result.run_id != base.result.run_id
    assert result.card["settings"]["without"] == list(off)
    assert [result.stage(name).finding for name in ("optimise", "train")] == ["switched off"] * 2
    assert "equal capital, the allocator is switched off" in result.stage("allocate").finding
    evolved = [name for name in result.walk["members"] if name.startswith("evolved_")]
    assert set(result.walk["members"]) == {"fund", "ai", "buy_and_hold", *evolved}
    assert set(result.walk["attribution"]["votes"]) == {"evolved"}
    assert result.walk["plans"] == 0
    shares = np.array(list(result.walk["weights"].values()))
    np.testing.assert_allclose(shares, 1.0 / len(shares), rtol=1e-12)


def test_without_evolution_learner_and_adaptation_the_others_vote(base: Any) -> None:
    result = run_pipeline(base.data, without=("evolved", "online", "adaptation"), **base.options)
    assert result.stage("evolve").finding == "switched off"
    assert set(result.walk["members"]) == {"fund", "ai", "technical", "buy_and_hold"}
    assert set(result.walk["attribution"]["votes"]) == {"technical", "rl"}
    # The searches that were made are those of the whole run: each has a seed and a ledger's family of its own.
    for name in ("optimise", "train"):
        assert result.stage(name).found == base.result.stage(name).found


def test_without_adaptation_the_averages_still_start_from_the_first_bar(base: Any) -> None:
    assert sum(one["passed"] for one in base.result.walk["adaptations"]) == 0  # nothing came of it
    result = run_pipeline(base.data, without=("adaptation",), **base.options)
    for name in ("trades", "weights", "values"):
        assert result.hashes[name] == base.result.hashes[name], name


@pytest.mark.parametrize("off", SYSTEMS)
def test_what_was_found_by_a_system_that_is_off_does_not_come_back(off: str, base: Any, tmp_path: Any) -> None:
    found = {name: base.result.stage(name).found for name in ("optimise", "evolve", "train")}
    settings = PipelineSettings(**base.options, without=(off,))
    weights = np.load(next(base.database.parent.glob("ai.db.runs/*/train.npz")))["weights"]
    crew = crew_of(found["optimise"], found["evolve"], settings)
    with LearningDatabase(tmp_path / "ai.db") as kept:
        engine = engine_of(found["evolve"], found["train"], weights, settings, seed=1, kept=kept)
        assert bool(crew.technical) is (off != "technical")
        assert bool(crew.evolved) is bool(engine.evolved.strategies) is (off != "evolved")
        assert engine.leverage_agent.trained is (off != "rl")
        assert (adaptation_of(settings) is None) is (off in ("adaptation", "evolved"))
        assert (engine.orchestrator.sizer is None) is (off == "leverage")
        asked = {name: weight for name, weight in OrchestratorSettings().weights.items() if name != off}
        assert dict(engine.orchestrator.settings.weights) == asked


def test_fees_and_funding_of_positions_that_stay_open_are_told() -> None:
    data = load_sample().head(700)
    settings = PipelineSettings(commission=0.001, slippage=0.0002, funding=0.0001, without=("evolved", "rl"))
    first = 400
    nothing: dict[str, Any] = {"champions": []}
    with LearningDatabase(":memory:") as kept:
        engine = engine_of(nothing, {"passed": False}, None, settings, seed=0, kept=kept)
        run = run_fund(data, first, Crew(technical={}, evolved={}), engine, settings)
    size = 0.99 * 5_000.0 / data.close[first]
    filled = data.open[first + 1] * 1.0002
    assert run.trades["buy_and_hold"] == []
    assert run.fees["buy_and_hold"] == pytest.approx(0.001 * size * filled, rel=1e-9)
    stamps = (
        np.arange(data.times[first + 1], data.times[-1] + np.timedelta64(1, "s"), np.timedelta64(1, "h"))
        .astype("datetime64[h]")
        .astype(int)
    )
    due = np.count_nonzero(stamps[1:] % 8 == 0)
    paid = due * 0.0001 * size * np.mean(data.close[first + 1 :])
    assert run.funding["buy_and_hold"] == pytest.approx(paid, rel=0.01)
    trades = run.trades["ai"]
    assert len(trades) > 3
    booked = sum(trade.commission for trade in trades)
    assert booked - 1e-9 <= run.fees["ai"] <= booked * 1.2  # an open position has paid its entry
    change = (run.members["ai"][-1] / run.members["ai"][0] - 1.0) * 5_000.0
    assert change == pytest.approx(sum(trade.pnl for trade in trades), abs=30.0)
