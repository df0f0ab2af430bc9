"""A reward of your own: what it pays to those who know nothing, then an agent that learns from it.

Run it: ``python examples/custom_reward.py``
"""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.rl import DQN, DQNSettings, EnvironmentSettings, TradingEnv, train_in_gymnasium
from ai_backtrader.rl.reward_audit import zero_drift_market


class Growth(gym.Wrapper):
    """Growth of the account in percent, and a penalty for each unit of turnover: an agent that may not fidget."""

    def __init__(self, env: gym.Env, penalty: float = 0.01) -> None:
        super().__init__(env)
        self.penalty = penalty

    def reset(self, **options: object) -> tuple:
        """Note the account at the start."""
        state, self.before = self.env.reset(**options)
        return state, self.before

    def step(self, action: int) -> tuple:
        """Reward a bar by the account before and after it."""
        state, _, ruined, cut, info = self.env.step(np.int64(action))
        growth = 100.0 * math.log(info["equity"] / self.before["equity"])
        turned = (info["turnover"] - self.before["turnover"]) / self.before["equity"]
        self.before = info
        return state, growth - self.penalty * turned, ruined, cut, info


def per_bar(env: gym.Env, action: int, bars: int = 500) -> float:
    """Mean reward of always the same action."""
    env.reset(seed=1)
    return sum(env.step(action)[1] for _ in range(bars)) / bars


def main() -> None:
    """Audit on a market without drift, then train on real bars."""
    free = EnvironmentSettings(commission=0.0, episode_bars=None, random_start=False)
    walk = Growth(TradingEnv(zero_drift_market(np.random.default_rng(5), bars=1_200), free))
    for name, action in (("flat", 0), ("long", 1), ("short", 2)):
        print(f"always {name:5s} {per_bar(walk, action):+.4f} per bar without drift")

    env = Growth(TradingEnv(load_sample().head(3_000), EnvironmentSettings(commission=0.00005), segment="train"))
    dqn = DQN(18, 3, DQNSettings(learning_starts=200, epsilon_steps=1_000), rng=np.random.default_rng(7))
    returns = train_in_gymnasium(dqn, env, 3_000, seed=7)
    print("episodes:", " ".join(f"{value:+.2f}" for value in returns))


if __name__ == "__main__":
    main()
