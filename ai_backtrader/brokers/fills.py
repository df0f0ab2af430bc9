"""Orders on their way out: what fills in a bar, at which price, and what it does to cash and margin."""

from __future__ import annotations

from typing import Any

from backtrader.order import Order

from ai_backtrader.brokers.accounts import MarginAccount
from ai_backtrader.brokers.checking import plain_release
from ai_backtrader.brokers.due import LiquidationDue
from ai_backtrader.brokers.path import fills_before
from ai_backtrader.brokers.state import target_of

__all__ = ["MarginFills"]


class MarginFills(LiquidationDue):
    """Seventh floor of :class:`~ai_backtrader.brokers.LeverageBroker`: execution."""

    def _try_exec(self, order: Any) -> None:
        if self._uses_margin:
            traded = order.data
            data = target_of(traded)
            if data in self._accounts or not self._is_plain(order, data):
                if not self._bar(traded).new:
                    return  # the bar was complete before the order existed
                due = self._price_of_liquidation_due(data)
                if due is not None and not self._fills_first(order, data, due):
                    self._late.append(order)
                    return
        super()._try_exec(order)

    def _fills_first(self, order: Any, data: Any, due: float) -> bool:
        """Whether the order fills before the liquidation at the price ``due``."""
        return fills_before(
            exectype=order.exectype,
            is_buy=order.isbuy(),
            price=order.created.price,
            limit=order.created.pricelimit,
            triggered=order.triggered,
            open_price=self._bar(data).last("open"),
            liquidation=due,
        )

    def _execute(
        self,
        order: Any,
        ago: int | None = None,
        price: float | None = None,
        cash: float | None = None,
        position: Any = None,
        dtcoc: float | None = None,
    ) -> Any:
        if ago is None:
            return super()._execute(order, ago, price, cash, position, dtcoc)
        if price is None:
            return None
        data = target_of(order.data)
        if not self._is_plain(order, data):
            self._fill(order, data, ago, price, dtcoc)
            return None
        held = self.positions[data].size
        if self._unbooked:
            self._book_funding(order, data)
        super()._execute(order, ago, price, cash, position, dtcoc)
        if order.status == Order.Margin:
            self._note_refusal(order, "cash")
        if not held and self.positions[data].size:
            self._start_clock(data)
        return None

    def _book_funding(self, order: Any, data: Any) -> None:
        """Name the funding that the closing part of a fill is about to book (``int2pnl``) in ``order.info``."""
        unbooked = self._unbooked.get(data)
        if not unbooked or not self.p.int2pnl:
            return
        held = self.positions[data].size
        if held and (held > 0) != order.isbuy():
            order.addinfo(funding=order.info.get("funding", 0.0) + unbooked)
            del self._unbooked[data]

    def _start_clock(self, data: Any) -> None:
        clock = self._clock(data)
        if clock.active:
            clock.due()  # what fell due at this bar's start was before the position

    def _fill(self, order: Any, data: Any, ago: int, price: float, dtcoc: float | None) -> None:
        """Execute an order that opens, changes or closes a margined position."""
        position = self.positions[data]
        account = self._accounts.get(data)
        held, entry = position.size, position.price
        size = self._fill_size(order, price, ago, held)
        if not size:
            return
        settling = self._cross and bool(order.info.get("liquidation"))
        if account is not None and (held > 0) != (size > 0) and not settling:
            bound = self._bankruptcy(data, account, "open")
            price = max(price, bound) if held > 0 else min(price, bound)
        scheme = self._scheme(data)
        psize, _, opened, closed = position.pseudoupdate(size, price)

        closed_value = closed_fee = pnl = 0.0
        if closed:
            pnl = scheme.profitandloss(-closed, entry, price)
            closed_value = scheme.getoperationcost(closed, entry)
            closed_fee = scheme.getcommission(closed, price)
            if account is None:
                # A plain position reversed into a margined one: BackBroker's own closing arithmetic.
                self.cash += plain_release(scheme, closed, entry, bool(self.p.shortcash)) + pnl * scheme.stocklike
                self.cash += scheme.cashadjust(-closed, position.adjbase, price)
                self.cash -= closed_fee
            else:
                share = 1.0 if not psize or opened else abs(closed) / abs(held)
                closed_fee = self._close_part(
                    account, share, pnl, closed_fee, order, abs(closed) * price * scheme.p.mult
                )

        opened_value = opened_fee = posted = leverage = 0.0
        reason = None
        if opened:
            leverage = self._opening_leverage(order, None if account is None else account.leverage)
            posted = abs(opened) * price * scheme.p.mult / leverage
            opened_fee = scheme.getcommission(opened, price)
            standing = posted + (0.0 if account is None or closed else account.margin)
            reason = self._why_refused(
                data, psize, opened, price, leverage=leverage, margin=standing, plain=account is None
            )
            if reason is None and self.cash - posted - opened_fee + self._open_profit() < 0.0:
                reason = "cash"
            if reason is None:
                self.cash -= posted + opened_fee
                opened_value = scheme.getoperationcost(opened, price)
            else:
                opened, opened_fee, posted = 0, 0.0, 0.0

        filled = closed + opened
        if filled:
            self._book_funding(order, data)
            scheme.confirmexec(filled, price)
            position.update(filled, price, data.datetime.datetime())
            if closed and self.p.int2pnl:
                closed_fee += self.d_credit.pop(data, 0.0)
            self._update_account(order, data, account, posted, leverage, opened, closed, price)
            order.execute(
                dtcoc or order.data.datetime[ago], filled, price, closed, closed_value, closed_fee, opened,
                opened_value, opened_fee, posted, pnl, position.size, position.price,
            )  # fmt: skip
            order.addcomminfo(scheme)
            self.notify(order)
            self._ococheck(order)
            if closed and (opened or not position.size):
                self._cancel_orphans(data)
        if reason is not None:
            self._refuse(order, reason)

    def _fill_size(self, order: Any, price: float, ago: int, held: float) -> float:
        """Signed size that fills now; a reduce-only order is cut to the position, or dropped where it has none."""
        left = order.executed.remsize
        if order.info.get("reduce_only"):
            if not held or (held > 0) == (left > 0):
                self._drop(order, "nothing to reduce")
                return 0.0
            if abs(left) > abs(held):
                left = order.executed.remsize = -held
        if self.p.filler is None or order.info.get("liquidation"):
            return float(left)
        size = float(self.p.filler(order, price, ago))
        return size if order.isbuy() else -size

    def _close_part(
        self, account: MarginAccount, share: float, pnl: float, fee: float, order: Any, notional: float
    ) -> float:
        """Give back a share of the margin with the profit on it, and return the fee that it could pay.

        The fee of a liquidation comes out of what is left of the margin (in cross mode, of the account); any other fee
        may also take free cash, never more than there is. A partial liquidation gives nothing back: what is left stays
        behind the rest of the position.
        """
        liquidating = order.info.get("liquidation")
        if liquidating:
            fee += notional * float(self.p.liquidation_fee)
        released = account.margin * share
        if self._cross:
            back = released + pnl
            fee = min(fee, max(0.0, self._equity_left(account, share, pnl)))
        else:
            if liquidating and share < 1.0:
                released = account.margin
            back = max(0.0, released + pnl)
            fee = min(fee, back if liquidating else back + max(0.0, self.cash))
        if liquidating and share < 1.0 and not self._cross:
            account.margin = back - fee
        else:
            self.cash += back - fee
            account.margin -= account.margin * share
            account.posted -= account.posted * share
        return fee

    def _equity_left(self, account: MarginAccount, share: float, pnl: float) -> float:
        """Equity of a cross account of which ``share`` of one position is being closed with ``pnl``."""
        legs = self._legs("open")
        gone = next(data for data, known in self._accounts.items() if known is account)
        leg = legs.pop(gone)
        kept = (1.0 - share) * leg.units * (leg.start - leg.entry)
        return self._wallet() + pnl + kept + sum(leg.units * (leg.start - leg.entry) for leg in legs.values())

    def _update_account(
        self,
        order: Any,
        data: Any,
        account: MarginAccount | None,
        posted: float,
        leverage: float,
        opened: float,
        closed: float,
        price: float,
    ) -> None:
        """Bring the margin account up to date after a fill; the position has been updated before."""
        position = self.positions[data]
        if not position.size:
            self._accounts.pop(data, None)
        elif opened and (account is None or closed):
            account = self._accounts[data] = MarginAccount(
                posted=posted, margin=posted, leverage=leverage, tiers=self.tiers_for(data)
            )
            position.adjbase = None
            self._start_clock(data)
        elif opened and account is not None:
            account.posted += posted
            account.margin += posted
            account.leverage = abs(self._units(data)) * position.price / account.posted
        if account is not None and position.size:
            if opened:
                account.inside_bar = self._inside_bar(order, data, price)
                account.last_fill = price
            account.record_owner((order.p.owner, order.p.tradeid), opened + (0.0 if opened and closed else closed))
            account.revalue(self._units(data), position.price, self._fee_rate)
            account.worst = self._bar(data).worst(account.units)
            equity, maintenance = self._isolated_standing(account, price)
            account.equity_at_entry, account.maintenance_at_entry = equity, maintenance
        if self._cross:
            self._cross_entry = self._cross_standing(self._legs("open"))

    def _inside_bar(self, order: Any, data: Any, price: float) -> str:
        if order.exectype == Order.Market or price == self._bar(data).last("open"):
            return ""
        if order.exectype == Order.Close:
            return "close"
        return "limit" if order.exectype in (Order.Limit, Order.Historical) else "stop"

    def _drop(self, order: Any, reason: str) -> None:
        """Cancel an order that is being executed (it is not in ``pending`` then)."""
        order.addinfo(reject_reason=reason)
        order.cancel()
        self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)

    def _cancel_orphans(self, data: Any) -> None:
        """Cancel the live bracket children of a position that is gone: they would act on the next one."""
        for order in list(self.pending):
            if order is None or not order.info.get("reduce_only") or target_of(order.data) is not data:
                continue
            if order.active() and order.alive():
                self.cancel(order)
