"""Which orders fill before a liquidation in the same bar.

A bar does not tell the order of its prices. The rule: once a bar's range reaches the liquidation price, the price is
taken to go straight from the open to it. What fills at the open, or between the open and the liquidation price, fills
first (a stop nearer than the liquidation price wins); everything else comes too late (a take-profit on the other side
of the open does not save the position).
"""

from __future__ import annotations

from backtrader import Order

__all__ = ["fills_before"]


def fills_before(
    *,
    exectype: int,
    is_buy: bool,
    price: float,
    limit: float,
    triggered: bool,
    open_price: float,
    liquidation: float,
) -> bool:
    """Whether an order fills before the liquidation of a bar whose range reaches the liquidation price.

    Parameters
    ----------
    exectype
        Backtrader's execution type.
    is_buy, price, limit, triggered
        The order: side, price (trigger of a stop), limit of a stop-limit, whether that has been triggered.
    open_price, liquidation
        Start and end of the path. An order exactly at the liquidation price comes too late.
    """
    if exectype == Order.Market:
        return True
    if exectype in (Order.Close, Order.Historical):
        return False
    if exectype == Order.Limit or triggered:
        level = price if exectype == Order.Limit else limit
        marketable = level >= open_price if is_buy else level <= open_price
        return marketable or _on_the_way(level, open_price, liquidation)
    at_open = open_price >= price if is_buy else open_price <= price
    if exectype in (Order.Stop, Order.StopTrail):
        return at_open or _on_the_way(price, open_price, liquidation)
    # Stop-limit: it fills at its trigger unless the limit is beyond it; a limit still to be reached comes later.
    if at_open:
        marketable = limit >= open_price if is_buy else limit <= open_price
        return marketable or _on_the_way(limit, open_price, liquidation)
    fills_at_trigger = limit >= price if is_buy else limit <= price
    return fills_at_trigger and _on_the_way(price, open_price, liquidation)


def _on_the_way(level: float, open_price: float, liquidation: float) -> bool:
    return liquidation < level <= open_price or open_price <= level < liquidation
