"""Capital across the strategies of a fund."""

from __future__ import annotations

from typing import Any

from ai_backtrader.reports.figures import money, number, percent
from ai_backtrader.reports.html.parts import Chart, Section, Table, line, moments, thinned

__all__ = ["fund_section"]

COLOURS = ("@own", "@short", "@long", "@margin", "@third", "@loss", "@fourth")
DASHES = ("solid", "dash", "dot", "dashdot")


def fund_section(analyzer: Any) -> Section | None:
    """Section of the analyzer Allocations; None where the strategy manages no fund."""
    analysis = analyzer.get_analysis()
    if not analysis:
        return None
    capital = analyzer.frame()
    total = capital.sum(axis=1).to_numpy()
    times = capital.index.to_numpy()
    traces = []
    for place, name in enumerate(capital.columns):
        share = 100.0 * capital[name].to_numpy() / total
        shown = thinned(share)
        traces.append(
            line(
                moments(times[shown]), share[shown], name, "@market" if name == "cash" else COLOURS[place % 7],
                dash=DASHES[place // 7 % 4], hovertemplate="%{y:.1f} %",
            )
        )  # fmt: skip
    rows = [
        (
            name, money(member["start"]), money(member["end"]), money(member["moved_in"]), money(member["profit"]),
            percent(member["contribution"]), percent(member["mean_weight"], signed=False),
            percent(member["share_return"]),
        )
        for name, member in analysis["members"].items()
    ]  # fmt: skip
    heads = ("Member", "Start", "End", "Moved in", "Profit", "Contribution", "Mean weight", "Own return")
    summary = [
        ("Plans made", f"{analysis['plans']:,}"),
        ("Transfers", f"{analysis['transfers']:,} ({money(analysis['moved'])})"),
        ("Mean weight of cash", percent(analysis["cash"], signed=False)),
        ("Effective number of members", number(analysis["effective_number"])),
        ("Diversification", number(analysis["diversification"])),
    ]
    return Section(
        title="Allocation",
        parts=[
            Chart(
                title="Share of the fund's capital", traces=traces, timeline=True, height=320,
                layout={"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %"}},
                told=", ".join(f"{row[0]} {row[6]} on average" for row in rows),
            ),
            Table(heads=heads, rows=rows),
            Table(heads=("", ""), rows=summary),
        ],
    )  # fmt: skip
