"""Funding: which stamps fall due at the start of a bar, and at which rate."""

from __future__ import annotations

import math
from typing import Any

from ai_backtrader.checks import Faults

__all__ = ["FundingClock"]

# Backtrader counts days in floats; at today's dates one unit in the last place is 10 microseconds.
_SLACK_DAYS = 1e-8


class FundingClock:
    """Funding due on one feed, bar by bar.

    Parameters
    ----------
    data
        The feed.
    funding
        None: the feed's line ``funding_rate`` where it has one, else no funding. False or 0: none. A number: that rate
        at every stamp. Text: the name of the feed's line that holds the rate.
    hours, offset
        Stamps lie every ``hours`` after midnight UTC of 1970-01-01 plus ``offset`` hours (8, 0: at 00, 08, 16).
    ends
        Whether the feed labels its bars by their end (then a bar starts at the label of the bar before it).

    Notes
    -----
    At the start S of a bar fall due the stamps since the start of the bar before it, S included. A rate line holds the
    rate settled at its bar's label time (longer bars: the sum since the label before); NaN is none.
    """

    __slots__ = ("_days", "_ends", "_label", "_line", "_offset", "_rate", "_rate_before", "_start", "_times", "data")

    def __init__(
        self, data: Any, funding: float | str | bool | None, hours: float = 8.0, offset: float = 0.0, ends: bool = False
    ) -> None:
        faults = Faults("FundingClock")
        self._line = None
        self._rate = 0.0
        if isinstance(funding, str):
            self._line = getattr(data.lines, funding, None)
            if self._line is None:
                known = ", ".join(data.getlinealiases())
                faults.add(f"funding names the line {funding!r}, but feed {data._name!r} has only {known}")
        elif funding is None:
            self._line = getattr(data.lines, "funding_rate", None)
        else:
            self._rate = float(funding)
        faults.raise_if_any()
        self.data, self._times, self._ends = data, data.lines.datetime, ends
        self._days, self._offset = hours / 24.0, offset / 24.0
        self._label: float | None = None
        self._start: float | None = None
        self._rate_before = math.nan

    @property
    def active(self) -> bool:
        """Whether this feed can ever charge funding."""
        return self._line is not None or self._rate != 0.0

    def due(self) -> float:
        """Sum of the rates due at the start of the current bar; 0 when asked again on the same bar.

        The clock starts at the bar of the first call, on which only a rate line can charge something. Called on every
        bar from the one on which a position is opened, it therefore charges what the position has lived through.
        """
        label = self._times[0]
        if label == self._label:
            return 0.0
        if self._line is not None and not self._ends:
            self._label = label
            rate = self._line[0]
            return rate if rate == rate else 0.0
        start = self._label if self._ends else label
        self._label = label
        if self._line is not None:
            # The bar begins at the label of the one before, whose rate falls due with it.
            rate, self._rate_before = self._rate_before, self._line[0]
            return rate if rate == rate else 0.0
        before, self._start = self._start, start
        if start is None or before is None:
            return 0.0
        return self._rate * (self._stamps(start) - self._stamps(before))

    def _stamps(self, moment: float) -> int:
        return math.floor((moment - self._offset + _SLACK_DAYS) / self._days)
