"""Numbers as people write them."""

from __future__ import annotations

__all__ = ["number_text"]


def number_text(value: float) -> str:
    """The shortest text that gives the same number, without a needless ``.0``: ``30``, ``0.0125``."""
    text = repr(value)
    return text.removesuffix(".0")
