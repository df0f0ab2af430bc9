"""The Decisions analyzer on votes written by hand."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from ai_backtrader.analyzers import Decisions
from ai_backtrader.values import Action


@dataclass(frozen=True)
class Vote:
    source: str
    action: Action
    confidence: float
    reason: str = ""


@dataclass(frozen=True)
class Abstention:
    source: str
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Decision:
    at: dt.datetime
    action: Action
    confidence: float
    votes: tuple[Vote | Abstention, ...]
    breakdown: Mapping[str, float] = field(default_factory=dict)
    symbol: str = "BTC"
    score: float = 0.0
    position_size_pct: float = 0.0
    leverage: float = 1.0
    stop_loss: float | None = None
    take_profit: float | None = None
    reasoning: str = ""
    vetoed_by: str | None = None


DAYS = [dt.datetime(2024, 1, day) for day in (1, 2, 3, 4)]
DECISIONS = [
    Decision(
        DAYS[0],
        Action.BUY,
        0.8,
        (Vote("technical", Action.BUY, 0.8), Abstention("rl", "not trained")),
        {"technical": 0.8},
        score=0.8,
    ),
    Decision(
        DAYS[1],
        Action.HOLD,
        0.2,
        (Vote("technical", Action.SELL, 0.4), Vote("rl", Action.HOLD, 0.6)),
        {"technical": -0.4, "rl": 0.0},
    ),
    Decision(
        DAYS[2],
        Action.HOLD,
        0.5,
        (Vote("technical", Action.BUY, 0.6), Abstention("rl", "timed out", failed=True)),
        {"technical": 0.6},
        vetoed_by="llm",
    ),
    Decision(DAYS[3], Action.SELL, 0.9, (Abstention("technical", "warming up"), Abstention("rl", "not trained"))),
]


@pytest.fixture
def decided(run: Any, scripted: Any, frame_of: Any) -> Any:
    class Deciding(scripted):  # type: ignore[misc, valid-type]  # a fixture's class
        def start(self) -> None:
            self.decisions: list[Decision] = []

        def next(self) -> None:
            self.decisions.append(DECISIONS[len(self) - 1])

    return run(frame_of([100.0] * 4), Deciding, {"decisions": Decisions}).analyzers.decisions


def test_decisions_are_counted_by_action_and_veto(decided: Any) -> None:
    found = decided.get_analysis()
    assert found.decisions == 4
    assert dict(found.actions) == {"BUY": 1, "SELL": 1, "HOLD": 2}
    assert found.mean_confidence == pytest.approx(0.6)
    assert found.vetoes == 1
    assert dict(found.vetoed_by) == {"llm": 1}
    assert decided.decisions == tuple(DECISIONS)


def test_trades_that_sizing_withheld_are_counted(run: Any, scripted: Any, frame_of: Any) -> None:
    @dataclass(frozen=True)
    class Paper:
        opened_at: dt.datetime
        pnl_pct: float

    class Withholding(scripted):  # type: ignore[misc, valid-type]  # a fixture's class
        paper_trades = (Paper(DAYS[0], 1.0), Paper(DAYS[2], -2.0), Paper(DAYS[3], -1.0), Paper(DAYS[3], -1.0))

    found = run(frame_of([100.0] * 4), Withholding, {"decisions": Decisions}).analyzers.decisions.get_analysis()
    assert dict(found.paper) == {"trades": 4, "win_rate": 0.25, "first": DAYS[0]}


def test_each_source_has_its_votes_abstentions_and_failures(decided: Any) -> None:
    technical, rl = decided.get_analysis().sources.values()
    assert (technical.votes, technical.buys, technical.sells, technical.holds) == (3, 2, 1, 0)
    assert technical.mean_confidence == pytest.approx(0.6)
    assert technical.mean_contribution == pytest.approx(1.0 / 3)
    assert (technical.abstentions, technical.failures, technical.most_common_reason) == (1, 0, "warming up")
    assert (rl.votes, rl.holds, rl.abstentions, rl.failures) == (1, 1, 2, 1)
    assert dict(rl.reasons) == {"not trained": 2, "timed out": 1}
    assert rl.most_common_reason == "not trained"


def test_the_frame_has_a_row_a_decision_and_three_columns_a_source(decided: Any) -> None:
    frame = decided.to_frame()
    assert list(frame.index) == [pd.Timestamp(day) for day in DAYS]
    assert list(frame["action"]) == ["BUY", "HOLD", "HOLD", "SELL"]
    assert list(frame["technical_vote"]) == ["BUY", "SELL", "BUY", "ABSTAINED"]
    assert list(frame["rl_vote"]) == ["ABSTAINED", "HOLD", "FAILED", "ABSTAINED"]
    assert frame["technical_contribution"].fillna(0).tolist() == [0.8, -0.4, 0.6, 0.0]
    assert frame["vetoed_by"].iloc[2] == "llm"


def test_a_strategy_without_decisions_gives_an_empty_analysis_and_frame(run: Any, scripted: Any, frame_of: Any) -> None:
    analyzer = run(frame_of([100.0]), scripted, {"decisions": Decisions}).analyzers.decisions
    found = analyzer.get_analysis()
    assert (found.decisions, found.vetoes, len(found.sources)) == (0, 0, 0)
    assert math.isnan(found.mean_confidence)
    assert analyzer.to_frame().empty


def test_print_shows_the_sources(decided: Any, capsys: pytest.CaptureFixture[str]) -> None:
    decided.print()
    printed = capsys.readouterr().out
    assert "- technical:" in printed
    assert "- most_common_reason: not trained" in printed
