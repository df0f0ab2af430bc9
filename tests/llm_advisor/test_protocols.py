"""What is sent, in both protocols."""

from __future__ import annotations

import json
from typing import Any

from ai_backtrader.llm_advisor import ADVICE_SCHEMA, Deadline


def test_ollama_is_asked_for_one_whole_answer_of_the_schema(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    server = serve(tools.http(body=tools.chat_body(tools.answer())))
    assert not ask(connect(server.url + "/", timeout=5.0, seed=7, num_predict=99, keep_alive="1h")).abstained
    (request,) = server.requests
    sent = request.json
    assert request.line == "POST /api/chat HTTP/1.1"
    assert sent["stream"] is False
    assert sent["format"] == dict(ADVICE_SCHEMA)
    assert sent["options"] == {"seed": 7, "temperature": 0, "num_predict": 99}
    assert (sent["model"], sent["keep_alive"]) == ("m", "1h")
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert "BTC" not in json.dumps(sent)
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers


def test_an_openai_compatible_server_is_asked_in_its_own_words(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    choice = {"message": {"role": "assistant", "content": tools.answer()}, "finish_reason": "stop", "index": 0}
    server = serve(tools.http(body=json.dumps({"choices": [choice]})))
    advice = ask(connect(server.url, api="openai", api_key="sk-1", timeout=5.0))
    assert not advice.abstained
    (request,) = server.requests
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["authorization"] == "Bearer sk-1"
    sent = request.json
    assert (sent["temperature"], sent["seed"], sent["max_tokens"], sent["stream"]) == (0, 0, 256, False)
    assert sent["response_format"]["json_schema"]["schema"] == dict(ADVICE_SCHEMA)


def test_odd_choices_abstain(serve: Any, connect: Any, ask: Any, tools: Any) -> None:
    message = {"role": "assistant", "content": tools.answer()}
    for choices in (
        None, [], "x", [3], [{"message": message, "finish_reason": "length"}], [{"message": message}],
        [{"finish_reason": "stop"}], [{"message": message, "finish_reason": "stop"}] * 2,
    ):  # fmt: skip
        server = serve(tools.http(body=json.dumps({"choices": choices})))
        assert ask(connect(server.url, api="openai", timeout=5.0)).failed


def test_an_openai_compatible_server_lists_models_without_digests(serve: Any, connect: Any, tools: Any) -> None:
    server = serve(tools.http(body='{"object": "list", "data": [{"id": "m", "object": "model"}]}'))
    client = connect(server.url, api="openai").server
    assert [(model.name, model.digest) for model in client.models(Deadline(5.0))] == [("m", "")]
    assert client.digest(Deadline(5.0)) == ""


def test_neither_proxies_nor_passwords_of_the_environment_are_used(
    serve: Any, connect: Any, ask: Any, tools: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    proxy = serve(tools.http("502 Bad Gateway"))
    server = serve(tools.http(body=tools.chat_body(tools.answer())))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NETRC", str(netrc))
    assert not ask(connect(server.url, timeout=5.0)).abstained
    assert "authorization" not in server.requests[0].headers
    assert proxy.requests == []
