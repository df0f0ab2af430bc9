"""Values that remember their hash: searches look the same rules up many times."""

from __future__ import annotations

__all__ = ["RemembersHash"]


class RemembersHash:
    """Base of frozen dataclasses: their ``__hash__`` returns ``_hash``, or remembers it where it is not there yet.

    The slot is no field: it is neither compared nor pickled. Texts hash differently in every process.
    """

    __slots__ = ("_hash",)

    _hash: int

    def _remember(self, content: tuple[object, ...]) -> int:
        found = hash(content)
        object.__setattr__(self, "_hash", found)
        return found
