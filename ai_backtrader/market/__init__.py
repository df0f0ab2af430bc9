"""Market data, indicators, features, regimes and margin arithmetic, on arrays."""

from ai_backtrader.market import indicators
from ai_backtrader.market.data import MarketData
from ai_backtrader.market.feature_settings import FeatureSettings
from ai_backtrader.market.feature_stream import FeatureStream
from ai_backtrader.market.features import (
    MARKET_FEATURES,
    NEUTRAL_VALUES,
    STRUCTURE_FEATURES,
    MarketFeatures,
    compute_features,
    feature_vector,
)
from ai_backtrader.market.margin import MaintenanceTiers, bankruptcy_price, liquidation_price
from ai_backtrader.market.regimes import REGIME_CODES, Regimes, RegimeSettings, RegimeTracker, label_regimes
from ai_backtrader.market.report import DataReport
from ai_backtrader.market.tier_tables import TierTable, load_tiers, tier_tables

__all__ = [
    "MARKET_FEATURES",
    "NEUTRAL_VALUES",
    "REGIME_CODES",
    "STRUCTURE_FEATURES",
    "DataReport",
    "FeatureSettings",
    "FeatureStream",
    "MaintenanceTiers",
    "MarketData",
    "MarketFeatures",
    "RegimeSettings",
    "RegimeTracker",
    "Regimes",
    "TierTable",
    "bankruptcy_price",
    "compute_features",
    "feature_vector",
    "indicators",
    "label_regimes",
    "liquidation_price",
    "load_tiers",
    "tier_tables",
]
