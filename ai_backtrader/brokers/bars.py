"""Prices of a feed's current bar, last and mark, and whether the bar is new."""

from __future__ import annotations

from typing import Any

__all__ = ["BarPrices"]


class BarPrices:
    """Reads the current bar of one feed.

    Mark prices come from the lines ``mark_open``, ``mark_high``, ``mark_low`` and ``mark_close`` where the feed has
    them and they are not NaN, else from the last prices. A replayed bar is read tick by tick, as Backtrader executes.
    """

    __slots__ = ("_lines", "_marks", "_replaying", "_seen", "before", "data")

    def __init__(self, data: Any) -> None:
        self.data = data
        lines = data.lines
        self._lines = {name: getattr(lines, name) for name in ("open", "high", "low", "close")}
        self._marks = {name: getattr(lines, f"mark_{name}", None) for name in ("open", "high", "low", "close")}
        self._replaying = bool(getattr(data, "replaying", False))
        self._seen: tuple[int, float] = (0, 0.0)
        self.before: float | None = None  # mark close of the bar dealt with last

    def is_new(self) -> bool:
        """Whether the feed has moved since :meth:`mark_seen`; a slow feed's old bar is not new."""
        return self._seen != self._now()

    def mark_seen(self) -> None:
        """Note that the current bar has been dealt with."""
        self._seen = self._now()

    def keep_close(self) -> None:
        """Keep the mark close for the next bar's :attr:`before`."""
        if len(self.data):
            self.before = self.mark("close")

    def _now(self) -> tuple[int, float]:
        # A replayed bar keeps its number from tick to tick, only its time moves.
        count = len(self.data)
        return count, float(self.data.datetime[0]) if count and self._replaying else 0.0

    def last(self, name: str) -> float:
        """Last price of the bar: open, high, low or close."""
        if self._replaying:
            tick = getattr(self.data, f"tick_{name}", None)
            if tick is not None:
                return float(tick)
        return float(self._lines[name][0])

    def mark(self, name: str) -> float:
        """Mark price of the bar (last price where the feed has none)."""
        line = self._marks[name]
        if line is not None:
            price = getattr(self.data, f"tick_mark_{name}", None) if self._replaying else None
            value = float(line[0] if price is None else price)
            if value == value:
                return value
        return self.last(name)
