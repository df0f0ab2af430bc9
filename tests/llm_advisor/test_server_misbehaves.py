"""Whatever a server does, the decision is that without the advisor, in time, and memory stays small."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_backtrader.orchestrator import Abstention, Orchestrator
from ai_backtrader.values import Action

DEADLINE = 0.3
MEGABYTE = 1 << 20
BLOCK = 65_536

Behaviour = Callable[[socket.socket, Any, threading.Event], None]


def http(status: str = "200 OK", body: bytes | str = b"", **headers: str) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    told = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    rows = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value != "")
    return f"HTTP/1.1 {status}\r\n{rows}\r\n".encode() + body


def answer(**fields: Any) -> str:
    right = {"action": "HOLD", "confidence": 0.9, "reasoning": "wait", "risk_level": "high", "warnings": ["careful"]}
    return json.dumps(right | fields)


def body(content: Any, **further: Any) -> str:
    message = {"role": "assistant", "content": content}
    return json.dumps({"model": "m", "message": message, "done": True, "done_reason": "stop"} | further)


GOOD = body(answer())
OPEN = http(Content_Length="")  # headers of a body that ends with the connection
CHUNKED = http(Content_Length="", Transfer_Encoding="chunked")
GZIP = {"Content_Encoding": "gzip", "Content_Length": ""}


def send(*pieces: bytes) -> Behaviour:
    return lambda connection, request, stopped: [connection.sendall(piece) for piece in pieces] and None


def then_hang(sent: bytes) -> Behaviour:
    def behave(connection: socket.socket, request: Any, stopped: threading.Event) -> None:
        connection.sendall(sent)
        stopped.wait(5.0)

    return behave


def then_reset(sent: bytes) -> Behaviour:
    def behave(connection: socket.socket, request: Any, stopped: threading.Event) -> None:
        connection.sendall(sent)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return behave


def endless(start: bytes, piece: bytes) -> Behaviour:
    def behave(connection: socket.socket, request: Any, stopped: threading.Event) -> None:
        connection.sendall(start)
        while not stopped.is_set():
            connection.sendall(piece)

    return behave


def drip(start: bytes, rest: bytes) -> Behaviour:
    """One byte at a time: every wait is short, the whole is not."""

    def behave(connection: socket.socket, request: Any, stopped: threading.Event) -> None:
        connection.sendall(start)
        for place in range(len(rest)):
            if stopped.wait(0.05):
                return
            connection.sendall(rest[place : place + 1])

    return behave


def late(seconds: float, sent: bytes) -> Behaviour:
    def behave(connection: socket.socket, request: Any, stopped: threading.Event) -> None:
        stopped.wait(seconds)
        connection.sendall(sent)

    return behave


def bomb() -> bytes:
    """200 MB of zeros, compressed."""
    packer = zlib.compressobj(1, wbits=31)
    zeros = bytes(MEGABYTE)
    return b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()


BOMB = bomb()


def said(content: Any, **further: Any) -> Behaviour:
    return send(http(body=body(content, **further)))


def whole(text: str | bytes, status: str = "200 OK", **headers: str) -> Behaviour:
    return send(http(status, text, **headers))


def redirect(status: str) -> Behaviour:
    def behave(connection: socket.socket, request: Any, stopped: threading.Event) -> None:
        # Who follows finds a good answer.
        moved = http(status, Location="/elsewhere")
        connection.sendall(http(body=GOOD) if request.path == "/elsewhere" else moved)

    return behave


# The connection.
CONNECTIONS: dict[str, Behaviour] = {
    "closes at once": send(),
    "resets at once": then_reset(b""),
    "resets within the status line": then_reset(b"HTTP/1.1 2"),
    "resets within the headers": then_reset(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "resets within the body": then_reset(http(body=GOOD)[:-40]),
    "closes within the headers": send(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "closes within the body": send(http(body=GOOD)[:-40]),
    "closes within a chunk": send(CHUNKED + b"ff\r\n{"),
    "is silent": then_hang(b""),
    "hangs after the status line": then_hang(b"HTTP/1.1 200 OK\r\n"),
    "hangs after the headers": then_hang(http(body=GOOD).partition(b"{")[0]),
    "hangs within the body": then_hang(http(body=GOOD)[:-40]),
    "hangs after a whole body without length": then_hang(OPEN + GOOD.encode()),
    "answers late": late(0.6, http(body=GOOD)),
    "drips the status line": drip(b"", http(body=GOOD)),
    "drips the headers": drip(b"HTTP/1.1 200 OK\r\n", http(body=GOOD)[17:]),
    "drips the body": drip(http(body=GOOD).partition(b"{")[0], GOOD.encode()),
    "drips chunks": drip(CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD.encode())),
}  # fmt: skip

# Without end, or larger than it may be.
SIZES: dict[str, Behaviour] = {
    "endless status line": endless(b"HTTP/1.1 200 ", b"O" * BLOCK),
    "endless header line": endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * BLOCK),
    "endless headers": endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "endless 100 Continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "endless body": endless(OPEN, b"x" * BLOCK),
    "endless chunks": endless(CHUNKED, b"10000\r\n" + b"x" * BLOCK + b"\r\n"),
    "endless chunk size": endless(CHUNKED, b"0" * BLOCK),
    "endless trailers": endless(CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(GOOD), GOOD.encode()), b"X: y\r\n" * 1000),
    "endless white space": endless(OPEN, b" " * BLOCK),
    "endless white space after the answer": endless(OPEN + GOOD.encode(), b"\n" * BLOCK),
    "slow endless white space": drip(OPEN + GOOD.encode(), b" " * 1000),
    "endless stream of tokens": endless(OPEN, b'{"message":{"role":"assistant","content":"a"},"done":false}\n' * 100),
    "200 MB as told": endless(http(Content_Length=str(200 * MEGABYTE)), b" " * BLOCK),
    "200 MB untold": endless(OPEN, b"[" * BLOCK),
    "a chunk of 200 MB": endless(CHUNKED + b"c800000\r\n", b"x" * BLOCK),
    "a length of a googol": whole(GOOD, Content_Length="1" + "0" * 100),
    "gzip bomb": send(http(body=b"", **GZIP), BOMB),
    "gzip bomb within a bomb": send(http(body=b"", **GZIP), gzip.compress(BOMB)),
    "gzip bomb in chunks": send(
        http(Transfer_Encoding="chunked", **GZIP), b"%x\r\n" % len(BOMB), BOMB, b"\r\n0\r\n\r\n"
    ),
    "redirect with an endless body": endless(http("302 Found", Location="/elsewhere", Content_Length=""), b"x" * BLOCK),
    "redirect with a gzip bomb": send(http("302 Found", Location="/elsewhere", **GZIP), BOMB),
    "error with an endless body": endless(http("500 Internal Server Error", Content_Length=""), b"x" * BLOCK),
}  # fmt: skip

# HTTP.
PROTOCOL: dict[str, Behaviour] = {
    **{
        f"status {status}": whole('{"error": "no"}', status)
        for status in (
            "201 Created", "206 Partial Content", "400 Bad Request", "401 Unauthorized", "403 Forbidden",
            "405 Method Not Allowed", "408 Request Timeout", "413 Payload Too Large", "429 Too Many Requests",
            "500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "999 Odd",
        )
    },
    "status 204": send(http("204 No Content", Content_Length="")),
    "status 304": send(http("304 Not Modified", Content_Length="")),
    "404 model missing": whole('{"error": "model \\"m\\" not found, try pulling it first"}', "404 Not Found"),
    "404 page": whole("404 page not found", "404 Not Found"),
    "502 of a proxy": whole("<html>Bad Gateway</html>", "502 Bad Gateway", Content_Type="text/html"),
    "503 with Retry-After": whole("", "503 Service Unavailable", Retry_After="3600"),
    "429 with an odd Retry-After": whole("", "429 Too Many Requests", Retry_After="-1e999"),
    **{f"redirect {code}": redirect(f"{code} Moved") for code in (301, 302, 303, 307, 308)},
    "redirect to itself": whole("", "302 Found", Location="/api/chat"),
    "redirect to a file": whole("", "302 Found", Location="file:///etc/passwd"),
    "status that is no number": send(b"HTTP/1.1 abc OK\r\n\r\n" + GOOD.encode()),
    "no HTTP": send(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "TLS": send(bytes.fromhex("15030100020228")),
    "random bytes": send(bytes(range(256)) * 64),
    "HTTP of another kind": send(b"ICY 200 OK\r\n\r\n" + GOOD.encode()),
    "body shorter than told": whole(GOOD, Content_Length="9999"),
    "body longer than told": whole(GOOD, Content_Length="50"),
    "length that is no number": whole(GOOD[:-1], Content_Length="many"),
    "chunk size that is no number": send(CHUNKED + b"zz\r\n" + GOOD.encode()),
    "gzip that is none": whole(GOOD, Content_Encoding="gzip"),
    "gzip cut off": whole(gzip.compress(GOOD.encode())[:-20], Content_Encoding="gzip"),
    "compression that nobody knows": whole(GOOD, Content_Encoding="snappy"),
    "compression that was not asked for": whole(zlib.compress(GOOD.encode()), Content_Encoding="deflate"),
}  # fmt: skip

# The body of the response.
BODIES: dict[str, Behaviour] = {
    "empty body": whole(""),
    "HTML": whole("<!doctype html><title>Sign in</title>", Content_Type="text/html"),
    "invalid UTF-8": whole(b'{"message": {"content": "\xff\xfe"}}'),
    "UTF-16": whole(GOOD.encode("utf-16")),
    "truncated JSON": whole(GOOD[:-10]),
    "JSON null": whole("null"),
    "JSON list": whole(f"[{GOOD}]"),
    "JSON text": whole(json.dumps(GOOD)),
    "JSON nested a hundred thousand deep": whole("[" * 100_000),
    "objects nested a hundred thousand deep": whole('{"message":' * 50_000),
    "number of ten thousand digits": whole('{"message": ' + "9" * 10_000 + "}"),
    "NaN in the response": whole(GOOD[:-1] + ', "total": NaN}'),
    "a key twice": whole(GOOD[:-1] + ', "done": true}'),
    "error beside an answer": whole(GOOD[:-1] + ', "error": "out of memory"}'),
    "error with status 200": whole('{"error": "model runner has unexpectedly stopped"}'),
    "a stream though none was asked": whole('{"message":{"content":"{"},"done":false}\n' + GOOD),
    "an error line inside a stream": whole('{"message":{"content":"{"},"done":false}\n{"error":"unexpected EOF"}\n'),
    "server-sent events": whole(f"data: {GOOD}\n\ndata: [DONE]\n\n", Content_Type="text/event-stream"),
    "two answers": whole(GOOD + GOOD),
    "unfinished": said(answer(), done=False),
    "cut off at the token limit": said(answer(), done_reason="length"),
    "only loaded": said("", done_reason="load"),
    "no message": whole('{"done": true}'),
    "message null": whole('{"message": null, "done": true}'),
    "message of the user": whole(json.dumps({"message": {"role": "user", "content": answer()}, "done": True})),
    "no content": said(None),
    "content that is an object": said(json.loads(answer())),
}

# What the model said.
CONTENTS: dict[str, Any] = {
    "nothing": "",
    "white space": " \n\t" * 10_000,
    "prose": "I would wait for confirmation.",
    "prose before": "Here is my answer: " + answer(),
    "prose after": answer() + "\nLet me know if you need more.",
    "a fence": f"```json\n{answer()}\n```",
    "think tags": f"<think>The price fell.</think>{answer()}",
    "think tags that do not end": "<think>The price fell. " + answer(),
    "two objects": answer() + answer(),
    "a list of one": f"[{answer()}]",
    "JSON in JSON": json.dumps(answer()),
    "nested under a name": json.dumps({"advice": json.loads(answer())}),
    "truncated": answer()[:-5],
    "single quotes": answer().replace('"', "'"),
    "a trailing comma": answer()[:-1] + ",}",
    "a comment": answer()[:-1] + "/* sure */}",
    "unknown action": answer(action="LIQUIDATE"),
    "action in small letters": answer(action="hold"),
    "action of another vocabulary": answer(action="LONG"),
    "action null": answer(action=None),
    "action that is an object": answer(action={"type": "BEGIN"}),
    "action that is a list": answer(action=["HOLD"]),
    "confidence 7": answer(confidence=7),
    "confidence below 0": answer(confidence=-0.1),
    "confidence NaN": answer(confidence=float("nan")),
    "confidence infinite": answer(confidence=float("inf")),
    "confidence 1e999": answer(confidence=0.5).replace("0.5", "1e999"),
    "confidence in words": answer(confidence="high"),
    "confidence as text": answer(confidence="0.5"),
    "confidence true": answer(confidence=True),
    "confidence null": answer(confidence=None),
    "confidence of ten thousand digits": answer(confidence=0.5).replace("0.5", "9" * 10_000),
    "risk unknown": answer(risk_level="extreme"),
    "risk a number": answer(risk_level=2),
    "reasoning a list": answer(reasoning=["wait"]),
    "reasoning of 100 kB": answer(reasoning="wait " * 20_000),
    "warnings as text": answer(warnings="careful"),
    "warnings of numbers": answer(warnings=[1, 2]),
    "a thousand warnings": answer(warnings=["careful"] * 1_000),
    "a key missing": json.dumps({"action": "HOLD", "confidence": 0.9}),
    "a key too many": answer(size=100),
    "a key twice": answer()[:-1] + ', "action": "BUY"}',
}

BEHAVIOURS = CONNECTIONS | SIZES | PROTOCOL | BODIES | {f"says {name}": said(text) for name, text in CONTENTS.items()}


def memory(field: str) -> int:
    """Of this process, in bytes: ``VmRSS`` now, ``VmHWM`` the most since the mark was reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Open what the first request opens, and pack the bomb, before memory is measured."""
    import ai_backtrader.llm_advisor.http as _  # noqa: F401

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of memory can only be measured on Linux, where /proc/self/clear_refs can be written")


def settled() -> bool:
    return not any(thread.name == "llm-request" for thread in threading.enumerate())


def check(url: str, connect: Any, tools: SimpleNamespace, situation: dict[str, Any]) -> Any:
    advisor = connect(url, timeout=DEADLINE)
    expected = Orchestrator().decide(**situation)
    assert expected.action is Action.BUY
    orchestrator = Orchestrator(llm=tools.AdvisorSource(advisor))
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    started = time.monotonic()
    decision = asyncio.run(orchestrator.get_decision(**situation))
    elapsed = time.monotonic() - started
    assert elapsed <= DEADLINE + 1.0
    assert memory("VmHWM") - before <= 20 * MEGABYTE
    assert tools.core(decision) == tools.core(expected)
    assert orchestrator.failures == {}
    (consultation,) = advisor.consultations
    assert consultation.advice.failed
    assert isinstance(decision.votes[-1], Abstention)
    assert decision.votes[-1].reason == consultation.advice.reason != ""
    deadline = time.monotonic() + 2.0
    while not settled() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert settled(), "the thread of the request still runs"
    return consultation.advice


def test_there_are_more_than_sixty_behaviours() -> None:
    assert len(BEHAVIOURS) >= 60


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_the_decision_is_that_without_the_advisor(
    name: str, serve: Any, connect: Any, tools: SimpleNamespace, situation: dict[str, Any]
) -> None:
    server = serve(BEHAVIOURS[name])
    advice = check(server.url, connect, tools, situation)
    assert server.requests, "the server was not reached"
    assert all(request.path == "/api/chat" for request in server.requests)
    if name.startswith("says "):
        assert advice.raw == CONTENTS[name.removeprefix("says ")]


def test_a_good_answer_of_the_same_server_does_change_the_decision(
    serve: Any, connect: Any, tools: SimpleNamespace, situation: dict[str, Any]
) -> None:
    advisor = connect(serve(http(body=GOOD)).url, timeout=5.0)
    decision = Orchestrator(llm=tools.AdvisorSource(advisor)).decide(**situation)
    assert (decision.action, decision.vetoed_by) == (Action.HOLD, "llm")
    assert decision.warnings == ("careful",)


def test_a_good_answer_may_be_compressed(
    serve: Any, connect: Any, tools: SimpleNamespace, situation: dict[str, Any]
) -> None:
    packed = http(body=gzip.compress(GOOD.encode()), Content_Encoding="gzip")
    advisor = connect(serve(packed).url, timeout=5.0)
    assert Orchestrator(llm=tools.AdvisorSource(advisor)).decide(**situation).vetoed_by == "llm"


def test_a_server_that_is_not_there(connect: Any, tools: SimpleNamespace, situation: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    advice = check(f"http://127.0.0.1:{port}", connect, tools, situation)
    assert "ConnectionRefusedError" in advice.reason


def test_a_server_that_never_accepts(connect: Any, tools: SimpleNamespace, situation: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        held = [socket.socket() for _ in range(4)]
        for waiting in held:
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        advice = check(f"http://127.0.0.1:{listener.getsockname()[1]}", connect, tools, situation)
        for waiting in held:
            waiting.close()
    assert "imeout" in advice.reason or "within" in advice.reason


def test_a_name_that_cannot_be_resolved(connect: Any, tools: SimpleNamespace, situation: dict[str, Any]) -> None:
    check("http://no-such-host.invalid:1", connect, tools, situation)


def test_a_server_that_speaks_before_it_is_asked(
    serve: Any, connect: Any, tools: SimpleNamespace, situation: dict[str, Any]
) -> None:
    server = serve(send(b"220 mail.example.org ESMTP\r\n"), at_once=True)
    check(server.url, connect, tools, situation)


def test_a_tls_server_that_is_none(connect: Any, serve: Any, tools: SimpleNamespace, situation: dict[str, Any]) -> None:
    server = serve(then_hang(b""), at_once=True)
    check(server.url.replace("http:", "https:"), connect, tools, situation)
