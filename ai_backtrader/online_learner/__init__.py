"""The online learner: health, drift and outcome patterns, from trade to trade."""

from ai_backtrader.online_learner.detectors import (
    Adwin,
    BernoulliGlr,
    Channel,
    Detector,
    GarchCusum,
    MeanGlr,
    PageHinkley,
    WindowedZ,
)
from ai_backtrader.online_learner.drift import DriftEvent, DriftMonitor, drift_series
from ai_backtrader.online_learner.health import (
    HealthMonitor,
    HealthState,
    StrategyHealth,
    broken_rules,
    losses_in_a_row,
)
from ai_backtrader.online_learner.learner import OnlineLearner
from ai_backtrader.online_learner.opinion import TradeOpinion
from ai_backtrader.online_learner.patterns import PatternMemory, PatternVerdict, shrunk_win_rate
from ai_backtrader.online_learner.regimes import RegimePerformance
from ai_backtrader.online_learner.reoptimization import ReoptimizationRequest
from ai_backtrader.online_learner.sequential import cusum_step, cusum_threshold, rank_score
from ai_backtrader.online_learner.settings import (
    DriftSettings,
    HealthSettings,
    OnlineLearnerSettings,
    PatternSettings,
)

__all__ = [
    "Adwin",
    "BernoulliGlr",
    "Channel",
    "Detector",
    "DriftEvent",
    "DriftMonitor",
    "DriftSettings",
    "GarchCusum",
    "HealthMonitor",
    "HealthSettings",
    "HealthState",
    "MeanGlr",
    "OnlineLearner",
    "OnlineLearnerSettings",
    "PageHinkley",
    "PatternMemory",
    "PatternSettings",
    "PatternVerdict",
    "RegimePerformance",
    "ReoptimizationRequest",
    "StrategyHealth",
    "TradeOpinion",
    "WindowedZ",
    "broken_rules",
    "cusum_step",
    "cusum_threshold",
    "drift_series",
    "losses_in_a_row",
    "rank_score",
    "shrunk_win_rate",
]
