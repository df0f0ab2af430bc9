"""The look-ahead check for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from ai_backtrader.audit import LookaheadReport, OrderEvent

__all__ = ["lookahead_table"]


def lookahead_table(report: LookaheadReport) -> Group:
    """Verdict, the first difference and what was tried, for a rich console."""
    title = f"{report.strategy} on {', '.join(report.feeds)}: {report.verdict.value}"
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    first = report.first_difference
    if first is not None:
        time = "" if first.time is None else f" ({first.time:%Y-%m-%d %H:%M})"
        table.add_row("First difference", f"bar {first.bar}{time}")
        table.add_row("Full run", _words(first.full))
        table.add_row("Other run", _words(first.other))
        table.add_row("Which was", first.test)
    table.add_row("Orders", f"{report.orders:,} on {report.bars:,} bars")
    table.add_row("Extra runs", str(report.runs))
    if report.clean:
        settled = report.warm_up is not None
        table.add_row("Warm-up", f"{report.warm_up} bars" if settled else "did not settle within the data")
    return Group(table, *report.notes)


def _words(event: OrderEvent | None) -> str:
    return "nothing" if event is None else str(event)
