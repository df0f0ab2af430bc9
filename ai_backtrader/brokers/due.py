"""When a bar liquidates, and at which price."""

from __future__ import annotations

from typing import Any

from ai_backtrader.brokers.accounts import MarginAccount
from ai_backtrader.brokers.checking import OrderChecks
from ai_backtrader.brokers.cross import Leg, liquidation_share

__all__ = ["LiquidationDue"]


class LiquidationDue(OrderChecks):
    """Sixth floor of :class:`~ai_backtrader.brokers.LeverageBroker`: the bar's range against the liquidation price."""

    def _due_in_range(self, data: Any, account: MarginAccount) -> tuple[float, str] | None:
        """Price and reason of the liquidation that the bar's range brings about; None if there is none."""
        if account.liquidation is None or account.inside_bar == "close":
            return None
        if not account.inside_bar:
            if not account.is_beyond(account.worst):
                return None
            opening = self._bar(data).mark("open")
            return (opening, "gap") if account.is_beyond(opening) else (account.liquidation, "bar")
        # A position raised by a stop inside the bar, which opened beyond its liquidation price: the way from open to
        # the stop explains the extreme, only the close is known to come after.
        bar = self._bar(data)
        worst = bar.mark("close") if account.is_beyond(bar.mark("open")) else account.worst
        return (account.liquidation, "bar") if account.is_beyond(worst) else None

    def _price_of_liquidation_due(self, data: Any) -> float | None:
        """Price of the feed at which this bar's range liquidates; None if it does not."""
        if self._cross:
            if not self._accounts:
                return None
            legs = self._way("bar")
            share = liquidation_share(self._wallet(), list(legs.values()), self._fee_rate)
            if share is None:
                return None
            leg = legs.get(data)
            # A feed without a position: only what fills at its open comes before.
            return self._bar(data).last("open") if leg is None else leg.price(share)
        account = self._accounts.get(data)
        if account is None or not account.is_beyond(account.worst):
            return None
        return account.liquidation

    def _way(self, where: str) -> dict[Any, Leg]:
        """Joint move of the margined positions: from the close before to the open ("gap"), or to all worst prices.

        Which feed's extreme came first is unknown; that they come together is the pessimistic reading. A feed without a
        new bar stays at its last mark; a position opened inside the bar starts at its fill, one opened at the close
        moves no more.
        """
        legs = {}
        for data, account in self._accounts.items():
            bar, units = self._bar(data), account.units
            if not bar.new:
                start = end = bar.mark("close")
            elif where == "gap":
                end = bar.mark("open")
                start = end if bar.before is None else bar.before
            elif account.inside_bar == "close":
                start = end = bar.mark("close")
            else:
                start = account.last_fill if account.inside_bar else bar.mark("open")
                end = account.worst
            legs[data] = Leg(units=units, entry=account.entry, start=start, end=end, tiers=account.tiers)
        return legs
