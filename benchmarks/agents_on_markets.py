"""What the agents are worth on markets: by reward, and by the whole protocol against its baselines.

    python benchmarks/agents_on_markets.py rewards [--data FILE.csv.gz ...] [--seeds 3] [--steps 40000]
    python benchmarks/agents_on_markets.py protocol [--data FILE.csv.gz ...] [--seeds 5] [--steps 60000]

``rewards``: every reward mode that passes ``audit_reward`` trains the leverage agent on the same bars; the best weights
by plain validation equity are played on the held-out test bars. Rewards are measured in different units, so only the
account counts: growth (ln) of the test equity, mean over seeds, beside the planted market of the tests, where there is
something to learn. ``protocol``: both agents by ``train_agent`` as it stands, with its verdict. Without ``--data`` the
samples that ship with the package.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData
from ai_backtrader.rl import REWARD_MODES, EnvironmentSettings, audit_reward
from ai_backtrader.rl.training import train_agent


def planted_market(seed: int, *, bars: int = 6_000, drift: float = 0.002, noise: float = 0.003) -> MarketData:
    """Hourly bars of up-legs and down-legs of 24 to 71 bars in turns, with a drift each way."""
    rng = np.random.default_rng(seed)
    sides = np.empty(bars)
    at, side = 0, 1.0
    while at < bars:
        length = int(rng.integers(24, 72))
        sides[at : at + length] = side
        at, side = at + length, -side
    changes = np.repeat(sides * drift / 8, 8) + rng.standard_normal(bars * 8) * noise / np.sqrt(8)
    path = 100.0 * np.exp(np.cumsum(changes)).reshape(bars, 8)
    close = path[:, -1]
    opening = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, path.max(axis=1)),
            "low": np.minimum(opening, path.min(axis=1)),
            "close": close,
            "volume": 1000.0,
        },
        index=pd.date_range("1970-01-01", periods=bars, freq="h", tz="UTC"),
    )
    return MarketData.from_frame(frame, symbol="planted", spike_factor=1e9)


def compare_rewards(markets: list[MarketData], seeds: int, steps: int) -> None:
    print(f"{'reward':20s} {'market':16s} growth on test, each seed | mean | liquidations | strained")
    for mode in REWARD_MODES:
        audit = audit_reward(mode)
        worst = audit.policies[audit.worst].reward_per_bar
        print(f"{mode:20s} audit: worst null policy {audit.worst} {worst:+.4f} a bar, passed {audit.passed}")
        if not audit.passed:
            continue
        for market in markets:
            result = train_agent(
                market, seeds=seeds, steps=steps, environment=EnvironmentSettings(reward_mode=mode), caution=0.0
            )
            tests = [outcome.test for outcome in result.seeds if outcome.test is not None]
            growths = result.test_growths
            print(
                f"{mode:20s} {market.symbol:16s} {' '.join(f'{growth:+7.3f}' for growth in growths)} | "
                f"{growths.mean():+7.3f} | {sum(test.liquidations for test in tests)} | "
                f"{np.mean([test.strained for test in tests]):.1%}",
                flush=True,
            )


def judge(markets: list[MarketData], seeds: int, steps: int, caution: float) -> None:
    for market in markets:
        for agent in ("leverage", "basic"):
            began = time.perf_counter()
            result = train_agent(market, agent=agent, seeds=seeds, steps=steps, caution=caution)
            print(f"{market.symbol}, {agent} agent ({time.perf_counter() - began:.0f} s): {result.verdict}")
            for name, figures in result.baselines.items():
                print(f"    {name:20s} {figures.growth:+.3f} drawdown {figures.max_drawdown:.1%}")
            for outcome in result.seeds:
                test, plain = outcome.test, outcome.unlevered
                if test is not None and plain is not None:
                    print(
                        f"    seed {outcome.seed} {test.growth:+.3f} at 1x {plain.growth:+.3f} shuffled "
                        f"{outcome.shuffled_growth:+.3f} trades {test.trades} liquidations {test.liquidations} strained "
                        f"{test.strained:.1%} funding {test.funding:+.1f} reluctance {outcome.reluctance}",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rewards", "protocol"))
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--caution", type=float, default=2.0)
    chosen = parser.parse_args()
    markets = [MarketData.from_csv(path) for path in chosen.data] or [load_sample("EURUSD"), load_sample("SP500")]
    if chosen.what == "rewards":
        compare_rewards([*markets, planted_market(1)], chosen.seeds, chosen.steps)
    else:
        judge(markets, chosen.seeds, chosen.steps, chosen.caution)


if __name__ == "__main__":
    main()
