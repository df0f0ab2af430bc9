"""Backtrader feeds over MarketData, the sample data, and the downloader of users' own."""

from ai_backtrader.datafeeds.download import (
    DownloadError,
    DownloadGap,
    DownloadProgress,
    DownloadResult,
    DownloadSettings,
    download_bars,
)
from ai_backtrader.datafeeds.feature_lines import FeatureLines
from ai_backtrader.datafeeds.feature_rows import FeatureRows
from ai_backtrader.datafeeds.feed_bars import bars_of_feed
from ai_backtrader.datafeeds.feeds import PerpetualData
from ai_backtrader.datafeeds.samples import load_sample
from ai_backtrader.market import MarketData

__all__ = [
    "DownloadError",
    "DownloadGap",
    "DownloadProgress",
    "DownloadResult",
    "DownloadSettings",
    "FeatureLines",
    "FeatureRows",
    "MarketData",
    "PerpetualData",
    "bars_of_feed",
    "download_bars",
    "load_sample",
]
