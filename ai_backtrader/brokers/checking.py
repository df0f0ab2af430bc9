"""Orders on their way in: leverage, lot step, vetoes, and the check against cash, tiers and maintenance margin."""

from __future__ import annotations

from typing import Any

from backtrader.order import BuyOrder, Order, SellOrder

from ai_backtrader.brokers.charges import Charges
from ai_backtrader.brokers.state import target_of

__all__ = ["OrderChecks", "plain_release"]

# The positional arguments of BackBroker.buy and sell after owner, data and size.
_ORDER_FIELDS = (
    "price",
    "plimit",
    "exectype",
    "valid",
    "tradeid",
    "oco",
    "trailamount",
    "trailpercent",
    "parent",
    "transmit",
    "histnotify",
    "_checksubmit",
)


def plain_release(scheme: Any, closed: float, entry: float, shortcash: bool) -> float:
    """Cash that BackBroker gives back for closed units, before profit and commission."""
    if shortcash:
        value = float(scheme.getvaluesize(-closed, entry))
    else:
        value = float(scheme.getoperationcost(closed, entry))
    return value / float(scheme.get_leverage()) if value > 0 else value


class OrderChecks(Charges):
    """Fifth floor of :class:`~ai_backtrader.brokers.LeverageBroker`: which orders are taken."""

    def buy(self, owner: Any, data: Any, size: float, *args: Any, **kwargs: Any) -> Any:
        """Create a buy order; as ``BackBroker.buy``, with ``leverage=`` and ``reduce_only=`` besides."""
        return self._send(BuyOrder, owner, data, size, args, kwargs)

    def sell(self, owner: Any, data: Any, size: float, *args: Any, **kwargs: Any) -> Any:
        """Create a sell order; as ``BackBroker.sell``, with ``leverage=`` and ``reduce_only=`` besides."""
        return self._send(SellOrder, owner, data, size, args, kwargs)

    def _send(
        self, order_class: Any, owner: Any, data: Any, size: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        fields = dict(zip(_ORDER_FIELDS, args, strict=False))
        fields.update((name, kwargs.pop(name)) for name in _ORDER_FIELDS if name in kwargs)
        oco, check, parent = fields.pop("oco", None), fields.pop("_checksubmit", True), fields.get("parent")
        fields["pricelimit"] = fields.pop("plimit", None)

        target = target_of(data)
        account = self._accounts.get(target)
        position = self.positions.get(target)
        held = 0.0 if position is None else position.size
        against = bool(held) and (held > 0) != (order_class is BuyOrder)
        opens = parent is None and not kwargs.get("reduce_only") and not (against and size <= abs(held))

        chosen = kwargs.pop("leverage", None)
        veto = None
        if opens:
            if chosen is None:
                chosen = self._prepared.pop(target, None)
            veto = self._vetoed.pop(target, None)
        if chosen is not None:
            chosen = self._checked_leverage(chosen)
        if parent is not None:
            chosen = None
            if getattr(parent, "margin_leverage", None) is not None:
                kwargs["reduce_only"] = True
        fallback = chosen or (account.leverage if account is not None else self._default_leverage(target))

        rules = self._rules(target) if opens else None
        if rules is not None:
            closing = abs(held) if against else 0.0
            opening = rules.round_down(size - closing)
            reference = fields.get("price") or data.close[0]
            veto = veto or rules.refusal(opening, reference, float(self._scheme(target).p.mult))
            if veto is None:
                size = closing + opening

        order = order_class(owner=owner, data=data, size=size, **fields)
        order.margin_leverage = fallback
        if fallback is not None or kwargs.get("reduce_only"):
            self._uses_margin = True
            if order.exectype == Order.Market:
                self._markets.append(order)
        if chosen is not None:
            kwargs["leverage"] = chosen
        order.addinfo(**kwargs)
        self._ocoize(order, oco)
        if veto is not None:
            self._note_refusal(order, veto)
            order.reject(self)
            self.notify(order)
            return order
        return self.submit(order, check=check)

    def check_submitted(self) -> None:
        """Accept or refuse the orders sent since the last bar, one after the other against the cash left.

        Plain orders as in ``BackBroker``. Of a margined position, reductions and bracket children are always accepted,
        and a refused order leaves no trace in the cash available to the next.
        """
        if not self._uses_margin:
            # BackBroker's own check; what it refuses, for cash only, is counted.
            sent = list(self.submitted)
            super().check_submitted()
            for order in sent:
                if order.status == Order.Margin:
                    self._note_refusal(order, "cash")
            return
        cash = self.cash
        positions: dict[Any, Any] = {}
        margins: dict[Any, tuple[float, float]] = {}  # margin and leverage of the trial positions
        while self.submitted:
            order = self.submitted.popleft()
            if self._take_children(order) is None:
                continue
            if self._is_plain(order, target_of(order.data)):
                position = positions.setdefault(order.data, self.positions[order.data].clone())
                cash = self._execute(order, cash=cash, position=position)
                reason = None if cash >= 0.0 else "cash"
            else:
                cash, reason = self._trial(order, cash, positions, margins)
            if reason is None:
                self.submit_accept(order)
            else:
                self._refuse(order, reason)

    def _is_plain(self, order: Any, data: Any) -> bool:
        """Whether BackBroker's own arithmetic serves the order."""
        return (
            data not in self._accounts
            and order.__dict__.get("margin_leverage") is None
            and not order.info.get("reduce_only")
        )

    def _trial(
        self, order: Any, cash: float, positions: dict[Any, Any], margins: dict[Any, tuple[float, float]]
    ) -> tuple[float, str | None]:
        """Cash left after a margined order at its reference price, and why it is refused (None: accepted)."""
        if order.info.get("reduce_only"):
            return cash, None
        data = target_of(order.data)
        position = positions.get(data)
        if position is None:
            position = positions[data] = self.positions[data].clone()
        account = self._accounts.get(data)
        if data not in margins:
            margins[data] = (0.0, 1.0) if account is None else (account.margin, account.leverage)
        margin, leverage = margins[data]
        market = order.exectype == Order.Market
        price = order.data.open[0] if market and self.p.coo else order.created.price
        size = order.executed.remsize
        psize, _, opened, closed = position.pseudoupdate(size, price)
        scheme = self._scheme(data)
        gain, left = 0.0, margin
        if closed:
            share = 1.0 if not psize or opened else abs(closed) / abs(position.size)
            if account is None and margin == 0.0:
                released = plain_release(scheme, closed, position.price, bool(self.p.shortcash))
            else:
                released = margin * share
            gain = released + scheme.profitandloss(-closed, position.price, price)
            gain -= scheme.getcommission(closed, price)
            left = margin * (1.0 - share)
        after = cash + gain
        if opened:
            leverage = self._opening_leverage(order, leverage if margin else None)
            posted = abs(opened) * price * float(scheme.p.mult) / leverage
            after -= posted + scheme.getcommission(opened, price)
            left += posted
            plain = account is None and margin == 0.0
            reason = self._why_refused(data, psize, opened, price, leverage=leverage, margin=left, plain=plain)
            if reason is None and after + self._open_profit() < 0.0:
                reason = "cash"
            if reason is not None:
                return cash, reason
        if market:
            position.update(size, price)
            margins[data] = (left, leverage)
            return after, None
        # What fills later, or never, brings no cash to the orders of this bar, but reserves it.
        return min(cash, after) if opened else cash, None

    def _open_profit(self) -> float:
        """Unrealised profit that cross margin lets open further positions; none in isolated mode."""
        if not self._cross:
            return 0.0
        return sum(leg.units * (leg.start - leg.entry) for leg in self._legs("open").values())

    def _opening_leverage(self, order: Any, in_force: float | None) -> float:
        """Leverage of what an order opens: its own, else that of the position, else what held when it was sent."""
        own = order.info.get("leverage")
        if own is not None:
            return float(own)
        return float(order.margin_leverage) if in_force is None else in_force

    def _why_refused(
        self, data: Any, psize: float, opened: float, price: float, *, leverage: float, margin: float, plain: bool
    ) -> str | None:
        """Why a margined order may not open ``opened`` of then ``psize`` units at ``price``, apart from the cash.

        ``margin``: what then stands behind the position; ``plain``: the position before has no margin account.
        """
        adds = abs(psize) > abs(opened)
        if adds and plain:
            return f"plain position: cannot add at leverage {leverage:g} to {psize - opened:g} units without margin"
        notional = abs(psize) * price * float(self._scheme(data).p.mult)
        cap = self.max_leverage_for(data, notional)
        if leverage > cap * (1.0 + 1e-12):
            return f"tier: leverage {leverage:g} above {cap:g} for a notional of {notional:g}"
        if not adds and margin <= self._maintenance(self.tiers_for(data), notional):
            return f"maintenance: margin {margin:g} at leverage {leverage:g} does not exceed the maintenance margin"
        return None

    def _refuse(self, order: Any, reason: str) -> None:
        """Backtrader's Margin refusal of an order and of what hangs on it."""
        self._note_refusal(order, reason)
        order.margin()
        self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)
