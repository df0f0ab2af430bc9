"""What a strategy's class holds beside its feeds: class attributes, globals, closures, default parameters."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ai_backtrader.market import MarketData

__all__ = ["Held", "Namespace", "namespaces", "restore", "snapshot"]

_FOREIGN = ("backtrader", "ai_backtrader", "builtins", "numpy", "pandas")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), dt.date, dt.timedelta, np.generic)
_CONTAINERS = (list, tuple, dict, set, collections.deque, np.ndarray, pd.Series, pd.DataFrame, pd.Index, MarketData)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A place that holds values by name: attributes of a class or object, globals of a module, cells of a closure."""

    label: str
    owner: Any
    names: frozenset[str] | None = None  # None: all

    def read(self) -> dict[str, Any]:
        """The data in it; functions, classes, modules and generators of random numbers are left alone."""
        if isinstance(self.owner, types.CellType):
            try:
                pairs = {"": self.owner.cell_contents}
            except ValueError:  # a name that its function has not set yet
                pairs = {}
        else:
            pairs = dict(self.owner if isinstance(self.owner, dict) else vars(self.owner))
        chosen = pairs if self.names is None else {name: pairs[name] for name in self.names & pairs.keys()}
        return {
            name: value
            for name, value in chosen.items()
            if not name.startswith("__") and isinstance(value, _PLAIN + _CONTAINERS)
        }

    def write(self, name: str, value: Any) -> None:
        """Put a value back or another in its place."""
        if isinstance(self.owner, types.CellType):
            self.owner.cell_contents = value
        elif isinstance(self.owner, dict):
            self.owner[name] = value
        else:
            setattr(self.owner, name, value)

    def remove(self, name: str) -> None:
        """Forget a name."""
        if isinstance(self.owner, dict):
            self.owner.pop(name, None)
        elif not isinstance(self.owner, types.CellType):
            delattr(self.owner, name)


@dataclass(frozen=True, slots=True)
class Held:
    """A namespace as it was: each value itself, and a copy of it."""

    namespace: Namespace
    content: dict[str, tuple[Any, Any]]


def namespaces(strategy_class: Any, params: dict[str, Any]) -> list[Namespace]:
    """Every namespace in which the user's code of a strategy keeps data.

    Classes, functions and objects are followed where they come from code of the user; Backtrader, this package and
    libraries of arrays are not.
    """
    found: list[Namespace] = [Namespace("parameter ", params)]
    waiting: list[Any] = [base for base in strategy_class.__mro__ if not _foreign(base)]
    home = {base.__module__ for base in waiting}
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, types.FunctionType):
            names = frozenset(_names(item.__code__))
            found.append(Namespace("global ", item.__globals__, names))
            waiting += [value for name in names if _followed(value := item.__globals__.get(name), home)]
            for cell_name, cell in zip(item.__code__.co_freevars, item.__closure__ or (), strict=True):
                if cell_name != "__class__":
                    found.append(Namespace(f"closure {cell_name}", cell))
                    waiting += [value for value in _content(cell) if _followed(value, home)]
        else:
            kind = item if isinstance(item, type) else type(item)
            found.append(Namespace(f"{kind.__name__}.", item))
            for value in vars(item).values():
                inner = _bare(value)
                if isinstance(inner, types.FunctionType) or _followed(inner, home):
                    waiting.append(inner)
            if not isinstance(item, type):
                waiting.append(kind)
    return found


def snapshot(places: list[Namespace]) -> list[Held]:
    """What the namespaces hold now."""
    memo: dict[int, Any] = {}
    return [
        Held(place, {name: (value, _copy(value, memo)) for name, value in place.read().items()}) for place in places
    ]


def restore(held: list[Held]) -> None:
    """Bring the namespaces back to the snapshot, objects changed in place included."""
    for kept in held:
        for name in kept.namespace.read().keys() - kept.content.keys():
            kept.namespace.remove(name)
        for name, (value, before) in kept.content.items():
            _refill(value, before)
            kept.namespace.write(name, value)


def _refill(value: Any, before: Any) -> None:
    fresh = copy.deepcopy(before) if isinstance(value, list | dict | set | collections.deque) else before
    if isinstance(value, list):
        value[:] = fresh
    elif isinstance(value, dict | set):
        value.clear()
        value.update(fresh)
    elif isinstance(value, collections.deque):
        value.clear()
        value.extend(fresh)
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = before


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, (*_PLAIN, MarketData)):
        return value
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # holds something that cannot be copied (a lock, a file): it is left as it is
        return value


def _bare(value: Any) -> Any:
    # The function inside a method's wrapping.
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    return inspect.unwrap(value) if isinstance(value, types.FunctionType) else value


def _content(cell: types.CellType) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # not set yet
        return


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _FOREIGN


def _followed(value: Any, home: set[str]) -> bool:
    if isinstance(value, types.FunctionType):
        return value.__module__ in home
    kind = value if isinstance(value, type) else type(value)
    return kind.__module__ in home and hasattr(value, "__dict__")
