"""The equity curve: the account's value at a close, and the statistics that need every bar."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.compiling import compiled, inlined

__all__ = ["account_value", "add_by_label", "observe", "rest", "ride"]

Floats = NDArray[np.float64]


@inlined
def account_value(run: Any, close: float, shortcash: bool) -> float:
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


@inlined
def observe(run: Any, equity: float) -> None:
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


@inlined
def rest(run: Any, start: int, stop: int, equity: Floats, cash: Floats) -> None:
    """Bars ``start <= bar < stop`` without a position: nothing moves."""
    if run.equity > 0.0:
        run.observations += stop - start
    if len(equity):
        equity[start:stop] = run.cash
        cash[start:stop] = run.cash


@inlined
def ride(run: Any, bars: Any, start: int, stop: int, shortcash: bool, equity: Floats, cash: Floats) -> int:
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


@compiled
def add_by_label(equity: Floats, start: float, labels: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
    """Sums of the returns and of their squares over the bars of each label, shape (labels, 2).

    After a bar that closed at zero or below a return has no meaning, and is 0.
    """
    sums[:] = 0.0
    before = start
    for bar in range(len(equity)):
        if before > 0.0:
            change = equity[bar] / before - 1.0
            sums[labels[bar], 0] += change
            sums[labels[bar], 1] += change * change
        before = equity[bar]
