"""What the online learner costs a backtest: a question, a trade, a bar; and its growth with the trades remembered.

    python benchmarks/online_learner_speed.py [--rounds 5] [--growth]

CPU time of one call, the best of the rounds; every call has conditions of its own. ``--growth``: 1,000 to 1,000,000
trades, first with the default capacity of 10,000 remembered trades, then with room for all of them.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from river import drift as river

from ai_backtrader.events import TradeClosed
from ai_backtrader.online_learner import (
    Adwin,
    DriftMonitor,
    DriftSettings,
    HealthSettings,
    OnlineLearner,
    OnlineLearnerSettings,
    PatternSettings,
)
from ai_backtrader.values import Direction, Regime

FEATURES = PatternSettings().features
Conditions = list[dict[str, float]]


def conditions(n: int, seed: int) -> Conditions:
    values = np.random.default_rng(seed).normal(size=(n, len(FEATURES))).tolist()
    return [dict(zip(FEATURES, row, strict=True)) for row in values]


def best(call: Callable[[], object], calls: int, rounds: int) -> float:
    """Microseconds of CPU a call."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return 1e6 * min(times) / calls


def trade(found: dict[str, float], pnl_pct: float) -> TradeClosed:
    return TradeClosed(
        symbol="X", strategy_id="s", direction=Direction.LONG, entry_price=100.0, exit_price=101.0, pnl_pct=pnl_pct,
        regime=Regime.BULL, indicators_at_entry=found,
    )  # fmt: skip


def learner_with(trades: int, capacity: int = 10_000) -> tuple[OnlineLearner, float]:
    """Learner that was told so many trades, and microseconds of CPU a trade."""
    learner = OnlineLearner(
        OnlineLearnerSettings(health=HealthSettings(rules=()), patterns=PatternSettings(capacity=capacity))
    )
    spent, told, seed = 0.0, 0, 0
    while told < trades:
        n = min(10_000, trades - told)
        pnls = np.random.default_rng(seed).normal(0.1, 1.0, n).tolist()
        closed = [trade(found, pnl) for found, pnl in zip(conditions(n, seed), pnls, strict=True)]
        began = time.process_time()
        for event in closed:
            learner.on_trade_complete(event)
        spent += time.process_time() - began
        told, seed = told + n, seed + 1
    return learner, 1e6 * spent / trades


def asking(learner: OnlineLearner, rounds: int, n: int = 2000) -> float:
    questions = conditions(n, 999)

    def ask() -> None:
        for found in questions:
            learner.should_trade(strategy_id="s", regime="bull", indicators=found, direction="LONG")

    return best(ask, n, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    args = parser.parse_args()

    learner_with(300)  # compiles
    learner, told = learner_with(10_000)
    print(f"should_trade, 10,000 trades remembered   {asking(learner, args.rounds):8.1f} µs")
    print(f"on_trade_complete                        {told:8.1f} µs")

    rng = np.random.default_rng(0)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.normal(size=20_000)))
    volume = rng.lognormal(size=20_000)
    bars = list(zip(close.tolist(), volume.tolist(), strict=True))

    def stream() -> None:
        watching = OnlineLearner()
        for price, traded in bars:
            watching.on_bar("X", close=price, volume=traded)

    def river_stream() -> None:
        detectors = [river.ADWIN() for _ in range(3)]
        before = 100.0
        for price, traded in bars:
            change = np.log(price / before)
            for detector, value in zip(detectors, (change, abs(change), np.log(traded)), strict=True):
                detector.update(value)
            before = price

    only_adwin = DriftSettings(detectors=(Adwin(clock=4),))
    calls: dict[str, Callable[[], object]] = {
        "on_bar, three series, the defaults": stream,
        "the same bars at once": lambda: DriftMonitor("X").scan(close, volume),
        "river, three series, ADWIN alone": river_stream,
        "ours, three series, ADWIN alone, at once": lambda: DriftMonitor("X", only_adwin).scan(close, volume),
    }
    for name, call in calls.items():
        call()
        print(f"{name:40s} {best(call, len(bars), args.rounds):8.2f} µs")
    if args.growth:
        for bounded in (True, False):
            kept = "10,000" if bounded else "all"
            print(f"\nremembering {kept}: trades, µs a question, µs a trade, peak MB")
            for trades in (1_000, 10_000, 100_000, 1_000_000):
                learner, told = learner_with(trades, 10_000 if bounded else trades)
                asked = asking(learner, 3, 2000 if bounded or trades <= 10_000 else 100)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(f"{trades:9,d} {asked:10.1f} {told:10.1f} {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
