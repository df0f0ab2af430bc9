"""What a margin broker answers: liquidation price, bankruptcy price, margin ratio; of a position or of the account."""

from __future__ import annotations

import math
from typing import Any

from ai_backtrader.brokers.accounts import MarginAccount
from ai_backtrader.brokers.cross import Leg
from ai_backtrader.brokers.state import MarginState
from ai_backtrader.market.margin import liquidation_root, maintenance_ratio, margin_ratio

__all__ = ["MarginQueries"]


class MarginQueries(MarginState):
    """Second floor of :class:`~ai_backtrader.brokers.LeverageBroker`: answers, all of them without a loop over bars."""

    def get_position_leverage(self, data: Any) -> float:
        """Multiple of the margin posted by the open position; 1 when flat or plain."""
        account = self._accounts.get(data)
        return 1.0 if account is None else account.leverage

    def position_margin(self, data: Any) -> float:
        """Margin that stands behind the position (account currency); in cross mode what it posted.

        For a plain position what was paid for it: the entry value of a long, nothing for a short under ``shortcash``.
        """
        account = self._accounts.get(data)
        if account is not None:
            return account.margin
        position = self.positions.get(data)
        if position is None or (position.size < 0 and self.p.shortcash):
            return 0.0
        return float(abs(self._scheme(data).getvaluesize(position.size, position.price)))

    def liquidation_price(self, data: Any) -> float | None:
        """Price at which the position is liquidated; None when flat, plain, or when no price can do it.

        In cross mode the price of this feed at which the account's equity meets its maintenance margin while all
        others stay where they are.
        """
        account = self._accounts.get(data)
        if account is None or not self._cross:
            return None if account is None else account.liquidation
        return self._cross_liquidation(data, account, "close")

    def bankruptcy_price(self, data: Any) -> float | None:
        """Price at which the position's margin is used up (cross: the account's equity); None when flat or plain."""
        account = self._accounts.get(data)
        return None if account is None else self._bankruptcy(data, account, "close")

    def margin_ratio(self, data: Any) -> float:
        """Share of the liquidation buffer used up at the mark close: 0 after the entry or flat, 1 at liquidation.

        In cross mode that of the account, on every feed with a margined position.
        """
        account = self._accounts.get(data)
        if account is None:
            return 0.0
        equity, maintenance = self._standing(data, account)
        equity_at_entry, maintenance_at_entry = (
            self._cross_entry if self._cross else (account.equity_at_entry, account.maintenance_at_entry)
        )
        return margin_ratio(
            equity=equity,
            maintenance=maintenance,
            equity_at_entry=equity_at_entry,
            maintenance_at_entry=maintenance_at_entry,
        )

    def maintenance_ratio(self, data: Any) -> float:
        """Maintenance margin over equity at the mark close, as exchanges show it; 0 when flat or plain."""
        account = self._accounts.get(data)
        if account is None:
            return 0.0
        equity, maintenance = self._standing(data, account)
        return maintenance_ratio(equity=equity, maintenance=maintenance)

    def _standing(self, data: Any, account: MarginAccount) -> tuple[float, float]:
        """Equity and maintenance margin at the mark closes: of the position, in cross mode of the account."""
        if not self._cross:
            return self._isolated_standing(account, self._bar(data).mark("close"))
        return self._cross_standing(self._legs("close"))

    def _isolated_standing(self, account: MarginAccount, price: float) -> tuple[float, float]:
        equity = account.margin + account.units * (price - account.entry)
        return equity, self._maintenance(account.tiers, abs(account.units) * price)

    def _cross_standing(self, legs: dict[Any, Leg]) -> tuple[float, float]:
        profits = math.fsum(leg.units * (leg.start - leg.entry) for leg in legs.values())
        owed = math.fsum(self._maintenance(leg.tiers, abs(leg.units) * leg.start) for leg in legs.values())
        return self._wallet() + profits, owed

    def _wallet(self) -> float:
        """Money behind the cross positions: free cash and posted margins, less the cost of closing plain shorts."""
        owed = 0.0
        if len(self.positions) > len(self._accounts) and self.p.shortcash:
            owed = math.fsum(
                -min(0.0, self._scheme(data).getvaluesize(position.size, data.close[0]))
                for data, position in self.positions.items()
                if position.size < 0 and data not in self._accounts
            )
        return self.cash - owed + math.fsum(account.margin for account in self._accounts.values())

    def _legs(self, when: str) -> dict[Any, Leg]:
        """The margined positions at their marks: of the close, or ``"open"`` where the bar is new.

        While the account is being liquidated, at the prices of that.
        """
        legs = {}
        for data, account in self._accounts.items():
            mark = self._settling.get(data)
            if mark is None:
                bar = self._bar(data)
                mark = bar.mark(when if when == "close" or bar.new else "close")
            legs[data] = Leg(units=account.units, entry=account.entry, start=mark, end=mark, tiers=account.tiers)
        return legs

    def _backing(self, data: Any, when: str) -> tuple[float, float]:
        """What stands behind one position in cross mode: equity without it, and the others' maintenance margin."""
        legs = self._legs(when)
        del legs[data]
        equity, owed = self._cross_standing(legs)
        return equity, owed

    def _cross_liquidation(self, data: Any, account: MarginAccount, when: str) -> float | None:
        equity, owed = self._backing(data, when)
        sign = 1 if account.units > 0 else -1
        return liquidation_root(sign, account.entry, abs(account.units), equity - owed, self._fee_rate, account.tiers)

    def _bankruptcy(self, data: Any, account: MarginAccount, when: str) -> float:
        if not self._cross:
            return account.bankruptcy()
        return max(0.0, account.entry - self._backing(data, when)[0] / account.units)
