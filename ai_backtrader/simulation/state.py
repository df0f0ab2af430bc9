"""Records that the kernels read and write: settings of a market, parameters of a rule, state of a run."""

from __future__ import annotations

import numpy as np

__all__ = ["AHEAD_DTYPE", "BAR_DTYPE", "MOST_TIERS", "RULE_DTYPE", "RUN_DTYPE", "SETTINGS_DTYPE", "WINDOW"]


BAR_DTYPE = np.dtype(
    [
        ("open", np.float64),
        ("high", np.float64),
        ("low", np.float64),
        ("close", np.float64),
        ("mark_open", np.float64),
        ("mark_high", np.float64),
        ("mark_low", np.float64),
        ("funding", np.float64),
    ],
    align=True,
)
"""One bar, a cache line: last prices, mark prices (the last ones where there are none), the funding rate that falls due
at its start."""


AHEAD_DTYPE = np.dtype(
    [
        ("lowest_low", np.float64),
        ("highest_high", np.float64),
        ("lowest_close", np.float64),
        ("highest_close", np.float64),
        ("lowest_mark", np.float64),
        ("highest_mark", np.float64),
        ("funding", np.int64),
    ],
    align=True,
)
"""What lies ahead of a position, seen from one bar: the extremes of the :data:`WINDOW` bars from it on (of fewer at the
end), and the first bar behind it at which funding falls due (the number of bars where there is none)."""

WINDOW = 8
"""Bars that a position rides at once where no level lies in their range."""

MOST_TIERS = 64
"""Rows that a maintenance table may have."""

SETTINGS_DTYPE = np.dtype(
    [
        ("cash", np.float64),
        ("commission", np.float64),
        ("slippage", np.float64),
        ("liquidation_fee", np.float64),
        ("max_leverage", np.float64),
        ("shortcash", np.bool_),
        ("tier_rows", np.int64),
        ("tiers", np.float64, (MOST_TIERS, 4)),
    ],
    align=True,
)
"""What a run assumes of the broker; a row of ``tiers``: notional cap, maintenance rate and amount, maximum leverage."""


RULE_DTYPE = np.dtype(
    [
        ("position_size", np.float64),
        ("leverage", np.float64),
        ("stop_atr", np.float64),
        ("take_profit_atr", np.float64),
        ("trailing_atr", np.float64),
        ("atr", np.int64),
        ("start", np.int64),
        ("reverse", np.bool_),
        ("genes", np.int64),
        ("long_genes", np.int64),
        ("short_genes", np.int64),
        ("exit_genes", np.int64),
        ("filter_genes", np.int64),
        ("long_need", np.int64),
        ("short_need", np.int64),
        ("exit_need", np.int64),
        ("filter_need", np.int64),
        ("holds", np.int64),
        ("hold_genes", np.int64),
    ],
    align=True,
)
"""One rule: risk parameters, row of its ATR, first bar on which it may decide, then its sections.

``genes`` is where its conditions begin in the list of all (rows of the condition table): those of the long entry, the
short entry, the exit and the filters, ``*_genes`` of each; ``*_need`` of them must be true. ``holds`` and
``hold_genes`` are begin and number of its hold genes, ascending."""

MOST_FILLS = 4  # in one bar: a close, an entry and its liquidation, and one to spare

RUN_DTYPE = np.dtype(
    [
        # The account.
        ("cash", np.float64),
        ("size", np.float64),
        ("entry_price", np.float64),
        ("margined", np.bool_),
        ("margin", np.float64),
        ("liquidation", np.float64),
        ("unbooked_funding", np.float64),
        # Orders at work: the bracket children of the position, the market orders sent at the last close.
        ("entry_bar", np.int64),
        ("child_size", np.float64),
        ("stop", np.float64),
        ("target", np.float64),
        ("trail", np.float64),
        ("close_size", np.float64),
        ("turning", np.bool_),
        ("entry_size", np.float64),
        ("entry_stop", np.float64),
        ("entry_target", np.float64),
        ("entry_trail", np.float64),
        # The equity curve: its last value, how many values are written down, bars without a position that are not.
        ("equity", np.float64),
        ("seen", np.int64),
        ("resting", np.int64),
        ("bars_held", np.int64),
        # What it comes to in the end.
        ("max_drawdown", np.float64),
        ("observations", np.int64),
        ("sum_returns", np.float64),
        ("sum_squares", np.float64),
        # Fills of the bar; fills and trades so far.
        ("bar_fills", np.int64),
        ("fill_price", np.float64, (MOST_FILLS,)),
        ("fill_size", np.float64, (MOST_FILLS,)),
        ("fill_commission", np.float64, (MOST_FILLS,)),
        ("fill_funding", np.float64, (MOST_FILLS,)),
        ("fill_pnl", np.float64, (MOST_FILLS,)),
        ("fill_reason", np.int64, (MOST_FILLS,)),
        ("fills", np.int64),
        ("trade_commission", np.float64),
        ("trades", np.int64),
        ("wins", np.int64),
        ("gains", np.float64),
        ("losses", np.float64),
        ("fees", np.float64),
        ("funding", np.float64),
        ("liquidations", np.int64),
        ("rejected", np.int64),
    ],
    align=True,
)
"""State of one run; after it, its statistics.

NaN in ``stop``, ``target``, ``trail`` (also ``entry_*``) means none, 0 in ``close_size`` and ``entry_size`` no order;
``turning``: the close was sent because the other side's entry came; ``liquidation`` is -inf where no price liquidates a
long."""
