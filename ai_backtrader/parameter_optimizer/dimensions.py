"""Dimensions of a search space: what values a parameter may have, and their coordinate between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults

__all__ = ["Boolean", "Categorical", "Dimension", "Integer", "Real", "Value"]

Value = int | float | str | bool
"""What a parameter may be: plain Python, so that JSON and SQLite keep it as it is."""

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Integer:
    """Whole numbers from ``low`` to ``high``, both included.

    Parameters
    ----------
    name
        Of the parameter.
    low, high
        Ends, ``low < high``; to hold a parameter, give :class:`Categorical` a single choice.
    log
        Search factors instead of distances; needs ``low >= 1``.
    step
        Distance between two values, counted from ``low``.
    """

    name: str
    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        faults = Faults(f"Integer {self.name!r}")
        _check_name(faults, self.name)
        for end in ("low", "high"):
            faults.whole(end, getattr(self, end))
        faults.whole("step", self.step, low=1)
        if not faults.found:
            object.__setattr__(self, "low", int(self.low))
            object.__setattr__(self, "high", int(self.high))
            object.__setattr__(self, "step", int(self.step))
            _check_ends(faults, self.low, self.high)
            if self.log and self.low < 1:
                faults.add(f"log needs low of at least 1, got {self.low}")
            if not faults.found and self.step > self.high - self.low:
                faults.add(f"step must fit between low and high, at most {self.high - self.low}, got {self.step}")
        faults.raise_if_any()

    @property
    def top(self) -> int:
        """Largest value that the step reaches."""
        return self.low + (self.high - self.low) // self.step * self.step

    @property
    def cells(self) -> float:
        """Number of values."""
        return float((self.top - self.low) // self.step + 1)

    @property
    def width(self) -> int:
        """Columns among the features."""
        return 1

    @property
    def described(self) -> str:
        """Its values in words."""
        return f"a whole number from {self.low} to {self.high}" + (f" in steps of {self.step}" * (self.step > 1))

    def contains(self, value: object) -> bool:
        """Whether the value is one of them; 14.0 is 14, True is none."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            return False
        return bool(self.low <= value <= self.high and (value - self.low) % self.step == 0)

    def number(self, value: Value) -> float:
        """The value as a number to compute with."""
        return float(value)

    def value(self, number: float) -> int:
        """The value of such a number."""
        return round(number)

    def numbers(self, units: _Array) -> _Array:
        """Numbers of coordinates: the value in whose cell each lies."""
        low, high = self._borders()
        raw = low + np.clip(units, 0.0, 1.0) * (high - low)
        if self.log:
            raw = np.exp(raw)
        numbers: _Array = np.clip(self.low + np.round((raw - self.low) / self.step) * self.step, self.low, self.top)
        return numbers

    def to_unit(self, numbers: _Array) -> _Array:
        """Coordinates of numbers, the middle of their cells (``log``: the value's own place)."""
        low, high = self._borders()
        units: _Array = ((np.log(numbers) if self.log else numbers) - low) / (high - low)
        return units

    def at_least(self, numbers: _Array) -> _Array:
        """Smallest values that are no smaller; the largest of all where there is none."""
        found: _Array = np.minimum(self.low + np.ceil((numbers - self.low) / self.step) * self.step, self.top)
        return found

    def at_most(self, numbers: _Array) -> _Array:
        """Largest values that are no larger; the smallest of all where there is none."""
        found: _Array = np.maximum(self.low + np.floor((numbers - self.low) / self.step) * self.step, self.low)
        return found

    def near(self, value: Value, step: float) -> list[Value]:
        """The values a step (share of the range, at least a cell) below and above."""
        here = float(value)
        unit = float(self.to_unit(np.array([here]))[0])
        below, above = self.numbers(np.array([unit - step, unit + step])).tolist()
        steps = {min(below, here - self.step), max(above, here + self.step)}
        return [round(other) for other in sorted(steps) if self.low <= other <= self.top]

    def _borders(self) -> tuple[float, float]:
        low, high = self.low - 0.5 * self.step, self.top + 0.5 * self.step
        return (math.log(max(low, 0.5 * self.low)), math.log(high)) if self.log else (low, high)


@dataclass(frozen=True)
class Real:
    """Numbers from ``low`` to ``high``, both included.

    Parameters
    ----------
    name
        Of the parameter.
    low, high
        Ends, finite, ``low < high``.
    log
        Search factors instead of distances; needs ``low > 0``.
    """

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        faults = Faults(f"Real {self.name!r}")
        _check_name(faults, self.name)
        for end in ("low", "high"):
            faults.number(end, getattr(self, end))
        if not faults.found:
            object.__setattr__(self, "low", float(self.low))
            object.__setattr__(self, "high", float(self.high))
            _check_ends(faults, self.low, self.high)
            if self.log and self.low <= 0.0:
                faults.add(f"log needs low above 0, got {self.low:g}")
        faults.raise_if_any()

    @property
    def cells(self) -> float:
        """Number of values."""
        return math.inf

    @property
    def width(self) -> int:
        """Columns among the features."""
        return 1

    @property
    def described(self) -> str:
        """Its values in words."""
        return f"a number from {self.low:g} to {self.high:g}"

    def contains(self, value: object) -> bool:
        """Whether the value is one of them."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            return False
        return bool(self.low <= value <= self.high)

    def number(self, value: Value) -> float:
        """The value as a number to compute with."""
        return float(value)

    def value(self, number: float) -> float:
        """The value of such a number."""
        return float(number)

    def numbers(self, units: _Array) -> _Array:
        """Numbers of coordinates."""
        low, high = self._borders()
        raw = low + np.clip(units, 0.0, 1.0) * (high - low)
        return np.clip(np.exp(raw) if self.log else raw, self.low, self.high)

    def to_unit(self, numbers: _Array) -> _Array:
        """Coordinates of numbers."""
        low, high = self._borders()
        return np.clip(((np.log(numbers) if self.log else numbers) - low) / (high - low), 0.0, 1.0)

    def at_least(self, numbers: _Array) -> _Array:
        """The numbers themselves, as far as the dimension goes."""
        return np.minimum(numbers, self.high)

    def at_most(self, numbers: _Array) -> _Array:
        """The numbers themselves, as far as the dimension goes."""
        return np.maximum(numbers, self.low)

    def near(self, value: Value, step: float) -> list[Value]:
        """The values a step (share of the range) below and above."""
        unit = float(self.to_unit(np.array([float(value)]))[0])
        steps = self.numbers(np.array([unit - step, unit + step])).tolist()
        return [float(other) for other in steps if other != value]

    def _borders(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)


@dataclass(frozen=True, init=False)
class Categorical:
    """One of some choices without order: texts, numbers or flags; a single choice holds the parameter.

    Parameters
    ----------
    name
        Of the parameter.
    choices
        Different plain values.
    """

    name: str
    choices: tuple[Value, ...]

    def __init__(self, name: str, choices: Iterable[Value]) -> None:
        faults = Faults(f"Categorical {name!r}")
        _check_name(faults, name)
        if isinstance(choices, str):
            faults.add(f"choices must be a list, got the text {choices!r}")
        plain = tuple(choice.item() if isinstance(choice, np.generic) else choice for choice in choices)
        if not plain:
            faults.add("choices must not be empty")
        for choice in plain:
            if not isinstance(choice, (int, float, str, bool)) or (
                isinstance(choice, float) and not math.isfinite(choice)
            ):
                faults.add(f"a choice must be a text, a finite number or a flag, got {choice!r}")
        if not faults.found and len({(isinstance(choice, bool), choice) for choice in plain}) < len(plain):
            faults.add(f"choices must be different, got {list(plain)!r}")
        faults.raise_if_any()
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "choices", plain)

    @property
    def cells(self) -> float:
        """Number of values."""
        return float(len(self.choices))

    @property
    def width(self) -> int:
        """Columns among the features: one for each choice of more than two."""
        return len(self.choices) if len(self.choices) > 2 else 1

    @property
    def described(self) -> str:
        """Its values in words."""
        return "one of " + ", ".join(map(repr, self.choices))

    def contains(self, value: object) -> bool:
        """Whether the value is one of them."""
        return self._place(value) is not None

    def number(self, value: Value) -> float:
        """The place of the choice."""
        return float(self._place(value) or 0)

    def value(self, number: float) -> Value:
        """The choice at a place."""
        return self.choices[round(number)]

    def numbers(self, units: _Array) -> _Array:
        """Places of the choices in whose cells the coordinates lie."""
        count = len(self.choices)
        return np.minimum(np.floor(np.clip(units, 0.0, 1.0) * count), count - 1)

    def to_unit(self, numbers: _Array) -> _Array:
        """Coordinates of places: the middle of their cells."""
        return (numbers + 0.5) / len(self.choices)

    def at_least(self, numbers: _Array) -> _Array:
        """As they are: choices have no order."""
        return numbers

    def at_most(self, numbers: _Array) -> _Array:
        """As they are: choices have no order."""
        return numbers

    def near(self, value: Value, step: float) -> list[Value]:
        """Every other choice."""
        return [choice for place, choice in enumerate(self.choices) if place != self._place(value)]

    def _place(self, value: object) -> int | None:
        plain = value.item() if isinstance(value, np.generic) else value
        for place, choice in enumerate(self.choices):
            # True == 1 in Python; a flag is no number here.
            if choice == plain and isinstance(choice, bool) == isinstance(plain, bool):
                return place
        return None


class Boolean(Categorical):
    """True or False.

    Parameters
    ----------
    name
        Of the parameter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, (False, True))

    def __repr__(self) -> str:
        return f"Boolean(name={self.name!r})"


Dimension = Integer | Real | Categorical | Boolean
"""A parameter's values."""


def _check_name(faults: Faults, name: object) -> None:
    if not isinstance(name, str) or not name:
        faults.add(f"name must be a text, got {name!r}")


def _check_ends(faults: Faults, low: float, high: float) -> None:
    if low >= high:
        mend = "give Categorical a single choice to hold it" if low == high else "exchange them"
        faults.add(f"low must be smaller than high, got {low:g} and {high:g}; {mend}")
