"""Liquidation: when it is due, at which price, in one piece, tier by tier, or of the whole account."""

from __future__ import annotations

import logging
import math
from typing import Any

from backtrader.order import BuyOrder, Order, SellOrder

from ai_backtrader.brokers.accounts import MarginAccount
from ai_backtrader.brokers.cross import Leg, bankruptcy_share, equity_at, liquidation_share
from ai_backtrader.brokers.fills import MarginFills
from ai_backtrader.brokers.records import Liquidation
from ai_backtrader.brokers.state import target_of
from ai_backtrader.values import Direction

__all__ = ["Liquidating"]

_log = logging.getLogger("ai_backtrader")


class Liquidating(MarginFills):
    """Eighth floor of :class:`~ai_backtrader.brokers.LeverageBroker`: liquidation."""

    def _liquidate_gaps(self) -> None:
        """Liquidate what the open of a new bar finds beyond its liquidation price."""
        new = []
        for data, account in self._accounts.items():
            bar = self._bar(data)
            if bar.new:
                account.inside_bar = ""
                account.worst = bar.worst(account.units)
                new.append((data, account))
        if self._cross:
            if new:
                self._liquidate_account(self._way("gap"), "gap")
            return
        for data, account in new:
            # The open is within the range: where the worst price is not beyond, it is not either.
            if account.is_beyond(account.worst):
                mark = self._bar(data).mark("open")
                if account.is_beyond(mark):
                    self._liquidate(data, account, mark, "gap")

    def _liquidate_ranges(self) -> None:
        """Liquidate what the range of a new bar reached, positions opened in it included."""
        if self._cross:
            if any(self._bar(data).new for data in self._accounts):
                self._liquidate_account(self._way("bar"), "bar")
            return
        for data, account in list(self._accounts.items()):
            if not self._bar(data).new:
                continue
            due = self._due_in_range(data, account)
            while due is not None:
                price, reason = due
                self._liquidate(data, account, price, reason)
                due = self._due_in_range(data, account) if data in self._accounts else None

    # ------------------------------------------------------------------------------------------------ one position

    def _liquidate(self, data: Any, account: MarginAccount, mark: float, reason: str) -> None:
        """Liquidate a position at the mark, at worst at its bankruptcy price: whole, or down to a lower tier."""
        self._cancel_all(data)
        share = self._share_to_close(data, account, mark) if self.p.partial_liquidation else 1.0
        self._close_position(data, account, mark, "partial" if share < 1.0 else reason, share)

    def _share_to_close(self, data: Any, account: MarginAccount, mark: float) -> float:
        """Part of the position that must go for the rest to be in the highest lower tier it can stand in."""
        scheme = self._scheme(data)
        notional = abs(account.units) * mark
        equity = account.margin + account.units * (mark - account.entry)
        for row in reversed(account.tiers.rows):
            floor = row.notional_floor
            # A floor that is only a rounding error below the position would never get it anywhere.
            if not 0.0 < floor < notional * (1.0 - 1e-6):
                continue
            share = 1.0 - floor / notional
            fee = scheme.getcommission(self.positions[data].size * share, mark)
            fee += (notional - floor) * float(self.p.liquidation_fee)
            if equity - fee > self._maintenance(account.tiers, floor):
                return share
        return 1.0

    def _close_position(self, data: Any, account: MarginAccount, mark: float, reason: str, share: float = 1.0) -> None:
        """Close a share of a position by liquidation orders, one for each strategy's trade, and keep the record."""
        position = self.positions[data]
        size, entry = position.size, position.price
        margin, funding = account.posted, account.funding
        parts = [(key, part * share) for key, part in account.opened_by.items() if part]
        if len(parts) == 1 or any((part > 0) != (size > 0) for _, part in parts):
            # Strategies that hold opposite sides of one feed: the largest holder of the net side takes the fill.
            largest = max(parts, key=lambda item: math.copysign(1.0, size) * item[1])
            parts = [(largest[0], size * share)]
        fee = price_loss = 0.0
        for number, ((owner, tradeid), part) in enumerate(parts):
            closing = position.size if share == 1.0 and number == len(parts) - 1 else part
            order = (SellOrder if size > 0 else BuyOrder)(
                owner=owner, data=data, size=abs(closing), exectype=Order.Market, tradeid=tradeid
            )
            order.margin_leverage = account.leverage
            order.addinfo(liquidation=True, liquidation_reason=reason, reduce_only=True)
            self._ocoize(order, None)
            self.orders.append(order)
            self.submit_accept(order)
            self.pending.remove(order)
            booked = self.d_credit.get(data, 0.0) if self.p.int2pnl else 0.0
            self._execute(order, ago=0, price=mark)
            fee += order.executed.comm - booked
            price_loss -= order.executed.pnl
        record = Liquidation(
            bar_time=data.datetime.datetime(0),
            data_name=data._name,
            side=Direction.LONG if size > 0 else Direction.SHORT,
            size=abs(size) * share,
            entry_price=entry,
            price=order.executed.price,
            leverage=account.leverage,
            margin=margin,
            loss=price_loss + fee,
            fee=fee,
            funding=funding,
            reason=reason,
        )
        self.liquidations.append(record)
        owners = {id(owner): owner for (owner, _), _ in parts}
        self._untold += [(owner, record) for owner in owners.values()]
        _log.info("liquidated %s %g at %g on %s: %s", record.side, record.size, record.price, record.data_name, reason)

    def _cancel_all(self, data: Any) -> None:
        """Cancel every order of a feed, also those that the broker has not looked at yet."""
        for order in [order for order in self.submitted if target_of(order.data) is data]:
            self.submitted.remove(order)
            order.cancel()
            self.notify(order)
            self._ococheck(order)
            self._bracketize(order, cancel=True)
        for order in list(self.pending):
            if order is not None and target_of(order.data) is data and order.alive():
                self.cancel(order)

    # ------------------------------------------------------------------------------------------------ whole account

    def _liquidate_account(self, legs: dict[Any, Leg], reason: str) -> None:
        """Close all margined positions if the account's equity falls to its maintenance margin on the way."""
        wallet, way = self._wallet(), list(legs.values())
        if reason == "gap":
            # Nothing trades between the bars: the open is the price, unless the account would then owe money.
            if equity_at(wallet, way, 1.0) > self._owed(way):
                return
            share: float | None = bankruptcy_share(wallet, way)
        else:
            share = liquidation_share(wallet, way, self._fee_rate)
        if share is None:
            return
        self._settling = {data: leg.price(share) for data, leg in legs.items()}
        for data in self._settling:
            self._cancel_all(data)
        for data, price in self._settling.items():
            self._close_position(data, self._accounts[data], price, "cross")
        self._settling = {}

    def _owed(self, way: list[Leg]) -> float:
        """Sum of the maintenance margins at the end of the way."""
        return math.fsum(self._maintenance(leg.tiers, abs(leg.units) * leg.end) for leg in way)

    def get_notification(self) -> Any:
        """Next order notification for Cerebro; once all are handed out, liquidations are told to their strategies."""
        notification = super().get_notification()
        if notification is None and self._untold:
            untold, self._untold = self._untold, []
            for owner, record in untold:
                tell = getattr(owner, "notify_liquidation", None)
                if tell is not None:
                    tell(record)
        return notification
