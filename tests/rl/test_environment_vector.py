"""Many episodes side by side do what single ones do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rl import EnvironmentSettings, LeverageTradingEnv, TradingEnv, VectorTradingEnv


@pytest.fixture(scope="module")
def data() -> MarketData:
    return load_sample().head(700)


def _trace(data: MarketData, threads: int, steps: int = 120) -> list[Any]:
    settings = EnvironmentSettings(episode_bars=40, commission=0.002)
    envs = VectorTradingEnv(data, settings, num_envs=37, threads=threads)
    trace: list[Any] = [envs.reset(seed=3)[0]]
    rng = np.random.default_rng(1)
    for _ in range(steps):
        states, rewards, terminations, truncations, infos = envs.step(rng.integers(0, 11, 37))
        trace += [states, rewards, terminations, truncations, infos["action_mask"]]
    envs.close()
    return trace


def test_any_number_of_threads_gives_the_same() -> None:
    data = load_sample().head(700)
    one, three = _trace(data, 1), _trace(data, 3)
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize("leveraged", [True, False])
def test_each_lane_is_the_single_environment(data: MarketData, leveraged: bool) -> None:
    settings = EnvironmentSettings(episode_bars=30, reward_mode="seed")
    envs = VectorTradingEnv(data, settings, num_envs=8, leveraged=leveraged)
    single = (LeverageTradingEnv if leveraged else TradingEnv)(data, settings)
    states, infos = envs.reset(seed=11)
    starts = envs.arrays.lanes["start"].copy()
    actions = np.random.default_rng(2).integers(0, 11 if leveraged else 3, (30, 8))
    seen: list[Any] = []
    for row in actions:
        seen.append((states, infos["action_mask"]))
        states, rewards, terminations, truncations, infos = envs.step(row)
        seen[-1] += (rewards, terminations, truncations)
    assert truncations.all()
    for lane, start in enumerate(starts):
        observation, info = single.reset(options={"start": int(start)})
        for place, action in enumerate(actions[:, lane]):
            vector_states, masks, rewards, terminations, truncations = seen[place]
            assert observation.tobytes() == vector_states[lane].tobytes()
            assert info["action_mask"].tolist() == masks[lane].tolist()
            observation, reward, terminated, truncated, info = single.step(action)
            assert (reward, terminated, truncated) == (rewards[lane], terminations[lane], truncations[lane])
        assert observation.tobytes() == infos["final_obs"][lane].tobytes()


def test_ended_lanes_start_again_and_show_where_they_ended(data: MarketData) -> None:
    envs = VectorTradingEnv(data, EnvironmentSettings(episode_bars=5), num_envs=4)
    envs.reset(seed=1)
    for _ in range(4):
        infos = envs.step(np.zeros(4, np.int64))[4]
        assert "final_obs" not in infos
    before = envs.arrays.lanes["bar"].copy()
    states, _, terminations, truncations, infos = envs.step(np.zeros(4, np.int64))
    assert truncations.all()
    assert not terminations.any()
    assert infos["_final_obs"].all()
    assert not np.array_equal(infos["final_obs"], states)
    assert (envs.arrays.lanes["bar"] == envs.arrays.lanes["start"]).all()
    assert (envs.arrays.lanes["bar"] != before + 1).any()
    assert (states[:, 26:32] == [0, np.float32(0.1), 0, 0, 0, 0]).all()


def test_arrays_handed_out_are_not_written_again(data: MarketData) -> None:
    envs = VectorTradingEnv(data, EnvironmentSettings(episode_bars=1), num_envs=4)
    first, _ = envs.reset(seed=1)
    kept = first.copy()
    infos = envs.step(np.ones(4, np.int64))[4]
    final = infos["final_obs"].copy()
    envs.step(np.full(4, 5))
    assert np.array_equal(first, kept)
    assert np.array_equal(infos["final_obs"], final)


def test_random_starts_are_uniform(data: MarketData) -> None:
    envs = VectorTradingEnv(data, EnvironmentSettings(episode_bars=79), num_envs=50_000)
    envs.reset(seed=5)
    counts = np.bincount(envs.arrays.lanes["start"] - 120, minlength=501)
    assert len(counts) == 501
    expected = 50_000 / 501
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 500) < 5 * np.sqrt(2 * 500)


def test_faults_are_named(data: MarketData) -> None:
    with pytest.raises(SettingsError, match="2 faults"):
        VectorTradingEnv(data, num_envs=0, threads=0)
    envs = VectorTradingEnv(data, num_envs=4)
    with pytest.raises(SettingsError, match=r"call reset\(\) first"):
        envs.step(np.zeros(4, np.int64))
    envs.reset()
    with pytest.raises(SettingsError, match="actions must be 4 whole numbers, got shape"):
        envs.step(np.zeros(3, np.int64))
    with pytest.raises(SettingsError, match=r"must be 4 whole numbers, got shape \(4,\) of type float64"):
        envs.step(np.zeros(4))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="actions must be between 0 and 10, got 0 to 11"):
        envs.step(np.array([0, 0, 0, 11]))
    with pytest.raises(SettingsError, match="unknown keys 'start'"):
        envs.reset(options={"start": 4})
