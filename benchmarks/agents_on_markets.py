"""What the agents are worth on markets: by reward, and by the whole protocol against its baselines.

    python benchmarks/agents_on_markets.py rewards [--data FILE.csv.gz ...] [--seeds 3] [--steps 40000]
    python benchmarks/agents_on_markets.py protocol [--data FILE.csv.gz ...] [--seeds 5] [--steps 60000]

``rewards``: every reward mode that passes ``audit_reward`` trains the leverage agent on the same bars; the best weights
by plain validation equity are played on the held-out test bars. Rewards are measured in different units, so only the
account counts: growth (ln) of the test equity, mean over seeds. Two planted markets (legs up and down, with little and
with much noise) stand beside the real ones, because there something can be learnt. ``protocol``: both agents by
``train_agent`` as it stands, with its verdict. Without ``--data`` the samples that ship with the package.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData
from ai_backtrader.rl import REWARD_MODES, EnvironmentSettings, audit_reward
from ai_backtrader.rl.planted import planted_market
from ai_backtrader.rl.training import CAUTION, train_agent


def compare_rewards(markets: list[MarketData], seeds: int, steps: int) -> None:
    quiet = planted_market(np.random.default_rng(1)).data
    wild = dataclasses.replace(planted_market(np.random.default_rng(2), noise=0.01).data, symbol="planted, noisy")
    markets = [*markets, quiet, wild]
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
                        f"{outcome.shuffled_growth:+.3f} trades {test.trades} liquidations {test.liquidations} "
                        f"strained {test.strained:.1%} funding {test.funding:+.1f} reluctance {outcome.reluctance}",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rewards", "protocol"))
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--caution", type=float, default=CAUTION)
    parser.add_argument("--planted-alone", action="store_true", help="rewards: no market but the planted ones")
    chosen = parser.parse_args()
    markets = [MarketData.from_csv(path) for path in chosen.data]
    if not chosen.data and not chosen.planted_alone:
        markets = [load_sample("EURUSD"), load_sample("SP500")]
    if chosen.what == "rewards":
        compare_rewards(markets, chosen.seeds, chosen.steps)
    else:
        judge(markets, chosen.seeds, chosen.steps, chosen.caution)


if __name__ == "__main__":
    main()
