"""Genes as values: a series, an operator, and what it is compared with."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ai_backtrader.checks import Faults
from ai_backtrader.rules.catalogue import CATALOGUE, Number, SeriesKind
from ai_backtrader.rules.hashing import RemembersHash
from ai_backtrader.rules.text import number_text

__all__ = ["MAX_HOLD_BARS", "Gene", "HoldGene", "Operator", "Series", "drawn_series", "nearest_series"]

MAX_HOLD_BARS = 100_000
"""Longest ``hold > n``: eleven years of hourly bars."""


class Operator(enum.StrEnum):
    """How a series is compared."""

    BELOW = "<"
    ABOVE = ">"
    CROSSES_ABOVE = "crosses_above"
    CROSSES_BELOW = "crosses_below"
    BETWEEN = "between"


@dataclass(frozen=True, slots=True)
class Series(RemembersHash):
    """One series of the catalogue with its parameters: ``Series("ema", (12,))``.

    Parameters
    ----------
    name
        Key of :data:`~ai_backtrader.rules.catalogue.CATALOGUE`.
    params
        Its parameters, in the catalogue's order and ranges.

    Raises
    ------
    SettingsError
        Naming every fault.

    Examples
    --------
    >>> Series("rsi", (14,)).describe()
    'RSI(14)'
    """

    name: str
    params: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        kind = CATALOGUE.get(self.name) if isinstance(self.name, str) else None
        params: object = self.params
        if kind is None:
            faults = Faults("Series")
            faults.one_of("name", self.name, tuple(CATALOGUE))
            faults.raise_if_any()
        elif not isinstance(params, tuple) or not _plain(kind, params):
            object.__setattr__(self, "params", _checked_params(kind, params))

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            return self._remember((self.name, self.params))

    @property
    def kind(self) -> SeriesKind:
        """Entry of the catalogue."""
        return CATALOGUE[self.name]

    @property
    def line_period(self) -> int:
        """Bars until the first value: it lies at index ``line_period - 1``."""
        try:
            return self._line_period
        except AttributeError:
            found = self.kind.line_period(*self.params)
            object.__setattr__(self, "_line_period", found)
            return found

    @property
    def strategy_period(self) -> int:
        """Bars until Backtrader first calls a strategy that holds this series."""
        try:
            return self._strategy_period
        except AttributeError:
            found = self.kind.strategy_period(*self.params)
            object.__setattr__(self, "_strategy_period", found)
            return found

    def describe(self) -> str:
        """Human text: ``EMA(12)``."""
        values = ", ".join(map(number_text, self.params))
        return f"{self.kind.label}({values})" if values else self.kind.label


def _plain(kind: SeriesKind, params: tuple[object, ...]) -> bool:
    # The usual case, without the cost of collecting faults: every value has its exact type and lies in its range.
    ranges = kind.ranges
    if len(params) != len(ranges):
        return False
    for (plain, low, high), value in zip(ranges, params, strict=True):
        if type(value) is not plain or not low <= value <= high:  # type: ignore[operator]  # a number by its type
            return False
    return not kind.ordered or params[0] < params[1]  # type: ignore[operator]  # numbers, as the loop found


def _checked_params(kind: SeriesKind, params: object) -> tuple[Number, ...]:
    faults = Faults(f"Series {kind.name!r}")
    names = tuple(parameter.name for parameter in kind.parameters)
    if not isinstance(params, tuple) or len(params) != len(names):
        faults.add(f"params must be a tuple of ({', '.join(names)}), got {params!r}")
        faults.raise_if_any()
        raise AssertionError("unreachable")
    for parameter, value in zip(kind.parameters, params, strict=True):
        if parameter.decimals:
            faults.number(parameter.name, value, low=parameter.low, high=parameter.high)
        else:
            faults.whole(parameter.name, value, low=int(parameter.low), high=int(parameter.high))
    faults.raise_if_any()
    found = tuple(float(v) if p.decimals else int(v) for p, v in zip(kind.parameters, params, strict=True))
    if kind.ordered and not found[0] < found[1]:
        faults.add(f"{names[0]} must be smaller than {names[1]}, got {found[0]} and {found[1]}")
    faults.raise_if_any()
    return found


# Searches draw the same few thousand series over and over: one object for each, which remembers its hash.
drawn_series = functools.lru_cache(maxsize=8192)(Series)


def nearest_series(name: str, params: Sequence[float]) -> Series:
    """The valid series nearest to these parameters: held inside the ranges, rounded, fast made smaller than slow.

    Raises
    ------
    SettingsError
        If the name is unknown or the number of parameters is wrong.
    """
    kind = CATALOGUE.get(name)
    if kind is None or len(params) != len(kind.parameters):
        return Series(name, tuple(params))  # which says what is wrong
    values = [parameter.nearest(value) for parameter, value in zip(kind.parameters, params, strict=True)]
    if kind.ordered and not values[0] < values[1]:
        fast, slow = sorted(values[:2])
        values[0] = kind.parameters[0].nearest(fast)
        values[1] = kind.parameters[1].nearest(max(slow, values[0] + 1))
    return drawn_series(name, tuple(values))


_BETWEEN = Operator.BETWEEN


def _is_minus_zero(value: float) -> bool:
    return value == 0.0 and math.copysign(1.0, value) < 0.0


@dataclass(frozen=True, slots=True)
class Gene(RemembersHash):
    """One condition: ``RSI(14) < 30``, ``EMA(12) crosses above EMA(26)``, ``RSI(14) between 40 and 60``.

    Parameters
    ----------
    left
        The series.
    operator
        An :class:`Operator` or its text. Crossing is Backtrader's ``CrossUp`` and ``CrossDown``: on this bar above
        (below), and the last difference before it that was not zero was below (above).
    right
        A constant inside the natural range of the series, or another series of the same unit. Series in price units
        take no constants: the rule would mean something else on every market.
    upper
        Upper end of ``between`` (both ends are inside); None for the other operators.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    left: Series
    operator: Operator
    right: float | Series
    upper: float | None = None

    def __post_init__(self) -> None:
        if self._is_plain():
            return
        faults = Faults("Gene")
        left: object = self.left
        right: object = self.right
        if self.operator not in tuple(Operator):
            faults.one_of("operator", self.operator, tuple(map(str, Operator)))
        if not isinstance(left, Series):
            faults.add(f"left must be a Series, got {left!r}")
            faults.raise_if_any()
            return
        constants = left.kind.constants
        if isinstance(right, Series):
            if right.kind.unit is not left.kind.unit:
                faults.add(
                    f"{left.describe()} ({left.kind.unit}) cannot be compared with {right.describe()} "
                    f"({right.kind.unit}); compare series of one unit"
                )
            elif right == left:
                faults.add(f"{left.describe()} is compared with itself")
        elif constants is None:
            faults.add(
                f"{left.describe()} is measured in {left.kind.unit} and takes no constant, got {right!r}; "
                "compare it with another series of that unit"
            )
        else:
            faults.number("right", right, low=constants.low, high=constants.high)
        if self.operator == Operator.BETWEEN:
            self._check_interval(faults)
        elif self.upper is not None:
            faults.add(f"upper belongs to 'between' only, got {self.upper!r}")
        faults.raise_if_any()
        self._make_plain()

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            return self._remember((self.left, self.operator, self.right, self.upper))

    def _is_plain(self) -> bool:
        # The usual case, without the cost of collecting faults: searches make many genes.
        left, right, upper = self.left, self.right, self.upper
        if type(self.operator) is not Operator or type(left) is not Series:
            return False
        between = self.operator is _BETWEEN
        if type(right) is Series:
            return upper is None and not between and CATALOGUE[right.name].unit is left.kind.unit and right != left
        held = left.kind.constants
        if held is None or type(right) is not float or not held.low <= right <= held.high or _is_minus_zero(right):
            return False
        if between:
            return type(upper) is float and right < upper <= held.high and not _is_minus_zero(upper)
        return upper is None

    def _check_interval(self, faults: Faults) -> None:
        constants = self.left.kind.constants
        if isinstance(self.right, Series):
            faults.add("'between' needs two constants, got a series")
        elif constants is not None:
            faults.number("upper", self.upper, low=constants.low, high=constants.high)
            if not faults.found and self.upper is not None and not self.right < self.upper:
                faults.add(f"upper must be greater than right, got {self.right!r} and {self.upper!r}")

    def _make_plain(self) -> None:
        # One content, one form: plain floats (0.0 for -0.0) and the enum's member, so that equal genes hash alike.
        object.__setattr__(self, "operator", Operator(self.operator))
        if not isinstance(self.right, Series):
            object.__setattr__(self, "right", float(self.right) + 0.0)
        if self.upper is not None:
            object.__setattr__(self, "upper", float(self.upper) + 0.0)

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Place of the gene in its section: sections are kept in this order."""
        try:
            return self._place
        except AttributeError:
            place = self._found_place()
            object.__setattr__(self, "_place", place)
            return place

    def _found_place(self) -> tuple[object, ...]:
        left, right = self.left, self.right
        if type(right) is Series:
            return (left.name, left.params, self.operator, right.name, right.params, 0.0)
        upper = math.inf if self.upper is None else self.upper
        return (left.name, left.params, self.operator, "", (right,), upper)

    @property
    def series(self) -> tuple[Series, ...]:
        """The series that the gene reads."""
        return (self.left, self.right) if isinstance(self.right, Series) else (self.left,)

    def describe(self) -> str:
        """Human text: ``EMA(12) crosses above EMA(26)``."""
        right = self.right.describe() if isinstance(self.right, Series) else number_text(self.right)
        if self.upper is not None:
            right = f"{right} and {number_text(self.upper)}"
        return f"{self.left.describe()} {self.operator.value.replace('_', ' ')} {right}"


@dataclass(frozen=True, slots=True)
class HoldGene:
    """Exit after more than ``bars`` bars: ``hold > 50`` is true where the entry filled 51 bars ago or earlier.

    Raises
    ------
    SettingsError
        If ``bars`` is not a whole number from 1 to :data:`MAX_HOLD_BARS`.
    """

    bars: int

    def __post_init__(self) -> None:
        if type(self.bars) is not int or not 1 <= self.bars <= MAX_HOLD_BARS:
            faults = Faults("HoldGene")
            faults.whole("bars", self.bars, low=1, high=MAX_HOLD_BARS)
            faults.raise_if_any()
            object.__setattr__(self, "bars", int(self.bars))

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Place of the gene in its section: behind the conditions on series."""
        return ("~hold", (self.bars,), "", "", (), 0.0)

    @property
    def series(self) -> tuple[Series, ...]:
        """None: the gene reads the position's age."""
        return ()

    def describe(self) -> str:
        """Human text: ``hold > 50``."""
        return f"hold > {self.bars}"
