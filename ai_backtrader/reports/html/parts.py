"""What a page is made of: sections with words, tables and charts. No HTML yet, no plotly."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.reports.plots import extremes

__all__ = [
    "BUCKETS",
    "Chart",
    "Part",
    "Section",
    "Table",
    "Words",
    "aligned",
    "area",
    "bars",
    "line",
    "marks",
    "moments",
    "numbers",
    "safe",
    "scale",
    "thinned",
]

BUCKETS = 1_000
"""Stretches of a chart: wider than a page has room for, so that no reader sees a difference."""

Trace = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Words:
    """A paragraph.

    Attributes
    ----------
    text
        Plain; escaped when written.
    kind
        ``"plain"``, ``"verdict"`` or ``"note"``.
    """

    text: str
    kind: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under heads.

    Attributes
    ----------
    heads
        One a column.
    rows
        Cells of plain text; those of every column but the first are set to the right where ``numeric``.
    caption
        Said above the table; empty for none.
    numeric
        False for columns of words.
    folded
        Whether the page shows it only when asked.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: bool = True
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture to hover over.

    Attributes
    ----------
    title
        Heading above it.
    traces
        Of plotly.js. Colours that begin with ``@`` name a role of the page's palette (``@own``, ``@market``, …), so
        that they fit light and dark.
    layout
        Of plotly.js, over the page's own.
    told
        What the picture shows, for those who do not see it.
    note
        Small print under it.
    timeline
        Whether its x axis is the run's time: such charts zoom together.
    height
        Pixels.
    """

    title: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    told: str = ""
    note: str = ""
    timeline: bool = False
    height: int = 300


Part = Words | Table | Chart


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: Sequence[Part]


def aligned(sections: Sequence[Section], times: NDArray[np.datetime64]) -> list[Section]:
    """The sections with all charts over time from the run's first bar to its last, so that they lie under each other.

    Parameters
    ----------
    sections
        Of a page.
    times
        Of the run's bars, shape (n,).
    """
    first, last = (int(moment) for moment in times[[0, -1]].astype("datetime64[ms]").astype(np.int64))
    room = max(1, (last - first) // 100)  # marks on the edges are not cut
    axis = {"type": "date", "range": [first - room, last + room]}

    def drawn(part: Part) -> Part:
        if not (isinstance(part, Chart) and part.timeline):
            return part
        return dataclasses.replace(part, layout={**part.layout, "xaxis": {**part.layout.get("xaxis", {}), **axis}})

    return [dataclasses.replace(section, parts=[drawn(part) for part in section.parts]) for section in sections]


# -------------------------------------------------------------------------------------------------------------- traces


def safe(text: object) -> str:
    """Text that plotly.js shows as it is: it reads a little HTML in names and hover texts."""
    return html.escape(str(text), quote=False)


def numbers(values: ArrayLike) -> Any:
    """Numbers as plotly.js takes them packed; what is not finite becomes a gap."""
    array = np.asarray(values, dtype="<f8")
    return {"dtype": "f8", "bdata": base64.b64encode(np.where(np.isfinite(array), array, np.nan).tobytes()).decode()}


def moments(times: NDArray[Any] | Sequence[dt.datetime]) -> Any:
    """Times as milliseconds since 1970, packed."""
    return numbers(np.asarray(times, dtype="datetime64[ms]").astype(np.int64).astype(np.float64))


def thinned(*series: NDArray[np.float64], buckets: int = BUCKETS) -> NDArray[np.int64]:
    """Positions to draw so that each series keeps the first, lowest, highest and last value of each stretch (M4)."""
    positions = extremes(series[0], buckets)
    for values in series[1:]:
        positions = np.union1d(positions, extremes(values, buckets))
    return positions


def scale(*series: NDArray[np.float64]) -> dict[str, Any]:
    """Axis for money and prices: logarithmic where they multiply, for a linear one would flatten all but its top."""
    known = np.concatenate([values[np.isfinite(values)] for values in series])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if low <= 0.0 or high / low <= 4.0:
        return {}
    # 1, 2 and 5 of each power of ten, where there is room for them.
    return {"type": "log", "tickformat": ",~r"} | ({"dtick": "D2"} if high / low < 1_000.0 else {"dtick": 1})


def line(x: Any, y: ArrayLike, name: str, colour: str, **options: Any) -> Trace:
    """A curve; ``dash``, ``width`` and ``shape`` go to its line, the rest to the trace."""
    style = {key: options.pop(key) for key in ("dash", "width", "shape") if key in options}
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": numbers(y), "name": safe(name),
        "line": {"color": colour, "width": 1.6} | style,
    } | options  # fmt: skip


def area(x: Any, y: ArrayLike, name: str, colour: str, **options: Any) -> Trace:
    """A curve filled down to zero."""
    return line(x, y, name, colour, fill="tozeroy", fillcolor=f"{colour}-soft", width=1.0, **options)


def marks(x: Any, y: ArrayLike, name: str, colour: str, symbol: str, **options: Any) -> Trace:
    """Points; ``size`` in pixels."""
    size = options.pop("size", 9)
    width = 1.6 if symbol.endswith("-open") else 1  # an open mark is nothing but its line
    return {
        "type": "scatter", "mode": "markers", "x": x, "y": numbers(y), "name": safe(name),
        "marker": {"color": colour, "symbol": symbol, "size": size, "line": {"color": "@paper", "width": width}},
    } | options  # fmt: skip


def bars(x: Any, y: Any, name: str, colour: str | Sequence[str], **options: Any) -> Trace:
    """Columns, or with ``orientation="h"`` rows."""
    return {"type": "bar", "x": x, "y": y, "name": safe(name), "marker": {"color": colour}} | options
