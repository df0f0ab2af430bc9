"""One long at 10x through one violent hour, on Backtrader's broker and on LeverageBroker.

Run it: ``python examples/leverage_broker_alone.py``
"""

from __future__ import annotations

import backtrader as bt
import pandas as pd

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData

CLOSES = [100.0, 100.0, 102.0, 103.0, 85.0, 96.0, 108.0, 112.0]


class LongTenTimes(bt.Strategy):
    """Buys 500 units on the first bar; on LeverageBroker at the leverage that the order names."""

    def next(self) -> None:
        """Buy once."""
        if len(self) == 1:
            self.buy(size=500, leverage=10)

    def notify_liquidation(self, liquidation: object) -> None:
        """Called by LeverageBroker alone."""
        print("  liquidated:", liquidation)


def market() -> MarketData:
    """Eight hourly bars: up, down by 17 %, and back above the entry."""
    opens = [CLOSES[0], *CLOSES[:-1]]
    columns = {
        "open": opens,
        "high": [max(pair) for pair in zip(opens, CLOSES, strict=True)],
        "low": [min(pair) for pair in zip(opens, CLOSES, strict=True)],
        "close": CLOSES,
        "volume": [1.0] * len(CLOSES),
    }
    return MarketData.from_frame(pd.DataFrame(columns, pd.date_range("2024-01-01", periods=8, freq="h")), symbol="X")


def main() -> None:
    """Run the same strategy on both."""
    for broker in (bt.brokers.BackBroker(), LeverageBroker()):
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = broker
        cerebro.broker.setcommission(commission=0.0, leverage=10.0)
        cerebro.adddata(PerpetualData(dataname=market()))
        cerebro.addstrategy(LongTenTimes)
        print(type(broker).__name__)
        cerebro.run()
        print(f"  account: {cerebro.broker.getvalue():,.0f} of 10,000")


if __name__ == "__main__":
    main()
