"""LeverageBroker: real margin inside Backtrader's broker simulation."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import backtrader as bt
from backtrader.order import BuyOrder, Order, SellOrder

from ai_backtrader.brokers.accounts import MarginAccount
from ai_backtrader.brokers.bars import BarPrices
from ai_backtrader.brokers.funding import FundingClock
from ai_backtrader.brokers.instruments import Instrument
from ai_backtrader.brokers.path import fills_before
from ai_backtrader.brokers.records import Liquidation
from ai_backtrader.brokers.sizes import with_exact_sizes
from ai_backtrader.checks import Faults
from ai_backtrader.market.margin import MaintenanceTiers, maintenance_ratio, margin_ratio
from ai_backtrader.values import Direction

__all__ = ["LeverageBroker"]

_log = logging.getLogger("ai_backtrader")

# The positional arguments of BackBroker.buy and sell after owner, data and size.
_ORDER_FIELDS = [
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
]


class LeverageBroker(bt.brokers.BackBroker):
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
       late.
       A reduction never fills beyond the bankruptcy price of an isolated position.
    4. Liquidation at the liquidation price where the mark range reaches it, also on the bar of the entry. For one
       raised by a stop inside the bar, the extreme may have come before it: it counts (pessimistic), unless the open
       alone lies beyond the liquidation price; then only the close counts. After a fill at the close nothing counts.

    The mark is the lines ``mark_open/high/low/close`` where the feed has them, else its own prices. A liquidation fills
    at the mark; price loss, commission and liquidation fee together never exceed the margin. The strategy that opened
    the position gets ``notify_order`` (``order.info["liquidation"]``), ``notify_trade`` and, where it defines it,
    ``notify_liquidation(liquidation)``.

    Params
    ------
    leverage : float, default 1.0
        Default multiple; above 1 it makes every position margined. A leverage in ``setcommission`` goes before it.
    max_leverage : float, default 125.0
        Orders that ask for more raise ``SettingsError``.
    margin_mode : str, default "isolated"
        Each position stands on its own margin.
    margin_always : bool, default False
        Margin positions at leverage 1 too.
    tiers : MaintenanceTiers, dict or None
        Maintenance table; a dict maps feed names to tables; None is a flat rate of 0.5 % of the notional.
    liquidation_fee : float, default 0.0
        Fee of a liquidation as a fraction of the notional, on top of the commission.
    fee_in_maintenance : bool, default False
        Whether the fee counts into the maintenance margin (some venues) or only takes its part of what is left
        (Binance).
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
        ("liquidation_fee", 0.0),
        ("fee_in_maintenance", False),
        ("funding", None),
        ("funding_hours", 8.0),
        ("funding_offset", 0.0),
        ("bar_label", "auto"),
    )

    def __init__(self) -> None:
        self._instruments: dict[Any, Instrument] = {}
        super().__init__()

    # Attributes of BackBroker that this class writes; Backtrader has no types.
    cash: float
    _fundval: float
    _fundshares: float

    # ------------------------------------------------------------------------------------------------ state of a run

    def init(self) -> None:
        """Begin a run: called on creation and by every ``start()``."""
        self._check_params()
        super().init()
        self.liquidations: list[Liquidation] = []
        self.rejections: Counter[str] = Counter()
        self._accounts: dict[Any, MarginAccount] = {}
        self._prices: dict[Any, BarPrices] = {}
        self._clocks: dict[Any, FundingClock] = {}
        self._every_bar: list[FundingClock] = []
        self._exact: dict[Any, tuple[Any, Any]] = {}
        self._prepared: dict[Any, float] = {}
        self._vetoed: dict[Any, str] = {}
        self._funding: dict[Any, float] = {}
        self._unbooked: dict[Any, float] = {}
        self._untold: list[tuple[Any, Liquidation]] = []
        self._late: list[Any] = []
        self._settled_cash: float | None = None
        self._fee_rate = float(self.p.liquidation_fee) if self.p.fee_in_maintenance else 0.0
        tiers = self.p.tiers
        self._default_tiers = tiers if isinstance(tiers, MaintenanceTiers) else MaintenanceTiers.flat(0.005)
        self._tiers_by_name: dict[str, MaintenanceTiers] = dict(tiers) if isinstance(tiers, Mapping) else {}

    def start(self) -> None:
        """Begin a run (called by Cerebro)."""
        super().start()
        for data in self.cerebro.datas:
            if self._ends(data) and self._clock(data).active:
                # It must see every bar, or it would not know when the bar of an entry began.
                self._every_bar.append(self._clock(data))

    def _check_params(self) -> None:
        faults = Faults("LeverageBroker")
        p = self.p
        faults.number("max_leverage", p.max_leverage, low=1.0)
        if not faults.found:
            faults.number("leverage", p.leverage, low=1.0, high=p.max_leverage)
        faults.one_of("margin_mode", p.margin_mode, ("isolated",))
        faults.number("liquidation_fee", p.liquidation_fee, low=0.0, high=0.5)
        faults.number("funding_hours", p.funding_hours, above=0.0)
        faults.number("funding_offset", p.funding_offset)
        faults.one_of("bar_label", p.bar_label, ("auto", "start", "end"))
        if not isinstance(p.funding, (str, bool)) and p.funding is not None:
            faults.number("funding", p.funding)
        if p.funding is True:
            faults.add("funding must be a rate, the name of a line, False or None, got True")
        tables = p.tiers.values() if isinstance(p.tiers, Mapping) else () if p.tiers is None else (p.tiers,)
        if any(not isinstance(table, MaintenanceTiers) for table in tables):
            faults.add(f"tiers must be MaintenanceTiers, a dict of them by feed name, or None, got {p.tiers!r}")
        faults.raise_if_any()

    # ------------------------------------------------------------------------------------------------ settings

    def set_instrument(
        self,
        data: Any,
        *,
        lot_step: float = 0.0,
        min_size: float = 0.0,
        min_notional: float = 0.0,
        tiers: MaintenanceTiers | None = None,
    ) -> None:
        """Trading rules of one feed.

        Parameters
        ----------
        data
            The feed or its name; by name also before it is added.
        lot_step, min_size, min_notional
            Opening orders are rounded down to the step; an order that then opens less than a minimum is rejected.
            A lot step also makes ``order_target_value`` and ``order_target_percent`` size exactly instead of in whole
            units.
        tiers
            Maintenance table of this feed; None keeps the broker's.

        Raises
        ------
        SettingsError
            If a number is negative or not finite.
        """
        rules = Instrument(lot_step=lot_step, min_size=min_size, min_notional=min_notional, tiers=tiers)
        self._instruments[data if isinstance(data, str) else data._name or data] = rules

    def prepare_leverage(self, data: Any, leverage: float) -> None:
        """Leverage of the next order on ``data`` that opens or adds (bracket children and reductions do not take it).

        Raises
        ------
        SettingsError
            If it is below 1 or above ``max_leverage``.
        """
        self._prepared[data] = self._checked_leverage(leverage)

    def prepare_veto(self, data: Any, reason: str) -> None:
        """Have the next order on ``data`` that opens or adds rejected, its bracket children with it.

        A sizer that returns 0 makes ``buy_bracket`` raise; this refuses without a crash.
        """
        self._vetoed[data] = reason

    def tiers_for(self, data: Any) -> MaintenanceTiers:
        """Maintenance table that holds for ``data``."""
        return self._tiers(data)

    def max_leverage_for(self, data: Any, notional: float) -> float:
        """Highest leverage at which ``notional`` (quote currency) may be opened on ``data``; 0 if it may not at all."""
        return min(float(self.p.max_leverage), self._tiers(data).max_leverage(notional))

    def _checked_leverage(self, leverage: object) -> float:
        faults = Faults("LeverageBroker")
        faults.number("leverage", leverage, low=1.0, high=float(self.p.max_leverage))
        faults.raise_if_any()
        return float(leverage)  # type: ignore[arg-type]  # the check above has seen that it is a number

    def _rules(self, data: Any) -> Instrument | None:
        if not self._instruments:
            return None
        return self._instruments.get(data._name or data)

    def _tiers(self, data: Any) -> MaintenanceTiers:
        rules = self._rules(data)
        if rules is not None and rules.tiers is not None:
            return rules.tiers
        return self._tiers_by_name.get(data._name, self._default_tiers)

    def _default_leverage(self, data: Any) -> float | None:
        """Leverage of an order that names none, None where its position is plain."""
        own = float(super().getcommissioninfo(data).get_leverage())
        leverage = float(self.p.leverage) if own == 1.0 else own
        if leverage > 1.0 or self.p.margin_always:
            return self._checked_leverage(leverage)
        return None

    # ------------------------------------------------------------------------------------------------ queries

    def get_position_leverage(self, data: Any) -> float:
        """Multiple of the margin posted by the open position; 1 when flat or plain."""
        account = self._accounts.get(data)
        return 1.0 if account is None else account.leverage

    def position_margin(self, data: Any) -> float:
        """Margin that stands behind the position (account currency).

        For a plain position what was paid for it: the entry value of a long, nothing for a short under ``shortcash``.
        """
        account = self._accounts.get(data)
        if account is not None:
            return account.margin
        position = self.positions.get(data)
        if position is None or (position.size < 0 and self.p.shortcash):
            return 0.0
        return float(abs(super().getcommissioninfo(data).getvaluesize(position.size, position.price)))

    def liquidation_price(self, data: Any) -> float | None:
        """Price at which the position is liquidated; None when flat, plain, or when no price can do it."""
        account = self._accounts.get(data)
        return None if account is None else account.liquidation

    def bankruptcy_price(self, data: Any) -> float | None:
        """Price at which the position's margin is used up; None when flat or plain."""
        account = self._accounts.get(data)
        if account is None:
            return None
        return account.bankruptcy(self._units(data), self.positions[data].price)

    def margin_ratio(self, data: Any) -> float:
        """Share of the liquidation buffer used up at the mark close: 0 after the entry or flat, 1 at liquidation."""
        account = self._accounts.get(data)
        if account is None:
            return 0.0
        equity, maintenance = self._standing(data, account, self._bar(data).mark("close"))
        return margin_ratio(
            equity=equity,
            maintenance=maintenance,
            equity_at_entry=account.equity_at_entry,
            maintenance_at_entry=account.maintenance_at_entry,
        )

    def maintenance_ratio(self, data: Any) -> float:
        """Maintenance margin over equity at the mark close, as exchanges show it; 0 when flat or plain."""
        account = self._accounts.get(data)
        if account is None:
            return 0.0
        equity, maintenance = self._standing(data, account, self._bar(data).mark("close"))
        return maintenance_ratio(equity=equity, maintenance=maintenance)

    def funding_paid(self, data: Any = None) -> float:
        """Funding paid so far on ``data`` (None: on all feeds); negative when more was received."""
        return math.fsum(self._funding.values()) if data is None else self._funding.get(data, 0.0)

    def position_funding(self, data: Any) -> float:
        """Funding paid on the open position that no closing fill has booked yet."""
        return self._unbooked.get(data, 0.0)

    def getcommissioninfo(self, data: Any) -> Any:
        """Commission scheme of ``data``; one with exact sizes where its position is or would be margined."""
        scheme = super().getcommissioninfo(data)
        rules = self._rules(data)
        if (
            data in self._accounts
            or data in self._prepared
            or (rules is not None and rules.lot_step)
            or self._default_leverage(data) is not None
        ):
            kept = self._exact.get(data)
            if kept is None or kept[0] is not scheme:
                kept = self._exact[data] = (scheme, with_exact_sizes(scheme))
            return kept[1]
        return scheme

    def _bar(self, data: Any) -> BarPrices:
        prices = self._prices.get(data)
        if prices is None:
            prices = self._prices[data] = BarPrices(data)
        return prices

    def _clock(self, data: Any) -> FundingClock:
        clock = self._clocks.get(data)
        if clock is None:
            clock = self._clocks[data] = FundingClock(
                data, self.p.funding, float(self.p.funding_hours), float(self.p.funding_offset), self._ends(data)
            )
        return clock

    def _ends(self, data: Any) -> bool:
        """Whether the feed labels its bars by their end."""
        label = self.p.bar_label
        return bool(data.resampling) if label == "auto" else bool(label == "end")

    def _mult(self, data: Any) -> float:
        return float(super().getcommissioninfo(data).p.mult)

    def _units(self, data: Any) -> float:
        """Signed size of the position times the contract multiplier."""
        return float(self.positions[data].size) * self._mult(data)

    def _standing(self, data: Any, account: MarginAccount, price: float) -> tuple[float, float]:
        """Equity and maintenance margin of a margined position at a price."""
        units = self._units(data)
        equity = account.margin + units * (price - self.positions[data].price)
        return equity, self._maintenance(account.tiers, abs(units) * price)

    def _maintenance(self, tiers: MaintenanceTiers, notional: float) -> float:
        return tiers.maintenance(notional) + self._fee_rate * notional

    # ------------------------------------------------------------------------------------------------ sending orders

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

        target = _target(data)
        account = self._accounts.get(target)
        position = self.positions.get(target)
        held = 0.0 if position is None else position.size
        against = bool(held) and (held > 0) != (order_class is BuyOrder)
        opens = parent is None and not (against and size <= abs(held))

        chosen = kwargs.pop("leverage", None)
        if opens and chosen is None:
            chosen = self._prepared.pop(target, None)
        veto = self._vetoed.pop(target, None) if opens else None
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
            veto = veto or rules.refusal(opening, reference, self._mult(target))
            if veto is None:
                size = closing + opening

        order = order_class(owner=owner, data=data, size=size, **fields)
        order.margin_leverage = fallback
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

    def _note_refusal(self, order: Any, reason: str) -> None:
        order.addinfo(reject_reason=reason)
        self.rejections[reason.split(":")[0]] += 1
        _log.info("order %s on %s refused: %s", order.ref, order.data._name, reason)

    # ------------------------------------------------------------------------------------------------ checking orders

    def check_submitted(self) -> None:
        """Accept or refuse the orders sent since the last bar, one after the other against the cash left.

        Plain orders as in ``BackBroker``. Of a margined position, reductions and bracket children are always accepted,
        and a refused order leaves no trace in the cash available to the next.
        """
        cash = self.cash
        positions: dict[Any, Any] = {}
        margins: dict[Any, tuple[float, float]] = {}  # margin and leverage of the trial positions
        while self.submitted:
            order = self.submitted.popleft()
            if self._take_children(order) is None:
                continue
            if self._is_plain(order, _target(order.data)):
                position = positions.setdefault(order.data, self.positions[order.data].clone())
                cash = self._execute(order, cash=cash, position=position)
                reason = None if cash >= 0.0 else "cash"
            else:
                cash, reason = self._trial(order, cash, positions, margins)
            if reason is None:
                self.submit_accept(order)
                continue
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
        data = _target(order.data)
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
        scheme = super().getcommissioninfo(data)
        gain = 0.0
        left = margin
        if closed:
            share = 1.0 if not psize or opened else abs(closed) / abs(position.size)
            pnl = scheme.profitandloss(-closed, position.price, price)
            if account is None and margin == 0.0:
                released = _plain_release(scheme, closed, position.price, bool(self.p.shortcash))
            else:
                released = margin * share
            gain = released + pnl - scheme.getcommission(closed, price)
            left = margin * (1.0 - share)
        if not opened:
            if market:
                position.update(size, price)
                margins[data] = (left, leverage)
                return cash + gain, None
            return cash, None
        wanted = self._opening_leverage(order, leverage if margin else None)
        posted = abs(opened) * price * float(scheme.p.mult) / wanted
        cost = posted + scheme.getcommission(opened, price)
        reason = self._why_refused(data, order, position.size, psize, opened, price, wanted, left + posted)
        if reason is None and cash + gain - cost < 0.0:
            reason = "cash"
        if reason is not None:
            return cash, reason
        if market:
            position.update(size, price)
            margins[data] = (left + posted, wanted)
            return cash + gain - cost, None
        return min(cash, cash + gain - cost), None

    def _opening_leverage(self, order: Any, in_force: float | None) -> float:
        """Leverage of what an order opens: its own, else that of the position, else what held when it was sent."""
        own = order.info.get("leverage")
        if own is not None:
            return float(own)
        if in_force is not None:
            return in_force
        return float(order.margin_leverage)

    def _why_refused(
        self,
        data: Any,
        order: Any,
        held: float,
        psize: float,
        opened: float,
        price: float,
        leverage: float,
        margin: float,
    ) -> str | None:
        """Why a margined order may not open ``opened`` units at ``price``, apart from the cash."""
        adds = abs(psize) > abs(opened)
        if adds and data not in self._accounts:
            return f"plain position: cannot add at leverage {leverage:g} to {held:g} units without margin"
        notional = abs(psize) * price * self._mult(data)
        cap = self.max_leverage_for(data, notional)
        if leverage > cap * (1.0 + 1e-12):
            return f"tier: leverage {leverage:g} above {cap:g} for a notional of {notional:g}"
        if not adds and margin <= self._maintenance(self._tiers(data), notional):
            return f"maintenance: margin {margin:g} at leverage {leverage:g} does not exceed the maintenance margin"
        return None

    def _refuse(self, order: Any, reason: str) -> None:
        """Backtrader's Margin refusal of an order and of what hangs on it."""
        self._note_refusal(order, reason)
        order.margin()
        self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)

    # ------------------------------------------------------------------------------------------------ executing orders

    def _try_exec(self, order: Any) -> None:
        data = _target(order.data)
        if self._is_plain(order, data):
            super()._try_exec(order)
            return
        if not self._bar(order.data).is_new():
            return  # the bar was complete before the order existed
        account = self._accounts.get(data)
        if account is not None and self._comes_too_late(order, data, account):
            self._late.append(order)
            return
        super()._try_exec(order)

    def _comes_too_late(self, order: Any, data: Any, account: MarginAccount) -> bool:
        bar = self._bar(data)
        size = self.positions[data].size
        if account.liquidation is None or not account.is_beyond(bar.mark("low" if size > 0 else "high"), size):
            return False
        return not fills_before(
            exectype=order.exectype,
            is_buy=order.isbuy(),
            price=order.created.price,
            limit=order.created.pricelimit,
            triggered=order.triggered,
            open_price=bar.last("open"),
            liquidation=account.liquidation,
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
        data = _target(order.data)
        if not self._is_plain(order, data):
            self._fill(order, data, ago, price, dtcoc)
            return None
        was_open = bool(self.positions[data].size)
        self._book_funding(order, data)
        super()._execute(order, ago, price, cash, position, dtcoc)
        if order.status == Order.Margin:
            self._note_refusal(order, "cash")
        if not was_open and self.positions[data].size:
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
        held = position.size
        size = self._fill_size(order, price, ago)
        if order.info.get("reduce_only"):
            if not held or (held > 0) == (order.executed.remsize > 0):
                self._drop(order, "nothing to reduce")
                return
            if abs(order.executed.remsize) > abs(held):
                order.executed.remsize = -held
            size = math.copysign(min(abs(size), abs(held)), size)
        if not size:
            return
        liquidating = bool(order.info.get("liquidation"))
        if account is not None and (held > 0) != (size > 0):
            bound = account.bankruptcy(self._units(data), position.price)
            price = max(price, bound) if held > 0 else min(price, bound)
        scheme = super().getcommissioninfo(data)
        mult = float(scheme.p.mult)
        entry = position.price
        psize, _, opened, closed = position.pseudoupdate(size, price)

        closed_value = closed_fee = pnl = 0.0
        if closed:
            share = 1.0 if not psize or opened else abs(closed) / abs(held)
            pnl = scheme.profitandloss(-closed, entry, price)
            closed_value = scheme.getoperationcost(closed, entry)
            closed_fee = scheme.getcommission(closed, price)
            if account is None:
                # A plain position reversed into a margined one: BackBroker's own closing arithmetic.
                self.cash += _plain_release(scheme, closed, entry, bool(self.p.shortcash)) + pnl * scheme.stocklike
                self.cash += scheme.cashadjust(-closed, position.adjbase, price)
                self.cash -= closed_fee
            else:
                back = max(0.0, account.margin * share + pnl)
                if liquidating:
                    closed_fee += abs(closed) * price * mult * float(self.p.liquidation_fee)
                    closed_fee = min(closed_fee, back)
                else:
                    closed_fee = min(closed_fee, back + max(0.0, self.cash))
                self.cash += back - closed_fee
                account.margin -= account.margin * share
                account.posted -= account.posted * share

        opened_value = opened_fee = posted = 0.0
        reason = None
        if opened:
            leverage = self._opening_leverage(order, None if account is None else account.leverage)
            posted = abs(opened) * price * mult / leverage
            opened_fee = scheme.getcommission(opened, price)
            standing = posted + (account.margin if account is not None and not closed else 0.0)
            reason = self._why_refused(data, order, held, psize, opened, price, leverage, standing)
            if reason is None and self.cash - posted - opened_fee < 0.0:
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
            self._update_account(order, data, account, posted, opened, closed, price)
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

    def _fill_size(self, order: Any, price: float, ago: int) -> float:
        if self.p.filler is None or order.info.get("liquidation"):
            return float(order.executed.remsize)
        size = float(self.p.filler(order, price, ago))
        return size if order.isbuy() else -size

    def _update_account(
        self,
        order: Any,
        data: Any,
        account: MarginAccount | None,
        posted: float,
        opened: float,
        closed: float,
        price: float,
    ) -> None:
        """Bring the margin account up to date after a fill; ``position`` has been updated before."""
        position = self.positions[data]
        if not position.size:
            self._accounts.pop(data, None)
            return
        if opened and (account is None or closed):
            leverage = self._opening_leverage(order, None if account is None else account.leverage)
            account = self._accounts[data] = MarginAccount(
                posted=posted, margin=posted, leverage=leverage, tiers=self._tiers(data)
            )
            position.adjbase = None
            self._start_clock(data)
        elif opened and account is not None:
            account.posted += posted
            account.margin += posted
            account.leverage = abs(self._units(data)) * position.price / account.posted
        if account is None:
            return
        if opened:
            account.inside_bar = self._inside_bar(order, data, price)
        account.record_owner((order.p.owner, order.p.tradeid), opened + (0.0 if opened and closed else closed))
        account.revalue(self._units(data), position.price, self._fee_rate)
        account.equity_at_entry, account.maintenance_at_entry = self._standing(data, account, price)

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
            if (
                order is not None
                and order.active()
                and order.info.get("reduce_only")
                and _target(order.data) is data
                and order.alive()
            ):
                self.cancel(order)

    # ------------------------------------------------------------------------------------------------ value

    def _get_value(self, datas: Any = None, lever: bool = False) -> Any:
        while self._cash_addition:
            addition = self._cash_addition.popleft()
            if self._fundval:
                self._fundshares += addition / self._fundval
            else:
                # The fund has lost everything: what comes in now starts it anew (BackBroker divides by zero).
                self._fundshares = addition / self.p.fundstartval
            self.cash += addition
        if not self._accounts:
            return super()._get_value(datas, lever)
        invested = own = unrealized = 0.0
        for data in datas or list(self.positions):
            account = self._accounts.get(data)
            if account is None:
                value, part, gain = self._plain_value(data)
            else:
                units = self._units(data)
                close = data.close[0]
                gain = units * (close - self.positions[data].price)
                # Reductions never fill beyond the bankruptcy price: an isolated position is never worth less than 0.
                part = max(0.0, account.margin + gain)
                value = abs(units) * close
                if datas and len(datas) == 1:
                    return part if lever else units * close
            if datas and len(datas) == 1:
                return part if lever else value
            invested += value
            own += part
            unrealized += gain
        if self._fundhist:
            self._fundval, self._value = self._process_fund_history()
            self.cash = self._value - own
            self._fundshares = self._value / self._fundval
            ratio = invested / (own or 1.0)
            own = self._value
            invested = own * ratio
        else:
            self._value = self.cash + own
            self._fundval = self._value / self._fundshares
        self._valuemkt = own
        self._valuelever = self.cash + invested
        self._valuemktlever = invested
        self._leverage = invested / (own or 1.0)
        self._unrealized = unrealized
        return self._valuelever if lever else self._value

    def _plain_value(self, data: Any) -> tuple[float, float, float]:
        """Value, value without leverage and unrealised profit of a plain position, as BackBroker counts them."""
        scheme = super().getcommissioninfo(data)
        position = self.positions[data]
        close = data.close[0]
        if self.p.shortcash:
            value = scheme.getvaluesize(position.size, close)
        else:
            value = abs(scheme.getvalue(position, close))
        gain = scheme.profitandloss(position.size, position.price, close)
        own = (value - gain) / scheme.get_leverage() + gain if value > 0 else value
        return value, own, gain

    # ------------------------------------------------------------------------------------------------ the bar

    def next(self) -> None:
        """One step of the simulation (see the class for the order of things)."""
        if self._is_idle():
            return
        while self._toactivate:
            self._toactivate.popleft().activate()
        self._begin_bar()
        if self.p.checksubmit:
            self.check_submitted()
        self._charge_interest()
        self._process_order_history()
        self._work_orders()
        for data, position in self.positions.items():
            if position and data not in self._accounts:
                scheme = super().getcommissioninfo(data)
                self.cash += scheme.cashadjust(position.size, position.adjbase, data.close[0])
                position.adjbase = data.close[0]
        self._end_bar()
        self._get_value()
        self._settled_cash = None if self._accounts or any(self.positions.values()) else self.cash

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

    def _begin_bar(self) -> None:
        """Funding, then gaps, of positions held from before."""
        for clock in self._every_bar:
            position = self.positions.get(clock.data)
            if len(clock.data) and (position is None or not position.size):
                clock.due()
        for data, position in list(self.positions.items()):
            if not position.size:
                continue
            clock = self._clock(data)
            if clock.active and self._bar(data).is_new():
                rate = clock.due()
                if rate:
                    amount = rate * self._units(data) * self._bar(data).mark("open")
                    self._funding[data] = self._funding.get(data, 0.0) + amount
                    self._unbooked[data] = self._unbooked.get(data, 0.0) + amount
                    if data in self._accounts:
                        self._accounts[data].funding += amount
                    self._charge(data, amount)
        for data, account in list(self._accounts.items()):
            bar = self._bar(data)
            if not bar.is_new():
                continue
            account.inside_bar = ""
            mark = bar.mark("open")
            if account.is_beyond(mark, self.positions[data].size):
                self._liquidate(data, account, mark, "gap")

    def _charge(self, data: Any, amount: float) -> None:
        """Take a running cost of a position: from free cash first, the rest of it from the position's margin."""
        self.d_credit[data] += amount
        account = self._accounts.get(data)
        if account is None:
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
            now = data.datetime.datetime()
            interest = super().getcommissioninfo(data).get_credit_interest(data, position, now)
            if data in self._accounts:
                if interest:
                    self._charge(data, interest)
            else:
                self.d_credit[data] += interest
                plain += interest
            position.datetime = now
        self.cash -= plain

    def _work_orders(self) -> None:
        """One pass over the pending orders in Backtrader's queue order."""
        self.pending.append(None)
        while True:
            order = self.pending.popleft()
            if order is None:
                break
            if order.expire():
                self.notify(order)
                self._ococheck(order)
                self._bracketize(order, cancel=True)
            elif not order.active():
                self.pending.append(order)
            else:
                self._try_exec(order)
                if order.alive():
                    self.pending.append(order)
                elif order.status == Order.Completed:
                    self._bracketize(order)
        late, self._late = self._late, []
        for order in late:
            # A fill on the way may have moved the liquidation price out of reach: then nothing came too late.
            if order.alive() and order in self.pending:
                self._try_exec(order)
                if order.status == Order.Completed:
                    self.pending.remove(order)
                    self._bracketize(order)
                elif not order.alive() and order in self.pending:
                    self.pending.remove(order)
        self._late.clear()

    def _end_bar(self) -> None:
        """Liquidate what the bar's range reached, and note which bars have been dealt with."""
        for data, account in list(self._accounts.items()):
            bar = self._bar(data)
            size = self.positions[data].size
            if not bar.is_new() or account.inside_bar == "close" or account.liquidation is None:
                continue
            at_open = account.is_beyond(bar.mark("open"), size)
            extreme = bar.mark("low" if size > 0 else "high")
            if at_open and not account.inside_bar:
                self._liquidate(data, account, bar.mark("open"), "gap")
            elif account.is_beyond(bar.mark("close") if at_open else extreme, size):
                self._liquidate(data, account, account.liquidation, "bar")
        for bar in self._prices.values():
            if len(bar.data):
                bar.mark_seen()

    # ------------------------------------------------------------------------------------------------ liquidation

    def _liquidate(self, data: Any, account: MarginAccount, mark: float, reason: str) -> None:
        """Close a position at the mark, at worst at its bankruptcy price, and tell everybody."""
        position = self.positions[data]
        size, entry, posted = position.size, position.price, account.posted
        self._cancel_all(data)
        parts = [(key, part) for key, part in account.opened_by.items() if part]
        if any((part > 0) != (size > 0) for _, part in parts) or len(parts) == 1:
            # Strategies that hold opposite sides of one feed: the larger holder of the net side takes the fill.
            parts = [(max(parts, key=lambda item: math.copysign(1.0, size) * item[1])[0], size)]
        fee = price_loss = 0.0
        funding = account.funding
        owner: Any = parts[0][0][0]
        for number, ((part_owner, tradeid), part) in enumerate(parts):
            closing = position.size if number == len(parts) - 1 else part
            order = (SellOrder if size > 0 else BuyOrder)(
                owner=part_owner, data=data, size=abs(closing), exectype=Order.Market, tradeid=tradeid, simulated=False
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
            size=abs(size),
            entry_price=entry,
            price=order.executed.price,
            leverage=account.leverage,
            margin=posted,
            loss=price_loss + fee,
            fee=fee,
            funding=funding,
            reason=reason,
        )
        self.liquidations.append(record)
        self._untold.append((owner, record))
        _log.info("liquidated %s %g at %g on %s: %s", record.side, record.size, record.price, record.data_name, reason)

    def _cancel_all(self, data: Any) -> None:
        """Cancel every order of a feed, also those that the broker has not looked at yet."""
        for order in [order for order in self.submitted if _target(order.data) is data]:
            self.submitted.remove(order)
            order.cancel()
            self.notify(order)
            self._ococheck(order)
            self._bracketize(order, cancel=True)
        for order in list(self.pending):
            if order is not None and _target(order.data) is data and order.alive():
                self.cancel(order)

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


def _target(data: Any) -> Any:
    """Feed whose position an order on ``data`` changes (Backtrader's compensation)."""
    return data if data._compensate is None else data._compensate


def _plain_release(scheme: Any, closed: float, entry: float, shortcash: bool) -> float:
    """Cash that BackBroker gives back for closed units, before profit and commission."""
    if not shortcash:
        value = float(scheme.getoperationcost(closed, entry))
    else:
        value = float(scheme.getvaluesize(-closed, entry))
    return value / float(scheme.get_leverage()) if value > 0 else value
