"""What the broker does in one bar: funding, gap, judging of orders, children, close, entry, liquidation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ai_backtrader.simulation.compiling import compiled, inlined
from ai_backtrader.simulation.fills import (
    fill_margined,
    fill_plain,
    liquidation_price,
    refuses_margined,
    slip_down,
    slip_up,
    try_plain,
)

__all__ = ["charge_funding", "drop_children", "market_price", "record_fills", "work"]

# FillReason as plain numbers: kernels know no enums.
_ENTRY, _EXIT, _REVERSAL, _STOP, _TARGET, _TRAILING, _LIQUIDATION = range(7)


@compiled
def _book(run: Any, price: float, size: float, fee: float, pnl: float, reason: int) -> None:
    """Record a fill and keep the account of its trade; the fill has changed ``run.size`` already."""
    booked = 0.0
    commission = fee
    if reason != _ENTRY:
        booked = run.unbooked_funding
        commission = fee + booked
        run.unbooked_funding = 0.0
    place = run.bar_fills
    run.bar_fills += 1
    run.fill_price[place] = price
    run.fill_size[place] = size
    run.fill_commission[place] = commission
    run.fill_funding[place] = booked
    run.fill_pnl[place] = pnl
    run.fill_reason[place] = reason
    run.fills += 1
    run.fees += fee
    if reason == _ENTRY:
        run.trade_commission = commission
        return
    run.trade_commission += commission
    if reason == _LIQUIDATION:
        run.liquidations += 1
    if run.size == 0.0:
        net = pnl - run.trade_commission
        run.trades += 1
        if net > 0.0:
            run.wins += 1
            run.gains += net
        elif net < 0.0:
            run.losses -= net


@compiled
def record_fills(run: Any, bar: int, fills: Any) -> None:
    """Write down the fills of a bar, as far as there is room."""
    first = run.fills - run.bar_fills
    for place in range(min(run.bar_fills, len(fills) - first)):
        fill = fills[first + place]
        size = run.fill_size[place]
        fill.bar = bar
        # Backtrader keeps the running mean of an order's fills: size * price / size may miss price by a bit.
        fill.price = size * run.fill_price[place] / size
        fill.size = size
        fill.commission = run.fill_commission[place]
        fill.funding = run.fill_funding[place]
        fill.pnl = run.fill_pnl[place]
        fill.reason = run.fill_reason[place]


@inlined
def drop_children(run: Any) -> None:
    """Take the stop and the target of the position out of the market."""
    run.child_size = 0.0
    run.stop = run.target = run.trail = np.nan


@compiled
def _close(run: Any, size: float, price: float, reason: int, settings: Any) -> None:
    """Execute an order against the position."""
    if run.margined:
        filled, price, pnl, fee, _ = fill_margined(run, size, price, 1.0, settings, reason == _LIQUIDATION)
    else:
        filled, pnl, fee, _ = fill_plain(run, size, price, settings)
    if filled != 0.0:
        _book(run, price, filled, fee, pnl, reason)


@compiled
def _liquidate(run: Any, price: float, settings: Any) -> None:
    drop_children(run)
    run.close_size = run.entry_size = 0.0
    _close(run, -run.size, price, _LIQUIDATION, settings)


@compiled
def charge_funding(run: Any, rate: float, mark: float, settings: Any) -> None:
    """Take the funding due at the start of a bar from free cash, what that cannot pay from the position's margin.

    Numbers, not a bar: the environments' bars hold more, and Numba would take one record for the other, with a warning.
    """
    amount = rate * run.size * mark
    run.funding += amount
    run.unbooked_funding += amount
    if not run.margined:
        run.cash -= amount
        return
    from_cash = min(amount, max(0.0, run.cash))
    run.cash -= from_cash
    if amount > from_cash:
        run.margin -= amount - from_cash
        run.liquidation = liquidation_price(run.size, run.entry_price, run.margin, settings)


@compiled
def _judge_plain(run: Any, reference: float, settings: Any) -> None:
    """Accept or refuse the orders sent at the last close, one after the other against the cash left.

    A refused order keeps its pseudo-execution's effect for those behind it, and takes its bracket with it: children
    already accepted are cancelled, those still to come are rejected.
    """
    cash, held, entry = run.cash, run.size, run.entry_price
    if run.close_size != 0.0:
        cash, held, entry = try_plain(cash, held, entry, run.close_size, reference, settings)
        if cash < 0.0:
            run.close_size = 0.0
            run.rejected += 1
    if run.entry_size == 0.0:
        return
    size = run.entry_size
    has_stop, has_target = not np.isnan(run.entry_stop), not np.isnan(run.entry_target)
    cash, held, entry = try_plain(cash, held, entry, size, reference, settings)
    if cash < 0.0:
        run.rejected += 1 + has_stop + has_target
        run.entry_size = 0.0
        return
    if has_stop:
        cash, held, entry = try_plain(cash, held, entry, -size, run.entry_stop, settings)
        if cash < 0.0:
            run.rejected += 1 + has_target
            run.entry_size = 0.0
            return
    if has_target:
        cash, held, entry = try_plain(cash, held, entry, -size, run.entry_target, settings)
        if cash < 0.0:
            run.rejected += 1
            run.entry_size = 0.0


@compiled
def _judge_margined(run: Any, reference: float, leverage: float, settings: Any) -> None:
    """The same for margined orders: a close is never refused, children need no cash, a refusal leaves no trace."""
    if run.entry_size == 0.0:
        return
    cash = run.cash
    if run.close_size != 0.0:
        pnl = -run.close_size * (reference - run.entry_price)
        cash += run.margin + pnl - abs(run.close_size) * settings.commission * reference
    if refuses_margined(cash, run.entry_size, reference, leverage, settings):
        run.rejected += 1 + (not np.isnan(run.entry_stop)) + (not np.isnan(run.entry_target))
        run.entry_size = 0.0


@compiled
def _comes_first(level: float, at_open: bool, opening: float, liquidation: float) -> bool:
    """Whether an order fills before the liquidation that the bar's range reaches: at the open or on the way to it."""
    return at_open or liquidation < level <= opening or opening <= level < liquidation


@inlined
def _try_children(run: Any, now: Any, settings: Any) -> None:
    """Stop, then target: Backtrader's queue order, so a bar that touches both fills the stop."""
    opening, high, low, close = now.open, now.high, now.low, now.close
    selling = run.child_size < 0.0
    doomed = run.margined and (now.mark_low <= run.liquidation if run.size > 0.0 else now.mark_high >= run.liquidation)
    price = np.nan
    reason = _STOP
    if not np.isnan(run.stop):
        stop = run.stop
        at_open = opening <= stop if selling else opening >= stop
        touched = at_open or (low <= stop if selling else high >= stop)
        in_time = not doomed or _comes_first(stop, at_open, opening, run.liquidation)
        if touched and in_time:
            level = opening if at_open else stop
            price = slip_down(low, level, settings.slippage) if selling else slip_up(high, level, settings.slippage)
            if not np.isnan(run.trail):
                reason = _TRAILING
        elif in_time and not np.isnan(run.trail):
            run.stop = max(stop, close - run.trail) if selling else min(stop, close + run.trail)
    if np.isnan(price) and not np.isnan(run.target):
        target = run.target
        at_open = opening >= target if selling else opening <= target
        touched = at_open or (high >= target if selling else low <= target)
        if touched and (not doomed or _comes_first(target, at_open, opening, run.liquidation)):
            reason = _TARGET
            if not at_open:
                price = target
            elif selling:
                price = slip_down(target, opening, settings.slippage)
            else:
                price = slip_up(min(high, target), opening, settings.slippage)
    if not np.isnan(price):
        size = run.child_size
        drop_children(run)
        _close(run, size, price, reason, settings)


@inlined
def market_price(opening: float, high: float, low: float, size: float, slippage: float) -> float:
    """Price at which a market order fills at the open of a bar."""
    if size > 0.0:
        return slip_up(high, opening, slippage)
    return slip_down(low, opening, slippage)


@inlined
def _enter(run: Any, now: Any, bar: int, leverage: float, settings: Any) -> None:
    """Execute the entry; its children are live from the next bar."""
    size = run.entry_size
    run.entry_size = 0.0
    price = market_price(now.open, now.high, now.low, size, settings.slippage)
    if leverage > 1.0:
        filled, price, pnl, fee, admitted = fill_margined(run, size, price, leverage, settings, False)
    else:
        filled, pnl, fee, admitted = fill_plain(run, size, price, settings)
    if filled != 0.0:
        _book(run, price, filled, fee, pnl, _ENTRY)
    if not admitted:
        run.rejected += 1
        return
    run.entry_bar = bar
    run.child_size = -size
    run.stop, run.target, run.trail = run.entry_stop, run.entry_target, run.entry_trail


@inlined
def work(run: Any, bars: Any, bar: int, leverage: float, settings: Any) -> None:
    """All that the broker does in one bar, up to the value at its close."""
    now = bars[bar]
    if run.size != 0.0:
        if now.funding != 0.0:
            charge_funding(run, now.funding, now.mark_open, settings)
        if run.margined:
            mark = now.mark_open
            if mark <= run.liquidation if run.size > 0.0 else mark >= run.liquidation:
                _liquidate(run, mark, settings)
    if run.close_size != 0.0 or run.entry_size != 0.0:
        if leverage > 1.0:
            _judge_margined(run, bars[bar - 1].close, leverage, settings)
        else:
            _judge_plain(run, bars[bar - 1].close, settings)
    if run.child_size != 0.0:
        _try_children(run, now, settings)
    if run.close_size != 0.0:
        reason = _REVERSAL if run.turning else _EXIT
        size = run.close_size
        run.close_size = 0.0
        price = market_price(now.open, now.high, now.low, size, settings.slippage)
        _close(run, size, price, reason, settings)
    if run.entry_size != 0.0:
        _enter(run, now, bar, leverage, settings)
    if run.margined:
        long = run.size > 0.0
        mark = now.mark_open
        extreme = now.mark_low if long else now.mark_high
        if mark <= run.liquidation if long else mark >= run.liquidation:
            _liquidate(run, mark, settings)
        elif extreme <= run.liquidation if long else extreme >= run.liquidation:
            _liquidate(run, run.liquidation, settings)
