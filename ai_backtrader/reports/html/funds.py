"""Capital across the strategies of a fund."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.reports.figures import money, number, percent
from ai_backtrader.reports.html.parts import (
    Chart,
    Part,
    Section,
    Table,
    Words,
    bars,
    line,
    moments,
    numbers,
    safe,
    thinned,
)

__all__ = ["COLOURS", "DASHES", "MEMBERS", "capital_chart", "fund_section"]

COLOURS = ("@own", "@short", "@long", "@margin")
"""Of curves that any kind of colour vision tells apart; those after the fourth begin again with another dash."""
DASHES = ("solid", "dash", "dot", "dashdot")
MEMBERS = ("@short", "@long", "@margin", "@fourth", "@loss", "@third")
"""Colours of a fund's members: blue is the fund's own. Those after the third have another dash, too."""


def fund_section(analyzer: Any) -> Section | None:
    """Section of the analyzer Allocations; None where the strategy manages no fund."""
    analysis = analyzer.get_analysis()
    if not analysis:
        return None
    capital = analyzer.frame()
    total = capital.sum(axis=1).to_numpy()
    shares = {str(name): 100.0 * capital[name].to_numpy() / total for name in capital.columns[1:]}
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
        ("Effective number of members, mean", number(analysis["effective_number"])),
        ("Diversification, mean", number(analysis["diversification"])),
    ]
    parts: list[Part] = [
        capital_chart(capital.index.to_numpy(), shares),
        _spread(capital),
        _contributions(analysis["members"]),
        Table(heads=heads, rows=rows),
        Table(heads=("", ""), rows=summary),
    ]  # fmt: skip
    plans = analyzer.plans()
    return Section(title="Allocation", parts=[*parts, *([_health(plans)] if len(plans) else [])])


def capital_chart(times: NDArray[np.datetime64], shares: Mapping[str, NDArray[np.float64]]) -> Chart:
    """Who held how much of the fund's capital at each bar, on top of each other; what is left is cash.

    Parameters
    ----------
    times
        Of the bars, shape (n,).
    shares
        By member, percent, shape (n,); an account that owes is drawn as holding nothing.
    """
    held = {name: np.clip(share, 0.0, None) for name, share in shares.items()}
    held["cash"] = np.clip(100.0 - sum(held.values(), np.zeros(len(times))), 0.0, 100.0)
    shown = thinned(*held.values())
    when = moments(times[shown])
    traces = []
    for place, (name, share) in enumerate(held.items()):
        colour = "@market" if name == "cash" else MEMBERS[place % len(MEMBERS)]
        traces.append(
            line(when, share[shown], name, colour, width=0.6, shape="hv", stackgroup="capital",
                 fillcolor=f"{colour}-full", hovertemplate="%{y:.1f} %")
        )  # fmt: skip
    last = ", ".join(f"{name} {share[-1]:.0f} %" for name, share in held.items())
    return Chart(
        title="Share of the fund's capital", traces=traces, timeline=True, height=300, told=f"At the end: {last}.",
        layout={"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %", "range": [0, 100]}},
    )  # fmt: skip


def _spread(capital: pd.DataFrame) -> Chart:
    """``1 / HHI`` of the members' capital at every bar."""
    held = np.maximum(capital.drop(columns="cash").to_numpy(), 0.0)
    invested = held.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(invested > 0.0, invested**2 / np.sum(held**2, axis=1), 0.0)
    shown = thinned(effective)
    members = held.shape[1]
    return Chart(
        title="Effective number of members (1 / HHI)", timeline=True, height=220,
        traces=[
            line(moments(capital.index.to_numpy()[shown]), effective[shown], "effective number", "@own",
                 hovertemplate="%{y:.2f}"),
        ],
        layout={"xaxis": {"type": "date"}, "yaxis": {"range": [0.0, members + 0.3], "dtick": 1}},
        told=f"Between {effective.min():.2f} and {effective.max():.2f} of {members}.",
        note=f"{members} is capital spread equally over all members, 1 is all of it with one of them.",
    )  # fmt: skip


def _contributions(members: Mapping[str, Any]) -> Chart:
    shares = {name: 100.0 * member["contribution"] for name, member in members.items()}
    colours = ["@long" if share > 0.0 else "@loss" for share in shares.values()]
    return Chart(
        title="Contribution of each member", height=120 + 34 * len(shares),
        traces=[
            bars(numbers(list(shares.values())), [safe(name) for name in shares], "contribution", colours,
                 orientation="h", hovertemplate="%{y}: %{x:+.2f} %<extra></extra>"),
        ],
        layout={"yaxis": {"autorange": "reversed"},
                "xaxis": {"ticksuffix": " %", "title": {"text": "Of the fund's capital at the start"}}},
        told=", ".join(f"{name} {share:+.2f} %" for name, share in shares.items()),
    )  # fmt: skip


def _health(plans: pd.DataFrame) -> Part:
    names = [str(column).removeprefix("health_") for column in plans.columns if str(column).startswith("health_")]
    seen = np.unique(plans[[f"health_{name}" for name in names]].to_numpy(dtype=np.float64))
    if seen.size == 1:  # one line upon the other would tell less
        return Words(
            text=f"At all {len(plans):,} plans the allocator saw the health of every member at {seen[0]:.2f} of 1."
        )
    when = moments(plans["at"].to_numpy())
    traces = [
        line(
            when, plans[f"health_{name}"].to_numpy(dtype=np.float64), name, MEMBERS[place % len(MEMBERS)], shape="hv",
            dash=DASHES[place % 4], mode="lines+markers", hovertemplate="%{y:.2f}",
        )
        for place, name in enumerate(names)
    ]  # fmt: skip
    told = ", ".join(f"{name} {plans[f'health_{name}'].iloc[-1]:.2f}" for name in names)
    return Chart(
        title="Health as the allocator saw it", traces=traces, timeline=True, height=240, told=f"In the end: {told}.",
        layout={"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": {"range": [-0.05, 1.1]}},
        note="At each plan: 1 is healthy, 0 takes all capital away.",
    )  # fmt: skip
