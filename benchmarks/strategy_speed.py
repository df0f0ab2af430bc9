"""AIStrategy beside a plain Backtrader strategy with 15 indicators: CPU time a bar, side by side in one run.

    python benchmarks/strategy_speed.py [--bars 10000] [--rounds 5] [--growth]

``--growth`` goes from 1,000 to 1,000,000 bars, with the peak memory of each run in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import Engine, FoundStrategy
from ai_backtrader.llm_advisor import AnswerMemory, get_advisor
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategies import AIStrategy


class Fifteen(bt.Strategy):
    """What people write: fifteen indicators, an entry and an exit."""

    def __init__(self) -> None:
        ind, close = bt.indicators, self.data.close
        self.lines_used = [
            *(ind.EMA(close, period=period) for period in (10, 20, 50, 100)),
            *(ind.SMA(close, period=period) for period in (20, 50)),
            ind.RSI_Safe(self.data), ind.MACDHisto(self.data), ind.ATR(self.data), ind.ADX(self.data),
            ind.BollingerBands(self.data), ind.ROC(close, period=5), ind.ROC(close, period=20),
            ind.Highest(self.data.high, period=20), ind.Lowest(self.data.low, period=20),
        ]  # fmt: skip

    def next(self) -> None:
        fast, slow, rsi = self.lines_used[1][0], self.lines_used[2][0], self.lines_used[6][0]
        if not self.position and fast > slow and rsi < 60:
            self.buy(size=0.1)
        elif self.position and fast < slow:
            self.close()


def random_walk(bars: int) -> pd.DataFrame:
    """Hourly bars of a random walk with fat tails."""
    rng = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(np.clip(rng.standard_t(4, bars) * 0.004, -0.1, 0.1)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.exp(np.abs(rng.normal(0.0, 0.003, (2, bars))))
    frame = {
        "open": open_,
        "high": np.maximum(open_, close) * spread[0],
        "low": np.minimum(open_, close) / spread[1],
        "close": close,
        "volume": rng.lognormal(8.0, 1.0, bars),
    }
    return pd.DataFrame(frame, index=pd.date_range("1900-01-01", periods=bars, freq="h").as_unit("s"))


def run_ai(frame: pd.DataFrame) -> None:
    """AIStrategy on a LeverageBroker."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0005)
    data = MarketData.from_frame(frame, symbol="WALK", earliest="1800-01-01", latest="2200-01-01", jump_factor=1e9)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy)
    cerebro.run()


def run_all(frame: pd.DataFrame) -> None:
    """AIStrategy with every system on: two agents of random weights, rules, learner, advisor without answers."""
    data = MarketData.from_frame(frame, symbol="WALK", earliest="1800-01-01", latest="2200-01-01", jump_factor=1e9)
    advisor = get_advisor(model="none", mode="replay", store=AnswerMemory(), model_digest="none")
    engine = Engine(advisor=advisor)
    rng = np.random.default_rng(1)
    for agent, names, actions in ((engine.rl_agent, 18, 3), (engine.leverage_agent, 35, 11)):
        for _ in range(agent.dqn.settings.batch_size):
            state, following = rng.uniform(-1.0, 1.0, (2, names)).astype(np.float32)
            agent.remember(state, int(rng.integers(actions)), float(rng.normal()), following, False)
        agent.train_step()
    engine.evolved.add([FoundStrategy(chromosome=StrategyChromosome.random(rng), confidence=0.9)])
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0005)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy, engine=engine)
    cerebro.run()


def run_fifteen(frame: pd.DataFrame) -> None:
    """The plain strategy, as Backtrader's documentation has it."""
    cerebro = bt.Cerebro()
    cerebro.broker.setcommission(commission=0.0005)
    feed = bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=60)
    cerebro.adddata(feed)
    cerebro.addstrategy(Fifteen)
    cerebro.run()


def cpu_seconds(job: Callable[[pd.DataFrame], None], frame: pd.DataFrame) -> float:
    """CPU time of one run."""
    began = time.process_time()
    job(frame)
    return time.process_time() - began


JOBS = {"AIStrategy": run_ai, "all systems on": run_all, "15 indicators": run_fifteen}


def _measured(name: str, bars: int, answer: Any) -> None:
    seconds = cpu_seconds(JOBS[name], random_walk(bars))
    answer.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    chosen = parser.parse_args()
    frame = random_walk(chosen.bars)
    run_all(frame.iloc[:500])  # kernels come from the disk cache
    rounds = [{name: cpu_seconds(job, frame) for name, job in JOBS.items()} for _ in range(chosen.rounds)]
    for name in JOBS:
        times = [seconds[name] for seconds in rounds]
        ratios = sorted(seconds["15 indicators"] / seconds[name] for seconds in rounds)
        print(
            f"{name:14s} {1e6 * statistics.median(times) / chosen.bars:8.1f} us a bar (median of {chosen.rounds}), "
            f"{statistics.median(ratios):.2f}x as fast as 15 indicators ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    if chosen.growth:
        spawn = multiprocessing.get_context("spawn")
        for bars in (1_000, 10_000, 100_000, 1_000_000):
            for name in JOBS:
                answer = spawn.Queue()
                process = spawn.Process(target=_measured, args=(name, bars, answer))
                process.start()
                seconds, megabytes = answer.get()
                process.join()
                print(f"{bars:9,d} bars {name:14s} {1e6 * seconds / bars:8.1f} us a bar, peak {megabytes:,.0f} MB")


if __name__ == "__main__":
    main()
