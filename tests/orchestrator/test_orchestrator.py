"""Decisions and learning: the printed usage, the base signal, vetoes, failures, events."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import RegimeChanged, TradeClosed
from ai_backtrader.leverage import LeverageManager
from ai_backtrader.orchestrator import (
    Abstention,
    Adjustment,
    Advice,
    Decision,
    Orchestrator,
    OrchestratorSettings,
    Vote,
    direction_of,
)
from ai_backtrader.values import Action, Direction, Regime


async def printed_usage(orchestrator: Orchestrator, current_indicators: dict[str, float]) -> Decision:
    decision = await orchestrator.get_decision(
        symbol="BTC/USDT",
        indicators=current_indicators,
        current_price=95393,
        regime="bull",
        position=0,
        portfolio_value=10766,
        base_signal="LONG",
        base_confidence=0.49,
    )

    print(f"Action: {decision.action}")
    print(f"Confidence: {decision.confidence:.0%}")
    print(f"Position Size: {decision.position_size_pct:.1f}%")
    print(f"Reasoning: {decision.reasoning}")

    await orchestrator.on_trade_complete(
        symbol="BTC/USDT",
        entry_price=95393,
        exit_price=96500,
        pnl_pct=1.16,
        indicators_at_entry=current_indicators,
        regime="bull",
        hold_duration_mins=240,
    )
    return decision


def test_the_printed_usage_runs(indicators: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    manager = LeverageManager()
    decision = asyncio.run(printed_usage(Orchestrator(sizer=manager), indicators))
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["Action: BUY", "Confidence: 49%"]
    assert printed[2] == f"Position Size: {decision.position_size_pct:.1f}%"
    assert 1.0 < decision.position_size_pct < 25.0, "percent"
    assert manager.kelly.trades == 1, "the trade reached the leverage manager"
    row = manager.experience_table()[0]
    assert (row.direction, row.regime, row.mean_pnl_pct) == (Direction.LONG, Regime.BULL, pytest.approx(1.16))


def test_the_printed_usage_runs_inside_a_running_loop(indicators: dict[str, float]) -> None:
    async def notebook() -> tuple[Decision, Decision]:
        orchestrator = Orchestrator(sizer=LeverageManager())
        task = asyncio.create_task(printed_usage(orchestrator, indicators))
        inside = orchestrator.decide(
            symbol="BTC/USDT",
            indicators=indicators,
            current_price=95393,
            regime="bull",
            portfolio_value=10766,
            base_signal="LONG",
            base_confidence=0.49,
        )
        return inside, await task

    inside, awaited = asyncio.run(notebook())
    assert inside == awaited


@pytest.mark.parametrize(
    ("signal", "action"),
    [
        ("LONG", Action.BUY),
        ("SHORT", Action.SELL),
        ("FLAT", Action.HOLD),
        ("buy", Action.BUY),
        ("SELL", Action.SELL),
        ("HOLD", Action.HOLD),
        (Direction.SHORT, Action.SELL),
        (Action.BUY, Action.BUY),
    ],
)
def test_a_base_signal_is_the_technical_vote(signal: str, action: Action, question: dict[str, Any]) -> None:
    decision = Orchestrator().decide(**question, base_signal=signal, base_confidence=0.8)
    assert decision.action is action
    assert decision.votes[0] == Vote("technical", action, 0.8, "base signal of the caller")
    assert decision.breakdown["technical"] == action.sign * 0.8


def test_a_base_signal_without_confidence_takes_that_of_the_settings(question: dict[str, Any]) -> None:
    assert Orchestrator().decide(**question, base_signal="LONG").confidence == 0.5


def test_without_a_base_signal_the_technical_source_votes(question: dict[str, Any]) -> None:
    decision = Orchestrator().decide(**question)
    assert decision.action is Action.BUY
    assert decision.votes[0].reason.startswith("EMA +1.00")


def test_when_every_source_abstains_the_decision_is_hold(question: dict[str, Any]) -> None:
    decision = Orchestrator(sizer=LeverageManager()).decide(**(question | {"indicators": {}}))
    assert decision.action is Action.HOLD
    assert (decision.score, decision.confidence, dict(decision.breakdown)) == (0.0, 0.0, {})
    assert decision.reasoning == "HOLD at +0.00: every source abstained"
    assert all(isinstance(vote, Abstention) and not vote.failed for vote in decision.votes)


def test_weights_renormalise_over_those_who_vote(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    decision = Orchestrator(
        technical=fakes.Voting(Vote("technical", Action.BUY, 0.8, "")),
        evolved=fakes.Voting(Vote("evolved", Action.SELL, 0.4, "")),
    ).decide(**question)
    assert decision.breakdown == {"technical": pytest.approx(0.48), "evolved": pytest.approx(-0.16)}
    assert decision.score == pytest.approx(0.32)


def test_the_online_source_adjusts_the_confidence_of_the_others(
    fakes: SimpleNamespace, question: dict[str, Any]
) -> None:
    for factor, expected in ((1.0, 0.6), (0.0, 0.6 * 0.30 / 0.45), (0.5, (0.3 * 0.6 + 0.15 * 0.3) / 0.45)):
        online = fakes.Voting(Adjustment(should_trade=True, factor=factor, reason="recent trades"))
        decision = Orchestrator(online=online).decide(**question, base_signal="SHORT", base_confidence=0.6)
        assert decision.score == pytest.approx(-expected)
        _, action, confidence = online.asked[0]
        assert (action, confidence) == (Action.SELL, 0.6)


def test_recent_losses_can_forbid_trading(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    online = fakes.Voting(Adjustment(should_trade=False, factor=1.0, reason="degraded"))
    decision = Orchestrator(online=online).decide(**question, base_signal="LONG", base_confidence=0.9)
    assert decision.action is Action.HOLD
    assert decision.vetoed_by == "online"
    assert "degraded" in decision.reasoning
    weak = Orchestrator(online=online).decide(**question, base_signal="LONG", base_confidence=0.2)
    assert weak.action is Action.HOLD
    assert weak.vetoed_by is None, "there was no trade to forbid"


@pytest.mark.parametrize(
    ("advice", "vetoes"),
    [
        (Advice(action=Action.HOLD, confidence=0.65, reason="24h decline", risk_level="medium"), True),
        (Advice(action=Action.HOLD, confidence=0.3, reason="unsure", risk_level="medium"), False),
        (Advice(action=Action.HOLD, confidence=0.3, reason="crash", risk_level="high"), True),
        (Advice(action=Action.SELL, confidence=0.7, reason="top", risk_level="low"), True),
        (Advice(action=Action.BUY, confidence=1.0, reason="up", risk_level="medium"), False),
    ],
)
def test_the_advisor_can_override_to_hold(
    advice: Advice, vetoes: bool, fakes: SimpleNamespace, question: dict[str, Any]
) -> None:
    decision = Orchestrator(llm=fakes.Voting(advice)).decide(**question, base_signal="LONG", base_confidence=0.9)
    assert (decision.vetoed_by == "llm") is vetoes
    assert decision.action is (Action.HOLD if vetoes else Action.BUY)


def test_high_risk_halves_the_size_of_a_trade_the_advisor_agrees_with(
    fakes: SimpleNamespace, question: dict[str, Any]
) -> None:
    sizes = {}
    for risk in ("medium", "high"):
        advice = Advice(action=Action.BUY, confidence=0.9, reason="up", risk_level=risk, warnings=("thin market",))
        decision = Orchestrator(llm=fakes.Voting(advice), sizer=LeverageManager()).decide(
            **question, base_signal="LONG", base_confidence=0.9
        )
        assert decision.warnings[0] == "thin market"
        sizes[risk] = decision.position_size_pct
    assert sizes["high"] == pytest.approx(0.5 * sizes["medium"])


def test_without_a_sizer_the_size_is_the_confident_share_at_one_times(question: dict[str, Any]) -> None:
    decision = Orchestrator().decide(**question, base_signal="LONG", base_confidence=0.5)
    assert decision.position_size_pct == pytest.approx(5.0)
    assert decision.leverage == 1.0
    assert decision.sizing is None


def test_a_size_of_zero_is_hold_and_says_why(question: dict[str, Any]) -> None:
    manager = LeverageManager()
    for _ in range(30):
        manager.on_trade_complete(
            TradeClosed(
                symbol="X", strategy_id="s", direction=Direction.LONG, entry_price=1.0, exit_price=0.9, pnl_pct=-1.0
            )
        )
    decision = Orchestrator(sizer=manager).decide(**question, base_signal="LONG", base_confidence=0.9)
    assert decision.action is Action.HOLD
    assert "size 0, FLAT: the last 30 trades show no edge" in decision.reasoning
    assert decision.sizing is not None
    assert decision.score == pytest.approx(0.9), "the wish stays visible"


def test_without_an_atr_there_is_no_stop_and_no_trade(question: dict[str, Any]) -> None:
    decision = Orchestrator(sizer=LeverageManager()).decide(
        **(question | {"indicators": {"rsi": 50.0}}), base_signal="LONG", base_confidence=0.9
    )
    assert decision.action is Action.HOLD
    assert "no ATR among the indicators" in decision.reasoning


@pytest.mark.parametrize(
    ("position", "clause"), [(2.0, "keeps the long position"), (-2.0, "reverses the short position")]
)
def test_the_wish_stays_the_same_whatever_is_held(position: float, clause: str, question: dict[str, Any]) -> None:
    decision = Orchestrator().decide(**(question | {"position": position}), base_signal="LONG", base_confidence=0.9)
    assert decision.action is Action.BUY
    assert clause in decision.reasoning


def test_a_hold_still_tells_the_protection_of_the_open_position(question: dict[str, Any]) -> None:
    decision = Orchestrator(sizer=LeverageManager()).decide(
        **(question | {"position": 1.0}),
        base_signal="HOLD",
        current_position={"leverage": 5.0, "margin_ratio": 0.65},
    )
    assert decision.action is Action.HOLD
    assert decision.sizing is not None
    assert decision.sizing.risk_metrics["reduce_fraction"] == pytest.approx(0.5)
    assert any("nears liquidation" in warning for warning in decision.warnings)


@pytest.mark.parametrize("answer", [None, Vote("llm", Action.BUY, 0.9, "as another"), "BUY"])
def test_a_source_that_fails_is_counted_told_and_left_out(
    answer: object, fakes: SimpleNamespace, question: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator = Orchestrator(rl=fakes.Voting(answer))
    with caplog.at_level(logging.WARNING, logger="ai_backtrader"):
        for _ in range(3):
            decision = orchestrator.decide(**question)
    failed = decision.votes[1]
    assert isinstance(failed, Abstention)
    assert failed.failed
    assert orchestrator.failures == {"rl": 3}
    assert len(caplog.records) == 1, "told once, not on every bar"
    with pytest.raises((RuntimeError, TypeError), match=r"out of order|must answer with its own Vote"):
        Orchestrator(OrchestratorSettings(strict=True), rl=fakes.Voting(answer)).decide(**question)


def test_no_source_can_change_what_the_next_one_sees(question: dict[str, Any]) -> None:
    class Meddler:
        def vote(self, context: Any) -> Vote:
            context.indicators["rsi"] = 99.0
            return Vote("rl", Action.BUY, 1.0, "")

    before = dict(question["indicators"])
    decision = Orchestrator(rl=Meddler()).decide(**question)
    assert isinstance(decision.votes[1], Abstention)
    assert question["indicators"] == before


def test_a_source_of_weight_zero_is_not_asked(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rl = fakes.Voting(Vote("rl", Action.SELL, 1.0, ""))
    decision = Orchestrator(OrchestratorSettings(weights={"technical": 1.0, "rl": 0.0}), rl=rl).decide(**question)
    assert rl.asked == []
    assert decision.votes[1] == Abstention("rl", "its weight is 0")


def test_a_change_of_regime_is_recorded_once(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    journal = fakes.Memory()
    orchestrator = Orchestrator(journal=journal)
    start = dt.datetime(2021, 5, 19)
    labels = [None, "bull", "bull", Regime.BEAR, None, "bear", "bull"]
    for hour, label in enumerate(labels):
        orchestrator.decide(**(question | {"regime": label}), at=start + dt.timedelta(hours=hour))
    orchestrator.decide(**(question | {"symbol": "ETH/USDT"}), high_volatility=True)
    assert [(event.before, event.after, event.at) for event in journal.events[:-1]] == [
        (None, Regime.BULL, start + dt.timedelta(hours=1)),
        (Regime.BULL, Regime.BEAR, start + dt.timedelta(hours=3)),
        (Regime.BEAR, Regime.BULL, start + dt.timedelta(hours=6)),
    ]
    assert journal.events[-1] == RegimeChanged(
        symbol="ETH/USDT", at=None, before=None, after=Regime.BULL, high_volatility=True
    )


def test_a_listener_that_fails_keeps_no_trade_from_the_others(fakes: SimpleNamespace) -> None:
    trade = TradeClosed(
        symbol="X", strategy_id="s", direction=Direction.LONG, entry_price=1.0, exit_price=2.0, pnl_pct=1.0
    )
    for strict in (False, True):
        broken, sound, journal = fakes.Memory(broken=True), fakes.Memory(), fakes.Memory()
        orchestrator = Orchestrator(OrchestratorSettings(strict=strict), listeners=(broken, sound), journal=journal)
        if strict:
            with pytest.raises(OSError, match="disk full"):
                orchestrator.learn(trade)
        else:
            orchestrator.learn(trade)
        assert sound.events == journal.events == [trade]
        assert orchestrator.failures == {"Memory": 1}


def test_a_journal_that_fails_is_counted(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    orchestrator = Orchestrator(journal=fakes.Memory(broken=True))
    orchestrator.decide(**question)
    assert orchestrator.failures == {"journal": 1}


@pytest.mark.parametrize(
    ("exit_price", "pnl_pct", "expected"),
    [
        (110.0, 9.8, Direction.LONG),
        (90.0, -10.2, Direction.LONG),
        (90.0, 9.8, Direction.SHORT),
        (110.0, -10.2, Direction.SHORT),
    ],
)
def test_a_losing_long_is_not_stored_as_a_short(exit_price: float, pnl_pct: float, expected: Direction) -> None:
    assert direction_of(entry_price=100.0, exit_price=exit_price, pnl_pct=pnl_pct) is expected


def test_a_trade_whose_side_cannot_be_told_asks_for_it(fakes: SimpleNamespace) -> None:
    journal = fakes.Memory()
    facts = {
        "symbol": "X",
        "entry_price": 100.0,
        "exit_price": 100.0,
        "pnl_pct": -0.1,
        "indicators_at_entry": {},
        "regime": None,
        "hold_duration_mins": 5.0,
    }
    orchestrator = Orchestrator(journal=journal)
    with pytest.raises(SettingsError, match="direction must be given"):
        asyncio.run(orchestrator.on_trade_complete(**facts))
    stored = asyncio.run(orchestrator.on_trade_complete(**facts, direction="SHORT"))
    assert journal.events == [stored]
    assert stored.direction is Direction.SHORT


def test_wrong_arguments_are_named_together(question: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"3 faults(?s:.)*current_price(?s:.)*portfolio_value(?s:.)*position"):
        Orchestrator().decide(**(question | {"current_price": 0.0, "portfolio_value": math.nan, "position": "much"}))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"regime": "moon"}, "must be one of strong_bull"),
        ({"base_signal": "UP"}, "expected BUY, SELL, HOLD"),
        ({"base_confidence": 0.5}, "base_confidence needs a base_signal"),
        ({"base_signal": "LONG", "base_confidence": 49}, "base_confidence must be between 0 and 1"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: dict[str, Any], fault: str, question: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=fault):
        Orchestrator().decide(**(question | arguments))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"weights": {"technical": -1.0, "moon": 1.0}}, r"2 faults(?s:.)*unknown keys 'moon'(?s:.)*must be at least 0"),
        ({"weights": {"technical": 0.0}}, "at least one weight above 0"),
        ({"weights": 3.0}, "must map sources to numbers"),
        ({"hold_threshold": 2.0, "stop_atr": 0.0}, r"2 faults(?s:.)*hold_threshold(?s:.)*stop_atr"),
    ],
)
def test_faulty_settings_are_reported_together(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        OrchestratorSettings(**settings)


def test_settings_and_decisions_travel_to_other_processes(question: dict[str, Any]) -> None:
    settings = OrchestratorSettings(weights={"technical": 2.0, "rl": 1.0})
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  # our own bytes
    decision = Orchestrator(settings).decide(**question)
    copied = pickle.loads(pickle.dumps(decision))  # noqa: S301  # our own bytes
    assert copied == decision
    with pytest.raises(TypeError, match="cannot be changed"):
        copied.breakdown["rl"] = 1.0


def test_an_agent_in_single_precision_gives_a_score_in_double(fakes: SimpleNamespace, question: dict[str, Any]) -> None:
    rl = fakes.Voting(Vote("rl", Action.BUY, np.float32(0.7), ""))
    decision = Orchestrator(rl=rl).decide(**(question | {"current_price": np.float32(95_393.0)}))
    figures = [decision.score, decision.confidence, decision.position_size_pct, decision.stop_loss]
    assert {type(figure) for figure in figures} == {float}


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_a_vote_out_of_range_cannot_be_cast(confidence: float) -> None:
    with pytest.raises(SettingsError, match="confidence"):
        Vote("rl", Action.BUY, confidence, "")
