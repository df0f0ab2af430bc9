"""One HTTP exchange with a server that may misbehave: bounded in time and size, no redirect, no proxy, no cookie.

Imported on the first request: ``requests`` takes a tenth of a second.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter

from ai_backtrader.llm_advisor.deadline import Deadline, OpenSockets, run_within

__all__ = ["ReplyTooLongError", "Response", "exchange"]

_PIECE = 16_384  # bytes read at a time


class ReplyTooLongError(ValueError):
    """The reply is longer than allowed."""


class Response(NamedTuple):
    """Status, headers and whole body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    method: str,
    url: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str],
    deadline: Deadline,
    connect_timeout: float,
    max_bytes: int,
) -> Response:
    """Send a request and read the response.

    The adapter is used without a session on purpose: a session takes proxies and passwords from the environment, keeps
    cookies, and reads the body of a redirect to its end even when it may not follow it.

    Raises
    ------
    PastDeadlineError
        If the whole exchange is not done by the deadline.
    ReplyTooLongError
        If the body, after decompression, is longer than ``max_bytes``.
    Exception
        Whatever requests, urllib3 or the socket find wrong with the server.
    """
    request = requests.Request(
        method, url, data=body, headers={"Accept-Encoding": "identity", "Connection": "close", **headers}
    ).prepare()

    def work(sockets: OpenSockets) -> Response:
        adapter = _Adapter(sockets)
        try:
            timeout = (min(connect_timeout, deadline.remaining), max(deadline.remaining, 0.001))
            response = adapter.send(request, stream=True, timeout=timeout)
            with contextlib.closing(response):
                return Response(response.status_code, response.headers, _read(response, max_bytes))
        finally:
            adapter.close()

    return run_within(deadline, work)


class _Adapter(HTTPAdapter):
    """Notes each socket that it opens."""

    def __init__(self, sockets: OpenSockets) -> None:
        self._sockets = sockets
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: Any = self.poolmanager
        manager.pool_classes_by_scheme = {
            scheme: _noting(pool, self._sockets) for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def _noting(pool: Any, sockets: OpenSockets) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]  # urllib3's, by scheme
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _read(response: requests.Response, max_bytes: int) -> bytes:
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise ReplyTooLongError(f"more than {max_bytes} bytes")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise ValueError("a compression that was not asked for")
    # Decompressed here: urllib3 inflates a whole piece at once, a thousand times its size.
    gunzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    body = bytearray()
    while piece := response.raw.read(_PIECE, decode_content=False):
        body += piece if gunzip is None else gunzip.decompress(piece, max_bytes + 1 - len(body))
        if len(body) > max_bytes or (gunzip is not None and gunzip.unconsumed_tail):
            raise ReplyTooLongError(f"more than {max_bytes} bytes")
        if gunzip is not None and gunzip.eof:
            break
    if gunzip is not None and not gunzip.eof:
        raise ValueError("a compressed body that is cut off")
    return bytes(body)
