"""Picture of an audit: price, both equity curves, and where the exchange closed what Backtrader kept."""

from __future__ import annotations

import itertools
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.audit.findings import FindingKind
from ai_backtrader.audit.report import AuditReport
from ai_backtrader.errors import AIBacktraderError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_audit", "save_audit_plot"]

# Okabe and Ito's palette: told apart with any kind of colour vision.
_HIDDEN, _REAL, _DEAD, _GREY = "#E69F00", "#0072B2", "#D55E00", "#4D4D4D"


def plot_audit(report: AuditReport, *, width: float = 11.0, height: float = 6.5, dpi: int = 120) -> Figure:
    """Both equity curves, the account below zero, and the positions that the exchange had closed.

    Parameters
    ----------
    report
        Of :func:`~ai_backtrader.audit.audit_strategy`.
    width, height, dpi
        Size in inches and dots an inch.

    Raises
    ------
    AIBacktraderError
        Without matplotlib, or when the run has no bars.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AIBacktraderError(
            "plots need matplotlib, which is not installed: pip install 'ai-backtrader[report]'"
        ) from error
    if not report.backtrader.equity.size:
        raise AIBacktraderError("plot_audit: the run has no bars, there is nothing to draw; give it a feed with bars")
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    curves, gap = figure.subplots(2, 1, sharex=True, height_ratios=[3.0, 1.2])
    _draw_curves(curves, report)
    _draw_gap(gap, report)
    for axes in (curves, gap):
        axes.grid(color="#DDDDDD", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for record in report.exchange.liquidations:
            axes.axvline(np.datetime64(record.bar_time), color=_DEAD, linewidth=0.6, alpha=0.35, zorder=1)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # matplotlib's dates have no types
    gap.xaxis.set_major_locator(locator)
    gap.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # nor these
    return figure


def save_audit_plot(report: AuditReport, path: str | PathLike[str] | BinaryIO, **options: Any) -> None:
    """Write :func:`plot_audit` to a file (its suffix chooses PNG, SVG or PDF) or, as PNG, to an open one."""
    png = not isinstance(path, str | PathLike) or str(path).endswith(".png")
    # Without versions in the file the same audit writes the same bytes.
    plot_audit(report, **options).savefig(path, metadata={"Software": None} if png else None)


def _draw_curves(axes: Axes, report: AuditReport) -> None:
    hidden, real = report.backtrader, report.exchange
    for run, colour, word in ((hidden, _HIDDEN, "Backtrader's broker"), (real, _REAL, "LeverageBroker")):
        shown = _thinned(run.equity)
        label = f"{word}: ends at {run.metrics['final_equity']:,.0f}"
        axes.plot(run.times[shown], run.equity[shown], color=colour, linewidth=1.1, label=label, zorder=3)
    if hidden.equity.min() < 0.0:
        axes.axhline(0.0, color=_GREY, linewidth=0.8)
        shown = _thinned(hidden.equity)
        debt = np.minimum(hidden.equity[shown], 0.0)
        axes.fill_between(hidden.times[shown], debt, 0.0, color=_DEAD, alpha=0.3, linewidth=0, label="owes money")
    survived = [event for finding in report.of(FindingKind.LIQUIDATION_SURVIVED) for event in finding.events]
    if survived:
        bars = np.array([event.bar for event in survived])
        axes.scatter(
            hidden.times[bars], hidden.equity[bars], marker="X", s=46, color=_DEAD, edgecolors="white", linewidths=0.5,
            label=f"liquidation survived ({len(survived):,})", zorder=4,
        )  # fmt: skip
    if real.liquidations:
        axes.plot([], [], color=_DEAD, alpha=0.5, label=f"liquidated by LeverageBroker ({len(real.liquidations):,})")
    title = f"{report.strategy} on {', '.join(report.feeds)} at {report.leverage:g}x: the same code on two brokers"
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=42)
    axes.set_ylabel("Account value")
    # Above the panel, where it hides no curve.
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3)


def _draw_gap(axes: Axes, report: AuditReport) -> None:
    """What Backtrader shows above the exchange."""
    steps = min(report.backtrader.equity.size, report.exchange.equity.size)
    gap = report.backtrader.equity[:steps] - report.exchange.equity[:steps]
    shown = _thinned(gap)
    axes.fill_between(report.backtrader.times[:steps][shown], 0.0, gap[shown], color=_HIDDEN, alpha=0.5, linewidth=0)
    axes.axhline(0.0, color=_GREY, linewidth=0.6)
    axes.set_ylabel("Backtrader\nshows more by")


def _thinned(values: NDArray[np.float64], buckets: int = 1_200) -> NDArray[np.int64]:
    """Positions of the lowest, highest and last value of each stretch: no peak and no crash is lost."""
    if values.size <= 3 * buckets:
        return np.arange(values.size)
    edges = np.linspace(0, values.size, buckets + 1).astype(np.int64)
    keep = [
        (low + np.argmin(values[low:high]), low + np.argmax(values[low:high]), high - 1)
        for low, high in itertools.pairwise(edges)
    ]
    return np.unique(np.array(keep, dtype=np.int64))
