"""AIStrategy searches anew inside a backtest, on its past alone, and what passes its sealed test votes afterwards."""

from __future__ import annotations

import dataclasses
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader import Engine, EngineSettings
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import Vote
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategies import Adaptation, AIStrategy, compare_adaptation
from ai_backtrader.values import Regime

BARS, CHANGE = 2_400, 1_300
SMALL = Adaptation(every_bars=800, min_bars=800, generations=5, population=30, n_trials=15, champions=1)


def market(bars: int = BARS, *, memory: float = 0.6, seed: int = 0) -> MarketData:
    """A share of each hour's move goes on in the next: an edge to be found. Half-way it becomes twice as volatile."""
    rng = np.random.default_rng(seed)
    late = np.arange(BARS) >= CHANGE
    shocks = rng.normal(0.0, 0.004, BARS) * np.where(late, 2.0, 1.0)
    moves = np.zeros(BARS)
    for bar in range(1, BARS):
        moves[bar] = memory * moves[bar - 1] + shocks[bar]
    close = 100.0 * np.exp(np.cumsum(moves))
    open_ = np.concatenate(([100.0], close[:-1]))
    reach = np.abs(rng.normal(0.0, 0.001, (2, BARS)))
    times = np.datetime64("2020-01-01", "ns") + np.arange(BARS) * np.timedelta64(3_600 * 10**9, "ns")
    return MarketData(
        symbol="DRIFT", times=times, bar_seconds=3_600, open=open_, high=np.maximum(open_, close) * (1 + reach[0]),
        low=np.minimum(open_, close) * (1 - reach[1]), close=close, volume=rng.lognormal(8.0, 1.0, BARS),
    ).head(bars)  # fmt: skip


def run(data: MarketData, *, cerebro: dict[str, Any] | None = None, **params: Any) -> Any:
    engine = bt.Cerebro(stdstats=False, **(cerebro or {}))
    engine.broker = LeverageBroker()
    engine.broker.setcommission(commission=0.00005)
    engine.adddata(PerpetualData(dataname=data))
    engine.addstrategy(AIStrategy, **({"adaptation": SMALL} | params))
    return engine.run()[0]


@pytest.fixture(scope="module")
def drifting() -> MarketData:
    return market()


@pytest.fixture(scope="module")
def adapted(drifting: MarketData) -> Any:
    return run(drifting)


def test_drift_and_schedule_lead_to_searches(adapted: Any) -> None:
    reasons = [(record.bar, record.reason) for record in adapted.adaptations]
    assert (800, "schedule: every 800 bars") in reasons
    drifted = [bar for bar, reason in reasons if reason.startswith("drift of DRIFT: volatility")]
    assert drifted
    assert all(bar % SMALL.check_every == 0 for bar in drifted)


def test_every_search_saw_the_bars_up_to_its_own_alone(adapted: Any, drifting: MarketData) -> None:
    for record in adapted.adaptations:
        assert record.bars == record.bar
        assert record.at == drifting.times[record.bar - 1].astype("datetime64[us]").item()
        if record.trials:
            assert f"{record.passed} of {record.put_forward} passed" in record.verdict
        else:
            assert record.search == "optimize"
            assert "give more bars or search without a regime" in record.verdict
    assert sum(record.trials > 0 for record in adapted.adaptations) > 4


def test_what_passed_votes_from_the_next_decision_on_and_not_before(adapted: Any, drifting: MarketData) -> None:
    passed = [record for record in adapted.adaptations if record.changed]
    assert passed
    voted = [
        decision.at
        for decision in adapted.decisions
        if any(isinstance(vote, Vote) and vote.source == "evolved" for vote in decision.votes)
    ]
    assert voted
    assert min(voted) > passed[0].at
    assert voted[0] <= drifting.times[passed[0].bar + 200].astype("datetime64[us]").item()


def test_decisions_looked_up_later_are_those_of_their_time(adapted: Any) -> None:
    reasons = [
        (decision.at, vote.reason) for decision in adapted.decisions for vote in decision.votes
        if vote.source == "evolved"
    ]  # fmt: skip
    first = adapted.adaptations[0].at
    assert {reason for at, reason in reasons if at <= first} == {"nothing has evolved"}
    assert any("passed the sealed test" in reason for at, reason in reasons if at > first)


@pytest.mark.parametrize("cut", [1_000, 1_700])
def test_the_future_changes_nothing_before_it(cut: int, adapted: Any) -> None:
    short = run(market(cut))
    assert list(short.decisions) == adapted.decisions[: len(short.decisions)]
    assert short.adaptations == adapted.adaptations[: len(short.adaptations)]
    assert short.adaptations


def test_another_future_changes_nothing_before_it(adapted: Any, drifting: MarketData) -> None:
    cut = 1_750
    frame = drifting.to_frame()
    frame.iloc[cut:, :4] *= 1.5  # a jump, and all prices after it
    other = run(MarketData.from_frame(frame, symbol="DRIFT", jump_factor=1e9))
    kept = sum(decision.at <= drifting.times[cut - 1].astype("datetime64[us]").item() for decision in other.decisions)
    assert other.decisions[:kept] == adapted.decisions[:kept]
    before = [record for record in other.adaptations if record.bar <= cut]
    assert before == adapted.adaptations[: len(before)]


def test_the_same_seed_gives_the_same_run_and_another_seed_other_searches(adapted: Any, drifting: MarketData) -> None:
    one, again, other = (run(drifting.head(850), seed=seed) for seed in (0, 0, 1))
    assert one.adaptations == again.adaptations == adapted.adaptations[:2]
    assert one.decisions == again.decisions
    assert [record.seed for record in other.adaptations] != [record.seed for record in one.adaptations]


@pytest.mark.parametrize("options", [{"preload": False}, {"exactbars": 1}], ids=str)
def test_the_way_cerebro_runs_changes_nothing(options: dict[str, Any], adapted: Any) -> None:
    other = run(market(1_000), cerebro=options)
    assert other.adaptations == adapted.adaptations[: len(other.adaptations)]
    assert list(other.decisions) == adapted.decisions[: len(other.decisions)]


def test_in_noise_nothing_passes_and_nothing_changes() -> None:
    noise = market(CHANGE, memory=0.0)
    compared = compare_adaptation(noise, dataclasses.replace(SMALL, on_drift=False, every_bars=450))
    assert len(compared.records) == 4
    assert not any(record.changed for record in compared.records)
    assert np.array_equal(compared.adapted, compared.without)
    assert not compared.paid
    assert "0 of" in compared.verdict
    assert "the two runs are the same" in compared.verdict


def test_the_comparison_says_whether_it_paid(drifting: MarketData, adapted: Any) -> None:
    compared = compare_adaptation(drifting, SMALL, commission=0.00005)
    assert list(compared.records) == adapted.adaptations
    assert compared.first_bar is not None
    same = compared.first_bar
    assert np.array_equal(compared.adapted[:same], compared.without[:same])
    assert not np.array_equal(compared.adapted, compared.without)
    assert compared.paid == (compared.adapted[-1] > compared.without[-1])
    assert 0.0 < compared.probability < 1.0
    assert compared.gain == pytest.approx(compared.adapted[-1] / compared.without[-1] - 1.0)
    assert ("Adaptation paid" in compared.verdict) == compared.paid


def test_every_search_is_recorded_in_the_database(tmp_path: Any) -> None:
    settings = EngineSettings(database=tmp_path / "ai_learning.db")
    with Engine(settings) as engine:
        strategy = run(market(850), engine=engine)
        assert engine.database is not None
        evolved = engine.database.evolved_strategies()
        optimized = engine.database.optimization_results()
    searches = [record.search for record in strategy.adaptations]
    assert searches == ["evolve", "optimize"]
    assert len(evolved) == strategy.adaptations[0].put_forward
    assert len(optimized) == 1


def test_an_engine_that_others_use_keeps_their_requests() -> None:
    engine = Engine()
    rng = np.random.default_rng(0)
    for symbol in ("ONE", "OTHER"):
        moves = rng.normal(0.0, 0.004, 2_000) * np.where(np.arange(2_000) < 1_200, 1.0, 3.0)
        engine.online_learner.on_bars(symbol, close=100.0 * np.exp(np.cumsum(moves)))
    (own,) = engine.take_requests("ONE")
    assert own.symbol == "ONE"
    assert engine.take_requests("ONE") == ()
    (theirs,) = engine.take_requests("OTHER")
    assert theirs.symbol == "OTHER"


def test_all_faults_of_the_settings_are_told_together() -> None:
    with pytest.raises(SettingsError, match="3 faults") as caught:
        Adaptation(min_bars=10, what=("evolve", "guess"), alpha=2.0)
    assert any("min_bars must be at least 500" in fault for fault in caught.value.faults)
    with pytest.raises(SettingsError, match="every_bars must be given"):
        Adaptation(on_drift=False)
    with pytest.raises(SettingsError, match="adaptation must be Adaptation or None"):
        run(market(600), adaptation=7)


def test_only_what_is_asked_for_is_searched() -> None:
    strategy = run(market(850), adaptation=dataclasses.replace(SMALL, what={"optimize"}, max_bars=600))
    (record,) = strategy.adaptations
    assert (record.search, record.bars, record.bar) == ("optimize", 600, 800)
    assert record.regime in (Regime.BULL, Regime.BEAR, Regime.SIDEWAYS)


def test_rules_in_words_tell_what_changed(adapted: Any) -> None:
    words = {line for record in adapted.adaptations for line in record.changed}
    voting = {one.chromosome.describe() for one in adapted.engine.evolved.strategies}
    assert words == voting
    assert all(isinstance(one.chromosome, StrategyChromosome) for one in adapted.engine.evolved.strategies)
