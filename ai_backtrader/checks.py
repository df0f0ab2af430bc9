"""Argument checks that collect every fault before they raise.

A settings object calls the checks on one :class:`Faults` and ends with :meth:`Faults.raise_if_any`, so that the user
mends all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import SupportsFloat

from ai_backtrader.errors import SettingsError

__all__ = ["Faults"]


class Faults:
    """A list of faults of one subject.

    Examples
    --------
    >>> faults = Faults("Demo")
    >>> faults.number("leverage", 300.0, low=1.0, high=125.0)
    >>> faults.raise_if_any()
    Traceback (most recent call last):
    ...
    ai_backtrader.errors.SettingsError: Demo: leverage must be between 1 and 125, got 300.0
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.found: list[str] = []

    def add(self, fault: str) -> None:
        """Record a fault: one sentence without the final stop."""
        self.found.append(fault)

    def number(
        self, name: str, value: object, *, low: float = -math.inf, high: float = math.inf, above: float | None = None
    ) -> None:
        """Record a fault unless ``value`` is finite, ``low <= value <= high`` and, if given, ``value > above``."""
        # Plain numbers first: asking a protocol takes microseconds, and searches check many.
        if isinstance(value, bool) or not isinstance(value, (float, int, SupportsFloat)):
            self.add(f"{name} must be a number, got {value!r}")
            return
        number = float(value)
        if not math.isfinite(number):
            self.add(f"{name} must be finite, got {value!r}")
        elif above is not None and not number > above:
            self.add(f"{name} must be greater than {above:g}, got {value!r}")
        elif not low <= number <= high:
            if high == math.inf:
                self.add(f"{name} must be at least {low:g}, got {value!r}")
            elif low == -math.inf:
                self.add(f"{name} must be at most {high:g}, got {value!r}")
            else:
                self.add(f"{name} must be between {low:g} and {high:g}, got {value!r}")

    def whole(self, name: str, value: object, *, low: int | None = None, high: int | None = None) -> None:
        """Record a fault unless ``value`` is a whole number (bool is none) within the bounds."""
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            self.add(f"{name} must be a whole number, got {value!r}")
            return
        self.number(name, value, low=-math.inf if low is None else low, high=math.inf if high is None else high)

    def one_of(self, name: str, value: object, choices: Collection[object]) -> None:
        """Record a fault unless ``value`` is one of ``choices``."""
        if value not in choices:
            self.add(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")

    def known_keys(self, name: str, given: Mapping[str, object], known: Collection[str]) -> None:
        """Record a fault for every key of ``given`` that is not known."""
        unknown = [key for key in given if key not in known]
        if unknown:
            self.add(f"{name} has unknown keys {', '.join(map(repr, unknown))}; known are {', '.join(sorted(known))}")

    def raise_if_any(self) -> None:
        """Raise :class:`~ai_backtrader.errors.SettingsError` with every fault recorded, if there is one."""
        if self.found:
            raise SettingsError(self.subject, self.found)
