"""The model server's protocol: Ollama's own, and the OpenAI-compatible one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.llm_advisor.deadline import Deadline, PastDeadlineError
from ai_backtrader.llm_advisor.schema import UnreadableAnswerError, load_json
from ai_backtrader.llm_advisor.settings import ServerSettings
from ai_backtrader.llm_advisor.values import ModelInfo

__all__ = ["ModelServer", "Reply", "ServerError", "chat_request", "generation_options"]

_BUSY = (429, 503)
_FIRST_PAUSE = 0.1  # seconds before the second attempt; doubled for each further one
_TOLD = 160  # characters of a server's error that are told


class ServerError(AIBacktraderError):
    """The server did not answer as it should; the message says how, without prompt or key.

    Parameters
    ----------
    problem
        What went wrong, in a few words.
    status
        HTTP status; 0 when there was no response.
    """

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class Reply(NamedTuple):
    """A response with status 200: its body as text, and how long it took in seconds."""

    body: str
    seconds: float


def generation_options(settings: ServerSettings) -> dict[str, Any]:
    """What of the settings changes an answer."""
    return {"seed": settings.seed, "temperature": 0, "num_predict": settings.num_predict}


def chat_request(settings: ServerSettings, messages: list[dict[str, str]], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Body of the request for one answer of the form of ``schema``, in the server's protocol."""
    options = generation_options(settings)
    if settings.api == "ollama":
        return {
            "model": settings.model,
            "messages": messages,
            "stream": False,
            "format": dict(schema),
            "options": options,
            "keep_alive": settings.keep_alive,
        }
    return {
        "model": settings.model,
        "messages": messages,
        "stream": False,
        "seed": options["seed"],
        "temperature": options["temperature"],
        "max_tokens": options["num_predict"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "advice", "strict": True, "schema": dict(schema)},
        },
    }


class ModelServer:
    """Talks to one server; keeps nothing between requests.

    Parameters
    ----------
    settings
        Where it is, and how long it may take.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings

    def chat(self, request: Mapping[str, Any], deadline: Deadline) -> Reply:
        """Ask for an answer; a busy server (503, 429) is asked again while there is time.

        Raises
        ------
        ServerError
            If there is no response with status 200 by the deadline.
        """
        path = "/api/chat" if self.settings.api == "ollama" else "/v1/chat/completions"
        return self._call("POST", path, deadline, json.dumps(request).encode())

    def models(self, deadline: Deadline) -> tuple[ModelInfo, ...]:
        """Models that the server offers, with their digests where it tells them.

        Raises
        ------
        ServerError
            If it does not say.
        """
        ollama = self.settings.api == "ollama"
        body = self._call("GET", "/api/tags" if ollama else "/v1/models", deadline).body
        try:
            found = load_json(body)
            rows = found["models" if ollama else "data"]
            names = ("name", "digest") if ollama else ("id", "")
            models = tuple(ModelInfo(str(row[names[0]]), str(row.get(names[1], ""))) for row in rows)
        except (UnreadableAnswerError, KeyError, TypeError, AttributeError):
            raise ServerError("its list of models cannot be read") from None
        return models

    def digest(self, deadline: Deadline) -> str:
        """Digest of the model asked for; empty where the server tells none.

        Raises
        ------
        ServerError
            If the server does not answer, or (Ollama) does not have the model.
        """
        if self.settings.api != "ollama":
            return ""  # the protocol has no digest
        wanted = self.settings.model
        for model in self.models(deadline):
            if model.name in (wanted, f"{wanted}:latest"):  # Ollama's own short form
                return model.digest
        raise ServerError(f"it does not have the model {wanted!r}; try `ollama pull {wanted}`")

    def _call(self, method: str, path: str, deadline: Deadline, body: bytes | None = None) -> Reply:
        pause = _FIRST_PAUSE
        for attempt in range(self.settings.retries + 1):
            status, wait, text = self._exchange(method, path, deadline, body)
            if status == 200:
                return Reply(text, deadline.elapsed)
            pause = max(pause, wait)
            if status not in _BUSY or attempt == self.settings.retries or pause >= deadline.remaining:
                break
            time.sleep(pause)
            pause *= 2.0
        raise ServerError(f"status {status}{_told(text)}", status)

    def _exchange(self, method: str, path: str, deadline: Deadline, body: bytes | None) -> tuple[int, float, str]:
        from ai_backtrader.llm_advisor.http import ReplyTooLongError, exchange

        settings = self.settings
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if settings.api_key is not None:
            headers["Authorization"] = f"Bearer {settings.api_key}"
        try:
            response = exchange(
                method,
                settings.base_url + path,
                body=body,
                headers=headers,
                deadline=deadline,
                connect_timeout=settings.connect_timeout,
                max_bytes=settings.max_reply_bytes,
            )
            text = response.body.decode("utf-8")
        except PastDeadlineError:
            raise ServerError(f"no answer within {settings.timeout:g} s") from None
        except ReplyTooLongError as error:
            raise ServerError(f"its reply has {error}") from None
        except UnicodeDecodeError:
            raise ServerError("its reply is not UTF-8") from None
        except Exception as error:
            # Any line of the HTTP libraries can be reached by a server that misbehaves, with an error of any kind.
            # Their texts are not repeated: they may hold what was sent.
            raise ServerError(f"the connection failed ({_kind(error)})") from None
        if settings.api_key is not None:
            text = text.replace(settings.api_key, "***")  # a server may echo it
        wait = response.headers.get("Retry-After", "").strip()
        return response.status, float(wait[:6]) if wait.isascii() and wait.isdigit() else 0.0, text


def _kind(error: BaseException) -> str:
    """Name of the error and of what lies at its root: ``ConnectionError: ConnectionRefusedError``."""
    root = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    names = dict.fromkeys((type(error).__name__, type(root).__name__))
    return ": ".join(names)


def _told(text: str) -> str:
    """The server's own word for what is wrong, where it is short JSON."""
    try:
        found = load_json(text)
    except UnreadableAnswerError:
        return ""
    error = found.get("error") if isinstance(found, dict) else None
    error = error.get("message") if isinstance(error, dict) else error
    if not isinstance(error, str):
        return ""
    return ": " + "".join(character if character.isprintable() else " " for character in error[:_TOLD])
