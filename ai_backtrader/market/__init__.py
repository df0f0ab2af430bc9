"""Market data, indicators, features, regimes and margin arithmetic, on arrays."""

from ai_backtrader.market.data import MarketData
from ai_backtrader.market.report import DataReport

__all__ = [
    "DataReport",
    "MarketData",
]
