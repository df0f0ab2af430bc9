"""Whether each adaptation of a run paid, beside the same run without any, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_backtrader.reports.figures import MISSING, known, percent

__all__ = ["adaptation_table", "worth_row"]

HEADS = ("Adaptation", "With it", "Without", "Gain", "95 %", "Truly above 0", "Did it pay?")


def adaptation_table(found: Mapping[str, Any]) -> RenderableType:
    """One row an adaptation, and the whole in words.

    Parameters
    ----------
    found
        Of ``AdaptationComparison.to_dict()``.

    Returns
    -------
    RenderableType
        For ``rich.console.Console().print``; only the words where nothing changed.
    """
    words = Text(f"Adaptation on the way: {found['verdict']}")
    if not any(one["changed"] for one in found["adaptations"]):
        return words
    table = Table(
        box=SIMPLE_HEAD, title="Each adaptation until the next, beside the same run without any", title_justify="left",
        pad_edge=False, show_edge=False,
    )  # fmt: skip
    table.add_column(HEADS[0], no_wrap=True)
    for head in HEADS[1:-1]:
        table.add_column(head, justify="right")
    table.add_column(HEADS[-1])
    for one in found["adaptations"]:
        table.add_row(*worth_row(one))
    return Group(table, Text(), words)


def worth_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of an adaptation, under :data:`HEADS`."""
    when = one["at"][:16].replace("T", " ")
    if not one["changed"]:
        return (when, *[MISSING] * 5, one["verdict"])
    low, high = (percent(known(one[side])) for side in ("low", "high"))
    spread = MISSING if MISSING in (low, high) else f"{low.removesuffix(' %')} to {high}"
    return (
        when, percent(known(one["growth"])), percent(known(one["growth_without"])), percent(known(one["gain"])),
        spread, MISSING if one["probability"] is None else f"{one['probability']:.0%}", one["verdict"],
    )  # fmt: skip
