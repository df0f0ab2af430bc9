"""Backtrader's notifications, turned into one :class:`~ai_backtrader.events.TradeClosed` a round trip.

Backtrader's own ``Trade`` knows neither leverage nor margin nor the price of the exit; the orders know the prices and
the leverage. Whoever is notified of orders and trades (a strategy, an analyzer) hands them to a :class:`TradeRecorder`.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import backtrader as bt

from ai_backtrader.brokers.leverage_broker import LeverageBroker
from ai_backtrader.events import TradeClosed
from ai_backtrader.values import Direction, Regime

__all__ = ["TradeRecorder"]


@dataclass
class _RoundTrip:
    """What is known of a position between its first fill and its last."""

    direction: Direction
    opened_at: dt.datetime
    indicators: Mapping[str, float]
    regime: Regime | None
    funding_before: float
    opened: float = 0.0
    opened_cost: float = 0.0
    margin: float = 0.0
    closed: float = 0.0
    closed_cost: float = 0.0
    closed_at: dt.datetime | None = None
    liquidated: bool = False


class TradeRecorder:
    """Follows orders and trades of one strategy and gives an event for each position that closes.

    Parameters
    ----------
    broker
        The strategy's broker: any Backtrader broker; leverage, margin and funding come from a ``LeverageBroker``.
    strategy_id
        Name under which the events are recorded.
    """

    def __init__(self, broker: Any, strategy_id: str) -> None:
        self._broker = broker
        self._strategy_id = strategy_id
        self._context: dict[Any, tuple[Mapping[str, float], Regime | None]] = {}
        self._trips: dict[tuple[Any, int], deque[_RoundTrip]] = {}
        self._bits_seen: dict[int, int] = {}

    def note(self, data: Any, indicators: Mapping[str, float], regime: Regime | None) -> None:
        """Remember what was seen when an order for ``data`` was sent: its fill takes this as the features at entry."""
        self._context[data] = (indicators, regime)

    def on_order(self, order: Any) -> None:
        """Take the fills of an order that have not been seen yet (call from ``notify_order``)."""
        bits = list(order.executed.exbits)
        seen = self._bits_seen.get(order.ref, 0)
        for bit in bits[seen:]:
            if bit.closed:
                self._close(order, bit)
            if bit.opened:
                self._open(order, bit)
        if order.alive():
            self._bits_seen[order.ref] = len(bits)
        else:
            self._bits_seen.pop(order.ref, None)

    def on_trade(self, trade: Any) -> TradeClosed | None:
        """The event of a trade that has just closed, None while it is open (call from ``notify_trade``)."""
        if not trade.isclosed:
            return None
        trips = self._trips.get((trade.data, trade.tradeid))
        if not trips:
            return None  # opened before the recorder was there
        trip = trips.popleft()
        exit_price = trip.closed_cost / trip.closed if trip.closed else trade.price
        funding = self._funding(trade.data) - trip.funding_before
        opened_at, closed_at = trip.opened_at, trip.closed_at or trip.opened_at
        return TradeClosed(
            symbol=trade.data._name or "",
            strategy_id=self._strategy_id,
            direction=trip.direction,
            entry_price=trip.opened_cost / trip.opened,
            exit_price=exit_price,
            size=trip.opened,
            leverage=trip.opened_cost / trip.margin,
            pnl=trade.pnlcomm,
            pnl_pct=100.0 * trade.pnlcomm / trip.margin,
            commission=trade.commission - funding,
            funding=funding,
            hold_bars=int(trade.barlen),
            hold_duration_mins=(closed_at - opened_at).total_seconds() / 60.0,
            opened_at=opened_at,
            closed_at=closed_at,
            regime=trip.regime,
            indicators_at_entry=trip.indicators,
            liquidated=trip.liquidated,
        )

    def _open(self, order: Any, bit: Any) -> None:
        key = (order.data, order.tradeid)
        trips = self._trips.setdefault(key, deque())
        if not trips or trips[-1].closed >= trips[-1].opened:
            indicators, regime = self._context.get(order.data, ({}, None))
            direction = Direction.LONG if bit.opened > 0 else Direction.SHORT
            funding = self._funding(order.data)
            trips.append(_RoundTrip(direction, bt.num2date(bit.dt), indicators, regime, funding))
        trip, notional = trips[-1], abs(bit.opened) * bit.price
        trip.opened += abs(bit.opened)
        trip.opened_cost += notional
        trip.margin += notional / self._leverage(order)

    def _close(self, order: Any, bit: Any) -> None:
        trips = self._trips.get((order.data, order.tradeid))
        if trips:
            trip = trips[-1]
            trip.closed += abs(bit.closed)
            trip.closed_cost += abs(bit.closed) * bit.price
            trip.closed_at = bt.num2date(bit.dt)
            trip.liquidated |= bool(order.info.get("liquidation"))

    def _leverage(self, order: Any) -> float:
        # None on a plain order of a LeverageBroker and on every order of another broker.
        chosen = getattr(order, "margin_leverage", None)
        return float(chosen or self._broker.getcommissioninfo(order.data).get_leverage())

    def _funding(self, data: Any) -> float:
        return float(self._broker.funding_paid(data)) if isinstance(self._broker, LeverageBroker) else 0.0
