"""Exceptions of the package: one base, few kinds."""

from __future__ import annotations

__all__ = ["AIBacktraderError", "DataError", "SettingsError"]


class AIBacktraderError(Exception):
    """Base of every exception that the package raises on purpose."""


class SettingsError(AIBacktraderError, ValueError):
    """An argument or a settings object is wrong; all its faults are reported together.

    Parameters
    ----------
    subject
        What was being built or called, for example ``"LeverageSettings"``.
    faults
        One sentence a fault: the parameter, what was expected, what came, how to mend it.
    """

    def __init__(self, subject: str, faults: tuple[str, ...] | list[str]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        super().__init__(subject, self.faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return f"{self.subject}: {self.faults[0]}"
        return f"{self.subject}: {len(self.faults)} faults\n" + "\n".join(f"  - {fault}" for fault in self.faults)


class DataError(AIBacktraderError, ValueError):
    """Market data cannot be traded as they are.

    The message names the feed, the place, the value found and the mend; the same facts are attributes.

    Parameters
    ----------
    problem
        What is wrong, in a few words ("high below low").
    feed
        Symbol or file the data came from.
    row
        Where: the bar's position (0-based) and, when known, its time; None when the whole feed is meant.
    column
        Column at fault; None when the whole row or feed is meant.
    value
        The value found, as text.
    mend
        What the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        feed: str,
        row: str | None = None,
        column: str | None = None,
        value: str | None = None,
        mend: str,
    ) -> None:
        self.problem, self.feed, self.row, self.column, self.value, self.mend = problem, feed, row, column, value, mend
        super().__init__(problem)

    def __str__(self) -> str:
        places = (("row", self.row), ("column", self.column), ("found", self.value))
        where = ", ".join(f"{name} {text}" for name, text in places if text is not None)
        return f"{self.feed}: {self.problem}" + (f" ({where})" if where else "") + f". {self.mend}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their positional arguments; ours are keywords (worker processes send them back).
        state = {"feed": self.feed, "row": self.row, "column": self.column, "value": self.value, "mend": self.mend}
        return (_rebuild_data_error, (self.problem, state))


def _rebuild_data_error(problem: str, state: dict[str, str | None]) -> DataError:
    return DataError(problem, **state)  # type: ignore[arg-type]  # state is what __reduce__ wrote
