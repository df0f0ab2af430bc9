"""download_bars: a market's bars as one file that MarketData reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import pandas as pd

from ai_backtrader.datafeeds.download.result import DownloadProgress, DownloadResult
from ai_backtrader.datafeeds.download.settings import DownloadOptions, DownloadSettings
from ai_backtrader.datafeeds.download.writing import packed_csv
from ai_backtrader.files import write_whole
from ai_backtrader.market import MarketData
from ai_backtrader.market.loading import symbol_of

__all__ = ["download_bars"]


def download_bars(
    symbol: str,
    *,
    start: str,
    on_progress: Callable[[DownloadProgress], None] = lambda _: None,
    **options: Unpack[DownloadOptions],
) -> DownloadResult:
    """Download a market's bars and write them as one file that ``MarketData.from_csv`` reads with no option.

    From the public archive of Binance: candles with taker-buy volume, and for perpetuals mark price, funding rates,
    open interest and long/short ratio. From any other venue through ccxt: candles, and funding rates where it has their
    history. No bar holds what was not known when it closed; the rule stands in ``docs/data.md``.

    What has been fetched is kept and verified: the same call goes on where a download broke off. The file is written
    at the end, whole, after ``MarketData`` has checked the bars.

    Parameters
    ----------
    symbol
        ``BTCUSDT`` in the archive; as ccxt writes it elsewhere (``BTC/USD``, ``BTC/USDT:USDT``).
    start
        First month (``2020-01``) or day (``2020-01-15``), UTC.
    on_progress
        Called in this thread after each file or page.
    **options
        See :class:`DownloadSettings`: ``end``, ``market``, ``interval``, ``folder``, ``cache``, ``venue``, ``source``,
        ``connections``, ``attempts``, ``timeout``, ``backoff``, ``max_wait``, ``max_unpacked``, ``repair``, ``skip``,
        ``refresh``, ``today``.

    Raises
    ------
    DownloadError
        If the data cannot be had, or contradict their checksums.
    DataError
        If the bars cannot be traded as they are; ``repair`` may mend them.
    SettingsError
        If an option is wrong; all faults together.

    Examples
    --------
    >>> result = download_bars("BTCUSDT", start="2020-01", end="2021-12")  # doctest: +SKIP
    >>> data = MarketData.from_csv(result.path)  # doctest: +SKIP
    """
    settings = DownloadSettings(symbol=symbol, start=start, **options)
    if settings.from_archive:
        from ai_backtrader.datafeeds.download.gathering import gather_archive as gather
    else:
        from ai_backtrader.datafeeds.download.venues import gather_venue as gather
    gathered = gather(settings, on_progress)
    until = settings.end or str(pd.Timestamp(gathered.bars.index[-1]).date())
    path = Path(settings.folder) / f"{gathered.name}-{settings.interval}-{settings.start}_{until}.csv.gz"
    published = gathered.bars.tz_localize("UTC")
    data = MarketData.from_frame(published, symbol=symbol_of(path), repair=settings.repair)
    # The bars as published, unless they were to be mended: the market data's own have the empty mark prices filled.
    bars = data.to_frame() if settings.repair else published
    packed = packed_csv(bars)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, packed)
    return DownloadResult(
        path=path,
        sha256=hashlib.sha256(packed).hexdigest(),
        report=data.report,
        columns=tuple(str(name) for name in bars.columns),
        gaps=gathered.gaps,
        notes=gathered.notes,
    )
