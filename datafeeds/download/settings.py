"""What is downloaded, from where, and how patiently: checked once."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from ai_backtrader.checks import Faults

__all__ = ["ARCHIVE", "INTERVALS", "DownloadOptions", "DownloadSettings", "seconds_of"]

ARCHIVE = "https://data.binance.vision"
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
_UNITS = {"m": 60, "h": 3_600, "d": 86_400}
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")


class DownloadOptions(TypedDict, total=False):
    """Keyword arguments of ``download_bars``; their meaning and defaults: :class:`DownloadSettings`."""

    market: str
    end: str | None
    interval: str
    folder: str | Path
    cache: str | Path | None
    venue: str
    source: str | None
    connections: int
    attempts: int
    timeout: float
    backoff: float
    max_wait: float
    max_unpacked: int
    repair: str | tuple[str, ...]
    skip: tuple[str, ...]
    refresh: bool
    today: dt.date | None


@dataclass(frozen=True, kw_only=True)
class DownloadSettings:
    """What to download and how.

    Parameters
    ----------
    symbol
        As the venue writes it: ``BTCUSDT`` in the archive, ``BTC/USD`` or ``BTC/USDT:USDT`` elsewhere.
    start, end
        First and last month (``2020-01``) or day (``2020-01-15``), both inclusive, UTC. ``end=None`` is what has been
        published by now.
    market
        ``perp`` (USD-margined futures) or ``spot``. Venues other than the archive know it from the symbol.
    interval
        Length of a bar: 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h or 1d; of another venue, what it has.
    folder
        Where the file of bars is written.
    cache
        Where archives and pages are kept, so that a download goes on where it stopped; None is ``.downloads`` in
        ``folder``.
    venue
        ``binance`` is the public archive of files; any other name is asked through ccxt (extra ``exchange``).
    source
        Another server with the same layout; None is the venue's own.
    connections
        Archives fetched at the same time.
    attempts
        Requests for one file before it is given up; also how often a file that contradicts its checksum is fetched.
    timeout
        Seconds that the server may stay silent.
    backoff
        Seconds before the second attempt, doubled before each further one up to 30.
    max_wait
        Longest pause in seconds that a server may ask for (``Retry-After``); if it asks for more, the download ends.
    max_unpacked
        Bytes that one archive may unpack to.
    repair
        Repairs to allow when the bars are checked, as in ``MarketData.from_frame``; the file then holds the mended
        bars.
    skip
        Names of archives to leave out, for those that are published broken; they are reported as gaps.
    refresh
        Ask again for the checksums of archives that the cache has, and fetch those that were published anew.
    today
        The present day, UTC: archives of it and later are not asked for. None takes the clock's.

    Raises
    ------
    SettingsError
        If an option is wrong; all faults together.
    """

    symbol: str
    start: str
    end: str | None = None
    market: str = "perp"
    interval: str = "1h"
    folder: str | Path = "data"
    cache: str | Path | None = None
    venue: str = "binance"
    source: str | None = None
    connections: int = 4
    attempts: int = 5
    timeout: float = 30.0
    backoff: float = 0.5
    max_wait: float = 120.0
    max_unpacked: int = 256 * 2**20
    repair: str | tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    refresh: bool = False
    today: dt.date | None = None

    def __post_init__(self) -> None:
        faults = Faults("download")
        symbol: object = self.symbol
        if not isinstance(symbol, str) or not symbol.strip() or not symbol.isprintable():
            faults.add(f"symbol must be a text such as 'BTCUSDT', got {symbol!r}")
        elif self.from_archive and not re.fullmatch(r"\w{2,40}", self.archive_symbol):
            faults.add(f"symbol must be written as in the archive, such as 'BTCUSDT', got {symbol!r}")
        faults.one_of("market", self.market, ("perp", "spot"))
        if not isinstance(self.venue, str) or not re.fullmatch(r"[a-z0-9_]+", self.venue):
            faults.add(f"venue must be a name such as 'binance' or 'kraken', got {self.venue!r}")
        elif self.from_archive:
            faults.one_of("interval", self.interval, INTERVALS)
        elif not re.fullmatch(r"[1-9]\d{0,2}[mhd]", str(self.interval)):
            faults.add(f"interval must be a length such as '15m', '1h' or '1d', got {self.interval!r}")
        self._check_period(faults)
        if self.source is not None and (
            urlsplit(str(self.source)).scheme not in ("http", "https") or not urlsplit(str(self.source)).netloc
        ):
            faults.add(f"source must be an address that begins with https:// or http://, got {self.source!r}")
        faults.whole("connections", self.connections, low=1, high=16)
        faults.whole("attempts", self.attempts, low=1, high=20)
        faults.number("timeout", self.timeout, above=0.0)
        faults.number("backoff", self.backoff, low=0.0)
        faults.number("max_wait", self.max_wait, low=0.0)
        faults.whole("max_unpacked", self.max_unpacked, low=1)
        faults.raise_if_any()

    def _check_period(self, faults: Faults) -> None:
        for name, text in (("start", self.start), ("end", self.end)):
            if text is not None and not _is_period(text):
                faults.add(f"{name} must be a month (2020-01) or a day (2020-01-15), got {text!r}")
                return
        if self.first > self.last:
            past = "the last published day" if self.end is None else "end"
            faults.add(f"start must not lie after {past}, got {self.start!r} and {self.last}")

    @property
    def from_archive(self) -> bool:
        """Whether the public archive of files is meant."""
        return self.venue == "binance"

    @property
    def archive_symbol(self) -> str:
        """The symbol as the archive writes it: BTC/USDT and btcusdt are BTCUSDT."""
        return self.symbol.split(":")[0].replace("/", "").upper()

    @property
    def day(self) -> dt.date:
        """The present day, UTC."""
        return dt.datetime.now(dt.UTC).date() if self.today is None else self.today

    @property
    def first(self) -> dt.date:
        """First day asked for."""
        return dt.date.fromisoformat(self.start if len(self.start) > 7 else f"{self.start}-01")

    @property
    def last(self) -> dt.date:
        """Last day asked for that can be over: yesterday, if the period goes on."""
        yesterday = self.day - dt.timedelta(days=1)
        if self.end is None:
            return yesterday
        if len(self.end) > 7:
            return min(dt.date.fromisoformat(self.end), yesterday)
        month = dt.date.fromisoformat(f"{self.end}-01")
        return min((month + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1), yesterday)

    @property
    def cache_folder(self) -> Path:
        """Where archives and pages are kept."""
        return Path(self.folder) / ".downloads" if self.cache is None else Path(self.cache)


def seconds_of(interval: str) -> int:
    """Length of an interval in seconds.

    >>> seconds_of("4h")
    14400
    """
    return int(interval[:-1]) * _UNITS[interval[-1]]


def _is_period(text: object) -> bool:
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        return False
    try:
        dt.date.fromisoformat(text if len(text) > 7 else f"{text}-01")
    except ValueError:
        return False
    return True
