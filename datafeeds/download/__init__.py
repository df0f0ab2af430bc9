"""Users' own data: bars of a market from a public archive, or from a venue through ccxt, as one file."""

from ai_backtrader.datafeeds.download.downloading import download_bars
from ai_backtrader.datafeeds.download.errors import DownloadError
from ai_backtrader.datafeeds.download.result import DownloadGap, DownloadProgress, DownloadResult
from ai_backtrader.datafeeds.download.settings import DownloadSettings

__all__ = ["DownloadError", "DownloadGap", "DownloadProgress", "DownloadResult", "DownloadSettings", "download_bars"]
