"""What each adaptation on the way changed, and whether it paid beside the same run without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.analyzers import Performance
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.adaptations import HEADS, worth_row
from ai_backtrader.reports.figures import MISSING, known, percent
from ai_backtrader.reports.html.parts import (
    Chart,
    Part,
    Section,
    Table,
    Words,
    area,
    line,
    marks,
    moments,
    safe,
    scale,
    thinned,
)
from ai_backtrader.strategies import compared_runs

__all__ = ["adaptation_parts", "adaptation_section"]

_NOTE = (
    "Each adaptation that changed something is counted from its close to that of the next one that did, or to the end. "
    "Gain is what the account made of that stretch over what it made in the same run without any adaptation; the "
    "interval and the probability that the mean difference is truly above 0 come from the difference bar by bar. "
    "“Within luck” is said where the interval holds 0, and nothing is said where fewer than ten trades differ. From "
    "the second on, the two accounts may hold different positions when a stretch begins."
)


def adaptation_parts(
    found: Mapping[str, Any],
    times: NDArray[np.datetime64],
    adapted: NDArray[np.float64],
    without: NDArray[np.float64] | None,
    searches: Sequence[tuple[str, str, str, str]],
    *,
    name: str = "AIStrategy",
) -> list[Part]:
    """Verdict, both accounts, the gain over time, each adaptation, and what each search found.

    Parameters
    ----------
    found
        Of ``AdaptationComparison.to_dict()``.
    times
        Of the bars, shape (bars,).
    adapted, without
        The accounts, shape (bars,); None where nothing changed: they are the same.
    searches
        When, search with its reason, outcome, what changed.
    name
        Whose account it is.
    """
    parts: list[Part] = [Words(text=found["verdict"], kind="verdict")]
    if without is not None:
        own, other = adapted / adapted[0], without / without[0]
        parts += [_accounts(found, times, own, other, name), _gain(times, own, other)]
        heads = (HEADS[0], HEADS[-1], *HEADS[1:-1], "Gain to the end", "Trades apart", "Until")
        rows = [_row(one) for one in found["adaptations"]]
        parts += [
            Table(heads=heads, rows=rows, caption="Each adaptation, beside the same run without any"),
            Words(text=_NOTE, kind="note"),
        ]
    return [*parts, _searches(searches)]


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    when, *figures, verdict = worth_row(one)
    if not one["changed"]:
        return (when, verdict, *figures, *[MISSING] * 3)
    until = one["until"][:16].replace("T", " ")
    return (when, verdict, *figures, percent(known(one["gain_to_end"])), f"{one['trades']:,}", until)


def adaptation_section(run: Mapping[str, Any]) -> Section | None:
    """Section of a Cerebro run whose strategy searched on the way; None for any other.

    Parameters
    ----------
    run
        ``strategy``, ``performance``, and ``unadapted`` where the same run was made without adaptation: its strategy.
    """
    strategy = run.get("strategy")
    records = getattr(strategy, "adaptations", ())
    if not records:
        return None
    performance, other = run["performance"], run.get("unadapted")
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M}", f"{one.search}: {one.reason}", one.verdict, "\n\n".join(one.changed) or "nothing")
        for one in records
    ]
    changed = any(one.changed for one in records)
    if other is None and changed:
        parts: list[Part] = [
            Words(
                text="Whether it paid is not known: that needs the same run without adaptation. Give that to save_html "
                "as without=, or use backtest --adapt."
            ),
            _searches(rows),
        ]  # fmt: skip
    else:
        unadapted = strategy if other is None else other  # nothing changed: the two are one
        plain = performance if other is None else performance_of(other)
        if len(plain.equity) != len(performance.equity):
            raise AIBacktraderError(
                f"save_html: the run without adaptation has {len(plain.equity):,} bars, this one "
                f"{len(performance.equity):,}; run both on the same"
            )
        found = compared_runs(
            records, performance.times, performance.equity, plain.equity, getattr(strategy, "closed_trades", ()),
            getattr(unadapted, "closed_trades", ()),
        )  # fmt: skip
        without = plain.equity if changed else None
        parts = adaptation_parts(found.to_dict(), performance.times, performance.equity, without, rows)
    return Section(title="Adaptation on the way", parts=parts)


def performance_of(strategy: Any) -> Performance:
    """The analyzer ``Performance`` of a strategy that Cerebro has run.

    Raises
    ------
    AIBacktraderError
        If it has none.
    """
    for analyzer in getattr(strategy, "analyzers", ()):
        if isinstance(analyzer, Performance):
            return analyzer
    raise AIBacktraderError("save_html: the run without adaptation has no analyzer Performance; add it before run()")


def _searches(rows: Sequence[tuple[str, str, str, str]]) -> Table:
    heads = ("When", "Search", "Outcome", "Changed")
    return Table(heads=heads, rows=rows, numeric=False, caption="What each search found")


def _accounts(
    found: Mapping[str, Any], times: NDArray[np.datetime64], own: NDArray[np.float64], other: NDArray[np.float64],
    name: str,
) -> Chart:  # fmt: skip
    shown = thinned(own, other)
    when, form = moments(times[shown]), {"hovertemplate": "%{y:.4f}"}
    changed = [one for one in found["adaptations"] if one["changed"]]
    at = np.array([one["place"] for one in changed], dtype=np.int64)
    texts = [safe(f"{one['reason']}: {one['verdict']}, {percent(known(one['gain']))}") for one in changed]
    traces = [
        line(when, other[shown], "without adaptation", "@short", dash="dash", **form),
        line(when, own[shown], f"{name} as it adapted", "@own", width=2.2, **form),
        marks(moments(times[at]), own[at], "something changed", "@loss", "diamond-open", size=12, text=texts,
              hovertemplate="%{text}<extra></extra>"),
    ]  # fmt: skip
    return Chart(
        title="With adaptation and without", traces=traces, timeline=True, height=340,
        told=f"{percent(float(own[-1] - 1.0))} with it, {percent(float(other[-1] - 1.0))} without.",
        layout={"hovermode": "x unified", "xaxis": {"type": "date"},
                "yaxis": {"title": {"text": "Growth of 1"}} | scale(own, other)},
    )  # fmt: skip


def _gain(times: NDArray[np.datetime64], own: NDArray[np.float64], other: NDArray[np.float64]) -> Chart:
    with np.errstate(divide="ignore", invalid="ignore"):
        over = 100.0 * (own / other - 1.0)
    over = np.where(np.isfinite(over), over, np.nan)
    shown = thinned(np.nan_to_num(over))
    return Chart(
        title="Gain by adaptation so far", timeline=True, height=220,
        traces=[area(moments(times[shown]), over[shown], "gain", "@own", hovertemplate="%{x}<br>%{y:+.2f} %")],
        layout={"xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %", "title": {"text": "Over without, %"}}},
        told=f"At the end {over[-1]:+.2f} %.",
    )  # fmt: skip
