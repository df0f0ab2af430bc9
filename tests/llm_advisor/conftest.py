"""A server on loopback that does what it is told, and the advisor as the orchestrator's source."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ai_backtrader.llm_advisor import Advisor, get_advisor
from ai_backtrader.orchestrator import Abstention, Advice, Context, Decision
from ai_backtrader.values import Action


@dataclasses.dataclass(frozen=True)
class Request:
    """What a client sent."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class LoopbackServer:
    """Accepts connections and hands each to ``behave(connection, request, stopped)``; without a request at first."""

    def __init__(self, behave: Callable[..., None], *, at_once: bool = False) -> None:
        self.behave, self.at_once = behave, at_once
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self.threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5.0)
        with connection, contextlib.suppress(OSError):
            request = None if self.at_once else self._read(connection)
            if request is not None:
                self.requests.append(request)
            if request is not None or self.at_once:
                self.behave(connection, request, self.stopped)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass

    def _read(self, connection: socket.socket) -> Request | None:
        held = b""
        while b"\r\n\r\n" not in held:
            piece = connection.recv(65_536)
            if not piece:
                return None
            held += piece
        head, _, body = held.partition(b"\r\n\r\n")
        first, *rows = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65_536)
        return Request(first, headers, body)

    def close(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(6.0)


def http(status: str = "200 OK", body: bytes | str = b"", **headers: str) -> bytes:
    """A whole response; header names with _ for -."""
    body = body.encode() if isinstance(body, str) else body
    told = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    rows = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value != "")
    return f"HTTP/1.1 {status}\r\n{rows}\r\n".encode() + body


def chat_body(content: Any, **further: Any) -> str:
    """Body of an answer of Ollama's with this content."""
    return json.dumps(
        {"model": "m", "message": {"role": "assistant", "content": content}, "done": True, "done_reason": "stop"}
        | further
    )


def answer(**fields: Any) -> str:
    """A model's answer, whole and right unless told otherwise."""
    right = {"action": "HOLD", "confidence": 0.9, "reasoning": "wait", "risk_level": "high", "warnings": ["careful"]}
    return json.dumps(right | fields)


class AdvisorSource:
    """The advisor as the orchestrator's advice port."""

    def __init__(self, advisor: Advisor, **texts: str) -> None:
        self.advisor, self.texts = advisor, texts
        self.start: float | None = None

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        if self.start is None:
            self.start = context.portfolio_value
        given = self.advisor.advise(
            context.symbol,
            context.current_price,
            context.indicators.get("price_change_24h"),
            action,
            context.regime,
            100.0 * (context.portfolio_value / self.start - 1.0),
            confidence=confidence,
            high_volatility=context.high_volatility,
            position=context.position,
            indicators=context.indicators,
            at=context.at,
            **self.texts,
        )
        if given.abstained:
            return Abstention("llm", given.reason, failed=given.failed)
        return Advice(
            action=given.action,
            confidence=given.confidence,
            reason=given.reasoning,
            risk_level=given.risk_level,
            warnings=given.warnings,
        )


def core(decision: Decision) -> dict[str, Any]:
    """The decision without the record of who abstained and why."""
    facts = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    return {name: value for name, value in facts.items() if name != "votes"}


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    return SimpleNamespace(http=http, chat_body=chat_body, answer=answer, AdvisorSource=AdvisorSource, core=core)


@pytest.fixture
def serve() -> Iterator[Callable[..., LoopbackServer]]:
    """Start a server with a behaviour, or with the bytes that it sends to every request."""
    started: list[LoopbackServer] = []

    def start(behave: Callable[..., None] | bytes, **options: Any) -> LoopbackServer:
        def send(connection: socket.socket, request: Request, stopped: threading.Event) -> None:
            connection.sendall(behave)  # type: ignore[arg-type]  # bytes, see below

        started.append(LoopbackServer(send if isinstance(behave, bytes) else behave, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("llm") is None:
        for name in ("URL", "MODEL", "API", "KEY", "MODE", "TIMEOUT", "RECORD", "CUTOFF"):
            monkeypatch.delenv(f"AI_BACKTRADER_LLM_{name}", raising=False)


@pytest.fixture
def ask() -> Callable[..., Any]:
    """One question that a trigger makes worth asking."""

    def put(advisor: Advisor, **given: Any) -> Any:
        usual = {"symbol": "BTC/USDT", "price": 95_393.0, "change_24h": -2.3, "signal": "LONG"}
        return advisor.advise(**(usual | {"regime": "strong_bull", "portfolio_pnl": 7.67} | given))

    return put


@pytest.fixture
def connect() -> Callable[..., Advisor]:
    """An advisor of a server, with a short deadline."""

    def make(url: str, **given: Any) -> Advisor:
        return get_advisor(**({"base_url": url, "model": "m", "timeout": 0.3, "connect_timeout": 0.2} | given))

    return make


@pytest.fixture(scope="session")
def situation() -> dict[str, Any]:
    """Arguments of a decision in which the advisor is asked: a long in high volatility."""
    return {
        "symbol": "BTC/USDT",
        "indicators": {"atr_pct": 0.5, "price_change_24h": -3.0, "high_volatility": 1.0},
        "current_price": 95_393.0,
        "regime": "bull",
        "position": 0.0,
        "portfolio_value": 10_766.0,
        "base_signal": "LONG",
        "base_confidence": 0.8,
    }
