"""A server is not asked more often than it should be, and one that is down costs little."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
import time
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.engine import Engine
from ai_backtrader.llm_advisor.guards import CircuitBreaker, DailyBudget
from ai_backtrader.strategies import AIStrategy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_breaker_opens_waits_twice_as_long_and_closes() -> None:
    clock = Clock()
    breaker = CircuitBreaker(3, 10.0, clock)
    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    assert breaker.seconds_left == 10.0
    clock.now = 10.0
    assert breaker.seconds_left == 0.0
    assert breaker.failed()
    assert breaker.seconds_left == 20.0
    clock.now = 30.0
    breaker.succeeded()
    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    assert breaker.seconds_left == 10.0
    for _ in range(40):
        breaker.failed()
    assert breaker.seconds_left == 3_600.0


def test_the_day_begins_at_midnight_utc() -> None:
    clock = Clock()
    budget = DailyBudget(2, clock)
    clock.now = 86_399.0
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    clock.now = 86_400.0
    assert budget.spend()


def test_the_runs_budget_counts_different_questions(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(tools.http(body=tools.chat_body(tools.answer())))
    advisor = connect(server.url, timeout=5.0, max_calls_per_run=2)
    changes = (-2.0, -3.0, -2.0, -4.0, -3.1)
    assert [ask(advisor, change_24h=change).abstained for change in changes] == [False, False, False, True, False]
    assert len(server.requests) == 2
    assert "budget of 2" in ask(advisor, change_24h=-9.0).reason
    advisor.start_run()
    assert not ask(advisor, change_24h=-9.0).abstained


def test_the_days_budget_outlives_the_run(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(tools.http(body=tools.chat_body(tools.answer())))
    advisor = connect(server.url, timeout=5.0, max_calls_per_day=1)
    assert not ask(advisor).abstained
    advisor.start_run()
    assert "the day's budget of 1" in ask(advisor).reason
    assert len(server.requests) == 1


def test_bars_must_pass_between_two_questions_about_a_symbol(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(tools.http(body=tools.chat_body(tools.answer())))
    advisor = connect(server.url, timeout=5.0, min_bars=3)
    asked = [not ask(advisor, change_24h=-2.0 - bar).abstained for bar in range(7)]
    assert asked == [True, False, False, True, False, False, True]
    assert not ask(advisor, symbol="ETH/USDT").abstained


def test_no_trigger_and_no_trade_mean_no_request(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(tools.http(body=tools.chat_body(tools.answer())))
    advisor = connect(server.url)
    assert ask(advisor, change_24h=1.0).reason == "no trigger fired"
    assert ask(advisor, signal="HOLD", high_volatility=True).reason == "there is no trade to object to"
    assert server.requests == advisor.consultations == []
    keen = connect(server.url, consult_on_hold=True, timeout=5.0)
    assert not ask(keen, signal="HOLD", high_volatility=True).abstained


def test_a_busy_server_is_asked_again_within_the_deadline(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    replies = [tools.http("503 Busy"), tools.http("429 Slow down", Retry_After="0")]

    def behave(connection: socket.socket, request: Any, stopped: Any) -> None:
        good = tools.http(body=tools.chat_body(tools.answer()))
        connection.sendall(replies.pop(0) if replies else good)

    server = serve(behave)
    advice = ask(connect(server.url, timeout=5.0))
    assert not advice.abstained
    assert len(server.requests) == 3
    assert 0.3 <= advice.seconds < 1.0  # 0.1 s and 0.2 s of waiting


@pytest.mark.parametrize(("wait", "requests"), [("1", 2), ("100", 1), ("soon", 4)])
def test_retry_after_is_obeyed_or_given_up(
    wait: str, requests: int, serve: Any, connect: Any, ask: Any, tools: Any
) -> None:
    server = serve(tools.http("503 Busy", '{"error": "server busy"}', Retry_After=wait))
    started = time.monotonic()
    advice = ask(connect(server.url, timeout=1.5))
    assert advice.reason == "status 503: server busy"
    assert len(server.requests) == requests
    assert time.monotonic() - started < 1.6


def test_an_error_is_not_asked_again(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(tools.http("500 Oops", '{"error": "out of memory"}'))
    assert ask(connect(server.url, timeout=5.0)).reason == "status 500: out of memory"
    assert len(server.requests) == 1


def test_neither_key_nor_prompt_nor_the_servers_words_are_logged(
    serve: Any, connect: Any, ask: Any, tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def echo(connection: socket.socket, request: Any, stopped: Any) -> None:
        said = request.headers["authorization"] + request.body.decode()
        connection.sendall(tools.http("500 Oops", json.dumps({"error": said})))

    caplog.set_level(logging.DEBUG)
    key = "sk-4f9c2ab7d1"
    advisor = connect(serve(echo).url, timeout=5.0, api_key=key, breaker_failures=1, blind=False)
    advice = ask(advisor, symbol="SECRETCOIN")
    assert advice.failed
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("ai_backtrader")]
    assert ours
    everything = "\n".join([record.getMessage() for record in caplog.records])
    for word in (key, "SECRETCOIN", "Strategy Signal"):
        assert word not in everything
    assert key not in advice.reason + repr(advisor.settings) + repr(advice)


def trade(llm: Any, n: int = 1_120) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(n)))
    cerebro.addstrategy(AIStrategy, engine=Engine(advisor=llm))
    return cerebro.run()[0]


def core(decision: Any) -> dict[str, Any]:
    facts = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    return {name: value for name, value in facts.items() if name != "votes"}


@pytest.fixture(params=["refused", "no route answers", "hangs"])
def down(request: pytest.FixtureRequest, serve: Any) -> Any:
    """URL of a server that is down, in three ways."""
    if request.param == "hangs":
        yield serve(lambda connection, asked, stopped: stopped.wait(5.0) and None).url
        return
    if request.param == "refused":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        return
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    held = [socket.socket() for _ in range(4)]
    for waiting in held:
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())

    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    for opened in (*held, listener):
        opened.close()


def test_a_thousand_bars_with_the_server_down_cost_five_seconds_at_most(
    down: str, connect: Any, tools: SimpleNamespace
) -> None:
    trade(None, 200)  # compiled and loaded before the clocks run
    started = time.monotonic()
    off = trade(None)
    alone = time.monotonic() - started
    source = tools.AdvisorSource(connect(down, timeout=0.6, connect_timeout=1.0))
    started = time.monotonic()
    on = trade(source)
    together = time.monotonic() - started
    assert len(on.decisions) == 1_000
    assert len(source.advisor.consultations) > 10
    assert together - alone <= 5.0
    assert [core(one) for one in on.decisions] == [core(one) for one in off.decisions]
    assert on.closed_trades == off.closed_trades
    assert on.broker.getvalue() == off.broker.getvalue()
