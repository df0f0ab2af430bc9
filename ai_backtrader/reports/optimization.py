"""A parameter search as tables for the terminal and as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.parameter_optimizer import OptimizationResult, Part, WalkForwardResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "optimization_table",
    "optimization_text",
    "plot_optimization",
    "plot_walk_forward",
    "save_optimization_plot",
]

MISSING = "–"
_IMPORTANT = 8  # parameters whose importance is drawn

# Okabe and Ito's palette, as in the pictures of runs.
_TRAIN, _VALIDATION, _TEST, _GREY, _NOISE = "#0072B2", "#E69F00", "#009E73", "#8A8A8A", "#D55E00"


# --------------------------------------------------------------------------------------------------------------- tables


def optimization_table(result: OptimizationResult) -> RenderableType:
    """Best parameters, figures on seen and sealed bars beside holding, what the search cost, and the verdict.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.parameter_optimizer.optimize`.
    """
    parts: list[RenderableType] = [_parts_table(result), Text(), _parameters_table(result), Text(), _cost_table(result)]
    if result.failures:
        commonest, count = next(iter(result.failures.items()))
        parts += [Text(), Text(f"{sum(result.failures.values())} trials have no score; {count}x: {commonest}")]
    return Group(*parts, Text(), Text(result.verdict, style="bold"))


def optimization_text(result: OptimizationResult, *, width: int = 100) -> str:
    """:func:`optimization_table` as plain text of at most ``width`` columns."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(optimization_table(result))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _table(title: str, *heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left", title=title)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right")
    return table


def _parts_table(result: OptimizationResult) -> Table:
    regime = "" if result.regime is None else f", trades opened in {result.regime} markets"
    table = _table(
        f"{result.symbol} {result.timeframe}, {result.strategy}: {result.objective}{regime}",
        "", "bars", "score", "Sharpe", "return", "drawdown", "trades", "holding: Sharpe", "return",
    )  # fmt: skip
    for name, part in (("search", result.train), ("validation", result.validation), ("sealed test", result.test)):
        if part is not None:
            own, held = part.figures, part.holding
            table.add_row(
                name, f"{part.bars:,}", MISSING if part.score is None else _number(part.score), _number(own["sharpe"]),
                _percent(own["total_return"]), _percent(own["max_drawdown"], signed=False), f"{own['trades']:,.0f}",
                _number(held["sharpe"]), _percent(held["total_return"]),
            )  # fmt: skip
    return table


def _parameters_table(result: OptimizationResult) -> Table:
    known = bool(result.importance)
    table = _table("Best parameters", "", "value", *(["importance"] if known else []))
    names = list(result.importance) if known else list(result.parameters)
    for name in names:
        value = result.parameters[name]
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(name, text, *([f"{result.importance[name]:.0%}"] if known else []))
    return table


def _cost_table(result: OptimizationResult) -> Table:
    found, error = result.pbo
    table = _table("What the search cost", "", "")
    plateau = result.plateau
    for name, text in (
        ("trials of this search, neighbours included", f"{result.n_trials:,}"),
        ("trials ever made on these data", f"{result.evidence.n_trials:,.0f}"),
        ("best of so many without an edge (annual Sharpe)", _number(_annual(result, result.evidence.expected_maximum))),
        ("deflated Sharpe ratio", _number(result.deflated_sharpe)),
        ("probability of overfitting", f"{_number(found)} ± {_number(error)}"),
        ("mean score of the neighbours", _number(plateau.mean)),
        ("neighbours that keep half of the score", MISSING if math.isnan(plateau.share) else f"{plateau.share:.0%}"),
        ("openings of the sealed test", "none" if result.opening is None else str(result.opening)),
    ):
        table.add_row(name, text)
    return table


def _annual(result: OptimizationResult, sharpe: float) -> float:
    return sharpe * math.sqrt(result.bars_per_year)


def _number(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{value:.2f}"


def _percent(value: float, *, signed: bool = True) -> str:
    return MISSING if not math.isfinite(value) else f"{100.0 * value:{'+' if signed else ''}.1f} %"


# ------------------------------------------------------------------------------------------------------------- pictures


def plot_optimization(
    result: OptimizationResult, *, title: str | None = None, width: float = 11.0, height: float = 9.0, dpi: int = 120
) -> Figure:
    """Convergence, importance, neighbours around the winner, and its Sharpe ratio on seen and sealed bars.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.parameter_optimizer.optimize`.
    title
        None: symbol, strategy, and the first words of the verdict.
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
    figure = _figure(width, height, dpi)
    panels: Any = figure.subfigures(3, 1, height_ratios=[2.6, 2.3, 1.7])
    top, middle, bottom = panels
    convergence = top.subplots()
    importance, around = middle.subplots(1, 2, width_ratios=[1.0, 1.15])
    ratios = bottom.subplots()
    _draw_convergence(convergence, result)
    _draw_importance(importance, result)
    _draw_neighbours(around, result)
    _draw_sharpes(ratios, result)
    _dress(convergence, importance, around, ratios)
    words = title or f"{result.symbol} {result.timeframe}, {result.strategy}: {_headline(result.verdict)}"
    convergence.set_title(words, loc="left", fontsize=13, fontweight="bold")
    return figure


def save_optimization_plot(
    result: OptimizationResult | WalkForwardResult, path: str | PathLike[str], **options: Any
) -> None:
    """Write the picture of a search or of a walk-forward to a file; the suffix chooses the format."""
    draw: Any = plot_walk_forward if isinstance(result, WalkForwardResult) else plot_optimization
    # Without dates and versions in the file the same search writes the same bytes.
    draw(result, **options).savefig(path, metadata={"Software": None} if str(path).endswith(".png") else None)


def plot_walk_forward(
    result: WalkForwardResult, *, title: str | None = None, width: float = 11.0, height: float = 7.0, dpi: int = 120
) -> Figure:
    """Stitched equity of the tests, scores in training and test, and how far the parameters moved.

    Parameters
    ----------
    result
        Of :func:`~ai_backtrader.parameter_optimizer.walk_forward`.
    title
        None: the first words of the verdict.
    width, height, dpi
        Size in inches and dots an inch.

    Raises
    ------
    AIBacktraderError
        Without matplotlib (extra ``[report]``).
    """
    figure = _figure(width, height, dpi)
    equity, scores, drift = figure.subplots(3, 1, height_ratios=[3.0, 1.6, 1.0])
    equity.plot(result.times, result.equity, color=_TEST, linewidth=1.1)
    first = result.folds[0].test[0]
    for place, fold in enumerate(result.folds):
        if place % 2:
            last = min(fold.test[1] - first, len(result.times)) - 1
            equity.axvspan(result.times[fold.test[0] - first], result.times[last], color="#F0F0F0", zorder=0)
    equity.axhline(1.0, color="#4D4D4D", linewidth=0.8)
    equity.set_ylabel("Growth of 1, tests end to end")
    equity.margins(x=0.0)
    places = np.arange(len(result.folds))
    for word, colour, marker, values in (
        ("search", _TRAIN, "o", [fold.train_score for fold in result.folds]),
        ("test", _TEST, "D", [fold.test_score for fold in result.folds]),
    ):
        numbers = [math.nan if value is None else value for value in values]
        scores.plot(places, numbers, color=colour, marker=marker, markersize=5, linewidth=1.0, label=word)
    scores.axhline(0.0, color="#4D4D4D", linewidth=0.8)
    scores.set_ylabel("Score")
    scores.legend(frameon=False, fontsize=9, ncols=2, loc="upper right", bbox_to_anchor=(1.0, 1.18))
    drift.bar(places, [0.0 if math.isnan(f.drift) else f.drift for f in result.folds], color=_VALIDATION, width=0.6)
    drift.set_ylabel("Drift")
    drift.set_xlabel("Fold (drift: mean move of the parameters, as a share of their ranges)")
    for axes in (scores, drift):
        axes.set_xticks(places)
        axes.set_xlim(-0.6, len(places) - 0.4)
    _dress(equity, scores, drift)
    equity.set_title(title or f"Walk-forward: {_headline(result.verdict)}", loc="left", fontsize=13, fontweight="bold")
    figure.align_ylabels([equity, scores, drift])
    return figure


def _figure(width: float, height: float, dpi: int) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AIBacktraderError(
            "plots need matplotlib, which is not installed: pip install 'ai-backtrader[report]'"
        ) from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dress(*panels: Axes) -> None:
    for panel in panels:
        panel.grid(True, color="#E6E6E6", linewidth=0.6, zorder=0)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)


def _headline(verdict: str) -> str:
    words = verdict.split(":")[0].rstrip(".")
    return words[0].lower() + words[1:]


def _draw_convergence(axes: Axes, result: OptimizationResult) -> None:
    best = result.convergence
    numbers = np.arange(1, best.size + 1)
    scores = np.array([math.nan if t.score is None else t.score for t in result.trials if not t.neighbour])
    low = float(np.nanquantile(scores, 0.05))
    high = float(np.nanmax(scores))
    span = (high - low) or 1.0
    shown = scores >= low - 0.1 * span
    axes.scatter(numbers[shown], scores[shown], s=14, color=_GREY, alpha=0.7, linewidths=0, label="trials")
    axes.step(numbers, best, where="post", color=_TRAIN, linewidth=1.8, label="best so far, on the bars of the search")
    test = result.out_of_sample_score
    if test is not None:
        axes.axhline(test, color=_TEST, linestyle="--", linewidth=1.4, label="the winner on the sealed bars")
        low, high = min(low, test), max(high, test)
        span = (high - low) or 1.0
    failed = np.flatnonzero(np.isnan(scores))
    axes.set_ylim(low - 0.14 * span, high + 0.24 * span)
    if failed.size:
        bottom = np.full(failed.size, low - 0.1 * span)
        axes.scatter(numbers[failed], bottom, s=22, marker="x", color=_NOISE, linewidths=1.0, label="no score")
    below = int(np.count_nonzero(scores < low - 0.1 * span))
    if below:
        axes.annotate(
            f"{below} trials below",
            (0.995, 0.03),
            xycoords="axes fraction",
            ha="right",
            color=_GREY,
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
    axes.axhline(0.0, color="#4D4D4D", linewidth=0.8)
    axes.set_xlim(0, best.size + 1)
    axes.set_xlabel("Trial")
    axes.set_ylabel(f"Score ({result.objective})")
    axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=4, columnspacing=1.4)


def _draw_importance(axes: Axes, result: OptimizationResult) -> None:
    shares: Mapping[str, float] = dict(list(result.importance.items())[:_IMPORTANT])
    if not shares:
        axes.text(0.5, 0.5, "too few scored trials to tell", ha="center", color=_GREY, transform=axes.transAxes)
        axes.set_yticks([])
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color=_TRAIN, alpha=0.75, height=0.65)
    from matplotlib.ticker import PercentFormatter

    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(
        "Importance" + ("" if math.isnan(result.importance_r2) else f" (model's R² {result.importance_r2:.2f})")
    )


def _draw_neighbours(axes: Axes, result: OptimizationResult) -> None:
    near = [trial for trial in result.trials if trial.neighbour]
    moved = [_moved(result, trial.parameters) for trial in near]
    names = list(dict.fromkeys(name for name in moved if name))[::-1]
    rows = {name: place for place, name in enumerate(names)}
    for up, marker in ((False, "<"), (True, ">")):
        chosen = [
            (trial.score, rows[name])
            for trial, name in zip(near, moved, strict=True)
            if name and trial.score is not None and _is_up(result, trial.parameters, name) == up
        ]
        if chosen:
            axes.scatter(
                [score for score, _ in chosen], [row for _, row in chosen], marker=marker, s=32, color=_VALIDATION,
                label="a step up" if up else "a step down", zorder=3,
            )  # fmt: skip
    axes.axvline(result.score, color=_TRAIN, linewidth=1.6, label="winner")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel(f"Score of the winner's neighbours ({len(near)})")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=9, ncols=3, columnspacing=1.0)


def _moved(result: OptimizationResult, parameters: Mapping[str, Any]) -> str:
    return next((name for name, value in parameters.items() if value != result.parameters[name]), "")


def _is_up(result: OptimizationResult, parameters: Mapping[str, Any], name: str) -> bool:
    value, best = parameters[name], result.parameters[name]
    return bool(isinstance(value, str) or value > best)


def _draw_sharpes(axes: Axes, result: OptimizationResult) -> None:
    parts: list[tuple[str, str, Part]] = [
        (word, colour, part)
        for word, colour, part in (
            ("search", _TRAIN, result.train),
            ("validation", _VALIDATION, result.validation),
            ("sealed test", _TEST, result.test),
        )
        if part is not None
    ]
    rows = np.arange(len(parts))
    axes.scatter(
        [part.figures["sharpe"] for *_, part in parts], rows, color=[colour for _, colour, _ in parts], s=60,
        label="strategy", zorder=4,
    )  # fmt: skip
    axes.scatter(
        [part.holding["sharpe"] for *_, part in parts], rows, color=_GREY, marker="|", s=200, linewidths=2.4,
        label="buy and hold", zorder=3,
    )  # fmt: skip
    luck = _annual(result, result.evidence.expected_maximum)
    if math.isfinite(luck):
        axes.plot(
            [luck, luck], [-0.35, 0.35], color=_NOISE, linewidth=2.0,
            label=f"best of {result.evidence.n_trials:,.0f} trials without an edge",
        )  # fmt: skip
    axes.axvline(0.0, color="#4D4D4D", linewidth=0.8)
    axes.set_yticks(rows, [f"{word}, {part.bars:,} bars" for word, _, part in parts])
    axes.set_ylim(len(rows) - 0.5, -1.0)  # the search on top, and room for the legend
    axes.set_xlabel("Sharpe ratio, annual")
    axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=3, columnspacing=1.2, handletextpad=0.4)
