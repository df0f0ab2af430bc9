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
from operator import attrgetter
from pathlib import PurePath
from typing import Any, NamedTuple, SupportsFloat, SupportsInt

import numpy as np

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, ParametersOptimized, RegimeChanged, StrategyEvolved, StrategyScored, TradeClosed
from ai_backtrader.learning_db.tables import Value
from ai_backtrader.values import Direction, FrozenMapping, Regime

__all__ = ["Held", "decode", "encode", "flag", "hold", "json_text", "real", "text", "timestamp", "whole", "written"]

_WORD = 2**63


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


def json_text(value: object) -> str:
    """JSON with sorted keys, the same text for equal values."""
    return _ENCODER.encode(value)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    raise SettingsError("record", [f"cannot be kept as JSON: {value!r}; give texts, numbers, lists and mappings"])


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)


_PLAIN = frozenset({float, int, str, bool, type(None)})
_TEXT = frozenset({str})


def _mapping(_: str, value: Mapping[str, Any]) -> object:
    # Frozen, of frozen values: its text can wait. Anything else is written down, or refused, at once.
    if type(value) is FrozenMapping:
        plain: FrozenMapping[str, Any] = value
        if _TEXT.issuperset(map(type, plain)) and _PLAIN.issuperset(map(type, plain.values())):
            return plain
    return json_text(value)


def _mapping_text(_: str, value: object) -> str:
    return value if isinstance(value, str) else json_text(value)


def _moment(name: str, value: dt.datetime) -> object:
    # Of another zone at the calendar's ends there is no UTC: that shows at once.
    return value if value.tzinfo is None else timestamp(name, value)


def _moment_text(name: str, value: object) -> str | None:
    return value if isinstance(value, str) else timestamp(name, value)  # type: ignore[arg-type]  # _moment's


_Cast = Callable[[str, Any], Any]

# Per table: its event, and per column the cast, in the order of the table's content.
_CASTS: dict[str, tuple[type[Any], dict[str, _Cast]]] = {
    "trades": (
        TradeClosed,
        {
            "symbol": text, "strategy_id": text, "direction": text, "opened_at": timestamp, "closed_at": timestamp,
            "entry_price": real, "exit_price": real, "size": real, "leverage": real, "pnl": real, "pnl_pct": real,
            "commission": real, "funding": real, "hold_bars": whole, "hold_duration_mins": real, "regime": label,
            "liquidated": flag, "paper": flag, "indicators_at_entry": _mapping,
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

# Per cast and type of the value: what must be seen at once, and what can wait because the type says that it will hold.
# A value of another type is cast at once.
_STEPS: dict[tuple[_Cast, type[Any]], tuple[_Cast | None, _Cast | None]] = {
    (real, float): (None, real),
    (text, Direction): (None, text),
    (text, Regime): (None, text),
    (label, Regime): (None, text),
    (label, type(None)): (None, None),
    (timestamp, type(None)): (None, None),
    (timestamp, dt.datetime): (_moment, _moment_text),
    (flag, bool): (None, flag),
    (maybe_flag, type(None)): (None, None),
    (maybe_flag, bool): (None, flag),
    (_mapping, FrozenMapping): (_mapping, _mapping_text),
}


class Plan(NamedTuple):
    """How an event with fields of certain types becomes a row's content: place, name and cast of some columns."""

    table: str
    at_once: tuple[tuple[int, str, _Cast], ...]
    later: tuple[tuple[int, str, _Cast], ...]


Held = tuple[Plan, list[Any]]
_PLANS: dict[tuple[type[Any], ...], Plan] = {}  # by the types of event and fields


def _plan(types: tuple[type[Any], ...]) -> Plan:
    table = _TABLE_OF[types[0]]
    steps: tuple[list[tuple[int, str, _Cast]], ...] = ([], [])
    for place, ((name, cast), kind) in enumerate(zip(_CASTS[table][1].items(), types[1:], strict=True)):
        for found, step in zip(steps, _STEPS.get((cast, kind), (cast, None)), strict=True):
            if step is not None:
                found.append((place, name, step))
    return _PLANS.setdefault(types, Plan(table, tuple(steps[0]), tuple(steps[1])))


def hold(event: Event) -> Held:
    """An event's fields (of all but experiences, see :mod:`~ai_backtrader.learning_db.chunks`), checked.

    Between two bars nothing is warm in the processor's caches, and casts, JSON and digests take four times as long as
    in one go: what can wait is left to :func:`written`.

    Raises
    ------
    SettingsError
        If it is no event, or a field cannot be kept.
    """
    fields = _FIELDS.get(type(event))
    if fields is None:
        raise SettingsError("record", [f"expected one of the six events, got {event!r}"])
    values = [*fields(event)]
    types = (type(event), *map(type, values))
    plan = _PLANS.get(types) or _plan(types)
    for place, name, cast in plan.at_once:
        values[place] = cast(name, values[place])
    return plan, values


def written(held: Held) -> tuple[str, tuple[Value, ...]]:
    """Table and content of the row of a held event."""
    plan, values = held
    content = values.copy()
    for place, name, cast in plan.later:
        content[place] = cast(name, content[place])
    return plan.table, tuple(content)


def encode(event: Event) -> tuple[str, tuple[Value, ...]]:
    """Table and content of an event's row: see :func:`hold`."""
    return written(hold(event))


def decode(table: str, content: Sequence[Value]) -> Any:
    """The event of a stored row's content."""
    kind, casts = _CASTS[table]
    fields = {
        name: _BACK[cast](value) for (name, cast), value in zip(casts.items(), content, strict=True) if cast in _BACK
    }
    rest = {name: value for (name, _), value in zip(casts.items(), content, strict=True) if name not in fields}
    fields |= rest
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
