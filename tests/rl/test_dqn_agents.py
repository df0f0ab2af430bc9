"""Both agents, as the design prints their use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.states import LEVERAGE_FEATURES, LeverageState, State

POSITION = LEVERAGE_FEATURES.index("current_position")
LEVERAGE = LEVERAGE_FEATURES.index("current_leverage")
MARGIN_RATIO = LEVERAGE_FEATURES.index("margin_ratio")


def leaning(action: LeverageAction) -> LeverageRLAgent:
    """An agent whose bias prefers one action whatever the state is."""
    agent = LeverageRLAgent()
    agent.dqn.memory.online[:] = 0.0
    agent.dqn.memory.online[-11 + action] = 3.0
    return agent


def vector(position: float = 0.0, leverage: float = 1.0, margin_ratio: float = 0.0) -> np.ndarray:
    state = np.zeros(35, np.float32)
    state[POSITION], state[LEVERAGE], state[MARGIN_RATIO] = position, leverage / 10.0, margin_ratio
    return state


def test_networks_have_the_printed_widths() -> None:
    assert RLAgent().dqn.sizes == (18, 128, 64, 32, 3)
    assert LeverageRLAgent().dqn.sizes == (35, 128, 64, 32, 11)


def test_missing_prices_volatility_or_position_mean_hold() -> None:
    state = State.from_market_data({"rsi": 30.0}, position=0)
    assert not state.ready
    agent = RLAgent()
    agent.dqn.memory.online[-3:] = (0.0, 9.0, 0.0)
    assert agent.select_action(state, training=True) == 0
    assert agent.select_action(np.zeros(18)) == 1
    analysis = leaning(LeverageAction.LONG_5X).get_action_analysis(LeverageState.from_market_data({"rsi": 30.0}))
    assert analysis["action_name"] == "HOLD"
    assert analysis["confidence"] == 0.0
    assert "price_change_1h" in analysis["recommendation"]


@pytest.mark.parametrize("action", [LeverageAction.CLOSE, LeverageAction.REDUCE_HALF])
def test_closing_and_halving_are_masked_when_flat(action: LeverageAction) -> None:
    agent = leaning(action)
    chosen, info = agent.select_action(vector())
    assert chosen != action
    assert not info["mask"][action]
    assert info["probabilities"][action] == 0.0
    assert agent.select_action(vector(position=0.5, leverage=3))[0] == action


def test_probabilities_are_the_softmax_of_the_allowed_values() -> None:
    agent = leaning(LeverageAction.SHORT_3X)
    found = agent.probabilities(vector())
    assert found.sum() == pytest.approx(1.0)
    assert found[LeverageAction.SHORT_3X] == pytest.approx(np.exp(3.0) / (np.exp(3.0) + 8.0))
    agent.temperature = 3.0
    assert agent.probabilities(vector())[LeverageAction.SHORT_3X] == pytest.approx(np.e / (np.e + 8.0))


@pytest.mark.parametrize(
    ("action", "state", "expected"),
    [
        ("SHORT_5X", vector(), {"best_leverage": 5.0, "is_short": True, "says": "Open SHORT 5x"}),
        (
            "LONG_3X",
            vector(-1.0, 5.0),
            {"best_leverage": 3.0, "is_short": False, "says": "Close SHORT 5x and open LONG"},
        ),
        (
            "LONG_3X",
            vector(1.0, 5.0),
            {"best_leverage": 3.0, "is_short": False, "says": "Move from LONG 5x to LONG 3x"},
        ),
        ("HOLD", vector(-1.0, 5.0), {"best_leverage": 5.0, "is_short": True, "says": "Hold, stay SHORT 5x"}),
        ("HOLD", vector(), {"best_leverage": 1.0, "is_short": False, "says": "Hold, stay flat"}),
        ("CLOSE", vector(1.0, 3.0), {"best_leverage": 3.0, "is_short": False, "says": "Close LONG 3x"}),
        ("REDUCE_HALF", vector(1.0, 3.0), {"best_leverage": 3.0, "is_short": False, "says": "Halve LONG 3x"}),
    ],
)
def test_the_analysis_tells_what_the_action_means(action: str, state: np.ndarray, expected: dict[str, Any]) -> None:
    analysis = leaning(LeverageAction[action]).get_action_analysis(state)
    assert analysis["action_name"] == action
    assert analysis["action"] == LeverageAction[action]
    assert analysis["best_leverage"] == pytest.approx(expected["best_leverage"])
    assert analysis["is_short"] is expected["is_short"]
    assert analysis["recommendation"].startswith(expected["says"])
    assert analysis["q_values"][action] == 3.0
    assert analysis["confidence"] == max(analysis["probabilities"].values())
    assert set(analysis["masks"]) == set(LeverageAction.__members__)


def test_the_distance_to_liquidation_is_the_exchanges() -> None:
    # Long at 10x, 0.5 % maintenance: liquidated at (1 - 0.1) / (1 - 0.005); short: (1 + 0.1) / (1 + 0.005).
    long = leaning(LeverageAction.LONG_10X).get_action_analysis(vector())
    assert long["liquidation_distance"] == pytest.approx(100 * (1 - 0.9 / 0.995))
    short = leaning(LeverageAction.SHORT_10X).get_action_analysis(vector())
    assert short["liquidation_distance"] == pytest.approx(100 * (1.1 / 1.005 - 1))
    # A quarter of the buffer is left.
    held = leaning(LeverageAction.HOLD).get_action_analysis(vector(1.0, 10.0, 0.75))
    assert held["liquidation_distance"] == pytest.approx(25 * (1 - 0.9 / 0.995))
    assert leaning(LeverageAction.HOLD).get_action_analysis(vector())["liquidation_distance"] == 100.0


def test_learning_from_closed_trades_as_the_design_prints_it() -> None:
    agent = LeverageRLAgent(settings=DQNSettings(batch_size=16, learning_rate=1e-3), rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    losses = []
    for _ in range(400):
        up = bool(rng.integers(2))
        state = LeverageState.from_market_data({"trend_direction": 1.0 if up else -1.0, "rsi": 60.0 if up else 40.0})
        action = LeverageAction(int(rng.integers(1, 9)))
        pnl = 2.0 * action.side * (1 if up else -1)
        reward = agent.calculate_reward(
            action=action, pnl_pct=pnl, leverage_used=action.leverage, volatility=1.0, is_short=action.side < 0,
            margin_ratio=0.1,
        )  # fmt: skip
        agent.remember(state, action, reward, None, True)
        losses.append(agent.train_step())
    assert losses[14] is None
    assert losses[15] is not None
    assert np.mean(losses[-50:]) < np.mean(losses[15:65])
    for up in (True, False):
        state = LeverageState.from_market_data({"trend_direction": 1.0 if up else -1.0, "rsi": 60.0 if up else 40.0})
        values = agent.q_values(state)
        assert (values[1:5].mean() > values[5:9].mean()) is np.bool_(up)


def test_wrong_states_are_refused() -> None:
    with pytest.raises(SettingsError, match="state must be a LeverageState"):
        LeverageRLAgent().select_action(State.from_market_data({}))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"shape \(18,\)"):
        RLAgent().select_action(np.zeros(17))
    with pytest.raises(SettingsError, match="next_state must be given"):
        RLAgent().remember(np.zeros(18), 1, 0.0, None, False)


def test_two_agents_made_alike_are_alike() -> None:
    state = np.random.default_rng(1).uniform(-1, 1, 35)
    np.testing.assert_array_equal(LeverageRLAgent().q_values(state), LeverageRLAgent().q_values(state))
