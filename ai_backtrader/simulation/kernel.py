"""One strategy on one feed: from signals to fills, account and statistics, event by event.

The order of things inside a bar is the broker's (see ``LeverageBroker``): funding, gap, judging of the orders sent at
the last close, children, close, entry, liquidation, value at the close, then the rule's decision. A bar in which none
of that can happen is *quiet*: it only moves the equity. Flat, the run jumps to the next entry signal; in a position it
rides quiet bars up to the next touch of a level or exit signal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.bits import is_set, next_set
from ai_backtrader.simulation.compiling import inlined
from ai_backtrader.simulation.curve import account_value, observe, rest, ride
from ai_backtrader.simulation.orders import drop_children, record_fills, work

__all__ = ["EXIT", "LONG", "SHORT", "run_rule"]

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

LONG, SHORT, EXIT = 0, 1, 2
"""Rows of a rule's signals; of the exit there is one more for each of its hold genes."""


@inlined
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


@inlined
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
        drop_children(run)
        run.close_size = -run.size
        run.turning = turn
        if turn:
            _send_entry(run, side, close, atr, rule)


@inlined
def run_rule(
    run: Any,
    bars: Any,
    ahead: Any,
    closes: Floats,
    atrs: Floats,
    rule: Any,
    signals: Words,
    holds: NDArray[np.int64],
    settings: Any,
    curve: Floats,
    fills: Any,
    equity: Floats,
    cash: Floats,
) -> None:
    """Run one rule over all bars.

    Parameters
    ----------
    run
        Record of ``RUN_DTYPE``, anything in it; afterwards all but what :func:`~ai_backtrader.simulation.curve.sum_up`
        finds in the curve.
    bars, ahead, closes
        Records of ``BAR_DTYPE`` and ``AHEAD_DTYPE``, and the closes once more, each of shape (bars,).
    atrs
        Average true ranges, shape (periods, bars); the rule's is read only where it sets stops or targets.
    rule, settings
        Records of ``RULE_DTYPE`` and ``SETTINGS_DTYPE``.
    signals, holds
        Bits, shape (rows, words): row ``LONG`` and row ``SHORT`` the entries with filters, clear before ``rule.start``;
        row ``EXIT + m`` the exit section when ``m`` of its hold genes are true. ``holds`` their bars, ascending, from
        place ``rule.holds`` on.
    curve
        Room for the account value before the first bar and at every bar that may move it, shape (bars + 1,).
    fills
        Takes the first ``len(fills)`` fills; ``run.fills`` counts all.
    equity, cash
        Take both at each close; of length 0 when nothing is to be recorded.
    """
    n = len(bars)
    leverage = rule.leverage
    shortcash = settings.shortcash
    atr = rule.atr
    run.cash = run.equity = curve[0] = settings.cash
    run.seen = 1
    run.size = run.entry_price = run.margin = run.unbooked_funding = 0.0
    run.margined = run.turning = False
    run.liquidation = -np.inf
    run.entry_bar = -1
    drop_children(run)
    run.close_size = run.entry_size = 0.0
    run.trade_commission = run.gains = run.losses = run.fees = run.funding = 0.0
    run.resting = run.bars_held = run.fills = run.trades = run.wins = run.liquidations = run.rejected = 0
    bar = -1  # the last bar that has been dealt with
    first_hold, last_hold = rule.holds, rule.holds + rule.hold_genes
    while bar < n - 1:
        start = bar + 1
        if run.close_size != 0.0 or run.entry_size != 0.0:
            bar = start
        elif run.size == 0.0:
            bar = next_set(signals, LONG, SHORT, start, n)
            rest(run, start, bar, equity, cash)
            if bar == n:
                break
        else:
            # The next bar on which the rule may act; hold genes come true one by one.
            hold = first_hold
            while hold < last_hold and start - run.entry_bar > holds[hold]:
                hold += 1
            against = SHORT if run.size > 0.0 else LONG
            first = start
            while True:
                row = EXIT + hold - first_hold
                ripe = n if hold == last_hold else min(n, run.entry_bar + holds[hold] + 1)
                stop = next_set(signals, row, against if rule.reverse else row, first, ripe)
                if stop < ripe or ripe == n:
                    break
                first = ripe
                hold += 1
            bar = ride(run, bars, ahead, closes, start, min(stop, n), shortcash, curve, equity, cash)
            if bar == n:
                break
        run.bar_fills = 0
        work(run, bars, bar, leverage, settings)
        close = bars[bar].close
        value = account_value(run, close, shortcash)
        observe(run, value, curve)
        if len(equity):
            record_fills(run, bar, fills)
            equity[bar] = value
            cash[bar] = run.cash
        long_entry, short_entry = is_set(signals, LONG, bar), is_set(signals, SHORT, bar)
        if run.size != 0.0:
            hold = first_hold
            while hold < last_hold and bar - run.entry_bar > holds[hold]:
                hold += 1
            leave = is_set(signals, EXIT + hold - first_hold, bar)
            _decide(run, close, atrs[atr, bar], rule, long_entry, short_entry, leave)
        elif long_entry or short_entry:
            _decide(run, close, atrs[atr, bar], rule, long_entry, short_entry, False)
