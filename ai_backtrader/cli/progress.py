"""Progress of a Cerebro run."""

from __future__ import annotations

from typing import Any

import backtrader as bt

__all__ = ["Progress"]

EVERY = 256  # bars between two calls: a terminal cannot show more, and a bar costs nothing


class Progress(bt.Analyzer):
    """Calls ``callback(bars_done)`` every 256 bars and at the end."""

    params = (("callback", None),)

    def start(self) -> None:
        """Begin at zero."""
        self.done = 0

    def next(self) -> None:
        """Count a bar."""
        self.done += 1
        if self.done % EVERY == 0:
            self.p.callback(self.done)

    def stop(self) -> None:
        """Report the last bars."""
        self.p.callback(self.done)

    def get_analysis(self) -> dict[str, Any]:
        """Bars seen."""
        return {"bars": self.done}
