"""Running costs of open positions: funding and interest."""

from __future__ import annotations

from typing import Any

from backtrader.comminfo import CommInfoBase

from ai_backtrader.brokers.valuation import MarginValue

__all__ = ["Charges"]


class Charges(MarginValue):
    """Fourth floor of :class:`~ai_backtrader.brokers.LeverageBroker`: what it costs to hold a position."""

    def _settle_funding(self) -> None:
        """Charge the funding due at the start of the bar on positions held from before."""
        for clock in self._every_bar:
            position = self.positions.get(clock.data)
            if len(clock.data) and (position is None or not position.size):
                clock.due()
        for data, position in self.positions.items():
            if not position.size:
                continue
            clock = self._clocks.get(data) or self._clock(data)
            if clock.active and self._bar(data).new:
                rate = clock.due()
                if rate:
                    amount = rate * self._units(data) * self._bar(data).mark("open")
                    self._funding[data] = self._funding.get(data, 0.0) + amount
                    self._unbooked[data] = self._unbooked.get(data, 0.0) + amount
                    if data in self._accounts:
                        self._accounts[data].funding += amount
                    self._charge(data, amount)

    def _charge(self, data: Any, amount: float) -> None:
        """Take a running cost: from free cash first, the rest of it from an isolated position's margin."""
        self.d_credit[data] += amount
        account = self._accounts.get(data)
        if account is None or self._cross:
            self.cash -= amount
            return
        from_cash = min(amount, max(0.0, self.cash))
        self.cash -= from_cash
        if amount > from_cash:
            account.margin -= amount - from_cash
            account.revalue(self._units(data), self.positions[data].price, self._fee_rate)

    def _charge_interest(self) -> None:
        """Backtrader's interest on open positions (short borrow, overnight swap)."""
        plain = 0.0
        for data, position in self.positions.items():
            if not position:
                continue
            scheme = self._scheme(data)
            account = self._accounts.get(data)
            if account is not None and scheme is account.free_scheme:
                continue
            now = data.datetime.datetime()
            if account is None:
                interest = scheme.get_credit_interest(data, position, now)
                self.d_credit[data] += interest
                plain += interest
            elif _charges_nothing(scheme):
                account.free_scheme = scheme  # asked once, not in every bar
            elif account.free_scheme is None:
                interest = scheme.get_credit_interest(data, position, now)
                if interest:
                    self._charge(data, interest)
            else:
                account.free_scheme = None  # a scheme with interest has taken the place: it counts from here
            position.datetime = now
        self.cash -= plain


def _charges_nothing(scheme: Any) -> bool:
    """Whether a commission scheme can never charge interest."""
    return type(scheme).get_credit_interest is CommInfoBase.get_credit_interest and not scheme.p.interest
