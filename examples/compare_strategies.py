"""AIStrategy, two strategies of one's own and an evolved one, which is proven, side by side with holding.

Run it: ``python examples/compare_strategies.py``
"""

from __future__ import annotations

import backtrader as bt
import numpy as np

from ai_backtrader import StrategyChromosome
from ai_backtrader.analyzers import Performance, compare
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.strategies import AIStrategy, compile_strategy


class Cross(bt.Strategy):
    """Long above the slow average."""

    params = (("fast", 20), ("slow", 50))

    def __init__(self) -> None:
        fast, slow = bt.ind.SMA(period=self.p.fast), bt.ind.SMA(period=self.p.slow)
        self.cross = bt.ind.CrossOver(fast, slow)

    def next(self) -> None:
        """Hold nine tenths of the account, or nothing."""
        if self.cross[0]:
            self.order_target_percent(target=0.9 if self.cross[0] > 0 else 0.0)


def run(strategy: type[bt.Strategy], **params: object) -> bt.Strategy:
    """A run on the sample data."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(3_000)))
    cerebro.addstrategy(strategy, **params)
    cerebro.addanalyzer(Performance)
    return cerebro.run()[0]


def main() -> None:
    """Four strategies; 25 were looked at to find them, and that is counted."""
    drawn = StrategyChromosome.random(np.random.default_rng(7))
    results = {
        "AIStrategy": run(AIStrategy),
        "SMA 20/50": run(Cross),
        "SMA 50/200": run(Cross, fast=50, slow=200),
        "drawn by lot": run(compile_strategy(drawn)),
    }
    print(compare(results, n_trials=25).to_text())


if __name__ == "__main__":
    main()
