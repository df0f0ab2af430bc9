"""The highest equity that an account has had, of the capital that it has now."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["EquityPeak"]


class EquityPeak:
    """Peak and start of an account's equity; capital that comes or goes is neither gain nor loss.

    As for a fund's investors: equity is counted in shares, money paid in buys new ones at the present value and money
    taken out sells some, so that the value of a share changes by trading alone. Where the number of shares stays the
    same, the peak is the highest equity and the start the first, to the last bit.

    Parameters
    ----------
    broker
        Any Backtrader broker.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._shares = math.nan
        self.value = -math.inf
        self.start = math.nan

    def update(self, equity: float) -> None:
        """Take in the account's equity, at least once a bar."""
        shares = self._broker.fundshares
        if math.isnan(self.start):
            self.start, self._shares = equity, shares
        elif shares != self._shares:
            change = shares / self._shares if self._shares else 1.0
            self.start, self._shares = self.start * change, shares
            self.value *= change
        self.value = max(self.value, equity)

    def drawdown(self, equity: float) -> float:
        """Share of the peak that is lost at an equity; 1 where the peak is not above 0."""
        return max(0.0, 1.0 - equity / self.value) if self.value > 0.0 else 1.0
