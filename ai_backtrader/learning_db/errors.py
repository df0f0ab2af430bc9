"""What the learning database raises."""

from __future__ import annotations

from ai_backtrader.errors import AIBacktraderError

__all__ = ["LearningDatabaseError"]


class LearningDatabaseError(AIBacktraderError):
    """The database cannot be opened, read or (with ``strict=True``) written; the message says what to do."""
