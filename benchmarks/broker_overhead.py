"""LeverageBroker against Backtrader's BackBroker on the same strategies, side by side in one run. CPU time.

    python benchmarks/broker_overhead.py [--bars 10000] [--rounds 7] [--growth]

Every round runs each broker once on each strategy, the best of the rounds counts. The feed loads its arrays at once and
there are no observers, so that as little as possible hides the brokers' own time. ``BackBroker`` at 5x is its
commission scheme's leverage without margin for shorts, the nearest it has; what is liquidated there lives on here.

``--growth``: 1,000 to 1,000,000 bars, with the peak memory of each in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData, load_tiers


def prices(bars: int, marks: bool) -> MarketData:
    """Bars of a quarter of an hour of a random walk, with mark price and funding if asked."""
    rng = np.random.default_rng(1)
    close = 30_000 * np.exp(np.cumsum(rng.normal(0, 0.004, bars)))
    before = np.concatenate([[30_000.0], close[:-1]])
    high = np.maximum(before, close) * (1 + np.abs(rng.normal(0, 0.001, bars)))
    low = np.minimum(before, close) * (1 - np.abs(rng.normal(0, 0.001, bars)))
    columns = {"open": before, "high": high, "low": low, "close": close, "volume": np.full(bars, 1000.0)}
    if marks:
        columns |= {f"mark_{name}": columns[name] for name in ("open", "high", "low", "close")}
        columns["funding_rate"] = np.where(np.arange(bars) % 32 == 0, 0.0001, 0.0)
    index = pd.date_range("2000-01-01", periods=bars, freq="15min", tz="UTC")
    return MarketData.from_frame(pd.DataFrame(columns, index=index), symbol="BTCUSDT")


class Cross(bt.Strategy):
    """Two moving averages, in and out with market orders: flat about half of the time."""

    params = (("share", 0.5),)

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=20), bt.ind.SMA(period=60))

    def next(self) -> None:
        if self.cross[0] > 0 and not self.position:
            self.buy(size=self.p.share * self.broker.getcash() / self.data.close[0])
        elif self.cross[0] < 0 and self.position:
            self.close()


class Reversing(Cross):
    """Always in the market, turning round with one order."""

    def next(self) -> None:
        if not self.cross[0]:
            return
        want = self.p.share * self.broker.getvalue() / self.data.close[0] * (1 if self.cross[0] > 0 else -1)
        change = want - self.position.size
        if change:
            (self.buy if change > 0 else self.sell)(size=abs(change))


class Brackets(bt.Strategy):
    """A bracket whenever it is flat: two orders wait in every bar."""

    params = (("share", 0.5),)

    def next(self) -> None:
        if self.position or self.broker.get_orders_open():
            return
        close = self.data.close[0]
        up = len(self) % 2
        sign = 1 if up else -1
        (self.buy_bracket if up else self.sell_bracket)(
            size=self.p.share * self.broker.getvalue() / close, exectype=bt.Order.Market,
            stopprice=close * (1 - sign * 0.02), limitprice=close * (1 + sign * 0.02),
        )  # fmt: skip


class Idle(bt.Strategy):
    """Never trades."""


STRATEGIES = (Idle, Cross, Reversing, Brackets)


def plain() -> Any:
    """BackBroker as it comes."""
    return bt.brokers.BackBroker()


def theirs_at_5() -> Any:
    """BackBroker at 5x."""
    return bt.brokers.BackBroker(shortcash=False)


def ours() -> Any:
    """LeverageBroker without leverage: the same fills."""
    return LeverageBroker()


def ours_at_5() -> Any:
    """LeverageBroker at 5x with Binance's tiers."""
    return LeverageBroker(leverage=5, tiers=load_tiers("binance-BTCUSDT").tiers)


def seconds(broker: Callable[[], Any], strategy: type[bt.Strategy], data: MarketData, leverage: float) -> float:
    """CPU seconds of one run, feed included."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = broker()
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0004, leverage=leverage)
    cerebro.adddata(PerpetualData(dataname=data), name="BTCUSDT")
    cerebro.addstrategy(strategy)
    start = time.process_time()
    cerebro.run()
    return time.process_time() - start


def compare(bars: int, rounds: int) -> None:
    """Print the ratio for each strategy, without leverage and at 5x, without and with mark and funding."""
    cases = (
        ("1x", plain, ours, 1.0, False),
        ("5x", theirs_at_5, ours_at_5, 5.0, False),
        ("5x, mark and funding", theirs_at_5, ours_at_5, 5.0, True),
    )
    print(f"{bars:,} bars, best of {rounds}; us per bar")
    print(f"{'strategy':<12}{'case':<24}{'BackBroker':>12}{'LeverageBroker':>16}{'ratio':>8}")
    for strategy in STRATEGIES:
        for name, first, second, leverage, marks in cases:
            data = prices(bars, marks)
            best = [float("inf")] * 2
            for _ in range(rounds):
                for number, broker in enumerate((first, second)):
                    best[number] = min(best[number], seconds(broker, strategy, data, leverage))
            theirs_us, ours_us = (spent / bars * 1e6 for spent in best)
            print(f"{strategy.__name__:<12}{name:<24}{theirs_us:>12.1f}{ours_us:>16.1f}{ours_us / theirs_us:>8.2f}")


def one_size(bars: int, leverage: float, queue: Any) -> None:
    """CPU seconds and peak memory (MB) of one run in this process."""
    spent = seconds(ours_at_5 if leverage > 1 else plain, Brackets, prices(bars, leverage > 1), leverage)
    queue.put((spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def growth() -> None:
    """Print time and memory from 1,000 to 1,000,000 bars."""
    context = multiprocessing.get_context("spawn")
    print(f"{'bars':>10}{'BackBroker 1x':>18}{'LeverageBroker 5x':>22}{'memory MB':>20}")
    for bars in (1_000, 10_000, 100_000, 1_000_000):
        cells = []
        for leverage in (1.0, 5.0):
            queue = context.Queue()
            worker = context.Process(target=one_size, args=(bars, leverage, queue))
            worker.start()
            cells.append(queue.get())
            worker.join()
        rates = [spent / bars * 1e6 for spent, _ in cells]
        memory = " / ".join(f"{megabytes:.0f}" for _, megabytes in cells)
        print(f"{bars:>10,}{rates[0]:>11.1f} us/bar{rates[1]:>15.1f} us/bar{memory:>20}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--growth", action="store_true")
    chosen = parser.parse_args()
    compare(chosen.bars, chosen.rounds)
    if chosen.growth:
        growth()
