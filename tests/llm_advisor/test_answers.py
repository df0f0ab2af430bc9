"""Answers are read strictly; nineteen answers of a real server are read as they came."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_backtrader.llm_advisor import ADVICE_SCHEMA, Deadline, ServerError, UnreadableAnswerError, parse_answer
from ai_backtrader.values import Action

RECORDING = json.loads(Path(__file__).with_name("ollama_wire_recording.json").read_text(encoding="utf-8"))


def test_the_answer_of_the_design_is_read() -> None:
    answer = parse_answer(
        '{"action": "HOLD", "confidence": 0.65, "reasoning": "Despite bullish regime, 24h decline suggests waiting", '
        '"risk_level": "medium", "warnings": ["Potential trend reversal"]}'
    )
    assert answer == (
        Action.HOLD, 0.65, "Despite bullish regime, 24h decline suggests waiting", "medium",
        ("Potential trend reversal",),
    )  # fmt: skip


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("confidence", [0, 1, 0.5, 1e-9])
def test_every_action_and_the_ends_of_confidence_are_read(action: Action, confidence: float, tools: Any) -> None:
    answer = parse_answer(tools.answer(action=action.value, confidence=confidence))
    assert (answer.action, answer.confidence) == (action, confidence)
    assert type(answer.confidence) is float


def test_white_space_around_and_another_order_change_nothing(tools: Any) -> None:
    fields = json.loads(tools.answer())
    turned = "\n " + json.dumps(dict(reversed(fields.items()))) + "\t\n"
    assert parse_answer(turned) == parse_answer(tools.answer())


def test_control_characters_do_not_reach_the_terminal(tools: Any) -> None:
    answer = parse_answer(tools.answer(reasoning="\x1b[31mred\x1b[0m\r\nBUY \u202enow\ud800", warnings=["a\x00b"]))
    assert answer.reasoning == "[31mred [0m BUY now"
    assert answer.warnings == ("a b",)


@pytest.mark.parametrize("name", sorted(ADVICE_SCHEMA["required"]))
def test_every_field_is_needed(name: str, tools: Any) -> None:
    fields = json.loads(tools.answer())
    del fields[name]
    with pytest.raises(UnreadableAnswerError, match=f"lacks {name}"):
        parse_answer(json.dumps(fields))


def wire(tools: SimpleNamespace, name: str) -> bytes:
    """A recorded response as bytes; the first three of the recording are bodies alone."""
    held = RECORDING[name]
    if "status" not in held:
        return tools.http(body=json.dumps(held))
    headers = {key: value for key, value in held["headers"].items() if key not in ("Content-Type", "Transfer-Encoding")}
    return tools.http(f"{held['status']} Recorded", held["body"], **headers)


EXPECTED = {
    "schema": "",
    "json": "unreadable answer: the answer has 0 unknown keys and lacks confidence, risk_level, warnings",
    "free": "unreadable answer: not JSON (JSONDecodeError)",
    "wire_version": "unreadable answer: the response is not finished",
    "wire_tags": "unreadable answer: the response is not finished",
    "wire_ps": "unreadable answer: the response is not finished",
    "wire_root": "unreadable answer: not JSON (JSONDecodeError)",
    "wire_missing_model": 'status 404: model "nope" not found, try pulling it first',
    "wire_bad_json": "status 400: invalid character 'b' looking for beginning of object key string",
    "wire_no_model": "status 400: model is required",
    "wire_bad_schema": "status 500: invalid JSON schema in format",
    "wire_bad_format": 'status 500: invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object',
    "wire_bad_option": 'status 500: option "temperature" must be of type float32',
    "wire_stream": "unreadable answer: not JSON (JSONDecodeError)",
    "wire_generate": "unreadable answer: the response holds no message",
    "wire_preload": "unreadable answer: the answer was cut off (load)",
    "wire_unload": "unreadable answer: the answer was cut off (unload)",
    "wire_wrong_method": "status 405",
    "wire_unknown": "status 404",
}


def test_every_recorded_answer_is_expected() -> None:
    assert set(EXPECTED) == set(RECORDING)
    assert len(EXPECTED) == 19


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_servers_answer_is_read_or_told(
    name: str, serve: Any, connect: Any, ask: Any, tools: SimpleNamespace
) -> None:
    advice = ask(connect(serve(wire(tools, name)).url, timeout=5.0))
    assert advice.reason == EXPECTED[name]
    assert advice.abstained is bool(EXPECTED[name])
    if name == "schema":
        assert (advice.action, advice.confidence, advice.risk_level) == (Action.BUY, 0.15, "medium")
        assert advice.raw == RECORDING["schema"]["message"]["content"]
    if name == "free":
        assert advice.raw == RECORDING["free"]["message"]["content"]


def test_the_real_servers_models_are_listed_with_their_digests(serve: Any, connect: Any, tools: Any) -> None:
    advisor = connect(serve(wire(tools, "wire_tags")).url, model="smollm2", timeout=5.0)
    (model,) = advisor.server.models(Deadline(5.0))
    assert model.name == "smollm2:latest"
    assert model.digest == advisor.server.digest(Deadline(5.0))
    assert len(model.digest) == 64


def test_a_missing_model_is_named(serve: Any, connect: Any, tools: Any) -> None:
    advisor = connect(serve(wire(tools, "wire_tags")).url, model="gemma3", timeout=5.0)
    with pytest.raises(ServerError, match="does not have the model 'gemma3'"):
        advisor.server.digest(Deadline(5.0))


@pytest.mark.parametrize("text", ["[]", '{"models": 3}', '{"models": [{"size": 1}]}', "<html>", '{"models": null}'])
def test_an_odd_list_of_models_is_refused(text: str, serve: Any, connect: Any, tools: Any) -> None:
    advisor = connect(serve(tools.http(body=text)).url, timeout=5.0)
    with pytest.raises(ServerError, match="cannot be read"):
        advisor.server.models(Deadline(5.0))
