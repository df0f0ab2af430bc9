"""The environments: gymnasium's interface, episodes, actions, ends, no look at the future."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from gymnasium.utils.env_checker import check_env

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.market.margin import MaintenanceTiers, liquidation_price
from ai_backtrader.rl import (
    REWARD_MODES,
    EnvironmentSettings,
    LeverageAction,
    LeverageTradingEnv,
    Segment,
    TradingEnv,
    build_arrays,
    play_actions,
    split_by_time,
)

HOLD, LONG_1X, LONG_3X, LONG_10X = 0, 1, 2, 4
SHORT_1X, SHORT_10X, CLOSE, HALF = 5, 8, 9, 10


@pytest.fixture(scope="module")
def data() -> MarketData:
    return load_sample().head(900)


def _market(close: np.ndarray) -> MarketData:
    """Hourly bars through the closes, each opening where the last one ended."""
    opening = np.concatenate((close[:1], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opening, "high": np.maximum(opening, close), "low": np.minimum(opening, close), "close": close,
            "volume": 1.0,
        },
        index=pd.date_range("2024-01-01", periods=len(close), freq="h", tz="UTC"),
    )  # fmt: skip
    return MarketData.from_frame(frame, symbol="made", spike_factor=1e9)


def _path(*tail: float) -> MarketData:
    """150 restless bars around 100 that end at 100, then the given closes."""
    calm = 100.0 + np.sin(np.arange(150.0))
    calm[-1] = 100.0
    return _market(np.concatenate((calm, tail)))


def _env(data: MarketData, **settings: Any) -> LeverageTradingEnv:
    env = LeverageTradingEnv(data, EnvironmentSettings(**{"episode_bars": None, **settings}))
    env.reset(options={"start": 149})
    return env


def step(env: gym.Env[Any, Any], action: int) -> tuple[float, bool, bool, dict[str, Any]]:
    _, reward, terminated, truncated, info = env.step(np.int64(action))
    return float(reward), terminated, truncated, info


# ------------------------------------------------------------------------------------------------ the interface


@pytest.mark.parametrize("kind", [TradingEnv, LeverageTradingEnv])
def test_gymnasiums_checker_finds_nothing(kind: Any, data: MarketData) -> None:
    check_env(kind(data))  # its warnings are errors here


@pytest.mark.parametrize("name", ["ai_backtrader/Trading-v0", "ai_backtrader/LeverageTrading-v0"])
def test_gymnasium_makes_them_by_name(name: str, data: MarketData) -> None:
    env = gym.make(name, data=data)
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("kind", [TradingEnv, LeverageTradingEnv])
def test_stable_baselines_checker_finds_nothing(kind: Any, data: MarketData) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the import alone: the library's own dependencies are deprecated here
        checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(kind(data), warn=True)


def test_the_same_seed_gives_the_same_episode(data: MarketData) -> None:
    def episode(seed: int) -> list[float]:
        env = LeverageTradingEnv(data, EnvironmentSettings(episode_bars=60))
        env.reset(seed=seed)
        return [step(env, action)[0] for action in np.random.default_rng(1).integers(0, 11, 60)]

    assert episode(5) == episode(5)
    assert episode(5) != episode(6)


def test_a_step_needs_an_episode_and_an_action(data: MarketData) -> None:
    env = TradingEnv(data)
    with pytest.raises(SettingsError, match=r"call reset\(\) first"):
        env.step(np.int64(0))
    env.reset()
    with pytest.raises(SettingsError, match="action must be between 0 and 2, got 3"):
        env.step(3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="unknown keys 'begin'"):
        env.reset(options={"begin": 3})
    with pytest.raises(SettingsError, match=r"options\['start'\] must be between 120 and 898, got 3"):
        env.reset(options={"start": 3})


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"cash": 0.0, "margin_fraction": 1.5, "episode_bars": 0}, "3 faults"),
        ({"reward_mode": "greed"}, "reward_mode must be one of 'seed'"),
        ({"reward": 3}, "reward must be RewardSettings"),
        ({"ruin": 1.0}, "ruin must be between 0 and 0.99"),
        ({"random_start": 1}, "random_start must be True or False"),
        ({"most_halvings": -1}, "most_halvings must be between 0 and 50"),
    ],
)
def test_faulty_settings_are_refused(given: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        EnvironmentSettings(**given)


def test_faulty_data_and_segments_are_refused(data: MarketData) -> None:
    with pytest.raises(SettingsError, match="data must be MarketData, got list"):
        TradingEnv([1.0])  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="segment must be one of 'whole'"):
        TradingEnv(data, segment="dev")
    with pytest.raises(SettingsError, match=r"segment\.stop must be between 2 and 900"):
        TradingEnv(data, segment=Segment(200, 901))
    with pytest.raises(SettingsError, match="ready from bar 120 on"):
        TradingEnv(data, segment=Segment(0, 100))
    with pytest.raises(SettingsError, match="features have 100 bars, data 900"):
        TradingEnv(data, features=compute_features(data.head(100)))


# ------------------------------------------------------------------------------------------------ episodes


def test_an_episode_is_cut_at_its_length_and_at_the_end_of_the_data(data: MarketData) -> None:
    env = _env(data, episode_bars=25)
    ends = [step(env, HOLD)[1:3] for _ in range(25)]
    assert ends[-1] == (False, True)
    assert set(ends[:-1]) == {(False, False)}
    env.reset(options={"start": 897})
    assert step(env, HOLD)[1:3] == (False, False)
    assert step(env, HOLD)[1:3] == (False, True)


def test_a_ruined_account_terminates_and_is_not_cut() -> None:
    env = _env(_path(100.0, 60.0, 60.0, 60.0), ruin=0.2, reward_mode="log_equity")
    step(env, LONG_10X)
    reward, terminated, truncated, info = step(env, HOLD)
    assert (terminated, truncated) == (True, False)
    assert info["liquidations"] == 1
    assert reward == pytest.approx(100 * np.log(info["equity"] / (10_000 - 45.0)))
    with pytest.raises(SettingsError, match="the episode has ended"):
        env.step(np.int64(0))


def test_ruin_on_the_last_bar_is_ruin() -> None:
    env = _env(_path(100.0, 60.0), ruin=0.2)
    step(env, LONG_10X)
    assert step(env, HOLD)[1:3] == (True, False)


def test_starts_are_spread_over_the_segment_and_no_episode_leaves_it(data: MarketData) -> None:
    segment = Segment(300, 420)
    env = LeverageTradingEnv(data, EnvironmentSettings(episode_bars=50), segment=segment)
    starts, last = set(), 0
    for seed in range(300):
        _, info = env.reset(seed=seed)
        starts.add(info["start"])
        truncated = False
        while not truncated:
            _, terminated, truncated, info = step(env, HOLD)
            assert not terminated
        assert info["bar"] - info["start"] == 50
        last = max(last, info["bar"])
    assert min(starts) == 300
    assert max(starts) == 369
    assert len(starts) > 60
    assert last == 419


def test_the_split_is_by_time_without_a_bar_in_two_parts(data: MarketData) -> None:
    parts = split_by_time(data, gap=5)
    train, validation, test = parts["train"], parts["validation"], parts["test"]
    assert train.start == 120
    assert test.stop == 900
    assert validation.start - train.stop == test.start - validation.stop == 5
    assert len(train) == round(0.6 * 780)
    env = TradingEnv(data, EnvironmentSettings(random_start=False, episode_bars=None), segment="test")
    assert env.reset()[1]["start"] == split_by_time(data)["test"].start
    with pytest.raises(SettingsError, match="leave a part for the test"):
        split_by_time(data, train=0.8, validation=0.2)
    with pytest.raises(SettingsError, match="validation has 1 bars"):
        split_by_time(data.head(124), train=0.4, validation=0.3)


# ------------------------------------------------------------------------------------------------ actions


def test_an_order_fills_at_the_next_open_and_costs_its_commission() -> None:
    env = _env(_path(101.0, 102.0))
    _, _, _, info = step(env, LONG_3X)
    size = 10_000 * 0.9 * 3 / 100.0
    assert info["fees"] == pytest.approx(size * 100.0 * 0.0005)
    assert info["equity"] == pytest.approx(10_000 - info["fees"] + size * 1.0)
    assert info["cash"] == pytest.approx(1_000 - info["fees"])
    assert info["turnover"] == pytest.approx(27_000)


def test_reduce_half_halves_the_position_and_frees_half_of_the_margin() -> None:
    env = _env(_path(100.0, 100.0, 100.0), commission=0.0)
    step(env, LONG_3X)
    before = env.arrays.lanes[0].copy()
    _, _, _, info = step(env, HALF)
    run = env.arrays.lanes[0]
    assert run["size"] == before["size"] / 2
    assert run["margin"] == before["margin"] / 2
    assert info["cash"] == pytest.approx(before["cash"] + before["margin"] / 2)
    assert run["leverage"] == 3.0
    assert info["trades"] == 0


def test_close_and_reduce_are_masked_when_flat_and_halving_has_an_end() -> None:
    env = _env(_path(*[100.0] * 12), most_halvings=2)
    flat = [True] * 9 + [False, False]
    assert env.action_masks().tolist() == flat
    assert step(env, CLOSE)[3]["turnover"] == 0.0
    assert step(env, LONG_1X)[3]["action_mask"].all()
    for _ in range(2):
        info = step(env, HALF)[3]
    assert info["action_mask"].tolist() == [True] * 10 + [False]
    size = env.arrays.lanes["size"][0]
    step(env, HALF)
    assert env.arrays.lanes["size"][0] == size
    assert step(env, CLOSE)[3]["action_mask"].tolist() == flat


def test_the_same_target_again_does_nothing_and_another_one_resizes() -> None:
    env = _env(_path(*[100.0] * 8))
    turnover = step(env, LONG_3X)[3]["turnover"]
    assert step(env, LONG_3X)[3]["turnover"] == turnover
    info = step(env, LONG_10X)[3]
    run = env.arrays.lanes[0]
    assert run["leverage"] == 10.0
    assert info["trades"] == 1
    assert info["turnover"] == pytest.approx(2 * turnover + 10 * 0.9 * (10_000 - 13.5), rel=1e-6)
    # The same position to the agent: its duration goes on.
    observation = env.step(np.int64(HOLD))[0]
    assert observation[29] == pytest.approx(0.03)


def test_the_other_side_closes_and_opens_in_one_bar() -> None:
    env = _env(_path(*[100.0] * 5))
    step(env, LONG_1X)
    info = step(env, SHORT_10X)[3]
    run = env.arrays.lanes[0]
    assert run["size"] < 0.0
    assert run["leverage"] == 10.0
    assert info["trades"] == 1
    assert run["entry_bar"] == info["bar"]


@pytest.mark.parametrize(("turns", "sign"), [(False, 0), (True, -1)])
def test_the_basic_agent_closes_or_turns_round(turns: bool, sign: int) -> None:
    env = TradingEnv(_path(*[100.0] * 5), EnvironmentSettings(turn_round=turns, episode_bars=None))
    env.reset(options={"start": 149})
    step(env, 1)
    assert env.arrays.lanes["size"][0] > 0
    step(env, 2)
    assert np.sign(env.arrays.lanes["size"][0]) == sign
    step(env, 2)
    assert np.sign(env.arrays.lanes["size"][0]) == -1


def test_orders_beyond_the_cash_are_refused_and_counted() -> None:
    env = _env(_path(100.0, 100.0), margin_fraction=1.0)
    info = step(env, LONG_10X)[3]
    assert (info["rejected"], info["equity"]) == (1, 10_000.0)


# ------------------------------------------------------------------------------------------------ margin


@pytest.mark.parametrize(("action", "side", "leverage"), [(LONG_10X, "LONG", 10), (SHORT_10X, "SHORT", 10)])
def test_liquidation_comes_where_the_exchanges_formula_says(action: int, side: str, leverage: int) -> None:
    tiers = MaintenanceTiers.flat(0.005)
    size = 9_000 * leverage / 100.0
    price = liquidation_price(side=side, entry_price=100.0, size=size, margin=9_000.0, tiers=tiers)
    assert price is not None
    sign = 1 if side == "LONG" else -1
    near, beyond = _env(_path(100.0, price + sign * 1e-6)), _env(_path(100.0, price - sign * 1e-6))
    for env, expected in ((near, 0), (beyond, 1)):
        step(env, action)
        info = step(env, HOLD)[3]
        assert info["liquidations"] == expected
        assert info["equity"] >= 10_000 - 9_000 - info["fees"]


def test_the_margin_ratio_of_the_state_goes_from_nothing_to_one() -> None:
    price = liquidation_price(
        side="LONG", entry_price=100.0, size=900.0, margin=9_000.0, tiers=MaintenanceTiers.flat(0.005)
    )
    assert price is not None
    env = _env(_path(100.0, (100.0 + price) / 2, price + 1e-9, 100.0))
    seen = [env.step(np.int64(action))[0][31] for action in (LONG_10X, HOLD, HOLD)]
    assert seen == pytest.approx([0.0, 0.5, 1.0], abs=0.01)
    assert env.arrays.lanes["bars_strained"][0] == 1


def test_funding_is_paid_at_its_stamps() -> None:
    data = _path(*[100.0] * 20)  # bar 150 is 06:00
    env = _env(data, funding=0.001, commission=0.0)
    paid = []
    for place in range(20):
        info = step(env, LONG_1X)[3]
        if len(paid) < 20 and info["funding"] > (paid[-1][1] if paid else 0.0):
            paid.append((data.times[150 + place], info["funding"]))
    assert [pd.Timestamp(time).hour for time, _ in paid] == [8, 16, 0]
    assert [amount for _, amount in paid] == pytest.approx([9.0, 18.0, 27.0])


# ------------------------------------------------------------------------------------------------ no look ahead


@pytest.mark.parametrize("leveraged", [True, False])
@pytest.mark.parametrize("mode", REWARD_MODES)
def test_cutting_the_future_off_changes_nothing_before(data: MarketData, mode: str, leveraged: bool) -> None:
    actions = np.random.default_rng(9).integers(0, 11 if leveraged else 3, 700)
    settings = EnvironmentSettings(reward_mode=mode, episode_bars=None, ruin=0.0)
    whole = play_actions(build_arrays(data, settings, leveraged=leveraged), actions)
    for bars in (200, 457, 700):
        part = play_actions(build_arrays(data.head(bars), settings, leveraged=leveraged), actions)
        n = len(part.equity)
        assert n == bars - 120
        assert part.states.tobytes() == whole.states[:n].tobytes()
        assert part.rewards.tobytes() == whole.rewards[: n - 1].tobytes()
        assert part.equity.tobytes() == whole.equity[:n].tobytes()


def test_states_stay_within_one_whatever_is_done(data: MarketData) -> None:
    for seed in range(5):
        actions = np.random.default_rng(seed).integers(0, 11, 700)
        settings = EnvironmentSettings(commission=0.01, ruin=0.0, episode_bars=None, most_halvings=50)
        states = play_actions(build_arrays(data, settings, leveraged=True), actions).states
        assert np.isfinite(states).all()
        assert np.abs(states).max() <= 1.0


def test_actions_are_known_by_number_and_name() -> None:
    names = "HOLD LONG_1X LONG_3X LONG_5X LONG_10X SHORT_1X SHORT_3X SHORT_5X SHORT_10X CLOSE REDUCE_HALF"
    assert " ".join(action.name for action in LeverageAction) == names
    assert LeverageAction.parse("short_5x") is LeverageAction.SHORT_5X
    assert (LeverageAction.SHORT_5X.side, LeverageAction.SHORT_5X.leverage) == (-1, 5.0)
    assert (LeverageAction.CLOSE.side, LeverageAction.CLOSE.leverage) == (0, 0.0)
    with pytest.raises(SettingsError, match="action must be between 0 and 10, got 11"):
        LeverageAction.parse(11)
