"""The learning agents and the environments that they are trained in."""

from ai_backtrader.rl.actions import BasicAction, LeverageAction
from ai_backtrader.rl.agents import DQNAgent, LeverageRLAgent, RLAgent
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.env_kernels import EnvArrays
from ai_backtrader.rl.environment import LeverageTradingEnv, TradingEnv, episode_figures
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment, build_arrays, split_by_time
from ai_backtrader.rl.environment_vector import VectorTradingEnv
from ai_backtrader.rl.experiences import PastTrade, learn_from_experiences, past_trades
from ai_backtrader.rl.gym_training import train_in_gymnasium
from ai_backtrader.rl.playback import Playback, play_actions
from ai_backtrader.rl.reward_audit import RewardAudit, audit_reward
from ai_backtrader.rl.rewards import REWARD_MODES, RewardSettings, calculate_basic_reward, calculate_reward
from ai_backtrader.rl.saving import load_network, load_training, load_weights, save_network, save_training
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.shipped import load_agent, load_pretrained, pretrained_card, save_agent
from ai_backtrader.rl.states import (
    BASIC_FEATURES,
    BASIC_STATE_VERSION,
    LEVERAGE_FEATURES,
    LEVERAGE_STATE_VERSION,
    LeverageState,
    State,
)
from ai_backtrader.rl.trading_kernels import TRADING_FIELDS, TRADING_KERNELS
from ai_backtrader.rl.trainer import EnvironmentKernels, Progress, Trainer
from ai_backtrader.rl.training import train_agent
from ai_backtrader.rl.training_values import PolicyFigures, SeedOutcome, TrainingProgress, TrainingResult

__all__ = [
    "BASIC_FEATURES",
    "BASIC_STATE_VERSION",
    "DQN",
    "LEVERAGE_FEATURES",
    "LEVERAGE_STATE_VERSION",
    "REWARD_MODES",
    "TRADING_FIELDS",
    "TRADING_KERNELS",
    "BasicAction",
    "DQNAgent",
    "DQNSettings",
    "EnvArrays",
    "EnvironmentKernels",
    "EnvironmentSettings",
    "LeverageAction",
    "LeverageRLAgent",
    "LeverageState",
    "LeverageTradingEnv",
    "PastTrade",
    "Playback",
    "PolicyFigures",
    "Progress",
    "RLAgent",
    "RewardAudit",
    "RewardSettings",
    "SeedOutcome",
    "Segment",
    "State",
    "TradingEnv",
    "Trainer",
    "TrainingProgress",
    "TrainingResult",
    "VectorTradingEnv",
    "audit_reward",
    "build_arrays",
    "calculate_basic_reward",
    "calculate_reward",
    "episode_figures",
    "learn_from_experiences",
    "load_agent",
    "load_network",
    "load_pretrained",
    "load_training",
    "load_weights",
    "past_trades",
    "play_actions",
    "pretrained_card",
    "save_agent",
    "save_network",
    "save_training",
    "split_by_time",
    "train_agent",
    "train_in_gymnasium",
]
