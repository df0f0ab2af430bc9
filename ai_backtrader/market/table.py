"""The columns of a feed on their way from a source to :class:`~ai_backtrader.market.MarketData`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import DataError

__all__ = ["MARK", "OPTIONAL", "PRICES", "REQUIRED", "Table", "and_more", "show_time"]

PRICES = ("open", "high", "low", "close")
REQUIRED = (*PRICES, "volume")
MARK = ("mark_open", "mark_high", "mark_low", "mark_close")
OPTIONAL = (*MARK, "funding_rate", "open_interest", "long_short_ratio", "taker_buy_volume")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Times and columns of one feed, not yet trusted.

    Attributes
    ----------
    feed
        Symbol or file, for messages.
    times
        Bar starts in UTC, ``datetime64[ns]``; NaT where the source's text was no time (repairs may drop it).
    columns
        float64 arrays by canonical name; only the columns that the source has.
    rows
        Position of each bar in the source: a message names the source's row even after repairs dropped others.
    rows_read
        Rows of the source.
    assumed_zone
        Zone that naive times were read in; None when the source said it.
    ignored
        Columns of the source that nothing here knows.
    had_text
        Mask of the bars in which the reader emptied cells that were no number; None when it was not asked to.
    """

    feed: str
    times: NDArray[np.datetime64]
    columns: Mapping[str, NDArray[np.float64]]
    rows: NDArray[np.int64]
    rows_read: int
    assumed_zone: str | None = None
    ignored: tuple[str, ...] = ()
    had_text: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def take(self, index: NDArray[Any] | slice) -> Table:
        """Table of the chosen bars, in the order of the index (a mask, positions or a slice)."""
        columns = {name: values[index] for name, values in self.columns.items()}
        had_text = None if self.had_text is None else self.had_text[index]
        return replace(self, times=self.times[index], columns=columns, rows=self.rows[index], had_text=had_text)

    def with_columns(self, **columns: NDArray[np.float64]) -> Table:
        """Table in which the named columns are replaced."""
        return replace(self, columns={**self.columns, **columns})

    def place(self, position: int) -> str:
        """Text that names a bar: its row in the source and its time."""
        return f"{self.rows[position]} ({show_time(self.times[position])})"

    def refuse(
        self, problem: str, faulty: NDArray[np.bool_], *, column: str, mend: str, value: NDArray[Any] | None = None
    ) -> None:
        """Raise :class:`DataError` for the first faulty bar, saying how many more there are; none is no fault."""
        hits = np.flatnonzero(faulty)
        if not len(hits):
            return
        first = int(hits[0])
        found = self.columns[column] if value is None else value
        text = show_time(found[first]) if found.dtype.kind == "M" else f"{found[first]}"
        raise DataError(
            problem, feed=self.feed, row=self.place(first), column=column, value=text + and_more(hits), mend=mend
        )


def and_more(hits: NDArray[np.int64]) -> str:
    """Text that says how many rows besides the first are at fault."""
    more = len(hits) - 1
    return "" if more < 1 else f"; {more} more such row{'' if more == 1 else 's'}"


def show_time(time: np.datetime64) -> str:
    """Time as readable text in UTC, without trailing zeros."""
    if np.isnat(time):
        return "no time"
    text = str(time).replace("T", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text
