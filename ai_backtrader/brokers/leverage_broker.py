"""LeverageBroker: real margin inside Backtrader's broker simulation."""

from __future__ import annotations

from typing import Any

from backtrader.order import Order

from ai_backtrader.brokers.liquidating import Liquidating

__all__ = ["LeverageBroker"]


class LeverageBroker(Liquidating):
    """Backtrader's broker with margin, funding and liquidation.

    A one-line replacement: ``cerebro.broker = LeverageBroker(leverage=5)`` before ``setcash`` and ``setcommission``
    (both live on the broker that is replaced).

    **Two kinds of position.** A position is *margined* when its leverage was chosen: by ``buy(leverage=5)`` (also 1),
    by a sizer (``prepare_leverage``), by a default leverage above 1 (``leverage=`` here or in ``setcommission``), or by
    ``margin_always=True``. Every other position is *plain*: with default settings and no funding the broker equals
    ``BackBroker`` to the last bit in fills, cash and value, its ``shortcash`` rule included. Margined positions on both
    sides

    - post ``notional / leverage`` and give it back in proportion when they are reduced; an addition posts its own;
      an order without leverage of its own keeps the position's, also when it reverses it;
    - are worth ``margin + unrealised profit`` (isolated: never below zero), so a short falls linearly;
    - are liquidated; an isolated 1x short near twice its entry, an isolated 1x long never;
    - are only filled from bars that came after the order (a slow feed's old bar fills nothing);
    - have reduce-only bracket children, which need no cash and never open a position; a reduction is never refused.

    Plain and margined positions live side by side on different feeds. Leverage cannot be added to a plain position.

    **One bar**, in this order, for feeds whose bar is new:

    1. Funding due at the start of the bar, on positions held from before, at the mark open. What free cash cannot pay
       is taken from the position's margin and moves its liquidation price.
    2. Gap: a position whose mark open lies beyond its liquidation price is liquidated there, at worst at its bankruptcy
       price; all orders of the feed are cancelled.
    3. Orders. In a bar whose mark range reaches the liquidation price the price is taken to go straight from the open
       to it: what fills on that way fills first (a stop nearer than the liquidation price wins), all else comes too
       late. Market orders go first in every bar, whatever their place in Backtrader's queue. A reduction never fills
       beyond the bankruptcy price of an isolated position.
    4. Liquidation at the liquidation price where the mark range reaches it, also on the bar of the entry. For one
       raised by a stop inside the bar, the extreme may have come before it: it counts (pessimistic), unless the open
       alone lies beyond the liquidation price; then only the close counts. After a fill at the close nothing counts.

    The mark is the lines ``mark_open/high/low/close`` where the feed has them, else its own prices. A liquidation fills
    at the mark; price loss, commission and liquidation fee together never exceed the margin. The strategy that opened
    the position gets ``notify_order`` (``order.info["liquidation"]``), ``notify_trade`` and, where it defines it,
    ``notify_liquidation(liquidation)``: in the same bar, before ``next()``; several strategies or trade ids that hold a
    part of the position are each told, with an order for each part.

    ``order_target_value`` and ``order_target_percent`` size exactly, in fractions, where the position is or would be
    margined; from flat and with a leverage given only in the call Backtrader has sized in whole units before the broker
    hears of it: prepare the leverage (``broker.prepare_leverage(data, 5)``), or set a default or a lot step.

    Params
    ------
    leverage : float, default 1.0
        Default multiple; above 1 it makes every position margined. A leverage in ``setcommission`` goes before it.
    max_leverage : float, default 125.0
        Orders that ask for more raise ``SettingsError``.
    margin_mode : str, default "isolated"
        "isolated": each position stands on its own margin. "cross": the account's equity stands against the sum of the
        maintenance margins; unrealised profit counts as margin for further orders; all margined positions close
        together, where a joint move of all feeds from their opens to their worst prices meets that line (that the
        extremes come together is the pessimistic reading). Plain longs are no collateral, plain shorts are a debt.
    margin_always : bool, default False
        Margin positions at leverage 1 too.
    tiers : MaintenanceTiers, dict or None
        Maintenance table; a dict maps feed names to tables; None is a flat rate of 0.5 % of the notional.
    trigger : str, default "mark"
        "mark": the feed's mark prices liquidate, price the liquidation and the funding; "last": its own prices do.
    liquidation_fee : float, default 0.0
        Fee of a liquidation as a fraction of the notional, on top of the commission.
    fee_in_maintenance : bool, default False
        Whether the fee counts into the maintenance margin (some venues) or only takes its part of what is left
        (Binance).
    partial_liquidation : bool, default False
        Isolated mode: liquidate only down to the highest lower tier in which the rest can stand; what is left of the
        margin stays behind it. A position in the lowest tier closes whole.
    funding : float, str, bool or None
        None: the feed's line ``funding_rate`` where it has one, else none; 0 or False: none; a number: that rate at
        every stamp; text: the feed's line of that name. Longs pay a positive rate, shorts receive it.
    funding_hours, funding_offset : float, default 8.0 and 0.0
        Stamps of a constant rate: every so many hours from midnight UTC plus the offset.
    bar_label : str, default "auto"
        Whether bars carry the time of their "start" or "end"; "auto": end for feeds that Backtrader resampled or
        replayed, start for all others.

    Attributes
    ----------
    liquidations : list of Liquidation
        In the order they happened.
    rejections : Counter
        Refused orders by reason; the reason is also in ``order.info["reject_reason"]``.
    """

    params = (
        ("leverage", 1.0),
        ("max_leverage", 125.0),
        ("margin_mode", "isolated"),
        ("margin_always", False),
        ("tiers", None),
        ("trigger", "mark"),
        ("liquidation_fee", 0.0),
        ("fee_in_maintenance", False),
        ("partial_liquidation", False),
        ("funding", None),
        ("funding_hours", 8.0),
        ("funding_offset", 0.0),
        ("bar_label", "auto"),
    )

    def next(self) -> None:
        """One step of the simulation (see the class for the order of things)."""
        self._plain_scheme = None
        for bar in self._prices.values():
            bar.begin()
        if not self._is_idle():
            self._settle_funding()
            if self._uses_margin:
                self._step()
            else:
                super().next()
                if self._accounts:  # the history of orders that Cerebro may be given can ask for leverage too
                    self._liquidate_ranges()
                    self._get_value()
            self._settled_cash = None if self._accounts or any(self.positions.values()) else self.cash
        for bar in self._prices.values():
            bar.end()

    def _step(self) -> None:
        """BackBroker's step with margin."""
        while self._toactivate:
            self._toactivate.popleft().activate()
        if self._accounts:
            self._liquidate_gaps()
        if self.p.checksubmit and self.submitted:
            self.check_submitted()
        self._charge_interest()
        self._process_order_history()
        self._work_orders()
        for data, position in self.positions.items():
            if position and data not in self._accounts:
                self.cash += self._scheme(data).cashadjust(position.size, position.adjbase, data.close[0])
                position.adjbase = data.close[0]
        if self._accounts:
            self._liquidate_ranges()
        if self._cross:
            for bar in self._prices.values():
                bar.keep_close()
        self._get_value()

    def _is_idle(self) -> bool:
        """Whether nothing can change: no order, no position, the same cash as after the last step."""
        return (
            self._settled_cash == self.cash
            and not self.pending
            and not self.submitted
            and not self._toactivate
            and not self._cash_addition
            and not self._userhist
            and not self._fundhist
            and not self._every_bar
        )

    def _work_orders(self) -> None:
        """One pass over the pending orders in Backtrader's queue order; margined market orders go first.

        They fill at the open, before what waits for a price inside the bar: Backtrader would fill an older stop first,
        and then the market order that was to close the same position.
        """
        first = [order for order in self._markets if order.active() and order.alive() and order in self.pending]
        for order in first:
            if order.alive():
                self._retry(order)
        if self._markets:
            self._markets = [order for order in self._markets if order.alive()]
        self.pending.append(None)
        while True:
            order = self.pending.popleft()
            if order is None:
                break
            if order.expire():
                self.notify(order)
                self._ococheck(order)
                self._bracketize(order, cancel=True)
            elif not order.active() or order in first:
                self.pending.append(order)
            else:
                self._try_exec(order)
                if order.alive():
                    self.pending.append(order)
                elif order.status == Order.Completed:
                    self._bracketize(order)
        if self._late:
            self._retry_late()

    def _retry_late(self) -> None:
        """Try once more what came after a liquidation that a fill on the way has since moved out of reach."""
        late, self._late = self._late, []
        for order in late:
            if order.alive() and order in self.pending:
                self._retry(order)
        self._late.clear()

    def _retry(self, order: Any) -> None:
        """Try to execute an order outside the pass over the queue; it keeps its place there if it is not done."""
        place = self.pending.index(order)
        del self.pending[place]
        self._try_exec(order)
        if order.alive():
            self.pending.insert(min(place, len(self.pending)), order)
        elif order.status == Order.Completed:
            self._bracketize(order)
