"""Sections of strategies side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.analyzers import Comparison
from ai_backtrader.reports.figures import MISSING, number, percent
from ai_backtrader.reports.html.funds import COLOURS, DASHES
from ai_backtrader.reports.html.parts import (
    Chart,
    Part,
    Section,
    Table,
    Words,
    line,
    marks,
    moments,
    numbers,
    scale,
    thinned,
)
from ai_backtrader.reports.html.parts import safe as plain

__all__ = ["comparison_sections"]


def comparison_sections(comparison: Comparison, results: Mapping[str, Any] | None = None) -> list[Section]:
    """Verdict, growth of those whose path is known, Sharpe ratios with their intervals, the table, and the proofs.

    Parameters
    ----------
    comparison
        Of :func:`~ai_backtrader.analyzers.compare`.
    results
        What was compared, as it was given to ``compare``: for the growth of each on one chart.
    """
    parts: list[Part] = [Words(text=comparison.verdict, kind="verdict")]
    curves, heights = _curves(results or {})
    if curves:
        parts.append(
            Chart(
                title="Growth of 1", traces=curves, height=400, told=f"{len(curves)} accounts.",
                layout={"hovermode": "x unified", "xaxis": {"type": "date"}, "yaxis": scale(*heights)},
            )
        )  # fmt: skip
    parts += [_intervals(comparison), _compared(comparison)]
    if comparison.proofs:
        parts += _proofs(comparison)
    return [Section(title="Comparison", parts=parts)]


def _curves(results: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[NDArray[np.float64]]]:
    traces, heights, market = [], [], None
    for place, (name, result) in enumerate(results.items()):
        path = _path(result)
        if path is None:
            continue
        times, growth, held = path
        market = (times, held) if held is not None and market is None else market
        heights.append(growth)
        shown = thinned(growth)
        style = {"dash": DASHES[place // len(COLOURS) % 4], "hovertemplate": "%{y:.3f}"}
        traces.append(line(moments(times[shown]), growth[shown], name, COLOURS[place % len(COLOURS)], **style))
    if market is not None:
        times, held = market
        heights.append(held)
        shown = thinned(held)
        traces.append(
            line(moments(times[shown]), held[shown], "buy and hold", "@market", dash="dot", hovertemplate="%{y:.3f}")
        )
    return traces, heights


def _path(result: Any) -> tuple[Any, Any, Any] | None:
    for analyzer in getattr(result, "analyzers", (result,)):
        if hasattr(analyzer, "growth") and hasattr(analyzer, "buy_and_hold"):
            held = analyzer.buy_and_hold
            return analyzer.times, analyzer.growth, held / held[0] if held.size else None
    return None


def _intervals(comparison: Comparison) -> Chart:
    frame = comparison.frame
    sharpe = frame["sharpe_ratio"].to_numpy(dtype=np.float64)
    low = np.nan_to_num(sharpe - frame["sharpe_low"].to_numpy(dtype=np.float64))
    high = np.nan_to_num(frame["sharpe_high"].to_numpy(dtype=np.float64) - sharpe)
    spread = {"type": "data", "symmetric": False, "array": numbers(high), "arrayminus": numbers(low), "color": "@own"}
    trace = marks(numbers(sharpe), [0.0], "Sharpe ratio", "@own", "circle", size=11, hovertemplate="%{y}: %{x:.2f}")
    trace |= {"y": [plain(name) for name in frame.index], "error_x": spread}
    return Chart(
        title="Annual Sharpe ratio with its interval", traces=[trace], height=120 + 40 * len(frame),
        layout={"yaxis": {"range": [len(frame) - 0.4, -0.6]}, "xaxis": {"title": {"text": "Sharpe ratio, annual"}}},
        told=", ".join(f"{name} {number(value)}" for name, value in zip(frame.index, sharpe.tolist(), strict=True)),
        note=f"Intervals of {1.0 - comparison.alpha:.0%}; where they overlap the order says little.",
    )  # fmt: skip


def _compared(comparison: Comparison) -> Table:
    heads = (
        "Strategy", "Return", "Over holding", "CAGR", "Sharpe", "Sortino", "Drawdown", "Trades", "Above 0",
        "Above holding", "Deflated", "p (Holm)",
    )  # fmt: skip
    rows = [
        (
            str(name), percent(row["total_return"]), _points(row["over_holding"]), percent(row["cagr"]),
            number(row["sharpe_ratio"]), number(row["sortino_ratio"]), percent(row["max_drawdown"], signed=False),
            MISSING if math.isnan(row["trades"]) else f"{row['trades']:,.0f}",
            *(percent(row[key], signed=False) for key in ("probabilistic_sharpe", "beats_holding")),
            number(row["deflated_sharpe"]), MISSING if math.isnan(row["p_holm"]) else f"{row['p_holm']:.3f}",
        )
        for name, row in comparison.frame.iterrows()
    ]  # fmt: skip
    return Table(heads=heads, rows=rows, caption=f"Family of {comparison.family}, level {comparison.alpha:g}")


def _points(fraction: float) -> str:
    return MISSING if math.isnan(fraction) else f"{100.0 * fraction:+,.2f}"


def _proofs(comparison: Comparison) -> list[Part]:
    note = (
        "An evolved strategy's run in Cerebro is set beside the compiled simulation of its rules, by which it was "
        "searched, under the broker of that run: fill by fill, and cash and equity at every bar, to the last bit."
    )
    return [
        Table(
            heads=("Strategy", "Cerebro beside the simulation"), rows=comparison.proof_lines(), numeric=False,
            caption="Proofs",
        ),
        Words(text=note, kind="note"),
    ]  # fmt: skip
