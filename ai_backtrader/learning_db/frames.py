"""Stored rows as DataFrames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ai_backtrader.learning_db.indicators import NameLists, indicators_json, unpacked
from ai_backtrader.learning_db.tables import Table

__all__ = ["frame"]

_TIMES = ("opened_at", "closed_at", "at", "started_at", "finished_at", "start", "end")
_FLAGS = ("liquidated", "paper", "high_volatility", "passed")
_INDICATORS = "indicators_at_entry"
_MAPPINGS = ("figures", "parameters", "settings", "data", "versions")
_NUMBERS = (
    "entry_price", "exit_price", "size", "leverage", "pnl", "pnl_pct", "commission", "funding", "hold_duration_mins",
    "score", "fitness", "sharpe_mean", "squares", "seconds",
)  # fmt: skip
_COUNTS = ("hold_bars", "n_trials", "n_measured", "generation", "batch", "number", "status_code")


def frame(table: Table, rows: Sequence[tuple[Any, ...]], names_of: NameLists, *, parse: bool = True) -> pd.DataFrame:
    """A DataFrame of rows (``table.columns``, in order), without key and checksum.

    Parameters
    ----------
    table, rows
        What was read.
    names_of
        The file's lists of indicators' names.
    parse
        Mappings as dictionaries; otherwise as JSON text.

    Raises
    ------
    LearningDatabaseError
        If a trade's list of names is missing.
    """
    names = table.columns[:-2]
    found = pd.DataFrame.from_records([row[:-2] for row in rows], columns=list(names))
    for name in names:
        column = found[name]
        if name in _TIMES:
            found[name] = pd.to_datetime(column, format="ISO8601").astype("datetime64[us]")
        elif name in _FLAGS:
            found[name] = column.astype(bool)
        elif name in _NUMBERS:
            found[name] = column.astype("float64")
        elif name in _COUNTS:
            found[name] = column.astype("int64")
        elif name == _INDICATORS:
            read = unpacked if parse else indicators_json
            found[name] = pd.Series([read(text, names_of) for text in column], index=found.index, dtype=object)
        elif name in _MAPPINGS and parse:
            found[name] = pd.Series([json.loads(text) for text in column], index=found.index, dtype=object)
        else:
            # None stays None: pandas would make NaN of an unknown regime.
            found[name] = pd.Series([row[names.index(name)] for row in rows], index=found.index, dtype=object)
    return found
