"""What stands between a strategy and its sizer: orders on their way out, bars and fills on their way back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import backtrader as bt

__all__ = ["Follower", "OrderAsked", "Sender"]

# Arguments of Strategy.buy and sell after data and size, in their order.
_FIELDS = (
    "price",
    "plimit",
    "exectype",
    "valid",
    "tradeid",
    "oco",
    "trailamount",
    "trailpercent",
    "parent",
    "transmit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAsked:
    """What the strategy wants with the order that is being sized, as far as it bears on the size."""

    market: bool = True
    price: float | None = None
    oco: Any = None
    parent: Any = None
    linked: bool = False  # others will hang on it: it waits for their transmit


class Sender:
    """``buy`` or ``sell`` of a strategy that goes through its sizer."""

    def __init__(self, sizer: Any, send: Callable[..., Any], isbuy: bool) -> None:
        self._sizer, self._send, self._isbuy = sizer, send, isbuy

    # The signature of Strategy.buy, whose place it takes.
    def __call__(self, data: Any = None, size: float | None = None, *args: Any, **kwargs: Any) -> Any:
        """Order, or None where the sizer refuses."""
        fields = dict(zip(_FIELDS, args, strict=False)) | kwargs
        return self._sizer.send(self._send, self._isbuy, data, size, fields)


class Follower(bt.Analyzer):
    """Hears of bars, orders and trades, as a sizer does not, and tells its sizer."""

    params = (("sizer", None),)

    def next(self) -> None:
        """Pass a bar on."""
        self.p.sizer.on_bar()

    def notify_order(self, order: Any) -> None:
        """Pass an order on."""
        self.p.sizer.on_order(order)

    def notify_trade(self, trade: Any) -> None:
        """Pass a trade on."""
        self.p.sizer.on_trade(trade)

    def get_analysis(self) -> dict[str, Any]:
        """How many orders were sized, refused, opened past the sizer, and what the manager learned."""
        decisions = self.p.sizer.decisions
        refused = sum(decision.position_size_pct <= 0.0 for decision in decisions)
        return {
            "asked": len(decisions),
            "refused": refused,
            "bypassed": self.p.sizer.bypassed,
            "kelly": dataclasses.asdict(self.p.sizer.manager.kelly),
            "experience": [dataclasses.asdict(row) for row in self.p.sizer.manager.experience_table()],
        }
