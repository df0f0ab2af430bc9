"""A classic SMA cross, untouched; AISizer says how much and at which leverage, LeverageBroker keeps it honest.

Run it: ``python examples/sizer_under_sma_cross.py``
"""

from __future__ import annotations

import backtrader as bt

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.sizers import AISizer


class SmaCross(bt.Strategy):
    """Long while the fast average lies above the slow one; knows nothing of sizes and leverage."""

    params = (("fast", 20), ("slow", 50))

    def __init__(self) -> None:
        fast, slow = bt.ind.SMA(period=self.p.fast), bt.ind.SMA(period=self.p.slow)
        self.cross = bt.ind.CrossOver(fast, slow)

    def next(self) -> None:
        """Enter and leave on the crossings."""
        if self.cross[0] > 0:
            self.buy()
        elif self.cross[0] < 0 and self.position:
            self.close()


def main() -> None:
    """Run it and show what the sizer decided."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(2_000)))
    cerebro.addstrategy(SmaCross)
    cerebro.addsizer(AISizer, risk_budget=0.01, max_leverage=5)
    strategy = cerebro.run()[0]

    decisions = strategy.getsizer().decisions
    print(f"{len(decisions)} entries asked for, account {cerebro.broker.getvalue():,.2f}")
    for decision in decisions[:5]:
        print(f"{decision.recommended_leverage:4.1f}x, margin {decision.position_size_pct:6.1%} of the account")
    print("Why the first one:", decisions[0].reasoning)


if __name__ == "__main__":
    main()
