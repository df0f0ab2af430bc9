"""`advisor check` says whether the server answers, which models it has, and shows one answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from ai_backtrader.cli.advisor import advisor_app


@pytest.fixture
def url(serve: Any, tools: Any) -> str:
    def behave(connection: Any, request: Any, stopped: Any) -> None:
        tags = {"models": [{"name": "m:latest", "digest": "abc123" * 10}, {"name": "other", "digest": ""}]}
        chat = request.path == "/api/chat"
        said = tools.answer() if request.body and request.json["model"] == "m" else "no idea"
        connection.sendall(tools.http(body=tools.chat_body(said) if chat else json.dumps(tags)))

    return serve(behave).url


def check(*arguments: str) -> Any:
    return CliRunner().invoke(advisor_app, ["check", *arguments])


def test_it_lists_the_models_and_shows_an_answer(url: str) -> None:
    done = check("--url", url, "--model", "m")
    assert done.exit_code == 0
    for word in ("m:latest", "abc123", "other", "action: HOLD", "confidence: 0.9", "warnings: ['careful']"):
        assert word in done.stdout


def test_it_prints_one_json_object(url: str) -> None:
    found = json.loads(check("--url", url, "--model", "m", "--json").stdout)
    assert [model["name"] for model in found["models"]] == ["m:latest", "other"]
    assert found["answer"]["risk_level"] == "high"
    assert found["problem"] == ""


def test_an_unreadable_answer_is_shown_and_fails(url: str) -> None:
    done = check("--url", url, "--model", "other")
    assert done.exit_code == 1
    assert "unreadable answer: not JSON" in done.stderr
    assert "It said: 'no idea'" in done.stdout


def test_a_server_that_is_not_there_fails_with_a_line() -> None:
    done = check("--url", "http://127.0.0.1:9", "--json")
    assert done.exit_code == 1
    assert "the connection failed (ConnectionError: ConnectionRefusedError)" in json.loads(done.stdout)["problem"]


def test_the_environment_is_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_BACKTRADER_LLM_URL", url)
    monkeypatch.setenv("AI_BACKTRADER_LLM_MODEL", "m")
    monkeypatch.setenv("AI_BACKTRADER_LLM_MODE", "off")
    assert check().exit_code == 0
