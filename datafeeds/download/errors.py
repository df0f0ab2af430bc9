"""What goes wrong in a download."""

from __future__ import annotations

from ai_backtrader.errors import AIBacktraderError

__all__ = ["DownloadError"]


class DownloadError(AIBacktraderError):
    """Data could not be fetched, or are not what their publisher says; nothing has been written.

    Parameters
    ----------
    problem
        What is wrong, naming the file or address, what was expected and what came.
    mend
        What the user can do about it.
    """

    def __init__(self, problem: str, mend: str) -> None:
        self.problem, self.mend = problem, mend
        super().__init__(problem, mend)

    def __str__(self) -> str:
        return f"{self.problem}. {self.mend}"
