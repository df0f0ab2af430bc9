"""Events as rows of plain values, and back.

NumPy scalars are cast here, one column at a time: SQLite would take an ``np.int64`` as eight raw bytes without a word.
NaN has no place in SQLite and becomes NULL; what is read back is NaN again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, SupportsFloat, SupportsInt

import numpy as np

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, ParametersOptimized, RegimeChanged, StrategyEvolved, StrategyScored, TradeClosed
from ai_backtrader.learning_db.indicators import NameLists, packed, unpacked
from ai_backtrader.learning_db.tables import Value
from ai_backtrader.learning_db.texts import json_text
from ai_backtrader.values import Direction, FrozenMapping, Regime

__all__ = ["Plan", "decode", "encode", "flag", "hold", "real", "text", "timestamp", "whole", "written"]

_WORD = 2**63
_SECONDS = len("2024-03-01T12:00:00")


def text(name: str, value: object) -> str:
    """A plain text (of an enum its value)."""
    if not isinstance(value, str):
        raise SettingsError("record", [f"{name} must be a text, got {value!r}"])
    plain = str(value)
    if not plain.isascii():
        try:
            plain.encode()
        except UnicodeEncodeError:
            raise SettingsError("record", [f"{name} must be valid Unicode, got {value!r}"]) from None
    return plain


def label(name: str, value: object) -> str | None:
    """A plain text or None."""
    return None if value is None else text(name, value)


def real(name: str, value: SupportsFloat) -> float | None:
    """A plain float; None for NaN."""
    try:
        number = float(value) + 0.0  # SQLite keeps whole floats as integers, and so loses the sign of -0.0
    except (TypeError, ValueError):
        raise SettingsError("record", [f"{name} must be a number, got {value!r}"]) from None
    return None if math.isnan(number) else number


def whole(name: str, value: SupportsInt) -> int:
    """A plain integer of 64 bits."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError("record", [f"{name} must be a whole number, got {value!r}"]) from None
    if not -_WORD <= number < _WORD:
        raise SettingsError("record", [f"{name} must fit into 64 bits, got {value!r}"])
    return number


def flag(_: str, value: object) -> int:
    """1 or 0."""
    return int(bool(value))


def maybe_flag(_: str, value: object) -> int | None:
    """1, 0 or None."""
    return None if value is None else int(bool(value))


def timestamp(name: str, value: dt.datetime | np.datetime64 | None) -> str | None:
    """UTC as text that sorts: ``2024-03-01T12:00:00.000000``."""
    if value is None:
        return None
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if not isinstance(value, dt.datetime):
        raise SettingsError("record", [f"{name} must be a time or None, got {value!r}"])
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return value.isoformat(timespec="microseconds")[:26]  # pandas' Timestamp adds its nanoseconds


_PLAIN = frozenset({float, int, str, bool, type(None)})
_TEXT = frozenset({str})


def _mapping(_: str, value: Mapping[str, Any]) -> str:
    return json_text(value)


_Cast = Callable[[str, Any], Any]

# Per table: its event, and per column the cast, in the order of the table's content.
_CASTS: dict[str, tuple[type[Any], dict[str, _Cast]]] = {
    "trades": (
        TradeClosed,
        {
            "symbol": text, "strategy_id": text, "direction": text, "opened_at": timestamp, "closed_at": timestamp,
            "entry_price": real, "exit_price": real, "size": real, "leverage": real, "pnl": real, "pnl_pct": real,
            "commission": real, "funding": real, "hold_bars": whole, "hold_duration_mins": real, "regime": label,
            "liquidated": flag, "paper": flag, "indicators_at_entry": packed,
        },
    ),
    "strategy_performance": (
        StrategyScored,
        {"symbol": text, "strategy_id": text, "at": timestamp, "regime": label, "sample": text, "figures": _mapping},
    ),
    "optimization_results": (
        ParametersOptimized,
        {
            "key": text, "symbol": text, "timeframe": text, "strategy": text, "regime": label, "parameters": _mapping,
            "score": real, "n_trials": whole, "seed": whole, "result": text, "at": timestamp,
        },
    ),
    "evolved_strategies": (
        StrategyEvolved,
        {
            "fingerprint": text, "chromosome": text, "symbol": text, "data_fingerprint": text, "fitness": real,
            "passed": flag, "proven": maybe_flag, "regime": label, "figures": _mapping, "generation": whole,
            "seed": whole, "at": timestamp,
        },
    ),
    "regime_transitions": (
        RegimeChanged,
        {"symbol": text, "at": timestamp, "before": label, "after": text, "high_volatility": flag},
    ),
}  # fmt: skip
_FIELDS = {kind: attrgetter(*casts) for kind, casts in _CASTS.values()}
_TABLE_OF = {kind: table for table, (kind, _) in _CASTS.items()}


def _frozen(value: FrozenMapping[Any, Any]) -> bool:
    # Of frozen values that JSON holds: its text can wait.
    return _TEXT.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values()))


# Whole columns, of values whose type says that the cast will hold; a text there was written at once.
_ColumnCast = Callable[[Sequence[Any]], Sequence[Any]]


def _reals(column: Sequence[float]) -> Sequence[float | None]:
    return [value + 0.0 if value == value else None for value in column]  # as real() does


def _words(column: Sequence[str]) -> Sequence[str]:
    return [*map(str.__str__, column)]  # of an enum its value


def _flags(column: Sequence[bool]) -> Sequence[int]:
    return [*map(int, column)]


def _moments(column: Sequence[Any]) -> Sequence[str]:
    texts = [value if type(value) is str else value.isoformat() for value in column]
    return [moment if len(moment) > _SECONDS else f"{moment}.000000" for moment in texts]  # as timestamp() does


def _texts(cast: Callable[[str, Any], str], column: Sequence[Any]) -> Sequence[str]:
    return [value if type(value) is str else cast("", value) for value in column]


_WAIT: dict[tuple[_Cast, type[Any]], _ColumnCast | None] = {
    (text, str): None,
    (real, float): _reals,
    (text, Direction): _words,
    (text, Regime): _words,
    (label, Regime): _words,
    (label, type(None)): None,
    (timestamp, type(None)): None,
    (timestamp, dt.datetime): _moments,
    (flag, bool): _flags,
    (maybe_flag, type(None)): None,
    (maybe_flag, bool): _flags,
    (_mapping, FrozenMapping): partial(_texts, _mapping),
    (packed, FrozenMapping): partial(_texts, packed),
}


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """How an event with fields of certain types becomes a row's content: casts by the place of the column.

    A value of a type that proves nothing is cast at once. The others are looked at for the one thing that their type
    leaves open (whether a text is Unicode, a time has a zone, a mapping is plain), and are cast later.
    """

    table: str
    casts: tuple[tuple[str, _Cast], ...]
    at_once: tuple[int, ...]
    texts: tuple[int, ...]
    moments: tuple[int, ...]
    mappings: tuple[int, ...]
    later: tuple[tuple[int, _ColumnCast], ...]


_PLANS: dict[tuple[type[Any], ...], Plan] = {}  # by the types of event and fields


def _plan(types: tuple[type[Any], ...]) -> Plan:
    table = _TABLE_OF[types[0]]
    casts = tuple(_CASTS[table][1].items())
    kinds = [(cast, kind) for (_, cast), kind in zip(casts, types[1:], strict=True)]
    plan = Plan(
        table=table,
        casts=casts,
        at_once=tuple(place for place, kind in enumerate(kinds) if kind not in _WAIT),
        texts=tuple(place for place, kind in enumerate(kinds) if kind == (text, str)),
        moments=tuple(place for place, kind in enumerate(kinds) if kind == (timestamp, dt.datetime)),
        mappings=tuple(place for place, (_, kind) in enumerate(kinds) if kind is FrozenMapping),
        later=tuple((place, cast) for place, kind in enumerate(kinds) if (cast := _WAIT.get(kind)) is not None),
    )
    return _PLANS.setdefault(types, plan)


def hold(event: Event) -> tuple[Plan, Sequence[Any]]:
    """An event's fields (of all but experiences, see :mod:`~ai_backtrader.learning_db.chunks`), checked.

    Between two bars nothing is warm in the processor's caches, and whatever is done there takes three to four times as
    long as in one go: what can wait is left to :func:`written`, and what cannot is done without a call.

    Raises
    ------
    SettingsError
        If it is no event, or a field cannot be kept.
    """
    kind = type(event)
    fields = _FIELDS.get(kind)
    if fields is None:
        raise SettingsError("record", [f"expected one of the six events, got {event!r}"])
    values = fields(event)
    types = (kind, *map(type, values))
    plan = _PLANS.get(types) or _plan(types)
    now = plan.at_once
    for place in plan.texts:
        if not values[place].isascii():
            now = (*now, place)
    for place in plan.moments:
        if values[place].tzinfo is not None:  # of another zone at the calendar's ends there is no UTC
            now = (*now, place)
    for place in plan.mappings:
        if not _frozen(values[place]):
            now = (*now, place)
    if not now:
        return plan, values
    cast = [*values]
    for place in now:
        name, work = plan.casts[place]
        cast[place] = work(name, cast[place])
    return plan, cast


def written(held: Sequence[tuple[Plan, Sequence[Any]]]) -> list[tuple[str, tuple[Value, ...]]]:
    """Table and content of the row of each held event: cast column by column, which costs half of row by row."""
    groups: dict[Plan, list[int]] = {}
    for number, (plan, _) in enumerate(held):
        groups.setdefault(plan, []).append(number)
    found: list[tuple[str, tuple[Value, ...]]] = [("", ())] * len(held)
    for plan, numbers in groups.items():
        columns: list[Sequence[Any]] = [*zip(*(held[number][1] for number in numbers), strict=True)]
        for place, cast in plan.later:
            columns[place] = cast(columns[place])
        for number, content in zip(numbers, zip(*columns, strict=True), strict=True):
            found[number] = (plan.table, content)
    return found


def encode(event: Event) -> tuple[str, tuple[Value, ...]]:
    """Table and content of an event's row: see :func:`hold`."""
    return written([hold(event)])[0]


def decode(table: str, content: Sequence[Value], names: NameLists) -> Any:
    """The event of a stored row's content; ``names`` are the file's name lists.

    Raises
    ------
    LearningDatabaseError
        If the row's list of names is missing.
    """
    kind, casts = _CASTS[table]
    fields: dict[str, Any] = {
        name: unpacked(str(value), names) if cast is packed else _BACK[cast](value) if cast in _BACK else value
        for (name, cast), value in zip(casts.items(), content, strict=True)
    }
    for name, parse in (("direction", Direction), ("regime", Regime), ("before", Regime), ("after", Regime)):
        if fields.get(name) is not None:
            fields[name] = parse(fields[name])
    return kind(**fields)


_BACK: dict[_Cast, Callable[[Any], Any]] = {
    real: lambda value: math.nan if value is None else value,
    flag: bool,
    maybe_flag: lambda value: None if value is None else bool(value),
    timestamp: lambda value: None if value is None else dt.datetime.fromisoformat(value),
    _mapping: lambda value: FrozenMapping(json.loads(value)),
}
