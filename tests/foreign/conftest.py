"""Runs of strategies that know nothing of this package, with AISizer and LeverageBroker put under them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.leverage import LeverageSettings
from ai_backtrader.market import MarketData
from ai_backtrader.sizers import AISizer

# Sizing by realised results would stop these toy strategies before their patterns are seen.
NO_KELLY = LeverageSettings(min_kelly_trades=1_000, kelly_window=1_000)


class Books(bt.Analyzer):
    """Checks the account at every bar, from outside of the strategy."""

    def start(self) -> None:
        self.bars = 0
        self.notional = 0.0
        self.sizes: dict[str, list[float]] = {data._name: [] for data in self.strategy.datas}
        self.fills: list[tuple[int, str, float, float]] = []
        self.refused: list[str] = []

    def notify_order(self, order: Any) -> None:
        for bit in order.executed.iterpending():
            self.fills.append((self.bars, order.data._name, bit.size, bit.price))
        if order.status in (order.Margin, order.Rejected):
            self.refused.append(str(order.info.get("reject_reason", "")))

    def next(self) -> None:
        broker = self.strategy.broker
        self.bars += 1
        assert math.isfinite(broker.getvalue())
        assert broker.getvalue() >= 0.0, "an account on isolated margin owes nothing"
        positions = {data: broker.positions[data] for data in self.strategy.datas if data in broker.positions}
        for data in self.strategy.datas:
            self.sizes[data._name].append(positions[data].size if data in positions else 0.0)
        notional = sum(abs(position.size) * data.close[0] for data, position in positions.items())
        self.notional = max(self.notional, notional / max(broker.getvalue(), 1.0))

    def get_analysis(self) -> dict[str, Any]:
        return {"bars": self.bars, "fills": len(self.fills), "refused": len(self.refused)}


@pytest.fixture(scope="session")
def eurusd() -> MarketData:
    return load_sample().head(1_500)


@pytest.fixture(scope="session")
def run_foreign() -> Callable[..., Any]:
    """Run a strategy (class) or signals on feeds; gives the strategy and its books."""

    def run(
        strategy: Any, feeds: list[Any], *, levered: bool = True, sizer: dict[str, Any] | None = None,
        cash: float = 10_000.0, setup: Callable[[Any], None] | None = None, **params: Any,
    ) -> tuple[Any, Books]:  # fmt: skip
        cerebro = bt.Cerebro(stdstats=False)
        if levered:
            cerebro.broker = LeverageBroker()
        cerebro.broker.setcash(cash)
        cerebro.broker.setcommission(commission=0.00005)
        for feed in feeds:
            cerebro.adddata(PerpetualData(dataname=feed) if isinstance(feed, MarketData) else feed)
        if strategy is not None:
            cerebro.addstrategy(strategy, **params)
        cerebro.addsizer(AISizer, **{"settings": NO_KELLY, **(sizer or {})})
        cerebro.addanalyzer(Books, _name="books")
        if setup is not None:
            setup(cerebro)
        done = cerebro.run()[0]
        return done, done.analyzers.books

    return run
