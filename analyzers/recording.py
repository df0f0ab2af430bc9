"""What the analyzers share: times from Backtrader's numbers, names of feeds, analyses that print."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from backtrader.utils import AutoOrderedDict
from numpy.typing import NDArray

__all__ = ["accounts_of", "analysis_of", "feed_names", "position_reader", "times_of"]

_DAYS_BEFORE_1970 = 719_163  # Backtrader counts days from 0001-01-01, which is day 1


def times_of(numbers: array[float]) -> NDArray[np.datetime64]:
    """Times (UTC, datetime64[ns]) of Backtrader's date numbers, to the millisecond.

    A float64 holds a date of our years to 0.01 ms only; finer digits are noise.
    """
    milliseconds = np.rint((np.array(numbers, dtype=np.float64) - _DAYS_BEFORE_1970) * 86_400_000.0)
    return milliseconds.astype(np.int64).astype("datetime64[ms]").astype("datetime64[ns]")


def feed_names(feeds: list[Any]) -> list[str]:
    """Name of each feed, ``data0``, ``data1``, … where it has none."""
    return [str(getattr(feed, "_name", "") or f"data{position}") for position, feed in enumerate(feeds)]


def accounts_of(broker: Any) -> list[Any]:
    """A fund's sub-accounts so far; of any other broker itself."""
    return list(getattr(broker, "accounts", {"": broker}).values())


def position_reader(broker: Any) -> Callable[[Any], Any]:
    """Function from a feed to its position in the broker; the answer is false where there is none.

    ``getposition`` of Backtrader's broker makes a position for every feed it is asked about. From then on the broker
    values that feed: it fails on one without a first bar, and it adds up the account in another order.
    """
    positions = getattr(broker, "positions", None)
    return broker.getposition if positions is None else positions.get  # type: ignore[no-any-return]  # Backtrader has no types


def analysis_of(figures: Mapping[str, object]) -> AutoOrderedDict:
    """Backtrader's dictionary with dot access from a mapping, nested, NumPy numbers made plain, closed."""
    return _filled(AutoOrderedDict(), figures)


def _filled(analysis: AutoOrderedDict, figures: Mapping[str, object]) -> AutoOrderedDict:
    for key, value in figures.items():
        analysis[key] = _plain(value)
    analysis._close()  # a key that does not exist raises instead of becoming an empty dictionary
    return analysis


class _Row(AutoOrderedDict):
    """A mapping in a list: Backtrader's writer puts ``str`` of it on one line."""

    def __str__(self) -> str:
        told = (f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}" for key, value in self.items())
        return f"({', '.join(told)})"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return analysis_of(value)
    if isinstance(value, list | tuple):
        return [_filled(_Row(), item) if isinstance(item, Mapping) else _plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
