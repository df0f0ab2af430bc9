"""One execution: the compiled twin of ``BackBroker._execute`` and of ``LeverageBroker``'s margin accounts.

Every expression has the operands and the order of the broker's own: floats are compared with Cerebro's to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ai_backtrader.simulation.compiling import compiled, inlined

__all__ = [
    "bankruptcy_price",
    "fill_margined",
    "fill_plain",
    "liquidation_price",
    "maintenance_margin",
    "reduce_margined",
    "refuses_margined",
    "slip_down",
    "slip_up",
    "try_plain",
    "update_size",
]

# Columns of a maintenance table.
CAP, RATE, AMOUNT, MAX_LEVERAGE = 0, 1, 2, 3


@inlined
def slip_up(ceiling: float, price: float, slippage: float) -> float:
    """Price of a buy after slippage, never above ``ceiling``."""
    return min(ceiling, price * (1 + slippage)) if slippage != 0.0 else price


@inlined
def slip_down(floor: float, price: float, slippage: float) -> float:
    """Price of a sale after slippage, never below ``floor``."""
    return max(floor, price * (1 - slippage)) if slippage != 0.0 else price


@inlined
def update_size(held: float, entry: float, size: float, price: float) -> tuple[float, float, float, float]:
    """Size and entry price after a fill, and the parts of it that open and close (``Position.update``)."""
    left = held + size
    if left == 0.0:
        return left, 0.0, 0.0, size
    if held == 0.0:
        return left, price, size, 0.0
    if (held > 0.0) == (size > 0.0):
        return left, (entry * held + size * price) / left, size, 0.0
    if (held > 0.0) == (left > 0.0):
        return left, entry, 0.0, size
    return left, price, left, -held


@compiled
def try_plain(
    cash: float, held: float, entry: float, size: float, price: float, settings: Any
) -> tuple[float, float, float]:
    """Cash and position after the pseudo-execution by which ``check_submitted`` judges an order."""
    held, entry, opened, closed = update_size(held, entry, size, price)
    if closed != 0.0:
        cash += -closed * price if settings.shortcash else abs(closed) * price
        cash -= abs(closed) * settings.commission * price
    if opened != 0.0:
        cash -= opened * price if settings.shortcash else abs(opened) * price
        cash -= abs(opened) * settings.commission * price
    return cash, held, entry


@compiled
def fill_plain(run: Any, size: float, price: float, settings: Any) -> tuple[float, float, float, bool]:
    """Execute an order of a position without margin.

    Returns the size filled, the profit of its closing part, its commission, and whether the opening part, if any, was
    affordable.
    """
    entry = run.entry_price
    _, _, opened, closed = update_size(run.size, entry, size, price)
    cash = run.cash
    pnl = -closed * (price - entry)
    fee = 0.0
    if closed != 0.0:
        cash += (-closed * entry if settings.shortcash else abs(closed) * entry) + pnl
        fee = abs(closed) * settings.commission * price
        cash -= fee
        run.cash = cash
    affordable = True
    if opened != 0.0:
        cash -= opened * price if settings.shortcash else abs(opened) * price
        opening_fee = abs(opened) * settings.commission * price
        cash -= opening_fee
        if cash < 0.0:
            affordable = False
            opened = 0.0
        else:
            run.cash = cash
            fee += opening_fee
    filled = closed + opened
    if filled != 0.0:
        run.size, run.entry_price, _, _ = update_size(run.size, entry, filled, price)
    return filled, pnl, fee, affordable


@compiled
def _tier(settings: Any, notional: float) -> int:
    last = settings.tier_rows - 1
    for row in range(last):
        if notional <= settings.tiers[row, CAP]:
            return row
    return int(last)


@compiled
def maintenance_margin(notional: float, settings: Any) -> float:
    """Maintenance margin of a notional, in money."""
    row = _tier(settings, notional)
    return float(notional * settings.tiers[row, RATE] - settings.tiers[row, AMOUNT])


@compiled
def liquidation_price(size: float, entry: float, margin: float, settings: Any) -> float:
    """Where equity meets maintenance (``market.margin.liquidation_root``); -inf where a long has no such price."""
    units = abs(size)
    value = units * entry
    tiers = settings.tiers
    if size > 0.0:
        root = -np.inf
        for row in range(settings.tier_rows):
            root = max(root, (value - margin - tiers[row, AMOUNT]) / (units * (1.0 - tiers[row, RATE])))
        return root if root > 0.0 else -np.inf
    root = np.inf
    for row in range(settings.tier_rows):
        root = min(root, (value + margin + tiers[row, AMOUNT]) / (units * (1.0 + tiers[row, RATE])))
    return root if root > 0.0 else 0.0


@compiled
def bankruptcy_price(size: float, entry: float, margin: float) -> float:
    """Where a position's margin is used up; ``size`` is signed."""
    return max(0.0, entry - margin / size)


@compiled
def _inadmissible(notional: float, posted: float, leverage: float, settings: Any) -> bool:
    # Leverage above the tier's, or a margin that the maintenance margin eats up at once.
    row = _tier(settings, notional)
    tiers = settings.tiers
    allowed = tiers[row, MAX_LEVERAGE] if notional <= tiers[row, CAP] else 0.0
    if leverage > min(settings.max_leverage, allowed) * (1.0 + 1e-12):
        return True
    return bool(posted <= notional * tiers[row, RATE] - tiers[row, AMOUNT])


@compiled
def refuses_margined(cash: float, size: float, price: float, leverage: float, settings: Any) -> bool:
    """Whether ``check_submitted`` refuses an order that opens a margined position from flat."""
    notional = abs(size) * price
    posted = notional / leverage
    if _inadmissible(notional, posted, leverage, settings):
        return True
    return bool(cash - (posted + abs(size) * settings.commission * price) < 0.0)


@compiled
def fill_margined(
    run: Any, size: float, price: float, leverage: float, settings: Any, liquidating: bool
) -> tuple[float, float, float, float, bool]:
    """Execute an order that opens a margined position from flat or closes it whole.

    Returns the size filled, the price (a close never fills beyond the bankruptcy price), profit, commission, and
    whether an opening order was admitted.
    """
    if run.size == 0.0:
        notional = abs(size) * price
        posted = notional / leverage
        fee = abs(size) * settings.commission * price
        if _inadmissible(notional, posted, leverage, settings) or run.cash - posted - fee < 0.0:
            return 0.0, price, 0.0, 0.0, False
        run.cash -= posted + fee
        run.size, run.entry_price = size, price
        run.margined, run.margin = True, posted
        run.liquidation = liquidation_price(size, price, posted, settings)
        return size, price, 0.0, fee, True
    bound = bankruptcy_price(run.size, run.entry_price, run.margin)
    price = max(price, bound) if run.size > 0.0 else min(price, bound)
    pnl = -size * (price - run.entry_price)
    fee = abs(size) * settings.commission * price
    back = max(0.0, run.margin + pnl)
    if liquidating:
        fee += abs(size) * price * settings.liquidation_fee
        fee = min(fee, back)
    else:
        fee = min(fee, back + max(0.0, run.cash))
    run.cash += back - fee
    run.size = run.entry_price = run.margin = 0.0
    run.margined = False
    return size, price, pnl, fee, True


@compiled
def reduce_margined(run: Any, size: float, price: float, settings: Any) -> tuple[float, float, float]:
    """Execute an order that closes a part of a margined position, whose share of the margin comes back.

    Returns the price (never beyond the bankruptcy price), the profit on the part, and its commission.
    """
    bound = bankruptcy_price(run.size, run.entry_price, run.margin)
    price = max(price, bound) if run.size > 0.0 else min(price, bound)
    pnl = -size * (price - run.entry_price)
    released = run.margin * (abs(size) / abs(run.size))
    back = max(0.0, released + pnl)
    fee = min(abs(size) * settings.commission * price, back + max(0.0, run.cash))
    run.cash += back - fee
    run.margin -= released
    run.size += size
    run.liquidation = liquidation_price(run.size, run.entry_price, run.margin, settings)
    return price, pnl, fee
