"""What a download gave: the file, what is in it, and what could not be had."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ai_backtrader.datafeeds.download.plan import FUNDING, KLINES, MARK, METRICS, Archive, days
from ai_backtrader.market.report import DataReport

__all__ = ["DownloadGap", "DownloadProgress", "DownloadResult", "gaps_of", "words_of"]

_WORDS = {
    KLINES: "candles",
    MARK: "mark price",
    FUNDING: "funding rates",
    METRICS: "open interest and long/short ratio",
}


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is.

    Attributes
    ----------
    done, total
        Files that have been asked for, of those known to be needed; of a venue's pages the days.
    fetched_bytes
        Received so far; 0 where pages are asked for.
    name
        The last file, or what the pages are of.
    """

    done: int
    total: int
    fetched_bytes: int
    name: str


@dataclass(frozen=True)
class DownloadGap:
    """Days that the publisher has no file of.

    Attributes
    ----------
    what
        Kind of data, in words.
    first, last
        Days, inclusive.
    reason
        ``before the first file``, ``between files``, ``after the last file`` or ``no file at all``.
    """

    what: str
    first: dt.date
    last: dt.date
    reason: str

    def __str__(self) -> str:
        return f"no {self.what} from {self.first} to {self.last} ({self.reason})"


@dataclass(frozen=True, kw_only=True)
class DownloadResult:
    """A finished download.

    Attributes
    ----------
    path
        The file of bars.
    sha256
        Of its bytes.
    report
        What ``MarketData`` says of the bars: gaps, empty cells, assumptions.
    columns
        Columns of the file.
    gaps
        Days without a file, by kind.
    notes
        Rows that were left out, and other facts worth knowing.
    """

    path: Path
    sha256: str
    report: DataReport
    columns: tuple[str, ...]
    gaps: tuple[DownloadGap, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain Python, ready for JSON."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "columns": list(self.columns),
            "gaps": [{**asdict(gap), "first": str(gap.first), "last": str(gap.last)} for gap in self.gaps],
            "notes": list(self.notes),
            "report": self.report.to_dict(),
        }

    def __str__(self) -> str:
        return "\n".join((str(self.report), *(f"  {gap}" for gap in self.gaps), *(f"  {note}" for note in self.notes)))


def gaps_of(kind: str, wanted: Iterable[dt.date], found: Iterable[Archive]) -> tuple[DownloadGap, ...]:
    """Spans of the days wanted that no archive found speaks of."""
    held = {day for archive in found for day in days(archive.first, archive.last)}
    spans: list[list[dt.date]] = []
    for day in sorted(set(wanted) - held):
        if spans and spans[-1][1] + dt.timedelta(days=1) == day:
            spans[-1][1] = day
        else:
            spans.append([day, day])
    return tuple(DownloadGap(_WORDS[kind], first, last, _reason(first, last, held)) for first, last in spans)


def _reason(first: dt.date, last: dt.date, held: set[dt.date]) -> str:
    if not held:
        return "no file at all"
    if last < min(held):
        return "before the first file"
    return "after the last file" if first > max(held) else "between files"


def words_of(kind: str) -> str:
    """What a kind of archive holds, in words."""
    return _WORDS[kind]
