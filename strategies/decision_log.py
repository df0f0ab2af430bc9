"""The decisions of a run, of which the quiet ones are only written down as bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from ai_backtrader.orchestrator import Decision

__all__ = ["DecisionLog"]


class DecisionLog(Sequence[Decision]):
    """Decisions in the order of their bars.

    Most bars of a run end in HOLD whatever the account, and a decision with its votes is a few kilobytes: those bars
    are kept as their number, and decided on again when somebody looks, from the same features and so with the same
    result.

    Parameters
    ----------
    look_up
        Gives the decision of a deferred bar, from what :meth:`defer` was told.
    """

    def __init__(self, look_up: Callable[[Any, int], Decision]) -> None:
        self._look_up = look_up
        self._entries: list[Decision | tuple[Any, int]] = []

    def append(self, decision: Decision) -> None:
        """Keep a decision."""
        self._entries.append(decision)

    def defer(self, key: Any, bar: int) -> None:
        """Keep a bar whose decision can be looked up."""
        self._entries.append((key, bar))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Decision]:
        return map(self._give, self._entries)

    @overload
    def __getitem__(self, place: int) -> Decision: ...
    @overload
    def __getitem__(self, place: slice) -> list[Decision]: ...
    def __getitem__(self, place: int | slice) -> Decision | list[Decision]:
        if isinstance(place, slice):
            return [self._give(entry) for entry in self._entries[place]]
        return self._give(self._entries[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def _give(self, entry: Decision | tuple[Any, int]) -> Decision:
        return entry if isinstance(entry, Decision) else self._look_up(*entry)
