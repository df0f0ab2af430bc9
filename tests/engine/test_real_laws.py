"""Laws of the decision with all five systems connected for real, many random questions each."""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace
from typing import Any

import pytest

from ai_backtrader import Engine
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import SOURCES, Abstention, Decision, Orchestrator, OrchestratorSettings, Vote
from ai_backtrader.orchestrator.poll import Sources
from ai_backtrader.values import Action

CASES = [pytest.param(1_000, id="1000"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)]


class Deaf:
    """A source that says nothing, or raises."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name, self.fails = name, fails

    def vote(self, *_: Any) -> Abstention:
        if self.fails:
            raise RuntimeError("out of order")
        return Abstention(self.name, "nothing")

    adjust = advise = vote


@pytest.fixture(scope="module")
def recording(systems: SimpleNamespace) -> Any:
    return systems.Recording()


@pytest.fixture(scope="module")
def engine(systems: SimpleNamespace, eurusd: MarketData, recording: Any) -> Engine:
    made: Engine = systems.make_engine(eurusd, recording=recording)
    rng = random.Random(0)
    for _ in range(60):
        made.orchestrator.learn(systems.trade_of(rng, eurusd.symbol))
    return made


def copy_of(engine: Engine, settings: OrchestratorSettings | None = None, **sources: Any) -> Orchestrator:
    """The engine's orchestrator with other settings, or with some of its sources replaced."""
    own = engine.orchestrator
    connected: Sources = own.sources._replace(**sources)
    return Orchestrator(own.settings if settings is None else settings, **connected._asdict(), sizer=own.sizer)


def prepare(engine: Engine, recording: Any, systems: SimpleNamespace, rng: random.Random) -> None:
    recording.reply = systems.random_reply(rng)
    engine.advisor.start_run()  # type: ignore[union-attr]  # else the same prompt would have the same answer


def core(decision: Decision) -> dict[str, Any]:
    facts = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    return {name: value for name, value in facts.items() if name != "votes"}


def exposure(decision: Decision) -> float:
    return decision.position_size_pct * decision.leverage


@pytest.mark.parametrize("cases", CASES)
def test_all_five_vote_and_the_breakdown_sums_to_the_score(
    cases: int, engine: Engine, recording: Any, systems: SimpleNamespace, bench: SimpleNamespace
) -> None:
    rng = random.Random(1)
    voters = dict.fromkeys(SOURCES, 0)
    for _ in range(cases):
        prepare(engine, recording, systems, rng)
        decision = engine.orchestrator.decide(**bench.question(rng))
        assert tuple(vote.source for vote in decision.votes) == SOURCES
        assert not any(isinstance(vote, Abstention) and vote.failed for vote in decision.votes)
        assert sum(decision.breakdown.values()) == decision.score
        voted = {vote.source: vote for vote in decision.votes if isinstance(vote, Vote)}
        assert voted.keys() == decision.breakdown.keys()
        # The advisor may count for less than it said; what the others contribute is their weight's share.
        weights = engine.settings.orchestrator.weights
        total = sum(weights[source] for source in voted)
        for source, vote in voted.items():
            told = weights[source] / total * vote.action.sign * vote.confidence
            if source != "llm":
                assert decision.breakdown[source] == pytest.approx(told, abs=1e-12)
            voters[source] += 1
    assert min(voters.values()) > cases / 20, voters
    assert engine.orchestrator.failures == {}


@pytest.mark.parametrize("cases", CASES)
def test_the_advisor_never_raises_risk(
    cases: int, engine: Engine, recording: Any, systems: SimpleNamespace, bench: SimpleNamespace
) -> None:
    rng = random.Random(2)
    without = copy_of(engine, llm=Deaf("llm"))
    traded = lowered = 0
    for _ in range(cases):
        prepare(engine, recording, systems, rng)
        asked = bench.question(rng)
        silent, advised = without.decide(**asked), engine.orchestrator.decide(**asked)
        assert advised.action in (silent.action, Action.HOLD)
        assert advised.confidence <= silent.confidence + 1e-12
        assert advised.score * silent.score >= -1e-15
        assert exposure(advised) <= exposure(silent) * (1.0 + 1e-9)
        assert advised.leverage <= silent.leverage * (1.0 + 1e-12)
        traded += silent.action is not Action.HOLD
        lowered += exposure(advised) < exposure(silent) * (1.0 - 1e-9)
    assert traded > cases / 20
    assert lowered > cases / 100


@pytest.mark.parametrize("cases", CASES)
def test_no_size_exceeds_the_caps(
    cases: int, engine: Engine, recording: Any, systems: SimpleNamespace, bench: SimpleNamespace
) -> None:
    rng = random.Random(3)
    eager = copy_of(engine, OrchestratorSettings(hold_threshold=0.05, advice_may_raise_risk=True))
    limits = engine.settings.leverage
    traded = 0
    for _ in range(cases):
        prepare(engine, recording, systems, rng)
        asked = bench.question(rng)
        decision = eager.decide(**asked)
        assert (decision.action is Action.HOLD) == (decision.position_size_pct == 0.0)
        assert 0.0 <= decision.position_size_pct <= 25.0 * (1.0 + 1e-12)
        assert 1.0 <= decision.leverage <= limits.max_leverage
        if decision.action is not Action.HOLD:
            traded += 1
            assert decision.sizing is not None
            assert decision.sizing.direction is decision.action.direction
            budget = limits.risk_budget * asked["portfolio_value"]
            assert decision.sizing.risk_metrics["max_loss_usd"] <= budget * (1.0 + 1e-9)
    assert traded > cases / 10


@pytest.mark.parametrize("cases", CASES)
def test_a_source_that_fails_is_reported_and_changes_nothing_else(
    cases: int, engine: Engine, recording: Any, systems: SimpleNamespace, bench: SimpleNamespace, quiet_log: None
) -> None:
    rng = random.Random(4)
    pairs = {
        name: (copy_of(engine, **{name: Deaf(name, fails=True)}), copy_of(engine, **{name: Deaf(name)}))
        for name in SOURCES
    }
    asked_for = dict.fromkeys(SOURCES, 0)
    for _ in range(cases):
        name = rng.choice(SOURCES)
        broken, silent = pairs[name]
        prepare(engine, recording, systems, rng)
        asked = bench.question(rng)
        failed = broken.decide(**asked)
        engine.advisor.start_run()  # type: ignore[union-attr]  # it remembers what it was asked
        abstained = silent.decide(**asked)
        assert core(failed) == core(abstained)
        for one, other in zip(failed.votes, abstained.votes, strict=True):
            if one.source == name and isinstance(one, Abstention) and one.failed:
                assert "RuntimeError: out of order" in one.reason
                asked_for[name] += 1
            else:
                assert one == other
    assert all(broken.failures == {name: asked_for[name]} for name, (broken, _) in pairs.items())
    assert min(asked_for.values()) > cases / 20, asked_for


@pytest.mark.parametrize("cases", CASES)
def test_abstentions_do_not_bias_to_hold_and_all_abstaining_is_hold(
    cases: int, systems: SimpleNamespace, bench: SimpleNamespace, eurusd: MarketData
) -> None:
    rng = random.Random(5)
    fresh = Engine()  # agents that have learnt nothing, no rules, no trades, no advisor: they abstain
    alone = Orchestrator(sizer=fresh.leverage_manager)
    nobody = copy_of(fresh, technical=Deaf("technical"))
    traded = 0
    for _ in range(cases):
        asked = bench.question(rng)
        beside, by_itself = fresh.orchestrator.decide(**asked), alone.decide(**asked)
        assert core(beside) == core(by_itself)
        assert all(isinstance(vote, Abstention) for vote in beside.votes[1:])
        traded += beside.action is not Action.HOLD
        empty = nobody.decide(**asked)
        assert (empty.action, empty.score, empty.position_size_pct) == (Action.HOLD, 0.0, 0.0)
        assert empty.breakdown == {}
        assert "every source abstained" in empty.reasoning
    assert traded > cases / 20
