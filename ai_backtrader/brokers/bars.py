"""Prices of a feed's current bar, last and mark, and whether the bar is new."""

from __future__ import annotations

from typing import Any

__all__ = ["BarPrices"]


class BarPrices:
    """Reads the current bar of one feed; ``marks=False`` takes no notice of its mark prices.

    Mark prices come from the lines ``mark_open``, ``mark_high``, ``mark_low`` and ``mark_close`` where the feed has
    them and they are not NaN, else from the last prices. A replayed bar is read tick by tick, as Backtrader executes.
    """

    __slots__ = ("_lines", "_now", "_replaying", "_seen", "_times", "before", "data", "new")

    def __init__(self, data: Any, marks: bool = True) -> None:
        self.data = data
        lines = data.lines
        self._times = lines.datetime
        self._lines = {
            name: (getattr(lines, f"mark_{name}", None) if marks else None, getattr(lines, name))
            for name in ("open", "high", "low", "close")
        }
        self._replaying = bool(getattr(data, "replaying", False))
        self._seen: tuple[int, float] = (0, 0.0)
        self.before: float | None = None  # mark close of the bar dealt with last
        self.begin()

    def begin(self) -> None:
        """Look at the bar as a step of the broker begins: ``new`` says whether the feed has moved since the last one.

        A slow feed's old bar is not new.
        """
        # A replayed bar keeps its number from tick to tick, only its time moves.
        count = len(self._times)
        self._now = (count, self._times[0] if count and self._replaying else 0.0)
        self.new = self._now != self._seen

    def end(self) -> None:
        """Note that the step has dealt with the bar."""
        self._seen = self._now

    def keep_close(self) -> None:
        """Keep the mark close for the next bar's :attr:`before`."""
        if self._now[0]:
            self.before = self.mark("close")

    def last(self, name: str) -> float:
        """Last price of the bar: open, high, low or close."""
        if self._replaying:
            tick = getattr(self.data, f"tick_{name}", None)
            if tick is not None:
                return float(tick)
        return float(self._lines[name][1][0])

    def mark(self, name: str) -> float:
        """Mark price of the bar (last price where the feed has none)."""
        line = self._lines[name][0]
        if line is not None:
            tick = getattr(self.data, f"tick_mark_{name}", None) if self._replaying else None
            price = float(line[0] if tick is None else tick)
            if price == price:
                return price
        return self.last(name)

    def worst(self, units: float) -> float:
        """Worst mark price for a position of signed size: low or high, or the open where only that is a mark."""
        if units > 0:
            return min(self.mark("low"), self.mark("open"))
        return max(self.mark("high"), self.mark("open"))
