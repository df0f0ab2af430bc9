"""One strategy on one feed: from signals to fills, account and statistics, event by event.

The order of things inside a bar is the broker's (see ``LeverageBroker``): funding, gap, judging of the orders sent at
the last close, children, close, entry, liquidation, value at the close, then the rule's decision. A bar in which none
of that can happen is *quiet*: it only moves the equity. Flat, the run jumps to the next entry signal; in a position it
rides quiet bars up to the next touch of a level or exit signal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.simulation.bits import is_set, next_set
from ai_backtrader.simulation.fills import (
    fill_margined,
    fill_plain,
    liquidation_price,
    refuses_margined,
    slip_down,
    slip_up,
    try_plain,
)

__all__ = ["run_rule"]

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

# FillReason as plain numbers: kernels know no enums.
_ENTRY, _EXIT, _REVERSAL, _STOP, _TARGET, _TRAILING, _LIQUIDATION = range(7)


# ------------------------------------------------------------------------------------------------------ equity curve


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _value(run: Any, close: float, shortcash: bool) -> float:
    """Account value at a close, as the broker's ``_get_value`` adds it up."""
    if run.size == 0.0:
        return float(run.cash)
    gain = run.size * (close - run.entry_price)
    if run.margined:
        return float(run.cash + max(0.0, run.margin + gain))
    worth = run.size * close
    if not shortcash and run.size < 0.0:
        worth = abs(run.entry_price * run.size + (run.entry_price - close) * run.size)
    if worth > 0.0:
        return float(run.cash + ((worth - gain) + gain))
    return float(run.cash + worth)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _observe(run: Any, equity: float) -> None:
    """Take one more bar into the statistics of the equity curve."""
    if run.equity > 0.0:
        change = equity / run.equity - 1.0
        run.observations += 1
        run.sum_returns += change
        run.sum_squares += change * change
    run.equity = equity
    if equity > run.peak:
        run.max_drawdown = max(run.max_drawdown, (run.peak - run.trough) / run.peak)
        run.peak = run.trough = equity
    elif equity < run.trough:
        run.trough = equity
    if run.size != 0.0:
        run.bars_held += 1


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _rest(run: Any, start: int, stop: int, equity: Floats, cash: Floats) -> None:
    """Bars ``start <= bar < stop`` without a position: nothing moves."""
    if run.equity > 0.0:
        run.observations += stop - start
    if len(equity):
        equity[start:stop] = run.cash
        cash[start:stop] = run.cash


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _ride(run: Any, bars: Any, start: int, stop: int, shortcash: bool, equity: Floats, cash: Floats) -> int:
    """Value quiet bars from ``start`` on; gives the first bar that is not quiet, at most ``stop``.

    Funding that free cash can pay leaves a bar quiet; what the margin must pay moves the liquidation price.
    """
    size, entry, margin, free = run.size, run.entry_price, run.margin, run.cash
    margined, trail = run.margined, run.trail
    long = size > 0.0
    trailing = not np.isnan(trail)
    # Comparisons with NaN (no such order) are false.
    below = run.stop if long else run.target
    above = run.target if long else run.stop
    mark_below = run.liquidation if margined and long else -np.inf
    mark_above = run.liquidation if margined and not long else np.inf
    short_as_cost = not shortcash and not long
    last, peak, trough = run.equity, run.peak, run.trough
    total = squares = 0.0
    seen = 0
    record = len(equity) > 0
    bar = start
    while bar < stop:
        now = bars[bar]
        if now.low <= below or now.high >= above or now.mark_low <= mark_below or now.mark_high >= mark_above:
            break
        if now.funding != 0.0:
            amount = now.funding * size * now.mark_open
            if margined and amount > max(0.0, free):
                break
            free -= amount
            run.funding += amount
            run.unbooked_funding += amount
        close = now.close
        gain = size * (close - entry)
        if margined:
            value = free + max(0.0, margin + gain)
        else:
            worth = abs(entry * size + (entry - close) * size) if short_as_cost else size * close
            value = free + ((worth - gain) + gain if worth > 0.0 else worth)
        if last > 0.0:
            change = value / last - 1.0
            seen += 1
            total += change
            squares += change * change
        last = value
        if value > peak:
            run.max_drawdown = max(run.max_drawdown, (peak - trough) / peak)
            peak = trough = value
        elif value < trough:
            trough = value
        if trailing:
            if long:
                below = max(below, close - trail)
            else:
                above = min(above, close + trail)
        if record:
            equity[bar] = value
            cash[bar] = free
        bar += 1
    run.equity, run.peak, run.trough = last, peak, trough
    run.observations += seen
    run.sum_returns += total
    run.sum_squares += squares
    run.bars_held += bar - start
    run.cash = free
    if trailing:
        run.stop = below if long else above
    return bar


# ------------------------------------------------------------------------------------------------------ fills


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
def _record_fills(run: Any, bar: int, fills: Any) -> None:
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


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _drop_children(run: Any) -> None:
    run.child_size = 0.0
    run.stop = run.target = run.trail = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _close(run: Any, size: float, price: float, reason: int, settings: Any) -> None:
    """Execute an order against the position."""
    if run.margined:
        filled, price, pnl, fee, _ = fill_margined(run, size, price, 1.0, settings, reason == _LIQUIDATION)
    else:
        filled, pnl, fee, _ = fill_plain(run, size, price, settings)
    if filled != 0.0:
        _book(run, price, filled, fee, pnl, reason)


@njit(cache=True, nogil=True, error_model="numpy")
def _liquidate(run: Any, price: float, settings: Any) -> None:
    _drop_children(run)
    run.close_size = run.entry_size = 0.0
    _close(run, -run.size, price, _LIQUIDATION, settings)


@njit(cache=True, nogil=True, error_model="numpy")
def _charge_funding(run: Any, now: Any, settings: Any) -> None:
    """Take the funding due at the start of a bar from free cash, what that cannot pay from the position's margin."""
    amount = now.funding * run.size * now.mark_open
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


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
def _comes_first(level: float, at_open: bool, opening: float, liquidation: float) -> bool:
    """Whether an order fills before the liquidation that the bar's range reaches: at the open or on the way to it."""
    return at_open or liquidation < level <= opening or opening <= level < liquidation


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
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
        _drop_children(run)
        _close(run, size, price, reason, settings)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _market_price(now: Any, size: float, slippage: float) -> float:
    if size > 0.0:
        return slip_up(now.high, now.open, slippage)
    return slip_down(now.low, now.open, slippage)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _enter(run: Any, now: Any, bar: int, leverage: float, settings: Any) -> None:
    """Execute the entry; its children are live from the next bar."""
    size = run.entry_size
    run.entry_size = 0.0
    price = _market_price(now, size, settings.slippage)
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


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _work(run: Any, bars: Any, bar: int, leverage: float, settings: Any) -> None:
    """All that the broker does in one bar, up to the value at its close."""
    now = bars[bar]
    if run.size != 0.0:
        if now.funding != 0.0:
            _charge_funding(run, now, settings)
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
        price = _market_price(now, size, settings.slippage)
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


# ------------------------------------------------------------------------------------------------------ decisions


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _send_entry(run: Any, side: float, close: float, atr: float, rule: Any) -> None:
    """Send a market order with its bracket children at the close."""
    size = run.equity * rule.position_size * rule.leverage / close
    if not size > 0.0:
        return
    run.entry_size = side * size
    run.entry_stop = run.entry_target = run.entry_trail = np.nan
    if rule.stop_atr > 0.0:
        stop = close - side * (rule.stop_atr * atr)
        run.entry_stop = stop if stop != 0.0 else close  # a price of 0 is none to Backtrader: it takes the close
    elif rule.trailing_atr > 0.0:
        run.entry_trail = rule.trailing_atr * atr
        run.entry_stop = close - side * run.entry_trail
    if rule.take_profit_atr > 0.0:
        target = close + side * (rule.take_profit_atr * atr)
        run.entry_target = target if target != 0.0 else close


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _decide(run: Any, close: float, atr: float, rule: Any, long_entry: bool, short_entry: bool, leave: bool) -> None:
    """The rule at a bar's close, from what its entries (with filters) and its exit section say."""
    if run.size == 0.0:
        if long_entry:
            _send_entry(run, 1.0, close, atr, rule)
        elif short_entry:
            _send_entry(run, -1.0, close, atr, rule)
        return
    side = -1.0 if run.size > 0.0 else 1.0
    turn = rule.reverse and (short_entry if side < 0.0 else long_entry)
    if leave or turn:
        _drop_children(run)
        run.close_size = -run.size
        run.turning = turn
        if turn:
            _send_entry(run, side, close, atr, rule)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def run_rule(
    run: Any,
    bars: Any,
    atr: Floats,
    rule: Any,
    long_words: Words,
    short_words: Words,
    exit_words: NDArray[np.uint64],
    holds: NDArray[np.int64],
    settings: Any,
    fills: Any,
    equity: Floats,
    cash: Floats,
) -> None:
    """Run one rule over all bars.

    Parameters
    ----------
    run
        Record of ``RUN_DTYPE``, anything in it; holds the statistics afterwards.
    bars, atr
        Bars of ``BAR_DTYPE``, and the rule's ATR (read only where it sets stops or targets).
    rule, settings
        Records of ``RULE_DTYPE`` and ``SETTINGS_DTYPE``.
    long_words, short_words
        Entries with filters, as bits, clear before ``rule.start``.
    exit_words, holds
        Row ``m``: bits of the exit section when ``m`` of its hold genes are true; ``holds`` their bars, ascending,
        shape (rows - 1,).
    fills
        Takes the first ``len(fills)`` fills; ``run.fills`` counts all.
    equity, cash
        Take both at each close; of length 0 when nothing is to be recorded.
    """
    n = len(bars)
    leverage = rule.leverage
    shortcash = settings.shortcash
    run.cash = run.equity = run.peak = run.trough = settings.cash
    run.size = run.entry_price = run.margin = run.unbooked_funding = 0.0
    run.margined = run.turning = False
    run.liquidation = -np.inf
    run.entry_bar = -1
    _drop_children(run)
    run.close_size = run.entry_size = 0.0
    run.max_drawdown = run.sum_returns = run.sum_squares = 0.0
    run.trade_commission = run.trade_pnl = run.gains = run.losses = run.fees = run.funding = 0.0
    run.observations = run.bars_held = run.fills = run.trades = run.wins = run.liquidations = run.rejected = 0
    bar = -1  # the last bar that has been dealt with
    row = 0
    while bar < n - 1:
        start = bar + 1
        if run.close_size != 0.0 or run.entry_size != 0.0:
            bar = start
        elif run.size == 0.0:
            bar = next_set(long_words, short_words, start, n)
            _rest(run, start, bar, equity, cash)
            if bar == n:
                break
        else:
            # The next bar on which the rule may act; hold genes come true one by one.
            against = short_words if run.size > 0.0 else long_words
            stop = n
            row = 0
            while row < len(holds) and start - run.entry_bar > holds[row]:
                row += 1
            first = start
            while True:
                ripe = n if row == len(holds) else min(n, run.entry_bar + holds[row] + 1)
                other = against if rule.reverse else exit_words[row]
                stop = next_set(exit_words[row], other, first, ripe)
                if stop < ripe or ripe == n:
                    break
                first = ripe
                row += 1
            bar = _ride(run, bars, start, min(stop, n), shortcash, equity, cash)
            if bar == n:
                break
        run.bar_fills = 0
        _work(run, bars, bar, leverage, settings)
        value = _value(run, bars[bar].close, shortcash)
        _observe(run, value)
        if len(equity):
            _record_fills(run, bar, fills)
            equity[bar] = value
            cash[bar] = run.cash
        long_entry, short_entry = is_set(long_words, bar), is_set(short_words, bar)
        if run.size != 0.0:
            row = 0
            while row < len(holds) and bar - run.entry_bar > holds[row]:
                row += 1
            _decide(run, bars[bar].close, atr[bar], rule, long_entry, short_entry, is_set(exit_words[row], bar))
        elif long_entry or short_entry:
            _decide(run, bars[bar].close, atr[bar], rule, long_entry, short_entry, False)
    run.max_drawdown = max(run.max_drawdown, (run.peak - run.trough) / run.peak)
