"""Laws of the vote, 10,000 random ballots each."""

from __future__ import annotations

import dataclasses
import logging
import random
from types import SimpleNamespace
from typing import Any

import pytest

from ai_backtrader.leverage import LeverageManager
from ai_backtrader.orchestrator import (
    SOURCES,
    Abstention,
    Adjustment,
    Advice,
    Decision,
    Orchestrator,
    OrchestratorSettings,
    Vote,
)
from ai_backtrader.values import Action

CASES = 10_000
RISKS = ("low", "medium", "high")


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    # Thousands of planned failures: their warnings are tested elsewhere.
    logging.getLogger("ai_backtrader").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("ai_backtrader").setLevel(logging.NOTSET)


def random_vote(rng: random.Random, source: str) -> Vote | Abstention:
    if rng.random() < 0.3:
        return Abstention(source, "nothing trained")
    return Vote(source, rng.choice(list(Action)), rng.random(), "random")


def random_sources(rng: random.Random, fakes: SimpleNamespace) -> dict[str, Any]:
    """The five sources, each present or not; None among the answers raises."""
    answers: dict[str, Any] = {name: random_vote(rng, name) for name in ("technical", "rl", "evolved")}
    answers["online"] = rng.choice(
        [
            Adjustment(should_trade=rng.random() < 0.9, factor=rng.uniform(0.0, 2.0), reason="random"),
            Abstention("online", "no trades yet"),
        ]
    )
    answers["llm"] = rng.choice(
        [
            Advice(action=rng.choice(list(Action)), confidence=rng.random(), reason="r", risk_level=rng.choice(RISKS)),
            Abstention("llm", "no answer in time"),
        ]
    )
    for name in answers:
        if rng.random() < 0.1:
            answers[name] = None
    return {name: fakes.Voting(answer) for name, answer in answers.items()}


def random_settings(rng: random.Random, **given: Any) -> OrchestratorSettings:
    weights = {source: rng.choice([0.0, rng.random(), rng.random()]) for source in SOURCES} | {"technical": 0.3}
    return OrchestratorSettings(**({"weights": rng.choice([weights, OrchestratorSettings().weights])} | given))


def exposure(decision: Decision) -> float:
    return decision.position_size_pct * decision.leverage


def core(decision: Decision) -> dict[str, Any]:
    """The decision without the record of who abstained and why."""
    facts = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    return {name: value for name, value in facts.items() if name != "votes"}


def test_the_breakdown_sums_to_the_score(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rng = random.Random(1)
    several = 0
    for _ in range(CASES):
        settings = random_settings(rng, advice_may_raise_risk=True)
        decision = Orchestrator(settings, **random_sources(rng, fakes)).decide(**question)
        assert sum(decision.breakdown.values()) == decision.score
        assert abs(decision.score) <= 1.0 + 1e-12
        votes = [vote for vote in decision.votes if isinstance(vote, Vote)]
        assert {vote.source for vote in votes} == set(decision.breakdown)
        assert tuple(vote.source for vote in decision.votes) == SOURCES
        # The weighted mean written down once more: renormalised over those who voted, a HOLD counts as 0.
        weight = sum(settings.weights[vote.source] for vote in votes)
        mean = sum(settings.weights[vote.source] * vote.action.sign * vote.confidence for vote in votes)
        assert decision.score == pytest.approx(mean / weight if votes else 0.0, abs=1e-12)
        several += len(votes) >= 3
    assert several > CASES / 4


def test_a_confidence_below_the_threshold_is_hold_and_above_it_is_the_sign(
    fakes: SimpleNamespace, question: dict[str, Any]
) -> None:
    rng = random.Random(2)
    seen = set()
    for _ in range(CASES):
        sources = random_sources(rng, fakes)
        decision = Orchestrator(random_settings(rng), **sources).decide(**question)
        assert decision.confidence == min(abs(decision.score), 1.0)
        if decision.vetoed_by is not None or decision.confidence < 0.40:
            assert decision.action is Action.HOLD
        else:
            assert decision.action is Action.from_sign(decision.score)
        if decision.action is Action.HOLD:
            assert (decision.position_size_pct, decision.leverage) == (0.0, 1.0)
            assert decision.stop_loss is decision.take_profit is None
        seen.add((decision.action, decision.vetoed_by))
    assert {action for action, _ in seen} == set(Action)
    assert {veto for _, veto in seen} == {None, "online", "llm"}


def test_an_abstention_weighs_nothing(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rng = random.Random(3)
    traded = 0
    for _ in range(CASES):
        voters = {"technical": fakes.Voting(random_vote(rng, "technical")), "rl": fakes.Voting(random_vote(rng, "rl"))}
        alone = Orchestrator(**voters).decide(**question)
        beside = Orchestrator(
            **voters,
            evolved=fakes.Voting(Abstention("evolved", "none matches")),
            online=fakes.Voting(Abstention("online", "no trades yet")),
            llm=fakes.Voting(Abstention("llm", "no answer in time")),
        ).decide(**question)
        assert core(beside) == core(alone)
        traded += alone.action is not Action.HOLD
    assert traded > CASES / 10


def test_a_source_that_raises_changes_nothing_else(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rng = random.Random(4)
    for _ in range(CASES):
        settings, sources = random_settings(rng), random_sources(rng, fakes)
        name = rng.choice(SOURCES)
        broken = Orchestrator(settings, **(sources | {name: fakes.Voting(None)}))
        silent = Orchestrator(settings, **(sources | {name: fakes.Voting(Abstention(name, "nothing"))}))
        failed, abstained = broken.decide(**question), silent.decide(**question)
        assert core(failed) == core(abstained)
        for one, other in zip(failed.votes, abstained.votes, strict=True):
            if one.source == name and settings.weights[name] > 0.0:
                assert isinstance(one, Abstention)
                assert one.failed
                assert "RuntimeError: out of order" in one.reason
                assert broken.failures[name] == 1
            else:
                assert one == other


def test_the_advisor_never_raises_risk(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rng = random.Random(5)
    manager = LeverageManager()
    lowered = {"veto": 0, "hold": 0, "size": 0, "same": 0}
    for _ in range(CASES):
        settings = random_settings(rng, hold_threshold=rng.choice([0.0, 0.4]))
        sources = random_sources(rng, fakes)
        silent = Orchestrator(
            settings, **(sources | {"llm": fakes.Voting(Abstention("llm", "off"))}), sizer=manager
        ).decide(**question)
        advised = Orchestrator(settings, **sources, sizer=manager).decide(**question)
        assert advised.action in (silent.action, Action.HOLD)
        assert advised.confidence <= silent.confidence + 1e-12
        assert advised.score * silent.score >= -1e-15, "it keeps its side"
        assert exposure(advised) <= exposure(silent) * (1 + 1e-9)
        assert advised.leverage <= silent.leverage
        if silent.action is not Action.HOLD:
            if advised.vetoed_by == "llm":
                lowered["veto"] += 1
            elif advised.action is Action.HOLD:
                lowered["hold"] += 1
            else:
                lowered["size" if exposure(advised) < exposure(silent) * (1 - 1e-9) else "same"] += 1
    assert min(lowered.values()) > CASES / 1_000, lowered


def test_an_advisor_that_may_raise_risk_does(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    sources = {
        "technical": fakes.Voting(Vote("technical", Action.BUY, 0.38, "weak")),
        "llm": fakes.Voting(Advice(action=Action.BUY, confidence=0.9, reason="sure")),
    }
    assert Orchestrator(**sources).decide(**question).action is Action.HOLD
    told = OrchestratorSettings(advice_may_raise_risk=True)
    assert Orchestrator(told, **sources).decide(**question).action is Action.BUY


def test_no_size_exceeds_the_caps_and_every_stop_lies_on_its_side(
    fakes: SimpleNamespace, question: dict[str, Any]
) -> None:
    rng = random.Random(6)
    manager = LeverageManager()
    traded = 0
    for _ in range(CASES):
        price = 10.0 ** rng.uniform(-4, 5)
        atr_pct = 10.0 ** rng.uniform(-2, 1.8)
        asked = question | {
            "current_price": price,
            "indicators": question["indicators"] | {"close": price, "atr_pct": atr_pct},
            "portfolio_value": 10.0 ** rng.uniform(1, 7),
            "regime": rng.choice([None, "bull", "bear", "sideways"]),
            "position": rng.choice([0.0, 1.0, -1.0]),
        }
        settings = random_settings(rng, stop_atr=rng.uniform(0.5, 4.0), target_atr=rng.uniform(0.5, 8.0))
        sizer = rng.choice([manager, None])
        decision = Orchestrator(settings, **random_sources(rng, fakes), sizer=sizer).decide(**asked)
        assert 0.0 <= decision.position_size_pct <= (25.0 if sizer else 10.0) * (1 + 1e-12)
        assert 1.0 <= decision.leverage <= 10.0
        assert (decision.action is Action.HOLD) == (decision.position_size_pct == 0.0)
        if decision.action is Action.HOLD:
            continue
        traded += 1
        sign = decision.action.sign
        assert decision.stop_loss is not None
        assert decision.stop_loss > 0.0
        assert sign * (price - decision.stop_loss) == pytest.approx(settings.stop_atr * atr_pct / 100 * price)
        if decision.take_profit is None:
            assert sign < 0
            assert settings.target_atr * atr_pct >= 100.0
        else:
            distance = settings.target_atr * atr_pct / 100 * price
            assert sign * (decision.take_profit - price) == pytest.approx(distance)
        if decision.sizing is not None:
            assert decision.sizing.direction is decision.action.direction
            budget = 0.02 * asked["portfolio_value"]
            assert decision.sizing.risk_metrics["max_loss_usd"] <= budget * (1 + 1e-9)
            assert decision.sizing.risk_metrics["stop_price"] == pytest.approx(decision.stop_loss)
    assert traded > CASES / 10


def test_the_same_question_gets_the_same_decision(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rng = random.Random(7)
    manager = LeverageManager()
    for _ in range(CASES // 10):
        settings, sources = random_settings(rng), random_sources(rng, fakes)
        orchestrator = Orchestrator(settings, **sources, sizer=manager)
        first, second = orchestrator.decide(**question), orchestrator.decide(**question)
        fresh = Orchestrator(settings, **sources, sizer=LeverageManager()).decide(**question)
        assert first == second == fresh
