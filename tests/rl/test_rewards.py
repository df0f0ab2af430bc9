"""Rewards: the printed formulas, the modes in the environment."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.rl import (
    REWARD_MODES,
    EnvironmentSettings,
    LeverageAction,
    LeverageTradingEnv,
    RewardSettings,
    TradingEnv,
    build_arrays,
    calculate_basic_reward,
    calculate_reward,
    play_actions,
)
from ai_backtrader.rl.rewards import reward_terms


@pytest.fixture(scope="module")
def data() -> MarketData:
    return load_sample().head(900)


def printed_formula(
    pnl_pct: float, leverage: float, volatility: float, is_short: bool, margin_ratio: float, distance: float
) -> float:
    """The design's listing, line by line; low and high as the defaults say."""
    reward = 0.0
    leverage_risk_factor = 1.0 / math.sqrt(leverage)
    reward += pnl_pct * 10 * leverage_risk_factor
    risk_adjusted = pnl_pct / (volatility * leverage)
    reward += risk_adjusted * 5
    if volatility < 1.0 and leverage >= 5:
        reward += 0.5
    if volatility > 3.0 and leverage <= 3:
        reward += 0.5
    if is_short and pnl_pct > 0:
        reward += 1.0
    if is_short and pnl_pct < -5:
        reward -= 2.0
    if margin_ratio > 0.7:
        reward -= (margin_ratio - 0.7) * 10
    if distance < 5:
        reward -= 5 - distance
    reward -= 0.1 * leverage
    return reward


def test_the_seed_reward_is_the_printed_formula() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        action = LeverageAction(int(rng.integers(1, 9)))
        facts = {
            "pnl_pct": float(rng.normal(0, 8)),
            "volatility": float(rng.lognormal(0.3, 0.9)),
            "margin_ratio": float(rng.random()),
        }
        distance = float(rng.uniform(0, 20))
        short = action.side < 0
        reward = calculate_reward(
            action=action, leverage_used=action.leverage, is_short=short, liquidation_distance=distance, **facts
        )
        expected = printed_formula(
            facts["pnl_pct"], action.leverage, facts["volatility"], short, facts["margin_ratio"], distance
        )
        assert reward == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_designs_call_works_as_printed() -> None:
    reward = calculate_reward(
        action="SHORT_5X", pnl_pct=3.0, leverage_used=5.0, volatility=0.8, is_short=True, margin_ratio=0.4
    )
    assert reward == pytest.approx(30 / math.sqrt(5) + 15 / 4 + 0.5 + 1.0 - 0.5)


def test_without_volatility_the_reward_is_finite() -> None:
    still = {"action": 1, "pnl_pct": 2.0, "leverage_used": 1.0, "is_short": False}
    assert math.isfinite(calculate_reward(volatility=0.0, **still))
    assert calculate_reward(volatility=0.0, **still) == calculate_reward(volatility=0.01, **still)


def test_terms_add_up_to_the_reward() -> None:
    facts: dict[str, Any] = {
        "action": "SHORT_10X", "pnl_pct": -9.0, "leverage_used": 10.0, "volatility": 2.0, "is_short": True,
        "margin_ratio": 0.9, "liquidation_distance": 1.0,
    }  # fmt: skip
    terms = reward_terms(**facts)
    assert sum(terms.values()) == pytest.approx(calculate_reward(**facts))
    assert terms["short"] == -2.0
    assert terms["liquidation_risk"] == pytest.approx(-(0.2 * 10) - 4.0)
    assert terms["cost"] == -1.0


def test_all_faults_of_a_call_are_named() -> None:
    with pytest.raises(SettingsError, match="5 faults") as caught:
        calculate_reward(
            action="LONG_1X", pnl_pct=float("nan"), leverage_used=0.5, volatility=-1.0, is_short=True, margin_ratio=-0.1
        )
    assert "is_short must say the same as action" in str(caught.value)
    with pytest.raises(SettingsError, match="must be one of HOLD, LONG_1X"):
        calculate_reward(action="LONG_2X", pnl_pct=1.0, leverage_used=2.0, volatility=1.0, is_short=False)
    with pytest.raises(SettingsError, match="pnl_pct must be finite"):
        calculate_basic_reward(pnl_pct=float("inf"))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"low_volatility": 4.0}, "low_volatility must not exceed high_volatility"),
        ({"low_leverage": 7.0}, "low_leverage must not exceed high_leverage"),
        ({"sharpe_decay": 0.0}, "sharpe_decay must be greater than 0"),
        ({"risk_aversion": -1.0}, "risk_aversion must be at least 0"),
    ],
)
def test_faulty_reward_settings_are_refused(given: dict[str, float], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        RewardSettings(**given)


def test_the_basic_reward_is_the_printed_formula() -> None:
    assert calculate_basic_reward(pnl_pct=2.0, risk_adjusted_return=0.5, traded=True) == pytest.approx(22.4)
    assert calculate_basic_reward(pnl_pct=0.0, holding_winner=True) == 0.5
    assert calculate_basic_reward(pnl_pct=0.0, holding_loser=True) == -0.5


def test_read_every_bar_the_seed_formula_pays_a_short_for_nothing() -> None:
    rng = np.random.default_rng(3)
    moves = rng.normal(0.0, 1.0, 4000)
    moves -= moves.mean()
    paid = [
        calculate_reward(action="SHORT_1X", pnl_pct=-move, leverage_used=1.0, volatility=1.6, is_short=True)
        for move in moves
    ]
    assert np.mean(paid) > 0.3


@pytest.mark.parametrize("action", [LeverageAction.SHORT_3X, LeverageAction.LONG_10X])
def test_the_seed_mode_pays_the_formula_when_a_trade_closes(data: MarketData, action: LeverageAction) -> None:
    env = LeverageTradingEnv(data, EnvironmentSettings(reward_mode="seed", episode_bars=None))
    features = compute_features(data)
    env.reset(options={"start": 300})
    rewards, ratios, distances = [], [], []
    for place in range(12):
        _, reward, *_, info = env.step(np.int64(action if place < 11 else LeverageAction.CLOSE))
        rewards.append(reward)
        run = env.arrays.lanes[0]
        if run["size"]:
            ratios.append(run["margin_ratio"])
            distances.append(100 * abs(data.close[info["bar"]] - run["liquidation"]) / data.close[info["bar"]])
    assert not any(rewards[:11])
    opened, closed = data.open[301], data.open[312]
    size = 9000.0 * action.leverage / data.close[300]
    margin = size * opened / action.leverage
    net = action.side * size * (closed - opened) - 0.0005 * size * (opened + closed)
    atr_pct = 100 * features.atr[300] / data.close[300]
    expected = printed_formula(
        100 * net / margin, action.leverage, atr_pct, action.side < 0, max(ratios), min(distances)
    )
    assert rewards[11] == pytest.approx(expected, rel=1e-9)
    assert sum(info["reward_terms"].values()) == pytest.approx(rewards[11])


def test_the_basic_seed_mode_pays_fills_trades_and_patience(data: MarketData) -> None:
    env = TradingEnv(data, EnvironmentSettings(reward_mode="seed", episode_bars=None))
    env.reset(options={"start": 300})
    _, reward, *_, info = env.step(np.int64(1))
    terms = info["reward_terms"]
    assert terms["cost"] == -0.1
    assert reward == pytest.approx(-0.1 + terms["holding_winner"] + terms["holding_loser"])
    _, reward, *_, info = env.step(np.int64(0))
    assert abs(reward) == 0.5
    _, reward, *_, info = env.step(np.int64(2))
    net_pct = 100 * ((data.open[303] - data.open[301]) - 0.0005 * (data.open[303] + data.open[301])) / data.open[301]
    features = compute_features(data)
    atr_pct = 100 * features.atr[300] / data.close[300]
    expected = calculate_basic_reward(pnl_pct=net_pct, risk_adjusted_return=net_pct / atr_pct, traded=True)
    assert reward == pytest.approx(expected, rel=1e-6)


def _played(data: MarketData, mode: str, **reward: float) -> tuple[Any, Any]:
    settings = EnvironmentSettings(reward_mode=mode, episode_bars=None, reward=RewardSettings(**reward))
    env = build_arrays(data, settings, leveraged=True)
    actions = np.random.default_rng(4).integers(0, 11, 300)
    return play_actions(env, actions), env.market["usual_bar"]


def test_growth_rewards_add_up_to_the_growth_of_the_account(data: MarketData) -> None:
    played, usual = _played(data, "log_equity")
    assert played.rewards.sum() == pytest.approx(100 * math.log(played.equity[-1] / played.equity[0]))
    growth = 100 * np.diff(np.log(played.equity))
    assert np.prod(1 + _played(data, "equity")[0].rewards / 100) == pytest.approx(played.equity[-1] / played.equity[0])
    start = compute_features(data).ready_from
    scaled = _played(data, "scaled_log_equity")[0].rewards
    assert scaled == pytest.approx(growth / usual[start : start + len(growth)])
    averse = _played(data, "risk_averse", risk_aversion=0.3)[0].rewards
    assert averse == pytest.approx(growth - 0.15 * growth**2)


def test_the_drawdown_averse_reward_fines_every_deepening(data: MarketData) -> None:
    played, _ = _played(data, "drawdown_averse", drawdown_aversion=2.0)
    equity = played.equity
    depth = 100 * (1 - equity / np.maximum.accumulate(equity))
    expected = 100 * np.diff(np.log(equity)) - 2.0 * np.maximum(0.0, np.diff(depth))
    assert played.rewards == pytest.approx(expected)


def test_the_differential_sharpe_ratio_is_the_published_recursion(data: MarketData) -> None:
    played, usual = _played(data, "differential_sharpe", sharpe_decay=0.02)
    mean, square = 0.0, usual[compute_features(data).ready_from] ** 2
    expected = []
    for growth in 100 * np.diff(np.log(played.equity)):
        delta_mean, delta_square = growth - mean, growth**2 - square
        expected.append((square * delta_mean - 0.5 * mean * delta_square) / (square - mean**2) ** 1.5)
        mean, square = mean + 0.02 * delta_mean, square + 0.02 * delta_square
    assert played.rewards == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mode", REWARD_MODES)
def test_every_mode_is_finite_also_when_all_is_lost(data: MarketData, mode: str) -> None:
    settings = EnvironmentSettings(reward_mode=mode, ruin=0.0, commission=0.01, episode_bars=None)
    for leveraged, count in ((True, 11), (False, 3)):
        env = build_arrays(data, settings, leveraged=leveraged)
        played = play_actions(env, np.random.default_rng(5).integers(0, count, 700))
        assert np.isfinite(played.rewards).all()
        assert played.equity[-1] < 5_000.0
