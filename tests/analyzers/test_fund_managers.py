"""On the manager of a fund the analyzers speak of the whole fund: what its members say, added up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import Liquidations, Performance, Timeline
from ai_backtrader.brokers import FundBroker
from ai_backtrader.strategies import Member, PortfolioStrategy


class Levered(bt.Strategy):
    """Opens and closes every so many bars, at 20x."""

    params = (("every", 40), ("side", 1))

    def next(self) -> None:
        if len(self) % self.p.every == 0 and self.position:
            self.close()
        elif len(self) % self.p.every == 5:
            size = 0.5 * self.broker.getvalue() * 20.0 / self.data.close[0]
            (self.buy if self.p.side > 0 else self.sell)(size=size, leverage=20.0)


@pytest.fixture(scope="module")
def fund(frame_of: Callable[..., pd.DataFrame]) -> tuple[list[Any], Any]:
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(4).normal(0.0, 0.008, 900)))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=20_000.0, account_options={"funding": 0.0002, "liquidation_fee": 0.005})
    cerebro.broker.setcommission(commission=0.0004)
    feed = bt.feeds.PandasData(
        dataname=frame_of(closes, freq="h"), timeframe=bt.TimeFrame.Minutes, compression=60
    )  # fmt: skip
    cerebro.adddata(feed, name="X")
    members = [Levered, Member(strategy=Levered, name="short", params={"side": -1, "every": 28})]
    PortfolioStrategy.host(cerebro, members, rebalance_days=7, warm_up_days=7)
    for analyzer in (Performance, Liquidations, Timeline):
        cerebro.addanalyzer(analyzer)
    return cerebro.run(), cerebro.broker


def analyses(strategies: list[Any], name: str) -> tuple[list[Any], Any]:
    *members, manager = (getattr(strategy.analyzers, name).get_analysis() for strategy in strategies)
    return members, manager


@pytest.mark.parametrize("figure", ["trades", "trades_won", "fees", "funding", "closed_profit", "liquidations"])
def test_what_the_members_did_adds_up(fund: tuple[list[Any], Any], figure: str) -> None:
    members, manager = analyses(fund[0], "performance")
    assert manager[figure] == pytest.approx(sum(member[figure] for member in members), rel=1e-9)
    assert manager[figure] != 0.0


def test_value_is_price_profit_less_costs(fund: tuple[list[Any], Any]) -> None:
    members, manager = analyses(fund[0], "performance")
    assert manager.final_equity == pytest.approx(fund[1].getvalue())
    gained = manager.final_equity - manager.start_equity
    assert manager.closed_profit + manager.open_profit == pytest.approx(gained)
    assert manager.trades_open == sum(member.trades_open for member in members)
    held = manager.final_equity + manager.fees + manager.funding - manager.start_equity
    performance = fund[0][-1].analyzers.performance
    fills = performance.fills()
    last = performance.price[-1]
    moved = float((fills["size"] * (last - fills["price"])).sum())
    assert held == pytest.approx(moved, rel=1e-9)  # open positions at the last price


def test_the_fills_are_those_of_all_members_in_the_order_of_time(fund: tuple[list[Any], Any]) -> None:
    *members, manager = (strategy.analyzers.performance.fills() for strategy in fund[0])
    assert len(manager) == sum(map(len, members)) > 0
    assert manager["bar"].is_monotonic_increasing
    wanted = pd.concat(members).sort_values(["bar", "size"])
    found = manager.sort_values(["bar", "size"])
    for column in ("time", "price", "size", "opened", "closed", "liquidation"):
        assert wanted[column].tolist() == found[column].tolist(), column


def test_margin_and_leverage_are_those_of_the_accounts(fund: tuple[list[Any], Any]) -> None:
    *members, manager = fund[0]
    ratios = [strategy.analyzers.liquidations.margin_ratio["X"] for strategy in members]
    np.testing.assert_array_equal(manager.analyzers.liquidations.margin_ratio["X"], np.maximum(*ratios))
    events = [event for strategy in members for event in strategy.analyzers.liquidations.events]
    assert len(manager.analyzers.liquidations.events) == len(events) > 0
    np.testing.assert_allclose(
        manager.analyzers.performance.leverage, manager.analyzers.timeline.leverage, rtol=1e-12
    )  # fmt: skip
