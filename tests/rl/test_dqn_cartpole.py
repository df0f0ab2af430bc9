"""CartPole-v1: the compiled equations are Gymnasium's, and the agent balances the pole."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.gym_training import train_in_gymnasium
from ai_backtrader.rl.settings import DQNSettings


def test_the_compiled_cartpole_is_gymnasiums_step_by_step(cartpole: ModuleType) -> None:
    env: Any = gym.make("CartPole-v1")
    rng = np.random.default_rng(1)
    ours = cartpole.new_cartpole(1, seed=2)
    seen, ends = np.zeros(4), {"terminated": 0, "truncated": 0}
    for episode in range(60):
        state, _ = env.reset(seed=episode)
        ours.starts[0] = env.unwrapped.state
        cartpole.reset(ours, 0, 0)
        ended = False
        while not ended:
            # Every third episode is balanced, so that the clock's end is met too.
            leaning = state[2] + 0.3 * state[3] + 0.01 * state[0] + 0.05 * state[1] > 0
            action = int(leaning) if episode % 3 == 0 else int(rng.integers(2))
            state, reward, terminated, truncated, _ = env.step(action)
            assert cartpole.step(ours, 0, action) == (reward, terminated, truncated)
            cartpole.observe(ours, 0, seen)
            np.testing.assert_allclose(seen, env.unwrapped.state, rtol=0, atol=1e-12)
            ended = terminated or truncated
        ends["truncated" if truncated else "terminated"] += 1
    assert min(ends.values()) > 0, ends


@pytest.mark.slow
def test_cartpole_is_solved_within_50000_steps_in_8_of_10_seeds(cartpole: ModuleType) -> None:
    outcomes = [cartpole.train(seed) for seed in range(10)]
    # The last weights, whatever the training passed through before; and the best checkpoint.
    assert sum(outcome.final >= cartpole.SOLVED for outcome in outcomes) >= 8, outcomes
    assert sum(outcome.best >= cartpole.SOLVED for outcome in outcomes) >= 8, outcomes
    # A hundred full episodes are all 50,000 steps: these hold those in which the pole was still being learnt.
    assert np.mean([outcome.training for outcome in outcomes]) >= 400.0, outcomes


def test_ten_thousand_steps_already_balance_longer_than_chance(cartpole: ModuleType) -> None:
    # Chance: 22 steps.
    assert cartpole.train(0, n_steps=10_000).final > 100.0


class Corridor(gym.Env[np.ndarray, np.int64]):
    """Three places; right leads out and is worth 1, and cannot be taken in the first place on odd visits."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.place, self.visits, self.broken = 0, 0, 0

    def action_masks(self) -> np.ndarray:
        return np.array([True, self.visits % 2 == 0])

    def _state(self) -> np.ndarray:
        return np.array([self.place - 1.0, self.visits % 2], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.visits = 0, int(self.np_random.integers(2))
        return self._state(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.broken += not self.action_masks()[action]
        self.place += int(action)
        self.visits += 1
        out = self.place > 2
        self.place = min(self.place, 2)
        return self._state(), float(out), out, self.visits > 12, {}


def test_any_gymnasium_environment_is_learnt_and_its_masks_are_kept() -> None:
    env = Corridor()
    settings = DQNSettings(hidden=(16,), gamma=0.9, learning_rate=5e-3, learning_starts=50, train_every=1,
                           target_every=50, epsilon_steps=600, buffer_size=2_000)  # fmt: skip
    dqn = DQN(2, 2, settings, rng=np.random.default_rng(1))
    returns = train_in_gymnasium(dqn, env, 1_500, seed=3)
    assert env.broken == 0
    assert np.mean(returns[-20:]) > 0.9
    # From the last place, right allowed: out at once, worth 1; with right not allowed: wait, worth 0.9.
    assert dqn.q_values(np.array([[1.0, 0.0]]))[0, 1] == pytest.approx(1.0, abs=0.05)
    assert dqn.q_values(np.array([[1.0, 1.0]]))[0, 0] == pytest.approx(0.9, abs=0.08)


def test_spaces_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"action space must be Discrete\(3\)"):
        train_in_gymnasium(DQN(2, 3, rng=np.random.default_rng(0)), Corridor(), 10)
    with pytest.raises(SettingsError, match=r"states must have shape \(5,\)"):
        train_in_gymnasium(DQN(5, 2, rng=np.random.default_rng(0)), Corridor(), 10)
