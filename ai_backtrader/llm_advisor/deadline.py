"""A limit on the time that a piece of work may take altogether, whatever it waits for.

A socket's timeout bounds one wait; a server that sends a byte now and then keeps every wait short and never ends. So
the work runs in a thread of its own, whose result is waited for until the deadline; then its sockets are shut, which
ends the thread, too.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Deadline", "OpenSockets", "PastDeadlineError", "run_within"]

T = TypeVar("T")


class PastDeadlineError(TimeoutError):
    """The work was not done in time."""


class Deadline:
    """A moment by the monotonic clock.

    Parameters
    ----------
    seconds
        From now.
    """

    def __init__(self, seconds: float) -> None:
        self.started = time.monotonic()
        self.seconds = seconds

    @property
    def elapsed(self) -> float:
        """Seconds since it was set."""
        return time.monotonic() - self.started

    @property
    def remaining(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self.seconds - self.elapsed)


class OpenSockets:
    """The sockets that a piece of work has opened, so that another thread can shut them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] | None = []

    def add(self, opened: socket.socket) -> None:
        """Note a socket; it is shut at once when the others already are."""
        with self._lock:
            if self._sockets is not None:
                self._sockets.append(opened)
                return
        _shut(opened)

    def shut(self) -> None:
        """Shut all of them, and those still to come."""
        with self._lock:
            sockets, self._sockets = self._sockets or [], None
        for opened in sockets:
            _shut(opened)


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already, or the system counts in another size
        # Closed with a reset, not held by the system for a minute while the other side goes on sending.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        # Of the plain socket: that of a TLS one would take its state from under the thread that reads.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def run_within(deadline: Deadline, work: Callable[[OpenSockets], T]) -> T:
    """Run ``work`` in a thread and give its result, or raise what it raised.

    Raises
    ------
    PastDeadlineError
        If it is not done by the deadline. The thread is told to end by shutting its sockets; it is a daemon.
    """
    sockets, done = OpenSockets(), threading.Event()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((work(sockets), None))
        except BaseException as error:  # carried to the caller, whatever it is
            outcome.extend((None, error))
        finally:
            done.set()

    if deadline.remaining <= 0.0:
        raise PastDeadlineError
    threading.Thread(target=run, name="llm-request", daemon=True).start()
    try:
        in_time = done.wait(deadline.remaining)
    finally:
        sockets.shut()
    if not in_time:
        raise PastDeadlineError
    result, error = outcome
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # what work gave
