"""AISizer: the leverage manager as a Backtrader sizer, for strategies that exist."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import backtrader as bt
from backtrader.order import BuyOrder, SellOrder

from ai_backtrader.brokers import LeverageBroker, PaperTrade, TradeRecorder
from ai_backtrader.datafeeds import FeatureRows
from ai_backtrader.leverage import LeverageManager, LeverageSettings
from ai_backtrader.values import Direction, LeverageDecision

__all__ = ["AISizer"]

_OPPOSITE = {BuyOrder: SellOrder, SellOrder: BuyOrder}


class AISizer(bt.Sizer):
    """Size and leverage of every order that a strategy sends without a size.

    Plug it into a strategy that exists: ``cerebro.addsizer(AISizer)``. The strategy keeps deciding *when* and *which
    way*; the leverage manager decides *how much* and, on a ``LeverageBroker``, *at which leverage*. It learns from the
    trades that close (Kelly, which leverage worked), and it may refuse: on a ``LeverageBroker`` the order is rejected,
    with the reason in ``order.info["reject_reason"]``; on another broker it is not sent. An entry refused for want of
    an edge is followed on paper, until its stop or the strategy's next signal the other way, so that an edge which
    comes back is seen.

    An order is told apart by the position that will be there once the market orders already sent this bar are filled:

    - flat, or the same side: an entry; the whole position never exceeds the size the manager allows;
    - the other side: an exit of that whole position (with ``reverse=True``: exit and a fresh position in one order).

    Reached are ``buy()``, ``sell()``, ``buy_bracket()``, ``sell_bracket()`` without ``size`` and ``SignalStrategy``.
    Never reached, because Backtrader does not ask a sizer there: orders with an explicit ``size``, ``close()``,
    ``order_target_size/value/percent()`` and ``broker.buy()``.

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
        ("settings", None),
        ("manager", None),
    )

    def set(self, strategy: Any, broker: Any) -> None:
        """Take a strategy: Backtrader calls this once the strategy exists."""
        super().set(strategy, broker)
        self._levered = isinstance(broker, LeverageBroker)
        self._in_bracket = False
        self._papers: dict[Any, PaperTrade] = {}
        self._peak = -math.inf
        self._recorder = TradeRecorder(broker, type(strategy).__name__)
        self.manager: LeverageManager = (
            self.p.manager if self.p.manager is not None else LeverageManager(self._settings())
        )
        self.decisions: list[LeverageDecision] = []
        strategy._addanalyzer(_Follower, _name="aisizer", sizer=self)
        self._features = {data: FeatureRows(data, preloaded=strategy.env._dopreload) for data in strategy.datas}
        if not self._levered:
            self._guard_brackets(strategy)

    def _settings(self) -> LeverageSettings:
        settings = LeverageSettings() if self.p.settings is None else self.p.settings
        given = {"risk_budget": self.p.risk_budget, "max_leverage": self.p.max_leverage, "slippage": self.p.slippage}
        if self.p.stop_atr is not None:
            given["stop_atr"] = self.p.stop_atr
        return dataclasses.replace(settings, **given)

    def on_bar(self) -> None:
        """Take the account's peak and follow paper trades at the end of a bar."""
        self._peak = max(self._peak, self.broker.getvalue())
        for data, features in self._features.items():
            if len(data):
                features.advance()
        for data, paper in list(self._papers.items()):
            closed = paper.on_bar(data)
            if closed is not None:
                del self._papers[data]
                self.manager.on_trade_complete(closed)

    def on_order(self, order: Any) -> None:
        """Follow the fills of the strategy's orders."""
        self._recorder.on_order(order)

    def on_trade(self, trade: Any) -> None:
        """Learn from a trade that has closed."""
        closed = self._recorder.on_trade(trade)
        if closed is not None:
            self.manager.on_trade_complete(closed)

    # ------------------------------------------------------------------------------------------------ sizing

    def _getsizing(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> float:
        held = self._position_to_come(data)
        against = held != 0.0 and (held > 0.0) != isbuy
        if data in self._papers and self._papers[data].direction is not (Direction.LONG if isbuy else Direction.SHORT):
            self._papers[data].leave()
        if against and not self.p.reverse:
            return abs(held)
        size = self._allowed(comminfo, cash, data, isbuy) - (0.0 if against else abs(held))
        if size > 0.0:
            return size + (abs(held) if against else 0.0)
        if against:
            return abs(held)
        return self._veto(data)

    def _position_to_come(self, data: Any) -> float:
        """Signed units once the market orders already sent are filled."""
        size = self.broker.getposition(data).size
        for order in (*self.broker.submitted, *self.broker.pending):
            waits = order is not None and order.data is data and order.alive()
            if waits and order.exectype == bt.Order.Market and order.p.parent is None:
                size += order.executed.remsize
        return float(size)

    def _allowed(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> float:
        """Units that the whole position may have; prepares the leverage of the order."""
        features = self._features[data]
        features.advance()
        if not features.ready:
            return 0.0
        price, equity, indicators = data.close[0], self.broker.getvalue(), features.indicators()
        rate = float(comminfo.getcommission(1.0, price)) / price
        decision = self.manager.calculate_optimal_leverage(
            indicators=indicators,
            account_balance=equity,
            current_position={"margin_ratio": self.broker.margin_ratio(data)} if self._levered else None,
            risk_budget=self.p.risk_budget,
            regime=features.regime,
            direction=Direction.LONG if isbuy else Direction.SHORT,
            confidence=self.p.confidence,
            price=price,
            risk_info={
                "drawdown": max(0.0, 1.0 - equity / self._peak) if self._peak > 0.0 else 1.0,
                "bars_per_year": features.bars_per_year,
            },
            tiers=self.broker.tiers_for(data) if self._levered else None,
            fee_rate=rate,
            slippage=self.p.slippage,
        )
        self.decisions.append(decision)
        if decision.position_size_pct <= 0.0 and decision.risk_metrics.get("kelly_fraction", 1.0) <= 0.0:
            self._follow_on_paper(data, decision, rate + self.p.slippage, isbuy)
        leverage = decision.recommended_leverage
        if self._levered:
            self.broker.prepare_leverage(data, leverage)
        else:
            leverage = min(leverage, float(comminfo.get_leverage()))
        self._recorder.note(data, indicators, features.regime)
        margin = min(equity * decision.position_size_pct, self._free_cash(cash) / (1.0 + rate * leverage))
        return float(max(0.0, margin) * leverage / price)

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
        """Cash that is left once the orders already sent this bar are filled at the close."""
        held: dict[Any, float] = {}
        for order in self.broker.submitted:
            if order.p.parent is not None or not order.alive():
                continue
            size, feed = order.executed.remsize, order.data
            before = held.get(feed, self.broker.getposition(feed).size)
            closing = min(abs(before), abs(size)) if before * size < 0.0 else 0.0
            if closing:
                cash += closing / abs(before) * self._value_of(feed)
            price = order.created.price or feed.close[0]
            cash -= (abs(size) - closing) * price / self._leverage_of(order)
            held[feed] = before + size
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
        reason = self.decisions[-1].reasoning if self.decisions else "the features are not ready yet"
        if self._levered:
            self.broker.prepare_veto(data, f"AISizer: {reason}")
            # More than a close that is on its way, or the broker would take the order for a reduction.
            return float(2.0 * abs(self.broker.getposition(data).size) + 1.0)
        if self._in_bracket:
            raise _Vetoed
        return 0.0

    def _guard_brackets(self, strategy: Any) -> None:
        """Have a vetoed bracket give three rejected orders: with a size of 0 Backtrader's own call crashes."""
        for name, kind in (("buy_bracket", BuyOrder), ("sell_bracket", SellOrder)):
            setattr(strategy, name, self._guarded(strategy, getattr(strategy, name), kind))

    def _guarded(self, strategy: Any, send: Callable[..., Any], kind: Any) -> Callable[..., Any]:
        @functools.wraps(send)
        def send_or_refuse(data: Any = None, *args: Any, **kwargs: Any) -> Any:
            self._in_bracket = True
            try:
                return send(data, *args, **kwargs)
            except _Vetoed:
                feed = strategy.data if data is None else data
                feed = strategy.getdatabyname(feed) if isinstance(feed, str) else feed
                return [self._rejected(strategy, feed, side) for side in (kind, *[_OPPOSITE[kind]] * 2)]
            finally:
                self._in_bracket = False

        return send_or_refuse

    def _rejected(self, strategy: Any, data: Any, kind: Any) -> Any:
        order = kind(owner=strategy, data=data, size=0.0, exectype=bt.Order.Market, simulated=True)
        order.reject(self.broker)
        self.broker.notify(order)
        return order


class _Vetoed(Exception):  # noqa: N818  # no error: it only leaves Backtrader's buy_bracket
    """The sizer refuses the bracket that is being sent."""


class _Follower(bt.Analyzer):
    """Hears of bars, orders and trades, as a sizer does not, and tells its sizer."""

    params = (("sizer", None),)

    def next(self) -> None:
        """Pass a bar on."""
        self.p.sizer.on_bar()

    def notify_order(self, order: Any) -> None:
        """Pass an order on."""
        self.p.sizer.on_order(order)

    def notify_trade(self, trade: Any) -> None:
        """Pass a trade on."""
        self.p.sizer.on_trade(trade)

    def get_analysis(self) -> dict[str, Any]:
        """How many orders were sized and refused, and what the manager learned."""
        decisions = self.p.sizer.decisions
        refused = sum(decision.position_size_pct <= 0.0 for decision in decisions)
        return {
            "asked": len(decisions),
            "refused": refused,
            "kelly": dataclasses.asdict(self.p.sizer.manager.kelly),
            "experience": [dataclasses.asdict(row) for row in self.p.sizer.manager.experience_table()],
        }
