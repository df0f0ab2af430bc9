"""AISizer: sizes and levers every order that comes without a size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import backtrader as bt
from backtrader.order import BuyOrder, SellOrder

from ai_backtrader.brokers import EquityPeak, LeverageBroker, PaperTrade, TradeRecorder
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import FeatureRows
from ai_backtrader.leverage import LeverageManager, LeverageSettings
from ai_backtrader.sizers.between import Follower, OrderAsked, Sender
from ai_backtrader.values import Direction, LeverageDecision

__all__ = ["AISizer"]


class AISizer(bt.Sizer):
    """Size and leverage of every order that a strategy sends without a size.

    Plug it into a strategy that exists: ``cerebro.addsizer(AISizer)``. The strategy keeps deciding *when* and *which
    way*; the leverage manager decides *how much* and, on a ``LeverageBroker``, *at which leverage*. It learns from the
    trades that close (Kelly, which leverage worked), and it may refuse: the strategy then gets an order that is
    rejected, with the reason in ``order.info["reject_reason"]``, so that ``order.ref`` and ``buy_bracket`` go on
    working (a strategy that only ever looks for ``Completed`` would wait forever: ``refusal="none"``). An entry refused
    for want of an edge is followed on paper, until its stop or the strategy's next signal the other way, so that an
    edge which comes back is seen.

    **What an order is.** Counted is what will be there once the orders already sent are filled, on the same feed:

    - *entry*: flat, or on the side of the position. The whole position, with the market orders of this bar and the
      entries that still rest (of an OCO group the largest), never exceeds what the manager allows; a limit or stop
      entry is sized at its own price.
    - *exit*: against the position; sized as the whole of it (with ``reverse=True``: exit and a fresh position in one
      order). A limit or stop order against an entry that still rests is its exit. On a ``LeverageBroker`` exits are
      ``reduce_only``: of two exits of one position the second finds nothing to do, instead of turning it around.
    - *bracket child* (``parent=``): the size of its parent, also in brackets made by hand with ``transmit=False``.

    **What reaches a sizer.** ``buy()``, ``sell()``, ``buy_bracket()``, ``sell_bracket()`` without ``size``, and
    ``SignalStrategy``. Backtrader asks no sizer for ``buy(size=…)``, ``close()`` and
    ``order_target_size/value/percent()``: these keep their size. Those that open are counted as ``bypassed`` in the
    analysis, are part of the exposure that later entries are sized against, and are unlevered unless the broker has a
    leverage of its own; with ``levered_bypass=True`` a ``LeverageBroker`` margins them at the leverage that the manager
    recommends at that moment. (Targets in value or percent are whole units on a broker without margin: zero bitcoins;
    ``LeverageBroker(margin_always=True)`` makes them exact.) ``broker.buy()`` is not seen before it is submitted.

    Params
    ------
    risk_budget : float, default 0.02
        Share of the account that may be lost at the stop, fees and slippage included.
    max_leverage : float, default 10
        Never above this multiple; a broker without per-order leverage caps it at its commission scheme's.
    stop_atr : float or None
        Distance of the stop in ATR that the risk budget counts with; None takes the manager's setting.
    confidence : float, default 0.6
        Trust in the strategy's own signals, 0 to 1; the manager lowers leverage and size with it.
    slippage : float, default 0.0
        Expected slippage per fill as a fraction of the price.
    reverse : bool, default False
        What an order against the position means: exit (False) or exit and turn around (True).
    refusal : str, default "order"
        What the strategy gets for an order that is refused: a rejected "order", or "none", Backtrader's answer to a
        size of zero, for strategies that wait for every order to complete (brackets get orders all the same).
    levered_bypass : bool, default False
        Whether a ``LeverageBroker`` margins opening orders that bring their own size at the manager's leverage.
    settings : LeverageSettings or None
        All other settings of the manager; the params above override it.
    manager : LeverageManager or None
        A manager to share with others; None makes one for this strategy.
    """

    params = (
        ("risk_budget", 0.02),
        ("max_leverage", 10.0),
        ("stop_atr", None),
        ("confidence", 0.6),
        ("slippage", 0.0),
        ("reverse", False),
        ("refusal", "order"),
        ("levered_bypass", False),
        ("settings", None),
        ("manager", None),
    )

    def set(self, strategy: Any, broker: Any) -> None:
        """Take a strategy: Backtrader calls this once the strategy exists."""
        super().set(strategy, broker)
        self._levered = isinstance(broker, LeverageBroker)
        faults = Faults("AISizer")
        faults.one_of("refusal", self.p.refusal, ("order", "none"))
        faults.raise_if_any()
        self._asked = OrderAsked()
        self._is_exit = False
        self._sent: dict[int, Any] = {}
        self._groups: dict[int, int] = {}  # order ref -> ref that stands for its OCO group
        self.bypassed = 0
        self._papers: dict[Any, PaperTrade] = {}
        self._peak = EquityPeak(broker)
        self._recorder = TradeRecorder(broker, type(strategy).__name__)
        self.manager: LeverageManager = (
            self.p.manager if self.p.manager is not None else LeverageManager(self._settings())
        )
        self.decisions: list[LeverageDecision] = []
        strategy._addanalyzer(Follower, _name="aisizer", sizer=self)
        self._features = {data: FeatureRows(data, preloaded=strategy.env._dopreload) for data in strategy.datas}
        strategy.buy = Sender(self, strategy.buy, True)
        strategy.sell = Sender(self, strategy.sell, False)

    def _settings(self) -> LeverageSettings:
        settings = LeverageSettings() if self.p.settings is None else self.p.settings
        given = {"risk_budget": self.p.risk_budget, "max_leverage": self.p.max_leverage, "slippage": self.p.slippage}
        if self.p.stop_atr is not None:
            given["stop_atr"] = self.p.stop_atr
        return dataclasses.replace(settings, **given)

    def on_bar(self) -> None:
        """Take the account's peak and follow paper trades at the end of a bar."""
        self._peak.update(self.broker.getvalue())
        self._sent = {ref: order for ref, order in self._sent.items() if order.alive()}
        for data, features in self._features.items():
            if len(data):
                features.advance()
        for data, paper in list(self._papers.items()):
            closed = paper.on_bar(data)
            if closed is not None:
                del self._papers[data]
                self.manager.on_trade_complete(closed)

    def on_order(self, order: Any) -> None:
        """Follow the fills of the strategy's orders, and count those that were sent past ``buy`` and ``sell``."""
        if order.status == order.Submitted and order.ref not in self._sent and order.p.parent is None:
            held = self.broker.getposition(order.data).size
            self.bypassed += not (held * order.created.size < 0.0 and abs(order.created.size) <= abs(held))
        self._recorder.on_order(order)

    def on_trade(self, trade: Any) -> None:
        """Learn from a trade that has closed."""
        closed = self._recorder.on_trade(trade)
        if closed is not None:
            self.manager.on_trade_complete(closed)

    # ------------------------------------------------------------------------------------------------ sizing

    def send(self, send: Callable[..., Any], isbuy: bool, data: Any, size: float | None, fields: dict[str, Any]) -> Any:
        """Send an order of the strategy; called in place of its ``buy`` and ``sell``."""
        feed = self.strategy.data if data is None else data
        feed = self.strategy.getdatabyname(feed) if isinstance(feed, str) else feed
        if size is not None:
            if fields.get("parent") is None:
                self._note_bypass(feed, isbuy, size, fields)
        else:
            self._asked = OrderAsked(
                market=fields.get("exectype") in (None, bt.Order.Market),
                price=fields.get("price"),
                oco=fields.get("oco"),
                parent=fields.get("parent"),
                linked=fields.get("transmit") is False,
            )
            self._is_exit = False
            silent = self.p.refusal == "none" and not self._asked.linked
            try:
                size = self.strategy.getsizing(feed, isbuy=isbuy)
            finally:
                self._asked = OrderAsked()
            if not size:
                return None if silent else self._rejected(feed, isbuy)
            if self._is_exit and self._levered:
                fields = {"reduce_only": True, **fields}
        order = send(data=feed, size=size, **fields)
        if order is not None:
            self._sent[order.ref] = order
            if fields.get("oco") is not None:
                other = fields["oco"].ref
                self._groups[order.ref] = self._groups.setdefault(other, other)
        return order

    def _note_bypass(self, data: Any, isbuy: bool, size: float, fields: dict[str, Any]) -> None:
        held = self._position_to_come(data)
        if held and (held > 0.0) != isbuy and abs(size) <= abs(held):
            return  # an exit
        self.bypassed += 1
        if not (self._levered and self.p.levered_bypass) or fields.get("leverage") is not None:
            return
        features = self._features[data]
        features.advance()
        if features.ready:
            decision = self._decide(self.broker.getcommissioninfo(data), data, isbuy, data.close[0])
            self.broker.prepare_leverage(data, decision.recommended_leverage)

    def _getsizing(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> float:
        asked = self._asked
        if asked.parent is not None:
            return abs(float(asked.parent.created.size))
        held = self._position_to_come(data)
        against = held != 0.0 and (held > 0.0) != isbuy
        if data in self._papers and self._papers[data].direction is not (Direction.LONG if isbuy else Direction.SHORT):
            self._papers[data].leave()
        if against and not self.p.reverse:
            return self._exit(data, abs(held))
        if not held and not asked.market and asked.oco is None:
            entry = self._resting(data, not isbuy)
            if entry:
                return self._exit(data, entry)
        taken = 0.0 if against else abs(held) + self._resting(data, isbuy)
        size = self._allowed(comminfo, cash, data, isbuy, taken)
        if size > 0.0:
            return size + (abs(held) if against else 0.0)
        if against:
            return self._exit(data, abs(held))
        return self._veto(data)

    def _exit(self, data: Any, size: float) -> float:
        # A plain position has no margin account for a reduce-only order to reduce.
        plain = self._levered and self.broker.getposition(data).size and self.broker.bankruptcy_price(data) is None
        self._is_exit = not plain
        return size

    def _open_orders(self, data: Any) -> Iterable[Any]:
        """Live orders on a feed that are not bracket children, also those that wait for ``transmit``."""
        queues = (getattr(self.broker, "submitted", ()), getattr(self.broker, "pending", ()), self._sent.values())
        orders = {order.ref: order for queue in queues for order in queue if order is not None}
        return [order for order in orders.values() if order.data is data and order.p.parent is None and order.alive()]

    def _position_to_come(self, data: Any) -> float:
        """Signed units once the market orders already sent are filled."""
        size = self.broker.getposition(data).size
        for order in self._open_orders(data):
            if order.exectype == bt.Order.Market:
                size += order.executed.remsize
        return float(size)

    def _resting(self, data: Any, isbuy: bool) -> float:
        """Units of the limit and stop orders that rest on a side; of an OCO group the largest, not the asked one's."""
        oco = self._asked.oco
        own = None if oco is None else self._groups.get(oco.ref, oco.ref)
        units: dict[int, float] = {}
        for order in self._open_orders(data):
            group = self._groups.get(order.ref, order.ref)
            waits = order.exectype != bt.Order.Market and order.isbuy() == isbuy
            if waits and group != own and not order.info.get("reduce_only"):
                units[group] = max(units.get(group, 0.0), abs(order.executed.remsize))
        return math.fsum(units.values())

    def _allowed(self, comminfo: Any, cash: float, data: Any, isbuy: bool, taken: float) -> float:
        """Units beyond those ``taken`` that the position may still get; prepares the leverage of the order."""
        features = self._features[data]
        features.advance()
        if not features.ready:
            return 0.0
        price = data.close[0] if self._asked.market or not self._asked.price else float(self._asked.price)
        decision = self._decide(comminfo, data, isbuy, price)
        self.decisions.append(decision)
        rate = float(comminfo.getcommission(1.0, price)) / price
        if decision.position_size_pct <= 0.0 and decision.risk_metrics.get("kelly_fraction", 1.0) <= 0.0:
            self._follow_on_paper(data, decision, rate + self.p.slippage, isbuy)
        leverage = decision.recommended_leverage
        if not self._levered:
            leverage = min(leverage, float(comminfo.get_leverage()))
        self._recorder.note(data, features.indicators(), features.regime)
        # Margin of what is there already is not in the free cash: only what is new has to fit.
        new = self.broker.getvalue() * decision.position_size_pct * leverage / price - taken
        affordable = max(0.0, self._free_cash(cash)) / (1.0 / leverage + rate) / price
        size = float(min(new, affordable))
        if size > 0.0 and self._levered:
            self.broker.prepare_leverage(data, leverage)
        return size

    def _decide(self, comminfo: Any, data: Any, isbuy: bool, price: float) -> LeverageDecision:
        features, equity = self._features[data], self.broker.getvalue()
        return self.manager.calculate_optimal_leverage(
            indicators=features.indicators(),
            account_balance=equity,
            current_position={"margin_ratio": self.broker.margin_ratio(data)} if self._levered else None,
            risk_budget=self.p.risk_budget,
            regime=features.regime,
            direction=Direction.LONG if isbuy else Direction.SHORT,
            confidence=self.p.confidence,
            price=price,
            risk_info={
                "drawdown": self._peak.drawdown(equity),
                "bars_per_year": features.bars_per_year,
                "bar_seconds": features.bar_seconds,
            },
            tiers=self.broker.tiers_for(data) if self._levered else None,
            fee_rate=float(comminfo.getcommission(1.0, price)) / price,
            slippage=self.p.slippage,
        )

    def _follow_on_paper(self, data: Any, decision: LeverageDecision, cost_rate: float, isbuy: bool) -> None:
        if data in self._papers:
            return
        features, price = self._features[data], data.close[0]
        side, settings = Direction.LONG if isbuy else Direction.SHORT, self.manager.settings
        indicators = features.indicators()
        self._papers[data] = PaperTrade(
            symbol=data._name or "data",
            strategy_id=type(self.strategy).__name__,
            direction=side,
            leverage=min(max(decision.steps[-1].before, 1.0), settings.max_leverage),
            stop_loss=price - side.sign * settings.stop_atr * indicators["atr"],
            take_profit=None,
            cost_rate=cost_rate,
            indicators=indicators,
            regime=features.regime,
            seen=len(data),
        )

    def _free_cash(self, cash: float) -> float:
        """Cash that is left once the orders already sent are filled, of an OCO group the first."""
        for feed in self.strategy.datas:
            held, counted = self.broker.getposition(feed).size, set()
            for order in self._open_orders(feed):
                group, size = self._groups.get(order.ref, order.ref), order.executed.remsize
                if group in counted or order.info.get("reduce_only"):
                    continue
                counted.add(group)
                closing = min(abs(held), abs(size)) if held * size < 0.0 else 0.0
                if order.exectype == bt.Order.Market:
                    if closing:
                        cash += closing / abs(held) * self._value_of(feed)
                    held += size
                elif closing:
                    continue  # an exit that rests: it brings cash, some day
                price = order.created.price or feed.close[0]
                cash -= (abs(size) - closing) * price / self._leverage_of(order)
        return cash

    def _value_of(self, data: Any) -> float:
        """Cash that closing the position at the close would give back."""
        position = self.broker.getposition(data)
        gain = position.size * (data.close[0] - position.price)
        if self._levered and self.broker.liquidation_price(data) is not None:
            return float(self.broker.position_margin(data) + gain)
        leverage = self.broker.getcommissioninfo(data).get_leverage()
        return float(position.size * position.price / leverage + gain)

    def _leverage_of(self, order: Any) -> float:
        chosen = getattr(order, "margin_leverage", None)
        return float(chosen or self.broker.getcommissioninfo(order.data).get_leverage())

    # ------------------------------------------------------------------------------------------------ refusing

    def _veto(self, data: Any) -> float:
        """Refuse the order: rejected by the broker where it can, else not sent."""
        if self._levered and (self.p.refusal == "order" or self._asked.linked):
            self.broker.prepare_veto(data, f"AISizer: {self._refusal()}")
            # More than a close that is on its way, or the broker would take the order for a reduction.
            return float(2.0 * abs(self.broker.getposition(data).size) + 1.0)
        return 0.0

    def _refusal(self) -> str:
        return self.decisions[-1].reasoning if self.decisions else "the features are not ready yet"

    def _rejected(self, data: Any, isbuy: bool) -> Any:
        """Order that the strategy gets where the broker cannot refuse: not sent, rejected, with the reason."""
        kind = BuyOrder if isbuy else SellOrder
        order = kind(owner=self.strategy, data=data, size=1.0, exectype=bt.Order.Market)
        order.addinfo(reject_reason=f"AISizer: {self._refusal()}")
        order.reject(self.broker)
        self.broker.notify(order)
        return order
