"""Requests to a server that may break off, lie, stall or ask for patience: bounded attempts, bounded waiting.

Imported on the first download: ``requests`` takes a tenth of a second.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import requests
from urllib3.exceptions import HTTPError

from ai_backtrader.datafeeds.download.errors import DownloadError
from ai_backtrader.datafeeds.download.settings import DownloadSettings

__all__ = ["Client", "StoppedError"]

logger = logging.getLogger("ai_backtrader")

T = TypeVar("T")

_PIECE = 65_536  # bytes read at a time
_SMALL_PIECE = 64  # the same, of a server that may drip, where a read waits for all of it
_SLOWEST = 512.0  # bytes a second; slower is as good as silent
_LONGEST_BACKOFF = 30.0
_BUSY = (429, 418, 503)  # too many requests, banned for a while (Binance's own), overloaded
_PASSING = (408, 500, 502, 504, *_BUSY)
_SOCKET = (ConnectionError, TimeoutError)  # a full disk is an OSError too, and no reason to try again
_LATER = "What has been downloaded is kept: the same call goes on from there"


class StoppedError(Exception):
    """The download was told to stop; what has been fetched stays."""


class _AgainError(Exception):
    """An attempt failed, another may not; ``wait`` is the pause that the server asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Client:
    """Asks one server for files, from several threads.

    Parameters
    ----------
    settings
        Patience and limits.
    stop
        Set by who wants the download to end; every wait and every piece read looks at it.
    on_bytes
        Called with the number of bytes of each piece that arrived.
    """

    def __init__(
        self, settings: DownloadSettings, stop: threading.Event, on_bytes: Callable[[int], None] = lambda _: None
    ) -> None:
        self._settings, self._stop, self._on_bytes = settings, stop, on_bytes
        self._own = threading.local()
        self._lock = threading.Lock()
        self._not_before = 0.0  # a server that asks one thread for a pause means all of them

    def small(self, url: str, *, limit: int = 4_096) -> bytes | None:
        """Body of a small file; None where there is none (404).

        Raises
        ------
        DownloadError
            If the server does not give it within the attempts, or it is longer than ``limit``.
        """

        def once() -> bytes | None:
            with contextlib.closing(self._get(url)) as response:
                if response.status_code == 404:
                    return None
                self._refuse_status(response, url)
                body = bytearray()
                for piece in self._pieces(response):
                    body += piece
                    if len(body) > limit:
                        raise DownloadError(f"{url}: more than {limit} bytes where a checksum should be", _LATER)
                _whole(response, len(body))
                return bytes(body)

        return self._try(url, once)

    def into(self, url: str, part: Path) -> bool:
        """Fetch a file to ``part``, going on where ``part`` ends; False where there is none (404).

        Whether the whole is right only a checksum can tell: the file may have been published anew in between.

        Raises
        ------
        DownloadError
            If the server does not give it within the attempts.
        """

        def once() -> bool:
            have = part.stat().st_size if part.exists() else 0
            with contextlib.closing(self._get(url, {"Range": f"bytes={have}-"} if have else {})) as response:
                if response.status_code == 404:
                    return False
                if response.status_code == 416 and have:
                    return True  # nothing lies behind what is there
                resumed = response.status_code == 206
                if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    part.unlink(missing_ok=True)
                    raise _AgainError("sent another part than the one asked for")
                if not resumed:
                    self._refuse_status(response, url)
                received, before = 0, have if resumed else 0
                with part.open("ab" if resumed else "wb") as file:
                    for piece in self._pieces(response):
                        file.write(piece)
                        received += len(piece)
                        if before + received > self._settings.max_unpacked:
                            raise DownloadError(
                                f"{url}: more than {self._settings.max_unpacked} bytes",
                                "Raise max_unpacked if it is right",
                            )
                _whole(response, received)
                return True

        return self._try(url, once, lambda: part.stat().st_size if part.exists() else 0)

    def _try(self, url: str, once: Callable[[], T], size: Callable[[], int] = lambda: 0) -> T:
        # An attempt after which the file has grown by a piece is no failure: it got somewhere.
        failures = 0
        while True:
            self._wait_turn()
            before = size()
            try:
                return once()
            except _AgainError as error:
                reason, asked = str(error), error.wait
            except (requests.RequestException, HTTPError, http.client.HTTPException, *_SOCKET) as error:
                reason, asked = _in_words(error), None
            failures = 0 if size() >= before + _PIECE else failures + 1
            logger.info("%s: %s", url, reason)
            if failures >= self._settings.attempts:
                raise DownloadError(f"{url}: given up after {failures} attempts: {reason}", _LATER)
            if failures:
                if asked is None:
                    self._sleep(min(self._settings.backoff * 2 ** (failures - 1), _LONGEST_BACKOFF))
                elif asked <= self._settings.max_wait:
                    self._hold_all(asked)
                else:
                    raise DownloadError(
                        f"{url}: the server asks for a pause of {asked:.0f} s, longer than max_wait "
                        f"({self._settings.max_wait:g} s)", _LATER
                    )  # fmt: skip

    def _get(self, url: str, headers: dict[str, str] | None = None) -> requests.Response:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        session: requests.Session = self._own.session
        # The archives are compressed already; a second compression would only blur offsets and lengths.
        asked = {"Accept-Encoding": "identity", **(headers or {})}
        return session.get(url, headers=asked, stream=True, timeout=self._settings.timeout)

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        raw = response.raw
        # read1 gives what is there; read, all that urllib3 has before 2.2, waits for a whole piece.
        read, size = (raw.read1, _PIECE) if hasattr(raw, "read1") else (raw.read, _SMALL_PIECE)
        begun, received = time.monotonic(), 0
        while piece := read(size):
            if self._stop.is_set():
                raise StoppedError
            received += len(piece)
            self._on_bytes(len(piece))
            elapsed = time.monotonic() - begun
            if elapsed > self._settings.timeout and received < _SLOWEST * elapsed:
                raise _AgainError(f"too slow: {received} bytes in {elapsed:.0f} s")
            yield piece

    def _refuse_status(self, response: requests.Response, url: str) -> None:
        status = response.status_code
        if status in _PASSING:
            asked = _retry_after(response) if status in _BUSY else None
            raise _AgainError(f"HTTP {status} {response.reason}", asked)
        if status != 200:
            raise DownloadError(
                f"{url}: the server refuses with HTTP {status} {response.reason}",
                "Check --source; 401, 403 and 451 mean that it does not serve you from where you are",
            )

    def _wait_turn(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0.0:
            self._sleep(left)
        if self._stop.is_set():
            raise StoppedError

    def _hold_all(self, seconds: float) -> None:
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError


def _whole(response: requests.Response, received: int) -> None:
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and received < int(declared):
        raise _AgainError(f"broke off after {received} of {declared} bytes")


def _retry_after(response: requests.Response) -> float | None:
    # Seconds, or a date by the server's clock.
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
        now = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None or now.tzinfo is None:
        until, now = until.replace(tzinfo=dt.UTC), now.replace(tzinfo=dt.UTC)
    return max(0.0, (until - now).total_seconds())


def _in_words(error: BaseException) -> str:
    # urllib3's wording carries addresses of objects; the innermost fault of the connection says what happened.
    said, inner = error, error.__cause__ or error.__context__
    while inner is not None:
        if isinstance(inner, (OSError, http.client.HTTPException)):
            said = inner
        inner = inner.__cause__ or inner.__context__
    return f"{type(said).__name__}: {said}" if str(said) else type(said).__name__
