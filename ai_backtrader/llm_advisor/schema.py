"""The answer's form, and reading it: what is not exactly that form is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ai_backtrader.values import Action

__all__ = ["ADVICE_SCHEMA", "Answer", "UnreadableAnswerError", "content_of", "load_json", "parse_answer"]

RISK_LEVELS = ("low", "medium", "high")
_MAX_WARNINGS = 20
_MAX_CHARACTERS = 4_000  # of a sentence; the model's token limit usually ends it long before

#: JSON schema of an answer. Servers enforce enum, required and type, but not the bounds of numbers.
ADVICE_SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": [action.value for action in Action]},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "reasoning": {"type": "string"},
            "risk_level": {"type": "string", "enum": list(RISK_LEVELS)},
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["action", "confidence", "reasoning", "risk_level", "warnings"],
        "additionalProperties": False,
    }
)


class UnreadableAnswerError(ValueError):
    """An answer is not of the form that was asked for; the message says how."""


class Answer(NamedTuple):
    """The five fields of an answer."""

    action: Action
    confidence: float
    reasoning: str
    risk_level: str
    warnings: tuple[str, ...]


def load_json(text: str) -> Any:
    """Strict JSON: no NaN, no infinity, no key twice, no nesting beyond Python's stack.

    Raises
    ------
    UnreadableAnswerError
        If it is not that.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except UnreadableAnswerError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError(f"not JSON ({type(error).__name__})") from None


def _refuse_constant(name: str) -> float:
    raise UnreadableAnswerError(f"{name} is not JSON")


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UnreadableAnswerError("a key stands twice")
        found[name] = value
    return found


def content_of(api: str, body: str) -> str:
    """The model's own text out of a server's response.

    Parameters
    ----------
    api
        ``"ollama"`` or ``"openai"``.
    body
        Body of the response.

    Raises
    ------
    UnreadableAnswerError
        If the response is not a finished, whole message of an assistant.
    """
    found = load_json(body)
    if not isinstance(found, dict):
        raise UnreadableAnswerError("the response is not an object")
    if found.get("error"):
        raise UnreadableAnswerError("the response tells an error")
    if api == "ollama":
        if found.get("done") is not True:
            raise UnreadableAnswerError("the response is not finished")
        reason, message = found.get("done_reason", "stop"), found.get("message")
    else:
        choices = found.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise UnreadableAnswerError("the response does not hold one choice")
        reason, message = choices[0].get("finish_reason"), choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    content = message.get("content")
    if not isinstance(content, str):
        raise UnreadableAnswerError("the response holds no message")
    if message.get("role") != "assistant":
        raise UnreadableAnswerError("the message is not the assistant's")
    if reason != "stop":
        raise UnreadableAnswerError(f"the answer was cut off ({_plain(str(reason))[:40]})")
    return content


def parse_answer(text: str) -> Answer:
    """Read an answer strictly.

    White space around it is allowed; prose, fences, thoughts, further or missing keys, other types, an action or risk
    level that is none, a confidence outside 0 to 1 are not.

    Raises
    ------
    UnreadableAnswerError
        If it is not of the form of :data:`ADVICE_SCHEMA`.

    Examples
    --------
    >>> parse_answer('{"action": "HOLD", "confidence": 0.65, "reasoning": "wait", "risk_level": "medium", '
    ...              '"warnings": []}').action.value
    'HOLD'
    """
    found = load_json(text)
    if not isinstance(found, dict):
        raise UnreadableAnswerError("the answer is not an object")
    wanted = set(ADVICE_SCHEMA["required"])
    if set(found) != wanted:
        missing, further = sorted(wanted - set(found)), len(set(found) - wanted)
        raise UnreadableAnswerError(f"the answer has {further} unknown keys and lacks {', '.join(missing) or 'none'}")
    action, confidence, risk, warnings = (found[name] for name in ("action", "confidence", "risk_level", "warnings"))
    if not isinstance(action, str) or action not in set(Action):
        raise UnreadableAnswerError("action is not BUY, SELL or HOLD")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise UnreadableAnswerError("confidence is not a number")
    if not 0 <= confidence <= 1 or not math.isfinite(confidence):
        raise UnreadableAnswerError("confidence is not within 0 and 1")
    if not isinstance(risk, str) or risk not in RISK_LEVELS:
        raise UnreadableAnswerError("risk_level is not low, medium or high")
    if not isinstance(warnings, list) or len(warnings) > _MAX_WARNINGS:
        raise UnreadableAnswerError(f"warnings is not a list of at most {_MAX_WARNINGS}")
    sentences = tuple(_sentence("a warning", warning) for warning in warnings)
    reasoning = _sentence("reasoning", found["reasoning"])
    return Answer(Action(action), float(confidence), reasoning, risk, sentences)


def _sentence(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UnreadableAnswerError(f"{name} is not text")
    if len(value) > _MAX_CHARACTERS:
        raise UnreadableAnswerError(f"{name} is longer than {_MAX_CHARACTERS} characters")
    return _plain(value)


def _plain(text: str) -> str:
    # It goes into terminals and pages: control and direction characters become spaces, half characters are told.
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())
