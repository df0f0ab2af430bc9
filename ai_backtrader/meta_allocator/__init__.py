"""The meta-allocator: capital across strategies."""

from ai_backtrader.meta_allocator.allocator import HealthPort, MetaAllocator
from ai_backtrader.meta_allocator.constraints import capped_weights, diversification_score, effective_number
from ai_backtrader.meta_allocator.plan import Allocation, AllocationPlan
from ai_backtrader.meta_allocator.records import FIGURES, StrategyRecord
from ai_backtrader.meta_allocator.risk import estimate_covariance, forecast_loss
from ai_backtrader.meta_allocator.scoring import Score, crowding, score_of, shrunk_sharpe
from ai_backtrader.meta_allocator.settings import AllocatorSettings

__all__ = [
    "FIGURES",
    "Allocation",
    "AllocationPlan",
    "AllocatorSettings",
    "HealthPort",
    "MetaAllocator",
    "Score",
    "StrategyRecord",
    "capped_weights",
    "crowding",
    "diversification_score",
    "effective_number",
    "estimate_covariance",
    "forecast_loss",
    "score_of",
    "shrunk_sharpe",
]
