"""Columns that were prepared elsewhere and know the future: lines of a feed, series that a strategy's class holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.audit.futures import future_score, reordered
from ai_backtrader.audit.held import Namespace
from ai_backtrader.market import MarketData
from ai_backtrader.market.table import OPTIONAL

__all__ = ["ROWS", "Informed", "feed_of_rows", "informed_held", "informed_lines"]

ROWS = (list, tuple, dict, np.ndarray, pd.Series, pd.DataFrame)


@dataclass(frozen=True, slots=True)
class Informed:
    """A column that knows the future, and how to run without its knowledge.

    Attributes
    ----------
    label, knows
        What it is called, and what it knows.
    feeds
        Feeds with the column in another order; None where it is no line of a feed.
    place, name, values
        Where the class holds it, and the rows in another order.
    """

    label: str
    knows: str
    feeds: tuple[MarketData, ...] | None = None
    place: Namespace | None = None
    name: str = ""
    values: Any = None


def feed_of_rows(value: Any, feeds: tuple[MarketData, ...]) -> MarketData | None:
    """The feed that has as many bars as the value has rows; None for what is not one number, or row of them, a bar."""
    if isinstance(value, list | tuple | dict):
        rows = value.values() if isinstance(value, dict) else value
        if not all(isinstance(row, float | int | np.number | np.bool_) for row in rows):
            return None
    elif not isinstance(value, ROWS) or getattr(value, "ndim", 0) == 0:
        return None
    return next((feed for feed in feeds if len(feed) == len(value)), None)


def informed_lines(feeds: tuple[MarketData, ...], names: tuple[str, ...]) -> list[Informed]:
    """Extra lines of the feeds that know what comes; mark prices are prices and not asked."""
    found = []
    for place, feed in enumerate(feeds):
        for name in OPTIONAL:
            values = getattr(feed, name)
            knows = None if values is None or name.startswith("mark_") else future_score(values, feed.close)
            if knows is not None:
                mixed: dict[str, Any] = {name: reordered(values, np.random.default_rng(place))}
                others = (*feeds[:place], dataclasses.replace(feed, **mixed), *feeds[place + 1 :])
                found.append(Informed(f"line {name} of {names[place]}", knows, others))
    return found


def informed_held(feeds: tuple[MarketData, ...], places: list[Namespace]) -> list[Informed]:
    """What the class holds, one row a bar, that knows what comes."""
    found: list[Informed] = []
    seen: set[int] = set()
    for place in places:
        for name, value in place.read().items():
            feed = feed_of_rows(value, feeds)
            rows = value if feed is not None else _as_of(value, feeds[0])
            if rows is None or id(value) in seen:
                continue
            seen.add(id(value))
            close = (feed or feeds[0]).close
            knows = next((told for column in _columns(rows) if (told := future_score(column, close))), None)
            if knows is not None:
                mixed = reordered(value, np.random.default_rng(0))
                found.append(Informed(f"{place.label}{name}", knows, None, place, name, mixed))
    return found


def _as_of(value: Any, feed: MarketData) -> Any:
    """A series or frame with rows of its own times, such as days: at each bar the row last labelled, or None."""
    if not isinstance(value, pd.Series | pd.DataFrame) or not isinstance(value.index, pd.DatetimeIndex):
        return None
    stamps = value.index if value.index.tz is not None else value.index.tz_localize("UTC")
    if not (stamps.is_monotonic_increasing and stamps.is_unique):
        return None
    return value.set_axis(stamps, axis=0).reindex(pd.DatetimeIndex(feed.times, tz="UTC"), method="ffill")


def _columns(value: Any) -> Iterator[NDArray[np.float64]]:
    numbers = pd.DataFrame(list(value.values()) if isinstance(value, dict) else value)
    for place in range(numbers.shape[1]):  # names may be double
        yield pd.to_numeric(numbers.iloc[:, place], errors="coerce").to_numpy(dtype=np.float64)
