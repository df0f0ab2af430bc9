"""Backtrader feeds over MarketData, and the sample data."""

from ai_backtrader.datafeeds.feature_lines import FeatureLines
from ai_backtrader.datafeeds.feature_rows import FeatureRows
from ai_backtrader.datafeeds.feed_bars import bars_of_feed
from ai_backtrader.datafeeds.feeds import PerpetualData
from ai_backtrader.datafeeds.samples import load_sample
from ai_backtrader.market import MarketData

__all__ = ["FeatureLines", "FeatureRows", "MarketData", "PerpetualData", "bars_of_feed", "load_sample"]
