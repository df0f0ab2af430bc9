"""What keeps a server from being asked too often: circuit breaker and daily budget."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["CircuitBreaker", "DailyBudget"]

_LONGEST_PAUSE = 3_600.0


class CircuitBreaker:
    """Leaves a failing server alone for a while.

    After ``failures`` failures in a row it opens for ``seconds``; then one request may try again, and if that fails,
    too, it opens for twice as long, up to an hour. A success closes it.

    Parameters
    ----------
    failures, seconds
        As above.
    clock
        Seconds of a clock that never goes back.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._first_pause, self._clock = failures, seconds, clock
        self._failures = 0
        self._pause = seconds
        self._open_until = float("-inf")

    @property
    def seconds_left(self) -> float:
        """How long requests are still refused; 0 when they are allowed."""
        return max(0.0, self._open_until - self._clock())

    def succeeded(self) -> None:
        """Note an answer."""
        self._failures, self._pause = 0, self._first_pause

    def failed(self) -> bool:
        """Note a failure; True when it opens the breaker."""
        self._failures += 1
        if self._failures < self._limit:
            return False
        self._open_until = self._clock() + self._pause
        self._pause = min(2.0 * self._pause, _LONGEST_PAUSE)
        return True


class DailyBudget:
    """Counts requests by UTC day.

    Parameters
    ----------
    limit
        Requests a day.
    clock
        Seconds since 1970-01-01 UTC.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.time) -> None:
        self._limit, self._clock = limit, clock
        self._day = -1
        self._spent = 0

    def spend(self) -> bool:
        """Count one request; False, and nothing counted, when the day's are used up."""
        today = int(self._clock() // 86_400.0)
        if today != self._day:
            self._day, self._spent = today, 0
        if self._spent >= self._limit:
            return False
        self._spent += 1
        return True
