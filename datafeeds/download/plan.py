"""Which archives hold a period: names and addresses by the layout of the public archive.

``data/spot`` or ``data/futures/um``, then ``monthly`` or ``daily``, the kind, the symbol, for candles the interval,
then one ZIP with one CSV; beside it ``.CHECKSUM`` with its SHA-256. Funding rates are published by the month alone,
metrics (open interest, long/short ratios) by the day alone, candles and mark price both ways: a day's file on the next
day, a month's in the first days of the next.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FUNDING", "KLINES", "MARK", "METRICS", "Archive", "Series", "days", "month_end", "months"]

KLINES, MARK, FUNDING, METRICS = "klines", "markPriceKlines", "fundingRate", "metrics"
_ROOTS = {"spot": "data/spot", "perp": "data/futures/um"}
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Archive:
    """One ZIP of the archive: where it lies, and the days it speaks of."""

    kind: str
    path: str
    first: dt.date
    last: dt.date

    @property
    def name(self) -> str:
        """File name."""
        return self.path.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Series:
    """One kind of data of one market, and the archives that hold it."""

    market: str
    symbol: str
    kind: str
    interval: str = ""

    def month(self, first: dt.date) -> Archive:
        """The archive of the month that begins on ``first``."""
        return self._archive("monthly", f"{first:%Y-%m}", first, month_end(first))

    def day(self, day: dt.date) -> Archive:
        """The archive of a day."""
        return self._archive("daily", f"{day:%Y-%m-%d}", day, day)

    def _archive(self, cadence: str, period: str, first: dt.date, last: dt.date) -> Archive:
        folder = f"{_ROOTS[self.market]}/{cadence}/{self.kind}/{self.symbol}"
        if self.interval:
            folder += f"/{self.interval}"
        # The candles' files are named by their interval, the others by their kind.
        return Archive(self.kind, f"{folder}/{self.symbol}-{self.interval or self.kind}-{period}.zip", first, last)


def months(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """First days of the months that have a day from ``first`` to ``last``."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = month_end(month) + _DAY


def days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Days from ``first`` to ``last``."""
    while first <= last:
        yield first
        first += _DAY


def month_end(day: dt.date) -> dt.date:
    """Last day of the month of ``day``."""
    return (day.replace(day=1) + dt.timedelta(days=31)).replace(day=1) - _DAY
