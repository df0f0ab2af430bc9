"""Any result as a page."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.html.page import page_of
from ai_backtrader.reports.html.parts import Section
from ai_backtrader.reports.html.runs import run_of, run_sections

__all__ = ["html_page", "save_html", "sections_of"]


def sections_of(result: Any) -> tuple[str, list[Section]]:
    """Title and sections of a result (see :func:`save_html`)."""
    if isinstance(result, list | tuple) and result and hasattr(result[0], "analyzers"):
        result = result[0]
    if hasattr(result, "analyzers") or (isinstance(result, Mapping) and "performance" in result):
        run = run_of(result)
        figures = run["performance"].get_analysis()
        return f"{figures['strategy']} on {figures['symbol']}", run_sections(run)
    raise AIBacktraderError(
        f"save_html takes a strategy that Cerebro has run, a search's or a training's result, or a comparison; got "
        f"{type(result).__name__}"
    )


def html_page(result: Any, *, title: str | None = None) -> str:
    """The page of :func:`save_html` as text."""
    own, sections = sections_of(result)
    return page_of(sections, title=own if title is None else title)


def save_html(result: Any, path: str | PathLike[str], *, title: str | None = None) -> None:
    """Write a result as one HTML file that needs no network.

    Parameters
    ----------
    result
        A strategy that Cerebro has run with the analyzer ``Performance`` (``cerebro.run()`` itself: its first), or a
        mapping of such analyzers by name.
    path
        File to write.
    title
        None names the strategy and what it traded.

    Raises
    ------
    AIBacktraderError
        If the result is none of these, there is nothing to show, or plotly is missing (extra ``[report]``).
    """
    Path(path).write_text(html_page(result, title=title), encoding="utf-8")
