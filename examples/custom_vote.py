"""A voter of your own in AIStrategy: Donchian breakouts vote in the technical source's place.

Run it: ``python examples/custom_vote.py``
"""

from __future__ import annotations

import backtrader as bt

from ai_backtrader.analyzers import Decisions, Performance
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.engine import Engine
from ai_backtrader.orchestrator import Abstention, Context, Vote
from ai_backtrader.strategies import AIStrategy
from ai_backtrader.values import Action


class Breakout:
    """Votes with the side on which the price left the range of the bars before; else it has nothing to say."""

    def __init__(self, bars: int) -> None:
        self.bars, self.closes = bars, []

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote on the bar just closed; nothing but the context is known of the market."""
        before, price = self.closes[-self.bars :], context.current_price
        self.closes.append(price)
        if len(before) < self.bars:
            return Abstention("technical", f"{self.bars} bars are needed")
        for action, left in ((Action.BUY, price > max(before)), (Action.SELL, price < min(before))):
            if left:
                return Vote("technical", action, 0.7, f"{price:g} lies outside the last {self.bars} closes")
        return Abstention("technical", "inside the range")


def main() -> None:
    """Connect it and trade."""
    engine = Engine()
    engine.orchestrator.sources = engine.orchestrator.sources._replace(technical=Breakout(bars=60))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(1_500)))
    cerebro.addstrategy(AIStrategy, engine=engine)
    cerebro.addanalyzer(Performance)
    cerebro.addanalyzer(Decisions)
    strategy = cerebro.run()[0]
    first = next(decision for decision in strategy.decisions if decision.breakdown)
    print(first.at, first.action, first.reasoning)
    votes = strategy.analyzers.decisions.get_analysis().sources["technical"]
    print(f"{votes.buys} votes to buy, {votes.sells} to sell, {votes.abstentions} abstentions")
    earned = strategy.analyzers.performance.get_analysis()
    print(f"{earned.trades} trades, {earned.total_return:+.2%}; holding {earned.buy_and_hold.total_return:+.2%}")


if __name__ == "__main__":
    main()
