"""A search as tables for the terminal and as a picture: fitness by generation, champions seen and unseen."""

from __future__ import annotations

import math
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.strategy_evolver import Champion, EvolutionResult, Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["evolution_table", "evolution_text", "plot_evolution", "save_evolution_plot"]

MISSING = "–"

# Okabe and Ito's palette, as in the pictures of runs.
_TRAIN, _VALIDATION, _TEST, _MEDIAN, _NOISE = "#0072B2", "#E69F00", "#009E73", "#8A8A8A", "#D55E00"


# --------------------------------------------------------------------------------------------------------------- tables


def evolution_table(result: EvolutionResult) -> RenderableType:
    """Champions with their figures on seen and unseen bars, their rules, and the verdict.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.strategy_evolver.evolve`.
    """
    parts: list[RenderableType] = []
    if result.champions:
        parts += [_champions(result), Text()]
        for place, champion in enumerate(result.champions, start=1):
            parts += [_rules(place, champion), Text()]
    if result.examinations > 1:
        parts.append(Text(f"The test was opened {result.examinations} times; the level is shared among them."))
    parts.append(Text(result.verdict, style="bold"))
    return Group(*parts)


def evolution_text(result: EvolutionResult, *, width: int = 100) -> str:
    """:func:`evolution_table` as plain text of at most ``width`` columns."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(evolution_table(result))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _champions(result: EvolutionResult) -> Table:
    validation, test, bars = result.borders
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True, title_justify="left",
        title=f"Champions: Sharpe ratios on the {validation:,} bars of the search, on {test - validation:,} for\n"
        f"validation and on {bars - test:,} sealed ones, to which noise and all behind it belong",
    )  # fmt: skip
    for name in ("", "search", "valid.", "test", "noise", "p", "return", "drawdown", "trades", "passed"):
        table.add_column(name, justify="left" if name in ("", "passed") else "right")
    for place, champion in enumerate(result.champions, start=1):
        test_figures, exam = champion.test, champion.exam
        table.add_row(
            str(place),
            _number(champion.train.sharpe),
            _number(champion.validation.sharpe),
            MISSING if test_figures is None else _number(test_figures.sharpe),
            MISSING if exam is None else _number(exam.noise_floor),
            MISSING if exam is None else _probability(exam.p_value),
            MISSING if test_figures is None else f"{test_figures.total_return:+.1%}",
            MISSING if test_figures is None else f"{test_figures.max_drawdown:.1%}",
            MISSING if test_figures is None else f"{test_figures.trades:,}",
            Text("yes", style="bold green") if champion.passed else "sealed" if exam is None else "no",
        )
    return table


def _rules(place: int, champion: Champion) -> Text:
    lines = [f"{place}. {champion.chromosome.fingerprint[:10]}"]
    lines += [f"   {line}" for line in champion.chromosome.describe().splitlines()]
    if champion.exam is not None:
        lines.append(f"   Test: {champion.exam.reason}")
    proof = champion.proof
    if proof is not None:
        lines.append(
            f"   Cerebro: {proof.fills:,} fills, cash and equity equal to the last bit"
            if proof.equal
            else f"   Cerebro: first difference: {proof.difference}"
        )
    return Text("\n".join(lines))


def _number(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{value:.2f}"


def _probability(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


# -------------------------------------------------------------------------------------------------------------- picture


def plot_evolution(
    result: EvolutionResult, *, title: str | None = None, width: float = 11.0, height: float = 8.0, dpi: int = 120
) -> Figure:
    """Fitness by generation on seen and unseen bars, diversity, and the champions' Sharpe ratios in all three parts.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.strategy_evolver.evolve`.
    title
        None: the symbol and the verdict.
    width, height, dpi
        Size in inches and dots an inch.

    Returns
    -------
    matplotlib.figure.Figure
        With a canvas of its own; ``figure.savefig(path)`` writes it.

    Raises
    ------
    AIBacktraderError
        Without matplotlib (extra ``[report]``).
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
    heights = [3.0, 0.9] + ([0.5 + 0.42 * len(result.champions)] if result.champions else [])
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_fitness(axes[0], result)
    _draw_diversity(axes[1], result)
    axes[0].sharex(axes[1])
    axes[0].tick_params(labelbottom=False)
    if result.champions:
        _draw_champions(axes[2], result)
    for panel in axes:
        panel.grid(True, color="#E6E6E6", linewidth=0.6, zorder=0)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_title(
        title or f"{result.run.get('symbol', 'Search')}: {result.verdict}", loc="left", fontsize=13, fontweight="bold"
    )
    figure.align_ylabels(axes[:2])
    return figure


def save_evolution_plot(result: EvolutionResult, path: str | PathLike[str], **options: Any) -> None:
    """Write :func:`plot_evolution` to a file; the suffix chooses the format (``.png``, ``.svg``, ``.pdf``)."""
    # Without dates and versions in the file the same search writes the same bytes.
    plot_evolution(result, **options).savefig(path, metadata={"Software": None} if str(path).endswith(".png") else None)


def _draw_fitness(axes: Axes, result: EvolutionResult) -> None:
    generations = np.arange(len(result.history))
    best = _values([generation.best for generation in result.history])
    median = _values([generation.median for generation in result.history])
    unseen = _values(result.validation_history)
    axes.plot(generations, best, color=_TRAIN, marker="o", markersize=4, label="best, on the bars of the search")
    axes.plot(generations, median, color=_MEDIAN, linewidth=1.0, label="median of the population")
    axes.plot(
        generations, unseen, color=_VALIDATION, linestyle="--", marker="s", markersize=4,
        label="the same best, on validation bars",
    )  # fmt: skip
    shown = np.concatenate((best, unseen, median[len(median) // 2 :]))
    shown = shown[np.isfinite(shown)]
    if shown.size:
        low, high = min(0.0, float(shown.min())), float(shown.max())
        span = (high - low) or 1.0
        low, high = low - 0.14 * span, high + 0.2 * span  # room for the note and the legend
        axes.set_ylim(low, high)
        hidden = int(np.count_nonzero(median < low))
        if hidden:
            axes.annotate(
                f"median of {hidden} {'generation' if hidden == 1 else 'generations'} below {low:.1f}", (0.99, 0.03),
                xycoords="axes fraction", ha="right", color=_MEDIAN, fontsize=9,
            )  # fmt: skip
    axes.axhline(0.0, color="#4D4D4D", linewidth=0.8)
    axes.set_ylabel("Fitness")
    axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=3, columnspacing=1.4)


def _draw_diversity(axes: Axes, result: EvolutionResult) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    generations = np.arange(len(result.history))
    diversity = [generation.diversity for generation in result.history]
    axes.bar(generations, diversity, color=_TRAIN, alpha=0.35, width=0.8)
    fresh = [generation.number for generation in result.history if generation.immigrants]
    if fresh:
        axes.scatter(fresh, [1.06] * len(fresh), marker="v", s=22, color=_VALIDATION, label="immigrants", clip_on=False)
        axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_ylim(0.0, 1.1)
    axes.set_yticks([0.0, 0.5, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.6, max(len(generations) - 0.4, 0.6))
    axes.set_ylabel("Diversity")
    axes.set_xlabel("Generation")


def _draw_champions(axes: Axes, result: EvolutionResult) -> None:
    rows = np.arange(len(result.champions))
    parts: tuple[tuple[str, str, str, list[Figures | None]], ...] = (
        ("search", _TRAIN, "o", [champion.train for champion in result.champions]),
        ("validation", _VALIDATION, "s", [champion.validation for champion in result.champions]),
        ("sealed test", _TEST, "D", [champion.test for champion in result.champions]),
    )
    points = np.array([[math.nan if f is None else f.sharpe for f in figures] for *_, figures in parts])
    finite = np.where(np.isfinite(points), points, np.nan)
    for row in rows:
        known = finite[:, row][~np.isnan(finite[:, row])]
        if known.size:
            axes.plot([known.min(), known.max()], [row, row], color="#BBBBBB", linewidth=1.5, zorder=2)
    for (word, colour, marker, _), values in zip(parts, finite, strict=True):
        if not np.isnan(values).all():
            axes.scatter(values, rows, color=colour, marker=marker, s=45, label=word, zorder=4)
    floors = _values([math.nan if c.exam is None else c.exam.noise_floor for c in result.champions])
    if not np.isnan(floors).all():
        axes.scatter(
            floors, rows, color=_NOISE, marker="|", s=160, linewidths=2.2, zorder=3,
            label="noise floor (95 % of random strategies)",
        )  # fmt: skip
    axes.axvline(0.0, color="#4D4D4D", linewidth=0.8)
    axes.set_yticks(rows, [_champion_label(place, champion) for place, champion in enumerate(result.champions, 1)])
    axes.set_ylim(len(rows) - 0.5, -1.05)  # best on top, and room for the legend
    axes.set_xlabel("Sharpe ratio, annual")
    axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=4, columnspacing=1.2, handletextpad=0.3)


def _champion_label(place: int, champion: Champion) -> str:
    word = "passed" if champion.passed else "sealed" if champion.exam is None else "failed"
    return f"{place}. {champion.chromosome.fingerprint[:6]} {word}"


def _values(numbers: Any) -> NDArray[np.float64]:
    values = np.array(numbers, dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)
