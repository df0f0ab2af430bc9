"""Health of the strategies, drift of their markets and searches on the way, as the online learner sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ai_backtrader.analyzers import Learning
from ai_backtrader.online_learner import HealthState
from ai_backtrader.reports.figures import MISSING
from ai_backtrader.reports.html.funds import COLOURS, DASHES
from ai_backtrader.reports.html.parts import Chart, Part, Section, Table, Words, line, marks, moments, safe

__all__ = ["learning_section"]

_MOST_MARKS = 2_000  # alarms of one series
_STATES = [str(state) for state in (HealthState.DEGRADED, HealthState.PROBATION, HealthState.HEALTHY)]
_SERIES = ("momentum", "volatility", "volume")
_TIMELINE = {"type": "date"}


def learning_section(strategy: Any, analyzer: Learning | None = None) -> Section | None:
    """Section of a strategy with an engine; None for any other.

    Parameters
    ----------
    strategy
        As Cerebro ran it.
    analyzer
        For the charts over time; None shows what is known at the end.
    """
    learner = getattr(getattr(strategy, "engine", None), "online_learner", None)
    if learner is None:
        return None
    parts: list[Part] = []
    if analyzer is not None and analyzer.get_analysis():
        parts += _charts(analyzer, strategy)
    parts.append(_health(learner))
    return Section(title="Drift and health", parts=[*parts, _requests(learner)])


def _charts(analyzer: Learning, strategy: Any) -> list[Part]:
    charts: list[Part] = []
    changes = analyzer.health()
    if len(changes):
        traces = []
        for place, (name, rows) in enumerate(changes.groupby("strategy", sort=False)):
            times = np.append(rows["time"].to_numpy(), analyzer.last)
            levels = [_STATES.index(state) for state in rows["state"]]
            texts = [safe(f"{state}: {reason}" if reason else state) for state, reason in
                     zip(rows["state"], rows["reason"], strict=True)]  # fmt: skip
            traces.append(
                line(
                    moments(times), [*levels, levels[-1]], str(name), COLOURS[place % len(COLOURS)], shape="hv",
                    width=2.2, dash=DASHES[place // len(COLOURS) % 4], mode="lines+markers",
                    text=[*texts, texts[-1]], hovertemplate="%{x}<br>%{text}",
                )
            )  # fmt: skip
        ticks = {"tickvals": [0, 1, 2], "ticktext": [state.capitalize() for state in _STATES], "range": [-0.3, 2.3]}
        told = ", ".join(f"{name} {found['state']}" for name, found in analyzer.get_analysis()["health"].items())
        charts.append(
            Chart(
                title="Health over time", traces=traces, timeline=True, height=240, told=f"At the end: {told}.",
                layout={"xaxis": _TIMELINE, "yaxis": ticks},
                note="Read at each close. A degraded strategy is followed on paper; on probation it trades smaller.",
            )
        )  # fmt: skip
    return [*charts, *_alarms(analyzer, strategy)]


def _alarms(analyzer: Learning, strategy: Any) -> list[Part]:
    alarms = analyzer.alarms()
    searches = getattr(strategy, "adaptations", ())
    traces, left = [], 0
    for place, series in enumerate(_SERIES):
        rows = alarms[alarms["series"] == series]
        left += max(0, len(rows) - _MOST_MARKS)
        rows = rows.head(_MOST_MARKS)
        if len(rows):
            texts = [safe(f"{row.series} of {row.symbol} ({row.detectors})") for row in rows.itertuples()]
            traces.append(
                marks(
                    moments(rows["time"].to_numpy()), [float(place)] * len(rows), series, COLOURS[place],
                    "line-ns-open", size=14, text=texts, hovertemplate="%{x}<br>%{text}<extra></extra>",
                )
            )  # fmt: skip
    if searches:
        texts = [safe(f"{one.search}: {one.reason}; {one.passed} of {one.put_forward} passed") for one in searches]
        traces.append(
            marks(
                moments([one.at for one in searches]), [3.0] * len(searches), "search", "@loss", "diamond", size=11,
                text=texts, hovertemplate="%{x}<br>%{text}<extra></extra>",
            )
        )  # fmt: skip
    if not traces:
        return [Words(text="No drift of the markets was seen.")]
    ticks = {"tickvals": [0, 1, 2, 3], "ticktext": [*_SERIES, "search"], "range": [-0.6, 3.6 if searches else 2.6]}
    told = ", ".join(f"{count:,} of {series}" for series, count in analyzer.get_analysis()["alarms"].items())
    return [
        Chart(
            title="Drift alarms", traces=traces, timeline=True, height=240, told=f"{told}.",
            layout={"xaxis": _TIMELINE, "yaxis": ticks, "showlegend": False},
            note=f"{left:,} later alarms are not marked." if left else "",
        )
    ]  # fmt: skip


def _health(learner: Any) -> Part:
    names = learner.strategies()
    if not names:
        return Words(text="No trade was closed, so nothing is known of the strategy's health.")
    rows = [
        (
            name, str(state.state).capitalize(), f"{state.n_trades:,}",
            MISSING if state.win_rate is None else f"{state.win_rate:.0%}",
            MISSING if state.average_pnl_pct is None else f"{state.average_pnl_pct:+.2f} %",
            f"{state.consecutive_losses:,}", state.reason,
        )
        for name, state in ((name, learner.health(name)) for name in names)
    ]  # fmt: skip
    heads = ("Strategy", "Health", "Trades", "Won", "Mean result on margin", "Losses in a row", "Why")
    return Table(heads=heads, rows=rows, numeric=False, caption="Health at the end of the run")


def _requests(learner: Any) -> Part:
    requests = learner.requests()
    if not requests:
        return Words(text="No drift is waiting for a new search of parameters.")
    rows = [
        (request.symbol, request.strategy_id or "the market", str(request.at or f"bar {request.bar:,}"), request.reason)
        for request in requests
    ]
    return Table(
        heads=("Symbol", "Drift of", "When", "What was seen"), rows=rows, numeric=False,
        caption="Drift that asks for a new search of parameters",
    )  # fmt: skip
