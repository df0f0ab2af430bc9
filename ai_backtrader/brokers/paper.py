"""Paper trades: what would have come of the trades that sizing withheld.

Without an edge in its realised trades the leverage manager sizes nothing, and a strategy that does not trade realises
no trades: it would stand still for ever. So the trades that are withheld are followed on paper, by the broker's rules
and costs, and handed to the systems that learn, marked as paper.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_backtrader.events import TradeClosed
from ai_backtrader.values import Direction, Regime

__all__ = ["PaperTrade"]

NOT_YET = dt.datetime.min  # the entry waits for the next open


@dataclass
class PaperTrade:
    """One position on paper, entered at the next open, with a stop and perhaps a target.

    As in the broker: the bracket works from the bar after the entry; a bar that touches both ends at the stop; a gap
    ends at the open.

    Attributes
    ----------
    symbol, strategy_id, direction, leverage
        Of the event that comes of it.
    stop_loss, take_profit
        Prices; ``take_profit`` None for no target.
    cost_rate
        Commission and slippage of one fill, as a fraction of the notional.
    indicators, regime
        What was seen when it was decided on.
    seen
        Length of the feed then: the next bar is the first that counts.
    """

    symbol: str
    strategy_id: str
    direction: Direction
    leverage: float
    stop_loss: float
    take_profit: float | None
    cost_rate: float
    indicators: Mapping[str, float]
    regime: Regime | None
    seen: int
    entry_price: float = 0.0
    opened_at: dt.datetime = NOT_YET
    bars: int = 0
    leaving: bool = False

    def leave(self) -> None:
        """Close at the next open."""
        self.leaving = True

    def on_bar(self, data: Any) -> TradeClosed | None:
        """Take the bar that has just closed, once; the event when the position is closed by it."""
        if len(data) == self.seen:
            return None
        self.seen = len(data)
        if self.opened_at is NOT_YET:
            self.entry_price, self.opened_at = data.open[0], data.datetime.datetime(0)
            return None
        self.bars += 1
        exit_price = data.open[0] if self.leaving else self._bracket_price(data)
        return None if exit_price is None else self._closed(exit_price, data.datetime.datetime(0))

    def _bracket_price(self, data: Any) -> float | None:
        sign, first = self.direction.sign, data.open[0]
        worst, best = (data.low[0], data.high[0]) if sign > 0 else (data.high[0], data.low[0])
        if sign * (first - self.stop_loss) <= 0.0:
            return float(first)
        if sign * (worst - self.stop_loss) <= 0.0:
            return self.stop_loss
        if self.take_profit is None or sign * (best - self.take_profit) < 0.0:
            return None
        return float(max(first, self.take_profit) if sign > 0 else min(first, self.take_profit))

    def _closed(self, exit_price: float, at: dt.datetime) -> TradeClosed:
        move = self.direction.sign * (exit_price / self.entry_price - 1.0)
        costs = self.cost_rate * (1.0 + exit_price / self.entry_price)
        return TradeClosed(
            symbol=self.symbol,
            strategy_id=self.strategy_id,
            direction=self.direction,
            entry_price=self.entry_price,
            exit_price=exit_price,
            leverage=self.leverage,
            # An isolated position cannot lose more than its margin.
            pnl_pct=100.0 * max(self.leverage * (move - costs), -1.0),
            hold_bars=self.bars,
            hold_duration_mins=(at - self.opened_at).total_seconds() / 60.0,
            opened_at=self.opened_at,
            closed_at=at,
            regime=self.regime,
            indicators_at_entry=self.indicators,
            paper=True,
        )
