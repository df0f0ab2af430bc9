"""Strategies hosted in a fund: the same classes, with a sub-account for a broker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import backtrader as bt

from ai_backtrader.brokers import FundBroker, TradeRecorder
from ai_backtrader.checks import Faults
from ai_backtrader.events import TradeClosed
from ai_backtrader.values import FrozenMapping

__all__ = ["Member", "hosted"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A strategy that takes part in a fund.

    Attributes
    ----------
    strategy
        Its class, unchanged.
    name
        Of its sub-account; "" takes the class's name.
    params
        Its params.
    weight
        Share of the fund that it starts with; None: what the allocator's caps give to all who do not say.
    sizer
        Sizer class, or a pair of class and its params; None takes Cerebro's.
    """

    strategy: type[Any]
    name: str = ""
    params: Mapping[str, Any] = field(default_factory=FrozenMapping)
    weight: float | None = None
    sizer: Any = None

    def __post_init__(self) -> None:
        faults = Faults("Member")
        given: object = self.strategy
        if not (isinstance(given, type) and issubclass(given, bt.Strategy)):
            faults.add(f"strategy must be a bt.Strategy class, got {given!r}")
        if self.weight is not None:
            faults.number("weight", self.weight, above=0.0, high=1.0)
        faults.raise_if_any()
        object.__setattr__(self, "params", FrozenMapping(self.params))
        object.__setattr__(self, "name", self.name or self.strategy.__name__)


def hosted(strategy: type[Any], name: str, share: float) -> type[Any]:
    """The class as it runs in a fund: ``self.broker`` is its sub-account; nothing else changes.

    Parameters
    ----------
    strategy
        A ``bt.Strategy`` class.
    name
        Of the sub-account.
    share
        Share of the fund's money that it is opened with.
    """

    def get_broker(self: Any) -> Any:
        return self.__dict__.get("_sub_account")

    def set_broker(self: Any, broker: Any) -> None:
        if isinstance(broker, FundBroker):
            broker = broker.open_account(name, share * broker.startingcash)
            self.__dict__["_recorder_of_fund"] = TradeRecorder(broker, name)
            self.__dict__["fund_trades"] = []
        self.__dict__["_sub_account"] = broker

    def notify_order(self: Any, order: Any) -> None:
        self._recorder_of_fund.on_order(order)
        strategy.notify_order(self, order)

    def notify_trade(self: Any, trade: Any) -> None:
        closed: TradeClosed | None = self._recorder_of_fund.on_trade(trade)
        if closed is not None:
            self.fund_trades.append(closed)
        strategy.notify_trade(self, trade)

    body = {
        "__module__": strategy.__module__,
        "__doc__": strategy.__doc__,
        "broker": property(get_broker, set_broker),
        "notify_order": notify_order,
        "notify_trade": notify_trade,
        "fund_name": name,
    }
    # A name of its own: Backtrader keeps every class, and equal names make its registry grow with their square.
    metaclass: Any = type(strategy)
    found: type[Any] = metaclass(f"{strategy.__name__}_in_fund_as_{name}", (strategy,), body)
    return found
