"""A training of an agent as tables for the terminal and as a picture: learning, and the test beside the baselines."""

from __future__ import annotations

import math
from os import PathLike
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.rl import PolicyFigures, TrainingResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_training", "save_training_plot", "training_table", "training_text"]

MISSING = "–"

# Okabe and Ito's palette, as in the pictures of runs.
_AGENT, _CHOSEN, _GREY = "#0072B2", "#D55E00", "#8A8A8A"
_BASELINES = {
    "flat": ("#4D4D4D", "-"), "buy_and_hold_1x": ("#009E73", "-"), "buy_and_hold_3x": ("#009E73", "--"),
    "volatility_target": ("#E69F00", "-"),
}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- tables


def training_table(result: TrainingResult) -> RenderableType:
    """Seeds and baselines on the test bars, and the verdict; what validation showed while the test is sealed.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.rl.train_agent`.
    """
    parts: list[RenderableType] = [_seeds(result)]
    if result.baselines:
        parts += [Text(), _baselines(result)]
    return Group(*parts, Text(), Text(result.verdict, style="bold"))


def training_text(result: TrainingResult, *, width: int = 110) -> str:
    """:func:`training_table` as plain text of at most ``width`` columns."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(training_table(result))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _seeds(result: TrainingResult) -> Table:
    sealed = not result.baselines
    table = _table(
        f"{result.symbol}: {result.agent} agent, {result.steps:,} steps a seed, "
        f"{'validation' if sealed else 'test'} bars",
        "Return", "At 1x", "Shuffled", *_RISKS,
    )  # fmt: skip
    for outcome in result.seeds:
        chosen = outcome is result.best
        figures = outcome.validation if outcome.test is None else outcome.test
        plain = math.nan if outcome.unlevered is None else outcome.unlevered.total_return
        table.add_row(
            f"seed {outcome.seed}{' (chosen)' if chosen else ''}", _share(figures.total_return), _share(plain),
            _share(math.expm1(outcome.shuffled_growth)), *_risks(figures), style="bold" if chosen else None,
        )  # fmt: skip
    return table


def _baselines(result: TrainingResult) -> Table:
    table = _table("Beside it, on the same bars and broker", "Return", *_RISKS, "Beaten")
    for name, figures in result.baselines.items():
        table.add_row(
            name.replace("_", " "), _share(figures.total_return), *_risks(figures),
            "yes" if result.beats(name) else "no",
        )  # fmt: skip
    return table


_RISKS = ("Drawdown", "Trades", "Liq.", "> 0.7", "Funding")  # liquidations; bars at a margin ratio above 0.7


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", padding=(0, 0), pad_edge=False)
    table.add_column("Policy", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _risks(figures: PolicyFigures) -> tuple[str, ...]:
    return (
        f"{figures.max_drawdown:.1%}", f"{figures.trades:,}", f"{figures.liquidations:,}",
        f"{figures.strained:.1%}", f"{figures.funding:,.0f}",
    )  # fmt: skip


def _share(fraction: float) -> str:
    # Narrower than elsewhere: nine columns have to fit a terminal of eighty.
    return MISSING if math.isnan(fraction) else f"{fraction:+.1%}"


# ---------------------------------------------------------------------------------------------------------------- plots


def plot_training(
    result: TrainingResult, *, title: str | None = None, size: tuple[float, float] = (11.0, 8.0)
) -> Figure:
    """Validation growth and loss by steps, and the equity on the test bars beside the baselines.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.rl.train_agent`.
    title
        None writes the market and the verdict's first words.
    size
        Inches.

    Raises
    ------
    AIBacktraderError
        If matplotlib is not installed, or the training was stopped before anything could be drawn.
    """
    try:
        from matplotlib.figure import Figure as MatplotlibFigure
    except ImportError as error:
        raise AIBacktraderError("plots need matplotlib: pip install 'ai-backtrader[report]'") from error
    if not result.seeds:
        raise AIBacktraderError("nothing to draw: the training was stopped before its first look; go on with resume")
    figure = MatplotlibFigure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2, height_ratios=(2, 3))
    learning, losses, test = (
        figure.add_subplot(grid[0, 0]),
        figure.add_subplot(grid[0, 1]),
        figure.add_subplot(grid[1, :]),
    )
    _draw_learning(learning, losses, result)
    _draw_test(test, result)
    for panel in (learning, losses, test):
        panel.grid(True, color="#E6E6E6", linewidth=0.6, zorder=0)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    if title is None:
        title = f"{result.symbol}: {result.agent} agent, {len(result.seeds)} seeds"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def save_training_plot(result: TrainingResult, path: str | PathLike[str], **options: Any) -> None:
    """Write :func:`plot_training` to a file; the suffix chooses the format (``.png``, ``.svg``, ``.pdf``)."""
    # Without dates and versions in the file the same training writes the same bytes.
    plot_training(result, **options).savefig(path, metadata={"Software": None} if str(path).endswith(".png") else None)


def _draw_learning(learning: Axes, losses: Axes, result: TrainingResult) -> None:
    for outcome in result.seeds:
        chosen = outcome is result.best
        style: dict[str, Any] = {
            "color": _CHOSEN if chosen else _AGENT, "alpha": 1.0 if chosen else 0.45,
            "linewidth": 1.8 if chosen else 1.0, "marker": "o", "markersize": 3,
        }  # fmt: skip
        steps = [look.steps for look in outcome.looks]
        learning.plot(steps, [100.0 * math.expm1(look.validation_growth) for look in outcome.looks], **style)
        losses.plot(steps, [look.loss for look in outcome.looks], **style)
    learning.axhline(0.0, color="#4D4D4D", linewidth=0.8)
    learning.set_ylabel("Validation return, %")
    losses.set_ylabel("Loss (Huber)")
    for panel in (learning, losses):
        panel.set_xlabel("Environment steps")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    learning.set_title("greedy policy as trained, before any reluctance", loc="left", fontsize=9, color=_GREY)


def _draw_test(axes: Axes, result: TrainingResult) -> None:
    if not result.baselines:
        axes.text(0.5, 0.5, "The test bars are sealed: the training stopped.", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    for name, curve in result.baseline_equity.items():
        colour, line = _BASELINES[name]
        axes.plot(curve, color=colour, linestyle=line, linewidth=1.3, label=name.replace("_", " "))
    labelled = False
    for outcome in result.seeds:
        chosen = outcome is result.best
        label = "chosen seed" if chosen else None if labelled else "other seeds"
        labelled = labelled or not chosen
        axes.plot(
            outcome.test_equity, color=_CHOSEN if chosen else _AGENT, alpha=1.0 if chosen else 0.45,
            linewidth=1.8 if chosen else 1.0, label=label, zorder=5 if chosen else 4,
        )  # fmt: skip
    curves = [*result.baseline_equity.values(), *(outcome.test_equity for outcome in result.seeds)]
    low, high = min(float(curve.min()) for curve in curves), max(float(curve.max()) for curve in curves)
    if low > 0.0 and high / low > 20.0:
        axes.set_yscale("log")
    axes.set_xlim(0, max(curve.size for curve in curves) - 1)
    axes.set_ylabel("Equity")
    axes.set_xlabel(f"Test bars, {result.times[0][:10]} to {result.times[1][:10]}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=3)
