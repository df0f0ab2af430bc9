"""The fund's analyzer: capital by bar, contributions that add up."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.analyzers.allocations import Allocations
from ai_backtrader.brokers import FundBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.strategies.hosting import Member
from ai_backtrader.strategies.portfolio import PortfolioStrategy


class Swing(bt.Strategy):
    params = (("every", 50), ("side", 1))

    def next(self) -> None:
        if len(self) % self.p.every == 0:
            self.close()
        elif len(self) % self.p.every == 1:
            (self.buy if self.p.side > 0 else self.sell)(size=1000)


@pytest.fixture(scope="module")
def run() -> tuple[list[Any], Any]:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=9_000.0)
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(2000)))
    cerebro.addanalyzer(Allocations, _name="allocations")
    members = [Swing, Member(strategy=Swing, name="short", params={"side": -1, "every": 30})]
    PortfolioStrategy.host(cerebro, members, rebalance_days=10, warm_up_days=10)
    return cerebro.run(), cerebro.broker


def test_profits_of_the_members_add_up_to_the_fund(run: tuple[list[Any], Any]) -> None:
    (*_, manager), broker = run
    analysis = manager.analyzers.allocations.get_analysis()
    profits = [member.profit for member in analysis.members.values()]
    assert sum(profits) == pytest.approx(broker.getvalue() - 9_000.0, abs=1e-6)
    assert sum(m.contribution for m in analysis.members.values()) == pytest.approx(sum(profits) / 9_000.0, abs=1e-12)
    assert analysis.plans == len(manager.plans) > 0


def test_the_frame_holds_the_whole_fund_at_every_bar(run: tuple[list[Any], Any]) -> None:
    (*_, manager), broker = run
    frame = manager.analyzers.allocations.frame()
    assert list(frame.columns) == ["cash", "Swing", "short"]
    assert len(frame) == 2000
    assert frame.sum(axis=1).iloc[-1] == pytest.approx(broker.getvalue(), abs=1e-9)


def test_plans_come_as_a_frame(run: tuple[list[Any], Any]) -> None:
    (*_, manager), _ = run
    plans = manager.analyzers.allocations.plans()
    assert len(plans) == len(manager.plans)
    assert ((plans["Swing"] <= 0.4) & (plans["short"] <= 0.4)).all()
    assert (plans["health_Swing"] == 1.0).all()


def test_on_a_member_the_analysis_is_empty(run: tuple[list[Any], Any]) -> None:
    (member, *_), _ = run
    assert dict(member.analyzers.allocations.get_analysis()) == {}
    with pytest.raises(SettingsError, match="manager of a fund"):
        member.analyzers.allocations.frame()
