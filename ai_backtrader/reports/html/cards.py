"""The run card: what was run, on what, with which versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from ai_backtrader.reports.html.parts import Table

__all__ = ["card_of", "card_table"]

_LIBRARIES = ("ai-backtrader", "backtrader", "numpy", "numba", "pandas")
_LONG = 400  # characters of one value


def card_of(strategy: Any) -> dict[str, Any]:
    """What is known of a run from its strategy: params, feeds, broker, versions."""
    broker = strategy.broker
    return {
        "strategy": type(strategy).__name__,
        "params": _params(strategy),
        "feeds": {
            feed._name or f"data{place}": f"{len(feed):,} bars, {type(feed).__name__}"
            for place, feed in enumerate(strategy.datas)
        },
        "broker": {"class": type(broker).__name__, **_params(broker)},
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _params(host: Any) -> dict[str, Any]:
    return dict(host.p._getkwargs())


def card_table(card: Mapping[str, Any], *, caption: str = "") -> Table:
    """A mapping, nested ones flattened, as a table of names and values."""
    return Table(heads=("", ""), rows=list(_rows(card, "")), caption=caption, numeric=False)


def _rows(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _rows(item, f"{path}.{name}" if path else str(name))
        return
    text = str(value)
    yield path, text if len(text) <= _LONG else text[: _LONG - 1] + "…"
