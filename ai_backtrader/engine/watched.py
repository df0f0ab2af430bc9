"""Bars of a market on which strategies vote: all at once, or as they come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import BAR_COLUMNS, EntryStream, SeriesBank, StrategyChromosome, section_signal

__all__ = ["Followed", "Watched", "milliseconds_of"]

_EPOCH = dt.datetime(1970, 1, 1)
_MILLISECOND = dt.timedelta(milliseconds=1)
_FEWEST = 1_024

T = TypeVar("T", bound=np.generic)


def milliseconds_of(at: dt.datetime) -> int:
    """Milliseconds since 1970."""
    # Backtrader's times are floats of days: they miss the bar's start by microseconds.
    if at.tzinfo is not None:
        at = at.astimezone(dt.UTC).replace(tzinfo=None)
    return round((at - _EPOCH) / _MILLISECOND)


class Watched:
    """All bars of a market, and the signals of the strategies on them."""

    def __init__(self, data: MarketData) -> None:
        self.data = data
        self.milliseconds = data.times.astype("datetime64[ms]").astype(np.int64)
        self._place = 0
        self._signals: dict[str, NDArray[np.int8]] = {}

    def bar(self, wanted: int) -> int | None:
        """Which bar began at a time (milliseconds since 1970); None where none did."""
        for near in (self._place, self._place + 1):  # bars are asked for in order
            if near < len(self.milliseconds) and self.milliseconds[near] == wanted:
                self._place = near
                return near
        found = _bar_at(self.milliseconds, wanted)
        self._place = self._place if found is None else found
        return found

    def side(self, chromosome: StrategyChromosome, bar: int) -> int:
        """One of :meth:`sides`."""
        return int(self.sides(chromosome)[bar])

    def sides(self, chromosome: StrategyChromosome) -> NDArray[np.int8]:
        """+1, -1 or 0 at each bar; where both sides hold the long one goes first, as in a run of the strategy."""
        known = self._signals.get(chromosome.fingerprint)
        if known is None:
            bank, need = SeriesBank(self.data), chromosome.required
            allowed = np.ones(len(self.data), np.bool_)
            if chromosome.filters.genes:
                allowed = section_signal(bank, chromosome.filters, need.filters)
            long = section_signal(bank, chromosome.entry_long, need.entry_long) & allowed
            short = section_signal(bank, chromosome.entry_short, need.entry_short) & allowed
            known = self._signals[chromosome.fingerprint] = np.where(long, 1, -short.astype(np.int8)).astype(np.int8)
        return known


@dataclass
class _Entries:
    """A strategy's sides at the bars that it was shown."""

    stream: EntryStream
    sides: NDArray[np.int8] = field(default_factory=lambda: np.zeros(_FEWEST, np.int8))


class Followed:
    """Bars of a market that come one by one, and the strategies that go with them.

    A strategy is shown the bars when it is asked, those that it missed at once; each bar costs it the same.
    """

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._bars = np.empty((_FEWEST, len(BAR_COLUMNS)))
        self._milliseconds = np.empty(_FEWEST, np.int64)
        self._entries: dict[str, _Entries] = {}
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def take(self, number: int, milliseconds: int, bar: Sequence[float]) -> None:
        """Take a bar: see :meth:`EvolvedSource.follow`."""
        if number > self._n:
            raise SettingsError(
                "EvolvedSource.follow", [f"bar {number} of {self._symbol} came after {self._n} bars: give every bar"]
            )
        if number < self._n:
            if self._milliseconds[number] == milliseconds and np.array_equal(self._bars[number], bar, equal_nan=True):
                return
            if number < self._n - 1:
                self._entries.clear()  # they have seen bars that are not there any more
        self._n = number
        self._bars = _with_room(self._bars, number + 1)
        self._milliseconds = _with_room(self._milliseconds, number + 1)
        self._bars[number] = bar
        self._milliseconds[number] = milliseconds
        self._n = number + 1
        for entries in self._entries.values():
            if entries.stream.seen == self._n:  # it was shown the bar as it was before
                entries.sides[number] = entries.stream.take(self._bars[number : self._n], revise=True)[0]

    def bar(self, wanted: int) -> int | None:
        """Which bar began at a time (milliseconds since 1970); None where none did."""
        last = self._n - 1
        return (
            last if last >= 0 and self._milliseconds[last] == wanted else _bar_at(self._milliseconds[: self._n], wanted)
        )

    def side(self, chromosome: StrategyChromosome, bar: int) -> int:
        """+1, -1 or 0 at a bar."""
        entries = self._entries.get(chromosome.fingerprint)
        if entries is None:
            entries = self._entries[chromosome.fingerprint] = _Entries(EntryStream(chromosome))
        seen = entries.stream.seen
        if seen < self._n:
            entries.sides = _with_room(entries.sides, self._n)
            entries.sides[seen : self._n] = entries.stream.take(self._bars[seen : self._n])
        return int(entries.sides[bar])


def _bar_at(milliseconds: NDArray[np.int64], wanted: int) -> int | None:
    found = int(np.searchsorted(milliseconds, wanted))
    return found if found < len(milliseconds) and milliseconds[found] == wanted else None


def _with_room(array: NDArray[T], rows: int) -> NDArray[T]:
    """The array, or twice as much of it, so that a row more costs the same however many there are."""
    if rows <= len(array):
        return array
    grown = np.empty((max(rows, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
