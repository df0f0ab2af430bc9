"""The run card: what was run, on what, with which versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

import backtrader as bt

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
        "broker": {
            "class": type(broker).__name__,
            **{name: value for name, value in _params(broker).items() if name != "commission"},
            "commission": {
                feed._name or f"data{place}": _scheme(broker.getcommissioninfo(feed))
                for place, feed in enumerate(strategy.datas)
            },
        },
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _params(host: Any) -> dict[str, Any]:
    return {name: _known(value) for name, value in host.p._getkwargs().items()}


def _scheme(scheme: Any) -> dict[str, Any]:
    """What a commission scheme takes, and where it is not as Backtrader makes it."""
    usual = bt.CommInfoBase().p._getkwargs()
    set_here = {name: value for name, value in scheme.p._getkwargs().items() if value != usual.get(name)}
    return {"commission": scheme.p.commission} | {name: _known(value) for name, value in set_here.items()}


def _known(value: Any) -> Any:
    """A value by what it is, not by where it lies in memory: the same run writes the same card."""
    if isinstance(value, type):
        return value.__name__
    if hasattr(value, "p") and hasattr(value.p, "_getkwargs"):
        return {"class": type(value).__name__, **_params(value)}
    if " at 0x" in repr(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return value


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
