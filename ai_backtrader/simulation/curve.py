"""The equity curve: the account's value at a close, and the statistics that need every bar."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.compiling import compiled, inlined
from ai_backtrader.simulation.state import WINDOW

__all__ = ["account_value", "add_by_label", "observe", "rest", "ride", "sum_up"]

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
def observe(run: Any, equity: float, curve: Floats) -> None:
    """Write one more value down."""
    curve[run.seen] = run.equity = equity
    run.seen += 1
    if run.size != 0.0:
        run.bars_held += 1


@inlined
def rest(run: Any, start: int, stop: int, equity: Floats, cash: Floats) -> None:
    """Bars ``start <= bar < stop`` without a position: nothing moves."""
    if run.equity > 0.0:
        run.resting += stop - start
    if len(equity):
        equity[start:stop] = run.cash
        cash[start:stop] = run.cash


@inlined
def _quiet_until(
    bars: Any, ahead: Any, start: int, stop: int, long: bool, trail: float, below: float, above: float,
    mark_below: float, mark_above: float,
) -> tuple[int, float, float]:  # fmt: skip
    """First bar from ``start`` on that touches a level, at most ``stop``; and the levels, which a trailing stop moves.

    Comparisons with NaN (no such order) are false.
    """
    trailing = not np.isnan(trail)
    bar = start
    while bar < stop:
        view = ahead[bar]
        low, high = below, above
        if trailing:
            # The level that the best close of the window brings: no bar of it knows more.
            if long:
                low = max(below, view.highest_close - trail)
            else:
                high = min(above, view.lowest_close + trail)
        if (bar + WINDOW <= stop or not trailing) and not (
            view.lowest_low <= low
            or view.highest_high >= high
            or view.lowest_mark <= mark_below
            or view.highest_mark >= mark_above
        ):
            below, above = low, high
            bar += WINDOW
            continue
        edge = min(bar + WINDOW, stop)
        while bar < edge:
            now = bars[bar]
            if now.low <= below or now.high >= above or now.mark_low <= mark_below or now.mark_high >= mark_above:
                return bar, below, above
            if trailing:
                if long:
                    below = max(below, now.close - trail)
                else:
                    above = min(above, now.close + trail)
            bar += 1
    return min(bar, stop), below, above


@inlined
def _write_values(
    closes: Floats, start: int, stop: int, size: float, entry: float, margin: float, free: float, margined: bool,
    as_cost: bool, curve: Floats, seen: int,
) -> None:  # fmt: skip
    """Account values of the bars ``start <= bar < stop`` of one position, as :func:`account_value` gives them."""
    # Unsigned: an index that could be negative would keep the compiler from computing several values at once.
    first, place = np.uint64(start), np.uint64(seen)
    if margined:
        for i in range(np.uint64(stop - start)):
            curve[place + i] = free + max(0.0, margin + size * (closes[first + i] - entry))
    elif as_cost:
        for i in range(np.uint64(stop - start)):
            close = closes[first + i]
            gain = size * (close - entry)
            worth = abs(entry * size + (entry - close) * size)
            curve[place + i] = free + ((worth - gain) + gain if worth > 0.0 else worth)
    else:
        for i in range(np.uint64(stop - start)):
            close = closes[first + i]
            gain = size * (close - entry)
            worth = size * close
            curve[place + i] = free + ((worth - gain) + gain if worth > 0.0 else worth)


@inlined
def ride(
    run: Any,
    bars: Any,
    ahead: Any,
    closes: Floats,
    start: int,
    stop: int,
    shortcash: bool,
    curve: Floats,
    equity: Floats,
    cash: Floats,
) -> int:
    """Value quiet bars from ``start`` on; gives the first bar that is not quiet, at most ``stop``.

    Funding that free cash can pay leaves a bar quiet; what the margin must pay moves the liquidation price.
    """
    size, entry, margin, free = run.size, run.entry_price, run.margin, run.cash
    margined, trail = run.margined, run.trail
    long = size > 0.0
    below = run.stop if long else run.target
    above = run.target if long else run.stop
    mark_below = run.liquidation if margined and long else -np.inf
    mark_above = run.liquidation if margined and not long else np.inf
    as_cost = not shortcash and not long
    seen = run.seen
    bar = start
    while bar < stop:
        due = bars[bar].funding
        amount = due * size * bars[bar].mark_open
        if due != 0.0 and margined and amount > max(0.0, free):
            break
        first, edge = bar, min(stop, ahead[bar].funding)
        bar, below, above = _quiet_until(
            bars, ahead, first, edge, long, trail, below, above, mark_below, mark_above
        )  # fmt: skip
        if bar == first:
            break
        if due != 0.0:
            free -= amount
            run.funding += amount
            run.unbooked_funding += amount
        _write_values(closes, first, bar, size, entry, margin, free, margined, as_cost, curve, seen)
        if len(equity):
            for i in range(bar - first):
                equity[first + i] = curve[seen + i]
                cash[first + i] = free
        seen += bar - first
        if bar < edge:
            break
    if bar > start:
        run.equity = curve[seen - 1]
        run.seen = seen
        run.bars_held += bar - start
        run.cash = free
        if not np.isnan(trail):
            run.stop = below if long else above
    return bar


@compiled
def sum_up(run: Any, curve: Floats) -> None:
    """Drawdown, and the sums of the returns and of their squares, from the values written down."""
    values = curve[: run.seen]
    last = peak = trough = lowest = values[0]
    deepest = 0.0
    # Four sums side by side, the same four on every machine: one sum waits for each addition.
    a = b = c = d = aa = bb = cc = dd = 0.0
    whole = (len(values) - 1) // 4 * 4
    for k in range(1, 1 + whole, 4):
        one, two, three, four = values[k], values[k + 1], values[k + 2], values[k + 3]
        p, q, r, s = one / last - 1.0, two / one - 1.0, three / two - 1.0, four / three - 1.0
        last = four
        a, b, c, d = a + p, b + q, c + r, d + s
        aa, bb, cc, dd = aa + p * p, bb + q * q, cc + r * r, dd + s * s
        if max(max(one, two), max(three, four)) > peak:
            for i in range(k, k + 4):
                value = values[i]
                if value > peak:
                    deepest = max(deepest, (peak - trough) / peak)
                    lowest = min(lowest, trough)
                    peak = trough = value
                trough = min(trough, value)
        else:
            trough = min(trough, min(min(one, two), min(three, four)))
    for k in range(1 + whole, len(values)):
        value = values[k]
        p = value / last - 1.0
        last = value
        a += p
        aa += p * p
        if value > peak:
            deepest = max(deepest, (peak - trough) / peak)
            lowest = min(lowest, trough)
            peak = trough = value
        trough = min(trough, value)
    run.max_drawdown = max(deepest, (peak - trough) / peak)
    if min(lowest, trough) > 0.0:
        run.observations = run.resting + len(values) - 1
        run.sum_returns, run.sum_squares = (a + b) + (c + d), (aa + bb) + (cc + dd)
    else:
        _sum_returns_of_solvent_bars(run, values)


@compiled
def _sum_returns_of_solvent_bars(run: Any, values: Floats) -> None:
    """After a bar that closed at zero or below a return has no meaning, and is not counted."""
    run.observations = run.resting
    run.sum_returns = run.sum_squares = 0.0
    for k in range(1, len(values)):
        if values[k - 1] > 0.0:
            change = values[k] / values[k - 1] - 1.0
            run.observations += 1
            run.sum_returns += change
            run.sum_squares += change * change


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
