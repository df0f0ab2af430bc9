"""What the broker hands out: the record of a liquidation."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ai_backtrader.values import Direction

__all__ = ["Liquidation"]


@dataclass(frozen=True, kw_only=True)
class Liquidation:
    """A position that the broker closed because its margin was used up.

    Attributes
    ----------
    bar_time
        Time of the bar in which it happened, as the feed labels it (naive UTC).
    data_name
        Name of the feed.
    side
        LONG or SHORT.
    size
        Units closed, positive.
    entry_price, price
        Average entry and price of the liquidation fill.
    leverage
        Multiple of the margin posted.
    margin
        Margin posted for the position.
    loss
        Money taken from that margin: price loss plus ``fee``; in isolated mode never above ``margin``, all partial
        liquidations of a position together.
    fee
        Commission and liquidation fee, after the cap.
    funding
        Funding paid over the life of the position (negative: received); not part of ``loss``.
    reason
        ``"gap"`` (the bar opened beyond the liquidation price), ``"bar"`` (its range reached it), ``"partial"`` or
        ``"cross"`` (the account's equity fell to the sum of the maintenance margins).
    """

    bar_time: dt.datetime
    data_name: str
    side: Direction
    size: float
    entry_price: float
    price: float
    leverage: float
    margin: float
    loss: float
    fee: float
    funding: float
    reason: str
