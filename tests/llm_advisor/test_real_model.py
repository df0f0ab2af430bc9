"""A real model on a real server: it answers in the form asked for, objects inside Cerebro, and replays without it.

``AI_BACKTRADER_LLM_URL`` names the server, ``AI_BACKTRADER_LLM_MODEL`` the model; without them, or where nobody
answers, the tests are skipped. They test the plumbing: what so small a model says is of no value.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.engine import Engine
from ai_backtrader.llm_advisor import AnswerMemory, Deadline, ServerError, get_advisor
from ai_backtrader.strategies import AIStrategy
from ai_backtrader.values import Action

pytestmark = pytest.mark.llm
TIMEOUT = 120.0  # a small model on a busy machine


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    url = os.environ.get("AI_BACKTRADER_LLM_URL")
    if not url:
        pytest.skip("AI_BACKTRADER_LLM_URL names no model server")
    try:
        models = get_advisor(mode="live").server.models(Deadline(5.0))
    except ServerError as error:
        pytest.skip(f"no model server answers at {url}: {error}")
    if not models:
        pytest.skip(f"the model server at {url} has no model")


def test_it_answers_in_the_form_asked_for_and_twice_the_same(ask: Any) -> None:
    first, second = (
        ask(get_advisor(mode="record", store=AnswerMemory(), timeout=TIMEOUT, num_predict=200)) for _ in range(2)
    )
    assert not first.failed, first.reason
    assert first.action in Action
    assert first.raw == second.raw  # temperature 0 and a seed
    assert first.model_digest == second.model_digest


def test_a_model_that_it_does_not_have_is_an_abstention(ask: Any) -> None:
    advice = ask(get_advisor(mode="live", model="no-such-model", timeout=TIMEOUT))
    assert advice.failed
    assert "status 404" in advice.reason


def test_a_deadline_holds_while_it_generates(ask: Any) -> None:
    started = time.monotonic()
    advice = ask(get_advisor(mode="live", timeout=0.3, num_predict=4_000), change_24h=-77.0)
    assert advice.failed
    assert time.monotonic() - started < 1.3


def trade(port: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(1_000)))
    cerebro.addstrategy(AIStrategy, engine=Engine(advisor=port))
    return cerebro.run()[0]


def test_it_objects_or_abstains_in_cerebro_and_the_replay_needs_no_server(
    tools: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.jsonl"
    options: dict[str, Any] = {"num_predict": 110, "max_calls_per_run": 6, "min_bars": 12, "timeout": TIMEOUT}
    advisor = get_advisor(mode="record", store=path, **options)
    started = time.monotonic()
    recorded = trade(tools.AdvisorSource(advisor))
    seconds = time.monotonic() - started
    vetoes = sum(decision.vetoed_by == "llm" for decision in recorded.decisions)
    unreadable = sum(consultation.advice.failed for consultation in advisor.consultations)
    report = advisor.report()
    assert report.requests >= 1
    assert vetoes + unreadable > 0
    replayer = get_advisor(mode="replay", store=path, base_url="http://127.0.0.1:9", **options)
    replayed = trade(tools.AdvisorSource(replayer))
    assert replayer.report().requests == 0
    assert replayed.closed_trades == recorded.closed_trades
    assert replayed.decisions == recorded.decisions
    assert replayer.consultations == advisor.consultations
    with capsys.disabled():
        print(
            f"\n{report.model}: {report.consultations} consultations, {report.requests} requests, {report.advised} "
            f"answers, {vetoes} vetoes, {seconds:.0f} s; {len(recorded.closed_trades)} trades replayed"
        )
