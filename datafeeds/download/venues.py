"""Candles and funding rates of any venue that ccxt knows, page by page."""

from __future__ import annotations

import datetime as dt
import importlib
import logging
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pandas as pd

from ai_backtrader.datafeeds.download.align import Sources, align, clean_candles
from ai_backtrader.datafeeds.download.errors import DownloadError
from ai_backtrader.datafeeds.download.gathering import Gathered
from ai_backtrader.datafeeds.download.pages import Page, PageFile, turn_pages
from ai_backtrader.datafeeds.download.plan import FUNDING, KLINES
from ai_backtrader.datafeeds.download.result import DownloadGap, DownloadProgress, words_of
from ai_backtrader.datafeeds.download.settings import DownloadSettings, seconds_of

__all__ = ["gather_venue"]

logger = logging.getLogger("ai_backtrader")

T = TypeVar("T")

_CANDLE = ("open", "high", "low", "close", "volume")
_LIMIT = 100  # candles taken for a page's length where the venue's is not known
_FUNDING_SPAN = 30 * 86_400_000  # milliseconds that an empty page of funding rates is taken to say nothing of
_DAY = 86_400_000
_LATER = "What has been downloaded is kept: the same call goes on from there"


def gather_venue(settings: DownloadSettings, on_progress: Callable[[DownloadProgress], None]) -> Gathered:
    """Bars of the settings' market and period from a venue.

    Pages are asked for in the order of time with the venue's own rate limit, and kept as they come: the next call asks
    from the last candle on. A candle that is not over yet is left for the next call.
    """
    venue = _Venue(settings)
    market = venue.market(settings.symbol)
    symbol, step = market["symbol"], seconds_of(settings.interval) * 1_000
    begin = _milliseconds(settings.first)
    end = _milliseconds(settings.last + dt.timedelta(days=1))
    if settings.end is None:
        end = venue.now()
    folder = settings.cache_folder / settings.venue
    name = _file_name(market)

    def progress(at: int, rows: int) -> None:
        done, total = (at - begin) // _DAY, (end - begin) // _DAY
        on_progress(DownloadProgress(max(0, done), max(1, total), 0, f"{symbol} {rows:,} rows"))

    limit = venue.page_length(symbol)
    candles = turn_pages(
        PageFile(folder / f"{name}-{settings.interval}-{settings.start}.jsonl", width=6),
        lambda since: venue.candles(symbol, settings.interval, since, limit),
        begin=begin, end=min(end, venue.now() - step + 1), step=step, span=step * (limit or _LIMIT), progress=progress,
    )  # fmt: skip
    if not candles:
        raise DownloadError(
            f"no candles of {symbol} ({settings.interval}) from {settings.first} on at {settings.venue}",
            "Check --from, and how far back the venue gives candles: some give the last few hundred alone",
        )
    rows, odd = clean_candles(_frame(candles, _CANDLE), seconds_of(settings.interval))
    notes = [f"{odd:,} candles off the grid of their interval left out"] if odd else []
    size = market.get("contractSize")
    if market.get("contract") and size not in (None, 1, 1.0):
        notes.append(f"volume as the venue gives it; a contract is {size} {market['base']}")
    gaps = list(_missing(KLINES, candles, begin, end, step))
    funding = None
    known: tuple[tuple[int, int], ...] = ()
    if market.get("swap") and venue.has("fetchFundingRateHistory"):
        rates = turn_pages(
            PageFile(folder / f"{name}-funding-{settings.start}.jsonl", width=2),
            lambda since: venue.rates(symbol, since),
            begin=begin, end=end, step=1, span=_FUNDING_SPAN, progress=progress,
        )  # fmt: skip
        if rates:
            funding = _frame(rates, ("funding_rate",))
            known = ((int(rates[0][0]) * 1_000_000, end * 1_000_000),)
        gaps += _missing(FUNDING, rates, begin, end, _DAY)
    bars = align(Sources(candles=rows, funding=funding, funding_known=known), seconds_of(settings.interval))
    return Gathered(name=f"{name}-{settings.venue}", bars=bars, gaps=tuple(gaps), notes=tuple(notes))


class _Venue:
    """A venue's public data, asked with patience."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        try:
            self._ccxt: Any = importlib.import_module(
                "ccxt"
            )  # a second, and a third of a gigabyte: only when asked for
        except ImportError as error:
            raise DownloadError(
                f"venue {settings.venue!r} is asked through ccxt, which is not installed",
                'Install it with: pip install "ai-backtrader[exchange]"',
            ) from error
        if settings.venue not in self._ccxt.exchanges:
            near = [name for name in self._ccxt.exchanges if name.startswith(settings.venue[:3])]
            raise DownloadError(
                f"ccxt {self._ccxt.__version__} knows no venue {settings.venue!r}",
                f"Near names: {', '.join(near)}" if near else "ccxt.exchanges lists them",
            )
        made = getattr(self._ccxt, settings.venue)
        self._venue = made({"enableRateLimit": True, "timeout": int(settings.timeout * 1_000)})
        if settings.source is not None:
            self._venue.urls["api"] = _elsewhere(self._venue.urls["api"], settings.source)
        if not self.has("fetchOHLCV"):
            raise DownloadError(f"{settings.venue} gives no candles", "Choose another venue")
        known = self._venue.timeframes or {}
        if known and settings.interval not in known:
            raise DownloadError(
                f"{settings.venue} has no candles of {settings.interval}", f"It has {', '.join(map(str, known))}"
            )

    def has(self, what: str) -> bool:
        return bool(self._venue.has.get(what))

    def now(self) -> int:
        if self._settings.today is not None:
            return _milliseconds(self._settings.today)
        return int(self._venue.milliseconds())

    def market(self, symbol: str) -> dict[str, Any]:
        self._patiently(self._venue.load_markets)
        try:
            found: dict[str, Any] = self._venue.market(symbol)
        except self._ccxt.BadSymbol as error:
            base = symbol.split("/")[0].upper()
            near = [name for name in self._venue.symbols if name.startswith(base)][:8]
            raise DownloadError(
                f"{self._settings.venue} has no market {symbol!r}",
                f"It has {', '.join(near)}" if near else "Write it as BASE/QUOTE, or BASE/QUOTE:SETTLE for a perpetual",
            ) from error
        return found

    def page_length(self, symbol: str) -> int | None:
        # Without a limit some venues give far fewer candles than they would.
        known = getattr(self._venue, "feature_value", None)  # not before ccxt 4.4.30
        limit = known(symbol, "fetchOHLCV", "limit", None) if known else None
        return int(limit) if limit else None

    def candles(self, symbol: str, interval: str, since: int, limit: int | None) -> list[Page]:
        rows = self._patiently(lambda: self._venue.fetch_ohlcv(symbol, interval, since, limit))
        # A venue that does not count volume gives none: 0, as MarketData has it.
        return [(*row[:5], 0.0 if row[5] is None else row[5]) for row in rows]

    def rates(self, symbol: str, since: int) -> list[Page]:
        rows = self._patiently(lambda: self._venue.fetch_funding_rate_history(symbol, since))
        return [(row["timestamp"], row["fundingRate"]) for row in rows if row["fundingRate"] is not None]

    def _patiently(self, ask: Callable[[], T]) -> T:
        settings = self._settings
        for attempt in range(settings.attempts):
            try:
                return ask()
            except self._ccxt.NetworkError as error:
                reason = " ".join(str(error).split())[:300]
                logger.info("%s: attempt %d failed: %s", settings.venue, attempt + 1, reason)
                wait = self._asked_pause()
                if wait is not None and wait > settings.max_wait:
                    raise DownloadError(
                        f"{settings.venue} asks for a pause of {wait:.0f} s, longer than max_wait "
                        f"({settings.max_wait:g} s)",
                        _LATER,
                    ) from error
                if attempt + 1 < settings.attempts:
                    time.sleep(min(settings.backoff * 2**attempt, 30.0) if wait is None else wait)
            except self._ccxt.BaseError as error:
                raise DownloadError(
                    f"{settings.venue} refuses: {' '.join(str(error).split())[:300]}",
                    "Check the symbol and the interval",
                ) from error
        raise DownloadError(f"{settings.venue}: given up after {settings.attempts} attempts: {reason}", _LATER)

    def _asked_pause(self) -> float | None:
        headers = self._venue.last_response_headers or {}
        text = str(headers.get("Retry-After", ""))
        return float(text) if text.isdecimal() else None


def _elsewhere(urls: Any, source: str) -> Any:
    """The addresses of a venue with another server, paths kept."""
    if isinstance(urls, dict):
        return {name: _elsewhere(url, source) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    there, here = urlsplit(urls), urlsplit(source)
    return urlunsplit((here.scheme, here.netloc, here.path.rstrip("/") + there.path, there.query, ""))


def _file_name(market: dict[str, Any]) -> str:
    """BTCUSD for spot, BTCUSDT-perp for a perpetual settled in its quote, else all that the symbol says."""
    plain = market.get("spot") or (market.get("swap") and market.get("settle") == market["quote"])
    words = [f"{market['base']}{market['quote']}"] if plain else [market["symbol"]]
    name = "-".join(word for part in words for word in re.findall(r"[^\W_]+", part))
    return f"{name}-perp" if market.get("swap") else name


def _frame(rows: list[Page], names: tuple[str, ...]) -> pd.DataFrame:
    table = np.array([row[1:] for row in rows], dtype=np.float64)
    times = np.array([row[0] for row in rows], dtype="datetime64[ms]").astype("datetime64[ns]")
    return pd.DataFrame(table, columns=list(names), index=pd.DatetimeIndex(times, name="datetime"))


def _missing(kind: str, rows: list[Page], begin: int, end: int, length: int) -> tuple[DownloadGap, ...]:
    # What lies before the first and after the last row; holes between rows are counted by the market data's report.
    if not rows:
        return (DownloadGap(words_of(kind), _day(begin), _day(end - 1), "no row at all"),)
    gaps = []
    if rows[0][0] >= begin + max(length, _DAY):
        gaps.append(DownloadGap(words_of(kind), _day(begin), _day(rows[0][0] - _DAY), "before the venue's first row"))
    if rows[-1][0] + length <= end - _DAY:
        gaps.append(DownloadGap(words_of(kind), _day(rows[-1][0] + _DAY), _day(end - 1), "after the venue's last row"))
    return tuple(gaps)


def _milliseconds(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp() * 1_000)


def _day(milliseconds: float) -> dt.date:
    return dt.datetime.fromtimestamp(milliseconds / 1_000, dt.UTC).date()
