"""JSON of whatever a caller's mapping holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np

from ai_backtrader.errors import SettingsError

__all__ = ["json_text"]


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
