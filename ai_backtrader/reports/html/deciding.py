"""Decisions with their votes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ai_backtrader.reports.figures import number, percent
from ai_backtrader.reports.html.parts import Chart, Section, Table, line, marks, moments, safe, thinned

__all__ = ["decision_section"]

_MOST_MARKS = 1_500  # decisions to hover over: each carries its votes as text
_REASON = 90  # characters of one voter's reason


def decision_section(analyzer: Any) -> Section | None:
    """Section of the analyzer Decisions; None where nothing was decided."""
    decisions: Sequence[Any] = analyzer.decisions
    if not decisions:
        return None
    analysis = analyzer.get_analysis()
    return Section(title="Decisions", parts=[_chart(decisions), _votes(analysis)])


def _chart(decisions: Sequence[Any]) -> Chart:
    timed = [decision for decision in decisions if decision.at is not None]
    times = np.array([decision.at for decision in timed], dtype="datetime64[ms]")
    scores = np.array([decision.score for decision in timed], dtype=np.float64)
    shown = thinned(scores)
    traces = [
        line(moments(times[shown]), scores[shown], "score", "@market", width=1, hoverinfo="skip"),
    ]
    left = 0
    for name, colour, symbol, chosen in (
        ("BUY", "@long", "triangle-up", [str(d.action) == "BUY" for d in timed]),
        ("SELL", "@short", "triangle-down", [str(d.action) == "SELL" for d in timed]),
        ("vetoed", "@loss", "x-thin-open", [d.vetoed_by is not None for d in timed]),
    ):
        places = np.flatnonzero(np.array(chosen, dtype=bool))
        if places.size > _MOST_MARKS:
            left += places.size - _MOST_MARKS
            places = np.sort(places[np.argsort(-np.abs(scores[places]), kind="stable")[:_MOST_MARKS]])
        if places.size:
            traces.append(
                marks(
                    moments(times[places]), scores[places], name, colour, symbol, size=8,
                    text=[_words(timed[place]) for place in places], hovertemplate="%{text}<extra></extra>",
                )
            )  # fmt: skip
    note = "Score: above 0 the votes lean to buying, below 0 to selling. Hover over a mark to read the votes."
    if left:
        note += f" {left:,} decisions with the weakest scores are not marked."
    return Chart(
        title="Score of each decision, with its votes", traces=traces, timeline=True, note=note, height=320,
        layout={"xaxis": {"type": "date"}, "yaxis": {"title": {"text": "Score"}, "range": [-1.05, 1.05]}},
        told=f"{len(decisions):,} decisions.",
    )  # fmt: skip


def _words(decision: Any) -> str:
    lines = [f"{decision.action} {decision.symbol}, {decision.at:%Y-%m-%d %H:%M}, score {decision.score:+.2f}"]
    if decision.position_size_pct:
        lines.append(f"{decision.position_size_pct:.2f} % of equity as margin at {decision.leverage:.2f}x")
    for vote in decision.votes:
        reason = vote.reason if len(vote.reason) <= _REASON else vote.reason[: _REASON - 1] + "…"
        if hasattr(vote, "action"):
            share = decision.breakdown.get(vote.source, math.nan)
            counts = f", counts {share:+.2f}" if math.isfinite(share) else ""
            lines.append(f"{vote.source}: {vote.action} {vote.confidence:.0%}{counts}: {reason}")
        else:
            lines.append(f"{vote.source}: {'failed' if vote.failed else 'silent'}: {reason}")
    if decision.vetoed_by is not None:
        lines.append(f"vetoed by {decision.vetoed_by}")
    return "<br>".join(safe(text) for text in lines)


def _votes(analysis: Mapping[str, Any]) -> Table:
    actions = analysis["actions"]
    counts = ", ".join(f"{actions[action]:,} {action.lower()}" for action in ("BUY", "SELL", "HOLD"))
    rows = [
        (
            name, percent(source["weight"], signed=False),
            *(f"{source[key]:,}" for key in ("votes", "buys", "sells", "holds", "abstentions", "failures")),
            number(source["mean_confidence"]), number(source["mean_contribution"]),
        )
        for name, source in analysis["sources"].items()
    ]  # fmt: skip
    heads = ("Source", "Weight", "Votes", "Buy", "Sell", "Hold", "Silent", "Failed", "Confidence", "Contribution")
    return Table(
        heads=heads, rows=rows, caption=f"{analysis['decisions']:,} decisions ({counts}, {analysis['vetoes']:,} vetoed)"
    )
