"""Values that remember what is computed from them: searches look the same rules up many times."""

from __future__ import annotations

__all__ = ["RemembersHash"]


class RemembersHash:
    """Base of frozen dataclasses: their ``__hash__`` returns ``_hash``, or remembers it where it is not there yet.

    The slots are no fields: they are neither compared nor pickled. Texts hash differently in every process. ``_place``
    is a gene's place in its section; ``_line_period`` and ``_strategy_period`` are a series' own; ``_plan`` is the
    simulation's: what its plans need of a gene or a section.
    """

    __slots__ = ("_hash", "_line_period", "_place", "_plan", "_strategy_period")

    _hash: int
    _line_period: int
    _place: tuple[object, ...]
    _plan: object
    _strategy_period: int

    def _remember(self, content: tuple[object, ...]) -> int:
        found = hash(content)
        object.__setattr__(self, "_hash", found)
        return found
