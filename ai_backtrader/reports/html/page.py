"""Sections as one HTML file that needs no network: plotly.js lies in it, packed."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.html.parts import Chart, Part, Section, Table, Words

__all__ = ["page_of"]

# Nothing outside the file may be asked for: a chart that tried would be refused by the browser.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


_NAME = re.compile(r"[A-Za-z]\w*(?:[._][\w-]+)+")  # of a setting: it may be parted after a dot and an underscore
_LONG = 60  # characters of a cell that needs room for lines, also on a phone


def page_of(sections: Sequence[Section], *, title: str) -> str:
    """HTML of the sections, with everything it needs inside.

    Parameters
    ----------
    sections
        In the order of reading.
    title
        Plain text.

    Raises
    ------
    AIBacktraderError
        Without plotly (extra ``[report]``).
    """
    charts: list[dict[str, Any]] = []
    bodies = [
        f'<section id="part-{place}"><h2>{html.escape(section.title)}</h2>\n'
        + "\n".join(_written(part, charts) for part in section.parts)
        + "\n</section>"
        for place, section in enumerate(sections)
    ]
    ways = " ".join(
        f'<a href="#part-{place}">{html.escape(section.title)}</a>' for place, section in enumerate(sections)
    )
    way = f'<nav aria-label="Sections">{ways}</nav>' if len(sections) > 1 else ""
    name = html.escape(title)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,"><title>{name}</title>
<style>
{_file("page.css")}</style></head><body>
<h1>{name}</h1>
{way}
<noscript><p class="alarm">Charts need JavaScript; all figures are in the tables.</p></noscript>
<main>
{chr(10).join(bodies)}
</main>
<footer><p>Times are UTC, money is in account currency. Past results say nothing about future ones.</p></footer>
<script type="application/json" id="charts">{_json(charts)}</script>
<script type="text/plain" id="plotly">{_plotly()}</script>
<script>
{_file("page.js")}</script>
</body></html>
"""


def _written(part: Part, charts: list[dict[str, Any]]) -> str:
    if isinstance(part, Words):
        return f'<p class="{part.kind}">{html.escape(part.text)}</p>'
    if isinstance(part, Table):
        return _table(part)
    return _figure(part, charts)


def _figure(chart: Chart, charts: list[dict[str, Any]]) -> str:
    place = f"chart-{len(charts)}"
    charts.append(
        {
            "id": place, "traces": list(chart.traces), "layout": dict(chart.layout), "height": chart.height,
            "timeline": chart.timeline,
        }
    )  # fmt: skip
    note = f'<p class="note">{html.escape(chart.note)}</p>' if chart.note else ""
    told = html.escape(f"{chart.title}. {chart.told}".strip())
    return (
        f'<figure><h3>{html.escape(chart.title)}</h3><div class="chart" id="{place}" role="img" aria-label="{told}" '
        f'style="min-height:{chart.height}px"></div>{note}</figure>'
    )


def _table(table: Table) -> str:
    kind = ["words"] + ["number" if table.numeric else "words"] * (len(table.heads) - 1)
    # On a phone the rows of a table of words lie under each other, each cell with its head.
    stacked = not table.numeric and len(table.heads) > 2
    told = table.heads if stacked else [""] * len(table.heads)
    heads = "".join(
        f'<th scope="col" class="{sort}">{html.escape(head)}</th>' for head, sort in zip(table.heads, kind, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(*given) for given in zip(row, kind, told, strict=True))
        + "</tr>"
        for row in table.rows
    )  # fmt: skip
    caption = (
        f"<caption><span>{html.escape(table.caption)}</span></caption>" if table.caption and not table.folded else ""
    )
    top = f"<thead><tr>{heads}</tr></thead>" if any(table.heads) else ""
    named = ' class="stacked"' if stacked else ""
    written = f'<div class="table"><table{named}>{caption}{top}<tbody>\n{rows}\n</tbody></table></div>'
    if table.folded:
        return f"<details><summary>{html.escape(table.caption)}</summary>{written}</details>"
    return written


def _cell(text: str, kind: str, head: str) -> str:
    if kind == "words" and len(text) > _LONG:
        kind += " long"
    # On a phone a narrow column would part a number from its unit, and a name anywhere.
    written = html.escape(text).replace(" %", "&nbsp;%")
    if _NAME.fullmatch(text):
        written = re.sub(r"(?<=[._])", "<wbr>", written)
    label = f' data-head="{html.escape(head)}"' if head else ""
    return f'<td class="{kind}"{label}>{written}</td>'


def _json(value: Any) -> str:
    # "<" would let a name close the script.
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files("ai_backtrader.reports.html").joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise AIBacktraderError(
            "HTML reports need plotly, which is not installed: pip install 'ai-backtrader[report]'"
        ) from error
    # A third of its size; without a time in it, so that the same run writes the same bytes.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode()
