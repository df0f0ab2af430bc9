"""The whole loop on the trading environments: compiled, saved, resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.rl import EnvironmentSettings, LeverageTradingEnv, build_arrays
from ai_backtrader.rl.agents import LeverageRLAgent
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.saving import load_training, save_training
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.states import LEVERAGE_STATE_VERSION
from ai_backtrader.rl.trading_kernels import TRADING_FIELDS, TRADING_KERNELS
from ai_backtrader.rl.trainer import Trainer

SETTINGS = DQNSettings(learning_starts=100, buffer_size=2_000, epsilon_steps=1_000, n_step=3, prioritised=True)
ROOM = EnvironmentSettings(episode_bars=100)


@pytest.fixture(scope="module")
def data() -> Any:
    return load_sample().head(1_200)


def trainer_on(data: Any, seed: int) -> Trainer:
    dqn = DQN(35, 11, SETTINGS, rng=np.random.default_rng(seed), lanes=3)
    arrays = build_arrays(data, ROOM, leveraged=True, lanes=3)
    return Trainer(dqn, arrays, TRADING_KERNELS, episode_fields=TRADING_FIELDS)


def test_training_on_the_market_resumes_to_the_bit_and_only_on_the_same_data(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    first = trainer_on(data, 1)
    assert first.run(700).updates == 151
    save_training(first, path, feature_version=LEVERAGE_STATE_VERSION)
    first.run(400)
    second = trainer_on(data, 2)
    load_training(second, path, feature_version=LEVERAGE_STATE_VERSION)
    second.run(400)
    ours, theirs = second.state(), first.state()
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
    with pytest.raises(SettingsError, match="environment was"):
        load_training(trainer_on(data.head(1_199), 1), path, feature_version=LEVERAGE_STATE_VERSION)

    agent = LeverageRLAgent()
    load_version = agent.state_type.version
    assert load_version == LEVERAGE_STATE_VERSION
    save_training(second, path, feature_version=LEVERAGE_STATE_VERSION)
    agent.load_weights(path)
    assert agent.trained
    states = np.random.default_rng(3).uniform(-1, 1, (4, 35))
    np.testing.assert_array_equal(agent.dqn.q_values(states), second.dqn.q_values(states))


def test_greedy_episodes_are_those_of_the_gymnasium_environment(data: Any) -> None:
    trainer = trainer_on(data, 4)
    trainer.run(600)
    starts = np.array([300, 500, 640])
    returns, lengths = trainer.evaluate(starts, env=build_arrays(data, ROOM, leveraged=True))
    env = LeverageTradingEnv(data, ROOM)
    for start, expected, length in zip(starts, returns, lengths, strict=True):
        state, _ = env.reset(options={"start": int(start)})
        total, steps, ended = 0.0, 0, False
        while not ended:
            action = trainer.dqn.act(state, env.action_masks())
            state, reward, terminated, truncated, _ = env.step(np.int64(action))
            total, steps, ended = total + reward, steps + 1, terminated or truncated
        assert steps == length
        assert total == pytest.approx(expected, abs=1e-9)
