"""Backtrader's own picture of a run, written to a file (extra ``[report]``: matplotlib)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from ai_backtrader.errors import AIBacktraderError

__all__ = ["save_cerebro_plot"]


def save_cerebro_plot(
    cerebro: Any,
    path: str | PathLike[str],
    *,
    width: float = 14.0,
    height: float = 9.0,
    dpi: int = 120,
    start: Any = None,
    end: Any = None,
    **options: Any,
) -> tuple[Path, ...]:
    """Write what ``cerebro.plot()`` draws, on any machine, with or without a screen.

    Backtrader chooses the Tk window system when its plotting is imported, which fails without a screen whatever was
    chosen before, unless pyplot is there already: here it is brought in first, without a window.

    Parameters
    ----------
    cerebro
        That has run.
    path
        File to write; the suffix chooses the format. With several figures (strategies, or ``numfigs`` above 1) the
        second becomes ``name-2.png`` and so on.
    width, height, dpi
        Size in inches and dots an inch.
    start, end
        First and last bar or date, as in ``cerebro.plot``.
    **options
        ``numfigs``, and attributes of Backtrader's ``PlotScheme`` (``style="candle"``, ``volume=False``, …).

    Returns
    -------
    tuple of Path
        Files written.

    Raises
    ------
    AIBacktraderError
        Without matplotlib, when Cerebro has not run, or kept too little to plot (``exactbars``).
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise AIBacktraderError(
            "plots need matplotlib, which is not installed: pip install 'ai-backtrader[report]'"
        ) from error
    if not getattr(cerebro, "runstrats", None):
        raise AIBacktraderError("save_cerebro_plot: nothing was run; call cerebro.run() first")
    if cerebro._exactbars > 0:
        raise AIBacktraderError("save_cerebro_plot: exactbars above 0 keeps too few bars to plot; run without it")
    before = mpl.get_backend(auto_select=False)
    mpl.use("Agg", force=True)
    import matplotlib.pyplot as plt

    # Only now: its import asks for Tk, and gives up because pyplot is there.
    from backtrader import plot

    mpl.use("Agg", force=True)
    figures: list[Any] = []
    numfigs = options.pop("numfigs", 1)
    try:
        for strategies in cerebro.runstrats:
            for place, strategy in enumerate(strategies):
                plotter = plot.Plot(**options)
                figures += plotter.plot(strategy, figid=100 * place, numfigs=numfigs, start=start, end=end)
        return _written(figures, Path(path), width, height, dpi)
    finally:
        for figure in figures:
            plt.close(figure)
        if before is not None:
            mpl.use(before, force=True)


def _written(figures: list[Any], path: Path, width: float, height: float, dpi: int) -> tuple[Path, ...]:
    files = []
    for place, figure in enumerate(figures, start=1):
        file = path if place == 1 else path.with_name(f"{path.stem}-{place}{path.suffix}")
        figure.set_size_inches(width, height)
        figure.savefig(file, dpi=dpi, bbox_inches="tight")
        files.append(file)
    return tuple(files)
