"""What a whole run came to: tables for the terminal, and a picture."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.pipeline import PipelineResult
from ai_backtrader.reports.adaptations import adaptation_table
from ai_backtrader.reports.figures import MISSING, known, number, percent, return_risk
from ai_backtrader.reports.plots import extremes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_run_result", "run_table", "save_run_plot"]

# Okabe and Ito's palette: told apart with any kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442")
_TEXT = "#4D4D4D"
_PIXELS = 1440


def run_table(result: PipelineResult) -> RenderableType:
    """What each stage found, who earned what beside holding, whose doing it was, whether adapting paid, and a verdict.

    Returns
    -------
    RenderableType
        For ``rich.console.Console().print``.
    """
    found = result.walk["adaptation"]
    adapted = [] if found is None else [adaptation_table(found), Text()]
    return Group(
        _stages(result), Text(), _members(result), Text(), _sources(result), Text(), *adapted, _evidence(result),
        Text(), Text(result.verdict, style="bold"), Text(f"Run {result.run_id}"),
    )  # fmt: skip


def _table(title: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table


def _stages(result: PipelineResult) -> Table:
    data, parts = result.card["data"], result.card["parts"]
    without = result.card["settings"].get("without")  # cards of earlier versions have none
    off = f", without {', '.join(without)}" if without else ""
    title = (
        f"{data['symbol']}, {data['bars']:,} bars: {parts['walk']:,} to search, train and rehearse on, "
        f"{parts['bars'] - parts['walk']:,} to walk (profile {result.card['profile']}, seed {result.card['seed']}{off})"
    )
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    table.add_column("Stage", no_wrap=True)
    table.add_column("Found", overflow="fold")
    table.add_column("Time", justify="right", no_wrap=True)
    for stage in result.stages:
        table.add_row(stage.name, Text(stage.finding), "kept" if stage.resumed else f"{stage.seconds:.1f} s")
    return table


def _members(result: PipelineResult) -> Table:
    walk = result.walk
    span = f"{walk['first'][:10]} to {walk['last'][:10]}"
    title = f"The walk, {span}: {walk['bars']:,} unseen bars (capital at start and end)"
    table = _table(title, "", "Return", "Sharpe", "Drawdown", "Trades", "Liquidated", "Start", "End")
    for name, figures in walk["members"].items():
        first, last = (walk[key].get(name) for key in ("weights", "last_weights"))
        table.add_row(
            name, *return_risk(figures), f"{figures['trades']:,}", f"{figures['liquidations']:,}",
            MISSING if first is None else f"{first:.0%}", MISSING if last is None else f"{last:.0%}",
        )  # fmt: skip
    table.add_section()
    table.add_row("holding, no costs", *return_risk(walk["holding"]), "", "", "", "", style="dim")
    return table


def _sources(result: PipelineResult) -> RenderableType:
    shares = result.walk["attribution"]
    if not shares["votes"]:
        return Text("No source voted: there is nothing to share.")
    title = f"Whose doing: {percent(shares['total'])} of the notional from AIStrategy's votes, sizes left out"
    table = _table(title, "Source", "Votes", "Shapley", "Left out", "Alone")
    for name, votes in shares["votes"].items():
        values = (shares[key][name] for key in ("shapley", "leave_one_out", "alone"))
        table.add_row(name, f"{votes:,}", *map(percent, values))
    return table


def _evidence(result: PipelineResult) -> Table:
    walk = result.walk
    title = f"Evidence, after {walk['trials']:,} trials on these data and {walk['opening']} look(s) at the walk"
    table = _table(title, "", "p by luck", "Deflated Sharpe ratio")
    for name, found in walk["evidence"].items():
        table.add_row(name, number(known(found["p_value"])), number(known(found["deflated"])))
    return table


def plot_run_result(result: PipelineResult, *, width: float = 12.0, height: float = 9.0, dpi: int = 120) -> Figure:
    """Growth of everybody beside holding, the shares of the capital over time, and what each source contributed.

    Raises
    ------
    AIBacktraderError
        Without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AIBacktraderError(
            "plots need matplotlib, which is not installed: pip install 'ai-backtrader[report]'"
        ) from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    growth, weights, sources = figure.subplots(3, 1, height_ratios=[3.0, 1.3, 1.1])
    _draw_growth(growth, result)
    _draw_weights(weights, result)
    weights.sharex(growth)
    _draw_sources(sources, result)
    for panel in (growth, weights, sources):
        panel.grid(True, color="#E6E6E6", linewidth=0.6, zorder=0)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    data, card = result.card["data"], result.card
    growth.set_title(
        f"{data['symbol']}: the walk over {result.walk['bars']:,} unseen bars (profile {card['profile']}, seed "
        f"{card['seed']})",
        loc="left", fontsize=13, fontweight="bold",
    )  # fmt: skip
    return figure


def save_run_plot(result: PipelineResult, path: str | PathLike[str], **options: Any) -> None:
    """Write :func:`plot_run_result` to a file; the suffix chooses the format."""
    figure = plot_run_result(result, **options)
    figure.savefig(path, metadata={"Software": None} if str(path).endswith(".png") else None)


def _names(result: PipelineResult) -> list[str]:
    return [name.removeprefix("member_") for name in result.arrays if name.startswith("member_")]


def _draw_growth(axes: Axes, result: PipelineResult) -> None:
    times = result.arrays["times"]
    curves = [(name, _COLOURS[1 + place % 6], 1.0, "-") for place, name in enumerate(_names(result))]
    # Holding last and dashed: buy and hold, which pays its costs, lies close under it.
    curves += [("fund", _COLOURS[0], 2.2, "-"), ("holding", "black", 0.9, "--")]
    for name, colour, line, style in curves:
        values = result.curve(name)
        shown = extremes(values, _PIXELS)
        label = f"{name} {percent(float(values[-1] - 1.0))}"
        axes.plot(times[shown], values[shown], color=colour, linewidth=line, linestyle=style, label=label)
    axes.axhline(1.0, color=_TEXT, linewidth=0.6)
    axes.set_ylabel("Growth of 1")
    axes.legend(loc="best", ncols=2, fontsize=9, frameon=True, framealpha=0.85, edgecolor="none")


def _draw_weights(axes: Axes, result: PipelineResult) -> None:
    times, names = result.arrays["times"], _names(result)
    shares = np.clip([result.arrays[f"weight_{name}"] for name in names], 0.0, None)
    step = max(1, len(times) // _PIXELS)
    colours = [_COLOURS[1 + place % 6] for place in range(len(names))]
    axes.stackplot(times[::step], shares[:, ::step], labels=names, colors=colours, alpha=0.75, linewidth=0)
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("Share of the fund\n(the rest is cash)")


def _draw_sources(axes: Axes, result: PipelineResult) -> None:
    shares = result.walk["attribution"]
    names = list(shares["votes"])
    rows = np.arange(len(names))
    for offset, (key, word) in zip(
        (-0.19, 0.19), (("shapley", "Shapley share"), ("leave_one_out", "left out")), strict=True
    ):
        values = [100.0 * shares[key][name] for name in names]
        axes.barh(rows + offset, values, height=0.36, color=_COLOURS[0 if key == "shapley" else 5], label=word)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.axvline(0.0, color=_TEXT, linewidth=0.8)
    axes.set_xlabel("Contribution to what AIStrategy's votes earned, % of a notional of 1 a trade")
    if names:
        axes.legend(loc="best", fontsize=9, frameon=True, framealpha=0.85, edgecolor="none")
