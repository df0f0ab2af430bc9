"""The learning agents and the environments that they are trained in."""

from ai_backtrader.rl.actions import BasicAction, LeverageAction
from ai_backtrader.rl.env_kernels import EnvArrays
from ai_backtrader.rl.environment import LeverageTradingEnv, TradingEnv, episode_figures
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment, build_arrays, split_by_time
from ai_backtrader.rl.environment_vector import VectorTradingEnv
from ai_backtrader.rl.playback import Playback, play_actions
from ai_backtrader.rl.reward_audit import RewardAudit, audit_reward
from ai_backtrader.rl.rewards import REWARD_MODES, RewardSettings, calculate_basic_reward, calculate_reward
from ai_backtrader.rl.states import (
    BASIC_FEATURES,
    BASIC_STATE_VERSION,
    LEVERAGE_FEATURES,
    LEVERAGE_STATE_VERSION,
    LeverageState,
    State,
)

__all__ = [
    "BASIC_FEATURES",
    "BASIC_STATE_VERSION",
    "LEVERAGE_FEATURES",
    "LEVERAGE_STATE_VERSION",
    "REWARD_MODES",
    "BasicAction",
    "EnvArrays",
    "EnvironmentSettings",
    "LeverageAction",
    "LeverageState",
    "LeverageTradingEnv",
    "Playback",
    "RewardAudit",
    "RewardSettings",
    "Segment",
    "State",
    "TradingEnv",
    "VectorTradingEnv",
    "audit_reward",
    "build_arrays",
    "calculate_basic_reward",
    "calculate_reward",
    "episode_figures",
    "play_actions",
    "split_by_time",
]
