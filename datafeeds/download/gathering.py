"""The bars of a market from the public archive: which files are asked for, in which order, and what comes of them."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ai_backtrader.datafeeds.download.align import Sources, align, clean_candles, merge
from ai_backtrader.datafeeds.download.archives import read_archive
from ai_backtrader.datafeeds.download.errors import DownloadError
from ai_backtrader.datafeeds.download.fetching import ArchiveCache, fetch_all
from ai_backtrader.datafeeds.download.http import Client
from ai_backtrader.datafeeds.download.plan import (
    FUNDING,
    KLINES,
    MARK,
    METRICS,
    Archive,
    Series,
    days,
    month_end,
    months,
)
from ai_backtrader.datafeeds.download.result import DownloadGap, DownloadProgress, gaps_of
from ai_backtrader.datafeeds.download.settings import ARCHIVE, DownloadSettings, seconds_of

__all__ = ["Gathered", "gather_archive"]

_DAY = dt.timedelta(days=1)
_FRESH = dt.timedelta(days=62)  # a month that ended within these may not have its file yet, but has the days'


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Bars on one clock, and what is to be told of them."""

    name: str
    bars: pd.DataFrame
    gaps: tuple[DownloadGap, ...]
    notes: tuple[str, ...]


def gather_archive(settings: DownloadSettings, on_progress: Callable[[DownloadProgress], None]) -> Gathered:
    """Bars of the settings' market and period, from files of the archive.

    First the months (and the days of the month that is not over). Then the days of which those hold nothing: months
    whose file is not out yet, and days that a month's file lacks. Last the metrics, for the days that have candles.
    """
    run = _Run(settings, on_progress)
    perp = settings.market == "perp"
    symbol, first, last = settings.archive_symbol, settings.first, settings.last
    candles = Series(settings.market, symbol, KLINES, settings.interval)
    mark = Series(settings.market, symbol, MARK, settings.interval)
    funding, metrics = Series(settings.market, symbol, FUNDING), Series(settings.market, symbol, METRICS)
    bars = (candles, mark) if perp else (candles,)

    over = [month for month in months(first, last) if month_end(month) < settings.day]
    running = list(days(max(first, month_end(over[-1]) + _DAY) if over else first, last))
    wanted = [series.month(month) for series in bars for month in over]
    wanted += [series.day(day) for series in bars for day in running]
    run.fetch(wanted + [funding.month(month) for month in over if perp])
    for series in bars:
        late = (month for month in over if series.month(month) not in run.paths)
        for month in late:
            if settings.day - month_end(month) <= _FRESH:
                run.fetch([series.day(day) for day in days(max(first, month), min(last, month_end(month)))])
        run.fetch([series.day(day) for day in run.empty_days(series.kind)])
    rows = run.rows(KLINES)
    if rows is None:
        raise _nothing(settings)
    rows, odd = clean_candles(rows, seconds_of(settings.interval))
    run.note(odd, "candles off the grid of their interval left out")
    rows = rows[(rows.index >= pd.Timestamp(first)) & (rows.index < pd.Timestamp(last + _DAY))]
    if not len(rows):
        raise _nothing(settings)
    if perp:
        run.fetch([metrics.day(day) for day in days(rows.index[0].date(), rows.index[-1].date())])
    sources = Sources(
        candles=rows, mark=run.rows(MARK), funding=run.rows(FUNDING), funding_known=run.spans(FUNDING),
        metrics=run.rows(METRICS),
    )  # fmt: skip
    kinds = (KLINES, MARK, FUNDING, METRICS) if perp else (KLINES,)
    every_day = list(days(first, last))
    gaps = [gap for kind in kinds for gap in gaps_of(kind, every_day, run.found(kind))]
    return Gathered(
        name=f"{symbol}-perp" if perp else symbol,
        bars=align(sources, seconds_of(settings.interval)),
        gaps=tuple(gaps),
        notes=tuple(run.notes),
    )


def _nothing(settings: DownloadSettings) -> DownloadError:
    return DownloadError(
        f"no candles of {settings.archive_symbol} ({settings.market}, {settings.interval}) from {settings.first} to "
        f"{settings.last} at {settings.source or ARCHIVE}",
        "Check the symbol's spelling (BTCUSDT), --market spot or perp, and that it was listed by then; a day is "
        "published on the next",
    )


class _Run:
    """What has been fetched and read so far."""

    def __init__(self, settings: DownloadSettings, on_progress: Callable[[DownloadProgress], None]) -> None:
        self.settings, self.on_progress = settings, on_progress
        self.paths: dict[Archive, Path] = {}
        self.notes: list[str] = []
        self._asked: set[Archive] = set()
        self._frames: dict[Archive, pd.DataFrame] = {}
        self._done = self._bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._cache = ArchiveCache(settings, Client(settings, self._stop, self._count))

    def fetch(self, archives: Iterable[Archive]) -> None:
        """Have the archives that have not been asked for; those that do not exist stay away."""
        new = [archive for archive in dict.fromkeys(archives) if archive not in self._asked]
        self._asked.update(new)
        for archive, path in fetch_all(new, self._cache.get, connections=self.settings.connections, stop=self._stop):
            self._done += 1
            if path is not None:
                self.paths[archive] = path
            self.on_progress(DownloadProgress(self._done, len(self._asked), self._bytes, archive.name))

    def found(self, kind: str) -> list[Archive]:
        """Archives of a kind that there are, by their days."""
        return sorted((archive for archive in self.paths if archive.kind == kind), key=lambda archive: archive.first)

    def rows(self, kind: str) -> pd.DataFrame | None:
        """All rows of a kind; None where there is no archive."""
        frames = [self._read(archive) for archive in self.found(kind)]
        if not frames:
            return None
        rows, again = merge(frames)
        self.note(again, f"rows of {kind} with the time of another left out")
        return rows

    def empty_days(self, kind: str) -> list[dt.date]:
        """Days asked for between the first and the last row of a kind of which there is no row."""
        held: set[dt.date] = set()
        for archive in self.found(kind):
            held.update(np.unique(self._read(archive).index.to_numpy().astype("datetime64[D]")).tolist())
        if not held:
            return []
        span = days(max(min(held), self.settings.first), min(max(held), self.settings.last))
        return [day for day in span if day not in held]

    def spans(self, kind: str) -> tuple[tuple[int, int], ...]:
        """Spans of time in nanoseconds that the archives of a kind speak of."""
        return tuple(
            (pd.Timestamp(archive.first).value, pd.Timestamp(archive.last + _DAY).value) for archive in self.found(kind)
        )

    def note(self, count: int, words: str) -> None:
        """Tell of rows that were left out, once."""
        told = f"{count:,} {words}"
        if count and told not in self.notes:
            self.notes.append(told)

    def _read(self, archive: Archive) -> pd.DataFrame:
        if archive not in self._frames:
            path = self.paths[archive]
            frame, strange = read_archive(path, archive, max_unpacked=self.settings.max_unpacked)
            self.note(strange, f"rows of {archive.name} left out: they are of other days")
            self._frames[archive] = frame
        return self._frames[archive]

    def _count(self, received: int) -> None:
        with self._lock:
            self._bytes += received
