"""A recorded run is repeated without the server: the same answers, the same failures, the same bytes."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.llm_advisor import (
    ADVICE_SCHEMA,
    AnswerFile,
    AnswerMemory,
    MissingAnswerError,
    RecordedAnswer,
    answer_key,
    get_advisor,
)

DIGEST = "a" * 64


def ollama(tools: Any, *, digest: str = DIGEST, fail: tuple[int, ...] = ()) -> Any:
    """Behaviour of a server with one model; the chats whose numbers are in ``fail`` end in an error."""
    chats: list[Any] = []

    def behave(connection: socket.socket, request: Any, stopped: Any) -> None:
        if request.path == "/api/tags":
            connection.sendall(tools.http(body=json.dumps({"models": [{"name": "m:latest", "digest": digest}]})))
            return
        chats.append(request)
        if len(chats) - 1 in fail:
            connection.sendall(tools.http("500 Oops", '{"error": "out of memory"}'))
        else:
            said = tools.answer(reasoning=f"number {len(chats)}")
            connection.sendall(tools.http(body=tools.chat_body(said)))

    return behave


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


CHANGES = (-2.0, -5.0, -2.1, -7.0, 0.0, -5.0, -9.0, -7.1)


def changes(advisor: Any, ask: Any) -> list[Any]:
    return [ask(advisor, change_24h=change) for change in CHANGES]


@pytest.mark.parametrize("fail", [(), (0,), (1, 2), (0, 1, 2, 3)], ids=str)
def test_a_replay_gives_what_the_recorded_run_gave(
    fail: tuple[int, ...], serve: Any, connect: Any, ask: Any, tools: Any, tmp_path: Path
) -> None:
    server, path = serve(ollama(tools, fail=fail)), tmp_path / "answers.jsonl"
    recorded = changes(connect(server.url, mode="record", store=path, timeout=5.0), ask)
    assert sum(advice.failed for advice in recorded) >= len(fail)
    requests = len(server.requests)
    replayed = changes(connect(server.url, mode="replay", store=path, timeout=5.0), ask)
    assert replayed == recorded
    assert repr(replayed) == repr(recorded)
    assert len(server.requests) == requests


def test_the_same_question_costs_one_request(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(ollama(tools))
    advisor = connect(server.url, mode="record", store=AnswerMemory(), timeout=5.0)
    advices = changes(advisor, ask)
    assert [request.path for request in server.requests] == ["/api/tags", *["/api/chat"] * 4]
    assert advices[0] == dataclasses.replace(advices[2], trigger_details=advices[0].trigger_details)
    assert all(advice.model_digest == DIGEST for advice in advices if not advice.abstained)


def test_recording_again_asks_only_what_is_missing_or_failed(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    store = AnswerMemory()
    changes(connect(serve(ollama(tools, fail=(1,))).url, mode="record", store=store, timeout=5.0), ask)
    again = serve(ollama(tools))
    assert not any(
        advice.failed for advice in changes(connect(again.url, mode="record", store=store, timeout=5.0), ask)
    )
    assert [request.path for request in again.requests] == ["/api/tags", "/api/chat"]


def test_a_recording_made_while_the_server_was_down_replays(connect: Any, ask: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    path = tmp_path / "answers.jsonl"
    recorded = changes(connect(url, mode="record", store=path), ask)
    assert {advice.reason for advice in recorded if advice.failed} == {
        "the connection failed (ConnectionError: ConnectionRefusedError)",
        "the server failed repeatedly and is left alone for a while",
    }
    assert changes(connect(url, mode="replay", store=path), ask) == recorded


@pytest.mark.usefixtures("no_network")
def test_a_replay_opens_no_socket(ask: Any) -> None:
    advisor = get_advisor(model="m", mode="replay", store=AnswerMemory(), model_digest=DIGEST)
    assert ask(advisor).reason == "no answer was recorded for this question"
    assert not ask(advisor).failed


def test_a_miss_raises_where_it_should(ask: Any) -> None:
    for digest in (None, DIGEST):
        advisor = get_advisor(model="m", mode="replay", store=AnswerMemory(), on_miss="raise", model_digest=digest)
        with pytest.raises(MissingAnswerError, match="no answer of 'm' was recorded"):
            ask(advisor)


def test_record_and_replay_need_a_store() -> None:
    with pytest.raises(SettingsError, match="mode 'replay' needs a store"):
        get_advisor(mode="replay")


KEY = {
    "model": "m", "model_digest": DIGEST, "options": {"seed": 0, "temperature": 0},
    "messages": [{"role": "user", "content": "x"}], "schema": dict(ADVICE_SCHEMA),
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"model_digest": "b" * 64},
        {"options": {"seed": 1, "temperature": 0}},
        {"messages": [{"role": "user", "content": "y"}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"schema": {"type": "object"}},
    ],
    ids=str,
)
def test_the_key_changes_with_all_that_the_answer_depends_on(change: dict[str, Any]) -> None:
    assert answer_key(**(KEY | change)) != answer_key(**KEY)  # type: ignore[arg-type]  # of mixed kinds


def test_the_key_does_not_depend_on_the_order_of_names() -> None:
    turned = KEY | {"options": {"temperature": 0, "seed": 0}}
    assert answer_key(**turned) == answer_key(**KEY)  # type: ignore[arg-type]  # of mixed kinds


def kept(key: str, reply: str = "{}") -> RecordedAnswer:
    return RecordedAnswer(key, "m", DIGEST, '{"q": "\u20ac\\n"}', reply, 200, 1.25)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return AnswerMemory() if request.param == "memory" else AnswerFile(tmp_path / "answers.jsonl")


def test_a_store_gives_back_what_it_keeps_and_the_later_counts(store: Any) -> None:
    assert store.answer("k") is None
    for number in range(3):
        store.keep_answer(kept("k", f'"{number}"'))
        store.keep_answer(kept(f"other {number}"))
    assert store.answer("k") == kept("k", '"2"')
    assert len(store) == 4


def test_a_file_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    for number in range(3):
        AnswerFile(path).keep_answer(kept(f"k{number}"))
    assert [AnswerFile(path).answer(f"k{number}") for number in range(3)] == [kept(f"k{number}") for number in range(3)]


def test_a_line_that_was_not_finished_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerFile(path).keep_answer(kept("k0"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    cut = AnswerFile(path)
    assert (len(cut), path.read_bytes()) == (1, whole + whole[:40])
    cut.keep_answer(kept("k1"))
    assert len(AnswerFile(path)) == 2
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"key": 1}', "[" * 100_000])
def test_a_line_that_is_no_answer_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerFile(path).keep_answer(kept("k0"))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"a line is not a recorded answer \(row 2"):
        AnswerFile(path).answer("k0")
