"""A trade's indicators as one short text: which list of names, and the values beside it.

JSON of 28 floats costs as much as all else that is done to a trade's row, and three quarters of its bytes. The names
are the same trade after trade: they stand once in a table of their own, named by the digest of its row, and the column
holds that digest and the float64 values, both in base64. What is not all floats stays JSON, which begins with a brace.
"""

from __future__ import annotations

import json
import math
import struct
from base64 import b64decode, b64encode
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.tables import NAMES, Value
from ai_backtrader.learning_db.texts import json_text

__all__ = ["PREFIX", "NameLists", "indicators_json", "name_lists", "name_row", "packed", "unpacked"]

NameLists = Mapping[str, tuple[str, ...]]  # by prefix

PREFIX = 24  # letters of base64 that name the list
_FLOAT = frozenset({float})
_BYTES = struct.Struct("<d").size


class _List(NamedTuple):
    """A list of names, as a caller's mapping orders them."""

    prefix: str
    row: tuple[Value, ...]
    values: Callable[[Mapping[str, float]], Iterable[float]]  # in the order of the names
    bytes: Callable[..., bytes]


_LISTS: dict[tuple[str, ...], _List] = {}  # one a caller, or a few: not bounded
_ROWS: dict[str, tuple[Value, ...]] = {}


def packed(_: str, value: Mapping[str, Any]) -> str:
    """The text of a mapping: equal mappings give equal texts, whatever the order of their names."""
    names = tuple(value)
    if not names or not _FLOAT.issuperset(map(type, value.values())):
        plain = {name: number.item() if isinstance(number, np.generic) else number for name, number in value.items()}
        if not names or not _FLOAT.issuperset(map(type, plain.values())):
            return json_text(value)
        value = plain
    known = _LISTS.get(names)
    if known is None:
        if not all(isinstance(name, str) for name in names):
            return json_text(value)
        known = _LISTS.setdefault(names, _listed(names))
    numbers = known.values(value)
    content = known.bytes(*numbers)
    if math.isnan(sum(value.values())):  # of the many NaN one stands
        content = known.bytes(*(math.nan if number != number else number for number in known.values(value)))
    return known.prefix + b2a_base64(content, newline=False).decode()


def _listed(names: tuple[str, ...]) -> _List:
    ordered = tuple(sorted(map(str.__str__, names)))
    row = NAMES.row((json.dumps(ordered),), ())
    prefix = _prefix(row)
    _ROWS[prefix] = row
    values: Callable[[Any], Iterable[float]] = dict.values if names == ordered else itemgetter(*ordered)
    return _List(prefix, row, values, struct.Struct(f"<{len(names)}d").pack)


def name_row(text: str) -> tuple[Value, ...] | None:
    """The row of the list of names that a text was packed by; None of JSON."""
    return _ROWS.get(text[:PREFIX])


def name_lists(rows: Iterable[Sequence[Value]]) -> NameLists:
    """The lists of a file, from the rows of its table."""
    return {_prefix(row): tuple(json.loads(str(row[0]))) for row in rows}


def _prefix(row: Sequence[Value]) -> str:
    key = row[-2]
    return b64encode(key if isinstance(key, bytes) else b"").decode()


def unpacked(text: str, lists: NameLists) -> dict[str, Any]:
    """The mapping of a text.

    Raises
    ------
    LearningDatabaseError
        If its list of names is missing, or not as long as its values.
    """
    if text.startswith("{"):
        found: dict[str, Any] = json.loads(text)
        return found
    names = lists.get(text[:PREFIX], ())
    content = b64decode(text[PREFIX:])
    if not names or len(content) != _BYTES * len(names):
        raise LearningDatabaseError("the names of a trade's indicators are not there. Run `ai-backtrader db verify`")
    return dict(zip(names, struct.unpack(f"<{len(names)}d", content), strict=True))


def indicators_json(text: str, lists: NameLists) -> str:
    """A text as JSON, for who reads files and no lists."""
    return text if text.startswith("{") else json_text(unpacked(text, lists))
