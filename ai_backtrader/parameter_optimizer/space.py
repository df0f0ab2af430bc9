"""The space of a search: dimensions, constraints, and the unit cube that the surrogates see."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.parameter_optimizer.dimensions import Boolean, Categorical, Dimension, Integer, Real, Value

__all__ = ["Constraint", "Less", "Parameters", "Space"]

Parameters = dict[str, Value]
"""Values by name, plain Python numbers and texts."""

Constraint = Callable[[Mapping[str, Any]], bool]
"""Takes parameters and tells whether they are allowed."""

# Draws for one valid point before the space is called empty (callables that allow less than 1 in 10,000 are not met).
_DRAWS = 10_000


@dataclass(frozen=True)
class Less:
    """The constraint ``low + gap <= high`` between two number dimensions (``fast < slow``).

    Parameters
    ----------
    low, high
        Names of the dimensions.
    gap
        Least distance; 1 suits whole numbers.
    """

    low: str
    high: str
    gap: float = 1.0

    def __post_init__(self) -> None:
        faults = Faults("Less")
        faults.number("gap", self.gap, low=0.0)
        if self.low == self.high:
            faults.add(f"low and high must be two dimensions, got {self.low!r} twice")
        faults.raise_if_any()

    def __call__(self, parameters: Mapping[str, Any]) -> bool:
        """Whether the parameters keep the distance."""
        return bool(parameters[self.low] + self.gap <= parameters[self.high])


class Space:
    """The parameters that may be searched.

    Parameters
    ----------
    dimensions
        :class:`Integer`, :class:`Real`, :class:`Categorical`, :class:`Boolean`, with different names.
    constraints
        :class:`Less`, or functions of the parameters that return True where they are allowed.

    Raises
    ------
    SettingsError
        Naming every fault.

    Notes
    -----
    Every dimension is a coordinate between 0 and 1; whole numbers and choices own equal cells of it (``log``: equal
    factors). A vector becomes parameters by snapping to the cell and, where a :class:`Less` is broken, by raising
    ``high`` as far as needed and lowering ``low`` where that is not enough. What a function forbids cannot be
    repaired; it is rejected.

    Examples
    --------
    >>> space = Space.of({"fast": (5, 50), "slow": (20, 200), "kind": ["ema", "sma"]}, [Less("fast", "slow")])
    >>> space.from_unit([0.5, 0.0, 0.9])
    {'fast': 27, 'slow': 28, 'kind': 'sma'}
    >>> space.contains({"fast": 60, "slow": 100, "kind": "ema"})
    False
    """

    def __init__(self, dimensions: Iterable[Dimension], constraints: Iterable[Less | Constraint] = ()) -> None:
        self.dimensions: tuple[Dimension, ...] = tuple(dimensions)
        self.constraints: tuple[Less | Constraint, ...] = tuple(constraints)
        self._check()
        self.names: tuple[str, ...] = tuple(dimension.name for dimension in self.dimensions)
        places = {name: place for place, name in enumerate(self.names)}
        self._less = [(places[c.low], places[c.high], c.gap) for c in self.constraints if isinstance(c, Less)]
        self._functions = [c for c in self.constraints if not isinstance(c, Less)]
        # Where every choice of a dimension begins among the features that distances are measured on.
        self.widths: tuple[int, ...] = tuple(dimension.width for dimension in self.dimensions)

    @classmethod
    def of(
        cls, ranges: Space | Mapping[str, Any] | Iterable[Dimension], constraints: Iterable[Less | Constraint] = ()
    ) -> Space:
        """Space from a plain dictionary: ``(low, high)`` of two whole numbers, or of numbers, or a list of choices.

        Also ``(low, high, "log")``, ``bool`` for True and False, a :class:`Dimension`, and a whole number, text or
        flag for a parameter that is held. A space is given back as it is.

        Raises
        ------
        SettingsError
            Naming every range that cannot be read.
        """
        if isinstance(ranges, Space):
            return ranges if not tuple(constraints) else cls(ranges.dimensions, (*ranges.constraints, *constraints))
        if not isinstance(ranges, Mapping):
            return cls(ranges, constraints)
        faults, dimensions = Faults("Space"), []
        for name, given in ranges.items():
            try:
                dimensions.append(_dimension(name, given))
            except SettingsError as error:
                faults.found.extend(error.faults)
        faults.raise_if_any()
        return cls(dimensions, constraints)

    def __len__(self) -> int:
        return len(self.dimensions)

    def __repr__(self) -> str:
        return f"Space({list(self.dimensions)!r}, constraints={list(self.constraints)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return self.dimensions == other.dimensions and self.constraints == other.constraints

    def __hash__(self) -> int:
        return hash((self.dimensions, self.constraints))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of dimensions and constraints; a function counts by its module and name, so a changed body is missed."""
        described = [repr(dimension) for dimension in self.dimensions] + [_described(c) for c in self.constraints]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    @property
    def size(self) -> float:
        """Points of the space before constraints; infinite with a real dimension."""
        return math.prod(dimension.cells for dimension in self.dimensions)

    def faults(self, parameters: Mapping[str, Any]) -> list[str]:
        """What is wrong with parameters, one sentence a fault; empty for a point of the space."""
        missing = [name for name in self.names if name not in parameters]
        unknown = [name for name in parameters if name not in self.names]
        found = [f"{name} is missing" for name in missing]
        found += [f"{name} is no dimension; known are {', '.join(self.names)}" for name in unknown]
        for dimension in self.dimensions:
            if dimension.name in parameters and not dimension.contains(parameters[dimension.name]):
                found.append(f"{dimension.name} must be {dimension.described}, got {parameters[dimension.name]!r}")
        if not found:
            found += [f"breaks {_described(c)}" for c in self.constraints if not c(parameters)]
        return found

    def contains(self, parameters: Mapping[str, Any]) -> bool:
        """Whether the parameters are a point of the space: all names, all in range, every constraint kept."""
        return not self.faults(parameters)

    def to_unit(self, parameters: Mapping[str, Any]) -> NDArray[np.float64]:
        """Coordinates between 0 and 1, shape (dimensions,).

        Raises
        ------
        SettingsError
            If the parameters are no point of the space.
        """
        found = self.faults(parameters)
        if found:
            raise SettingsError("parameters", found)
        return np.array([d.to_unit(np.array([d.number(parameters[d.name])]))[0] for d in self.dimensions])

    def from_unit(self, vector: Sequence[float] | NDArray[np.float64]) -> Parameters:
        """Parameters of coordinates, snapped to cells and repaired (see the class).

        Raises
        ------
        SettingsError
            If the length is wrong, a coordinate is not finite, or a constraint forbids what cannot be repaired.
        """
        row = np.asarray(vector, float)
        faults = Faults("from_unit")
        if row.shape != (len(self),):
            faults.add(f"vector must have {len(self)} coordinates, got shape {row.shape}")
        elif not np.isfinite(row).all():
            faults.add("every coordinate must be finite")
        faults.raise_if_any()
        units, valid = self.repair(row[None])
        if not valid[0]:
            parameters = self.parameters(units)[0]
            raise SettingsError("from_unit", [f"breaks {_described(c)}" for c in self.constraints if not c(parameters)])
        return self.parameters(units)[0]

    def sample(self, rng: np.random.Generator, n: int) -> list[Parameters]:
        """``n`` points, uniform over what the constraints allow; the same point may come twice."""
        return self.parameters(self.draw(rng, n))

    def neighbours(self, parameters: Mapping[str, Any], *, step: float = 0.05) -> list[Parameters]:
        """Points that differ in one dimension: a step up, a step down, every other choice.

        A step is a share of the range and at least a cell. What a constraint forbids is left out.

        Raises
        ------
        SettingsError
            If the parameters are no point of the space.
        """
        self.to_unit(parameters)
        near = []
        for dimension in self.dimensions:
            for value in dimension.near(parameters[dimension.name], step):
                other = {**parameters, dimension.name: value}
                if all(constraint(other) for constraint in self.constraints):
                    near.append(other)
        return near

    # The same on whole arrays of coordinates, (n, dimensions): what searches work on.

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Coordinates of ``n`` points, uniform over what the constraints allow, shape (n, dimensions).

        Raises
        ------
        AIBacktraderError
            If the constraints allow almost nothing.
        """
        found: list[NDArray[np.float64]] = []
        have, drawn = 0, 0
        while have < n:
            units = self.snap(rng.random((max(16, 2 * (n - have)), len(self))))
            if have == 0 and drawn >= _DRAWS // 2:  # hardly anything is allowed: repaired points are better than none
                units, _ = self.repair(units)
            units = units[self.allowed(units)]
            drawn += max(16, 2 * (n - have))
            if not len(units) and have == 0 and drawn > _DRAWS:
                raise AIBacktraderError(
                    f"Space: the constraints allowed none of {drawn} points; widen the dimensions or loosen them"
                )
            found.append(units[: n - have])
            have += len(found[-1])
        return np.concatenate(found) if found else np.empty((0, len(self)))

    def snap(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates moved to the middle of their cells."""
        return self._units(self._numbers(units))

    def allowed(self, units: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which snapped coordinates keep every constraint, shape (n,)."""
        numbers = self._numbers(units)
        kept = np.ones(len(units), bool)
        for low, high, gap in self._less:
            kept &= numbers[:, low] + gap <= numbers[:, high]
        if self._functions:
            for row in np.flatnonzero(kept):
                parameters = self._named(numbers[row].tolist())
                kept[row] = all(function(parameters) for function in self._functions)
        return kept

    def repair(self, units: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Coordinates snapped and repaired, and which of them keep every constraint."""
        numbers = self._numbers(units)
        # As many rounds as constraints let a chain of them settle; all raising comes before all lowering.
        for _ in self._less:
            for low, high, gap in self._less:
                needed = self.dimensions[high].at_least(numbers[:, low] + gap)
                numbers[:, high] = np.maximum(numbers[:, high], needed)
        for _ in self._less:
            for low, high, gap in self._less:
                room = self.dimensions[low].at_most(numbers[:, high] - gap)
                numbers[:, low] = np.minimum(numbers[:, low], room)
        units = self._units(numbers)
        return units, self.allowed(units)

    def parameters(self, units: NDArray[np.float64]) -> list[Parameters]:
        """Parameters of snapped coordinates, one dictionary a row."""
        return [self._named(row) for row in self._numbers(units).tolist()]

    def features(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """What surrogates measure distances on: the coordinates, and a column for each choice of more than two."""
        if all(width == 1 for width in self.widths):
            return units
        columns = []
        for place, dimension in enumerate(self.dimensions):
            column = units[:, place]
            if dimension.width > 1:
                cell = np.minimum((column * dimension.width).astype(int), dimension.width - 1)
                columns.append(np.eye(dimension.width)[cell] / math.sqrt(2.0))  # two choices lie a distance of 1 apart
            else:
                columns.append(column[:, None])
        return np.hstack(columns)

    def _named(self, numbers: list[float]) -> Parameters:
        return {d.name: d.value(number) for d, number in zip(self.dimensions, numbers, strict=True)}

    def _numbers(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([d.numbers(units[:, place]) for place, d in enumerate(self.dimensions)])

    def _units(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([d.to_unit(numbers[:, place]) for place, d in enumerate(self.dimensions)])

    def _check(self) -> None:
        faults = Faults("Space")
        kinds = (Integer, Real, Categorical, Boolean)
        given: tuple[Any, ...] = self.dimensions
        wrong = [dimension for dimension in given if not isinstance(dimension, kinds)]
        for dimension in wrong:
            faults.add(f"a dimension must be Integer, Real, Categorical or Boolean, got {dimension!r}")
        if not self.dimensions:
            faults.add("needs at least one dimension")
        names = [dimension.name for dimension in self.dimensions if dimension not in wrong]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                faults.add(f"{name!r} names {names.count(name)} dimensions; give each its own name")
        numeric = {d.name: d for d in self.dimensions if isinstance(d, (Integer, Real))}
        rules: tuple[Any, ...] = self.constraints
        for constraint in rules:
            if isinstance(constraint, Less):
                for name in (constraint.low, constraint.high):
                    if name not in numeric:
                        faults.add(
                            f"{constraint!r}: {name!r} is no number dimension; those are {', '.join(numeric) or 'none'}"
                        )
                if constraint.low in numeric and constraint.high in numeric:
                    low, high = numeric[constraint.low], numeric[constraint.high]
                    if low.low + constraint.gap > high.high:
                        faults.add(f"{constraint!r}: no value of {low.name!r} is that far below {high.name!r}")
            elif not callable(constraint):
                faults.add(f"a constraint must be Less or a function of the parameters, got {constraint!r}")
        faults.raise_if_any()


def _dimension(name: str, given: Any) -> Dimension:
    if isinstance(given, (Integer, Real, Categorical, Boolean)):
        if given.name != name:
            raise SettingsError("Space", [f"{name!r} holds the dimension {given.name!r}; give it the same name"])
        return given
    if given is bool:
        return Boolean(name)
    if isinstance(given, tuple) and len(given) in (2, 3):
        low, high = given[:2]
        log = len(given) == 3
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
        if numbers and (not log or given[2] == "log"):
            whole = isinstance(low, int) and isinstance(high, int)
            return Integer(name, low, high, log=log) if whole else Real(name, low, high, log=log)
    if isinstance(given, (list, range)):
        return Categorical(name, tuple(given))
    if isinstance(given, (int, float, str, bool)):
        return Categorical(name, (given,))
    raise SettingsError(
        "Space",
        [
            f"{name!r} must be (low, high), (low, high, 'log'), a list of choices, bool or one value to hold, "
            f"got {given!r}"
        ],
    )


def _described(constraint: Less | Constraint) -> str:
    if isinstance(constraint, Less):
        return repr(constraint)
    return f"{getattr(constraint, '__module__', '')}.{getattr(constraint, '__qualname__', type(constraint).__name__)}"
