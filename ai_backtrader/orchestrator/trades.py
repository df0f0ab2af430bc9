"""A closed trade as the printed call tells it."""

from __future__ import annotations

import math

from ai_backtrader.errors import SettingsError
from ai_backtrader.values import Direction

__all__ = ["direction_of"]


def direction_of(*, entry_price: float, exit_price: float, pnl_pct: float) -> Direction:
    """Side of a closed trade whose caller did not say it: LONG where profit and price moved the same way.

    A long that falls and loses is LONG, and so is one that rises and wins; the other two are SHORT. A long that rose by
    less than its costs looks like a short: give the direction where fees can outweigh the move.

    Raises
    ------
    SettingsError
        If price or profit did not move, so that nothing can be told.
    """
    told = (exit_price - entry_price) * pnl_pct
    if told == 0.0 or not math.isfinite(told):
        raise SettingsError(
            "on_trade_complete",
            [
                "direction must be given: it cannot be told from "
                f"entry_price {entry_price!r}, exit_price {exit_price!r} and pnl_pct {pnl_pct!r}"
            ],
        )
    return Direction.LONG if told > 0.0 else Direction.SHORT
