"""Three strategies in one Cerebro, each with an account of its own; capital goes where the record is good.

Run it: ``python examples/fund_of_funds.py``
"""

from __future__ import annotations

import backtrader as bt

from ai_backtrader.analyzers import Allocations
from ai_backtrader.brokers import FundBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.strategies import AIStrategy, Member, PortfolioStrategy


class Trend(bt.Strategy):
    """Nine tenths of its account while the price lies above its average."""

    params = (("period", 50),)

    def __init__(self) -> None:
        self.above = bt.ind.CrossOver(self.data.close, bt.ind.SMA(period=self.p.period))

    def next(self) -> None:
        """Enter and leave on the crossings."""
        if self.above[0]:
            self.order_target_percent(target=0.9 if self.above[0] > 0 else 0.0)


def main() -> None:
    """Run the fund and show who earned what, and who was given what."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=30_000)
    cerebro.broker.setcommission(commission=0.00002)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(3_000)))
    slow = Member(strategy=Trend, name="slow", params={"period": 250})
    PortfolioStrategy.host(cerebro, [AIStrategy, Member(strategy=Trend, name="quick"), slow], rebalance_days=20)
    cerebro.addanalyzer(Allocations)
    manager = cerebro.run()[-1]

    allocations = manager.analyzers.allocations
    for name, member in allocations.get_analysis().members.items():
        print(f"{name:12s} earned {member.profit:+9,.2f}, held {member.mean_weight:5.1%} of the capital on average")
    print(f"the fund     {cerebro.broker.getvalue() - 30_000:+9,.2f} on 30,000")
    print(allocations.plans()[["at", "cash", "AIStrategy", "quick", "slow"]].tail(4).to_string(index=False))


if __name__ == "__main__":
    main()
