"""The study's picture: growth of 1 in every market."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import matplotlib.dates as mdates
import numpy as np
from accounts import MarketAccounts
from classics import CLASSICS
from markets import MARKETS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

__all__ = ["draw"]

# Okabe and Ito's palette: told apart with any kind of colour vision.
_LINES = {
    "buy_and_hold": ("Buy and hold", "#222222", 1.6), "volatility_target": ("Volatility target", "#E69F00", 1.3),
    "fund": ("The fund", "#0072B2", 1.8), "ai": ("AIStrategy", "#D55E00", 1.8),
}  # fmt: skip
_CLASSIC, _TEXT, _POINTS = "#B8B8B8", "#4D4D4D", 700


def draw(markets: Mapping[str, MarketAccounts], path: str | PathLike[str]) -> None:
    """Write the picture, a panel a market, to a PNG file."""
    rows = (len(markets) + 1) // 2
    figure = Figure(figsize=(12.0, 4.1 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for panel, (name, held) in zip(panels, markets.items(), strict=False):
        at = np.unique(np.linspace(0, len(held.times) - 1, _POINTS).round().astype(int))
        times = held.times[at].astype("datetime64[s]").astype(object)
        others = [classic for classic in CLASSICS if classic not in _LINES and classic != "flat"]
        for place, classic in enumerate(others):
            label = "Four classics" if not place else None
            panel.plot(times, held.accounts[classic].growth[at], color=_CLASSIC, linewidth=0.8, label=label)
        for line, (label, colour, width) in _LINES.items():
            panel.plot(times, held.accounts[line].growth[at], color=colour, linewidth=width, label=label)
        for start in held.starts:
            panel.axvline(
                held.times[start].astype("datetime64[s]").astype(object), color="#999999", linewidth=0.7, ls=":"
            )
        panel.axhline(1.0, color="#999999", linewidth=0.7)
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        panel.yaxis.set_major_locator(FixedLocator([mark for mark in _marks(high / low) if low < mark < high]))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(mdates.ConciseDateFormatter(panel.xaxis.get_major_locator()))
        panel.set_title(MARKETS[name].title, loc="left", fontsize=11, color=_TEXT)
        panel.grid(True, color="#E6E6E6", linewidth=0.6)
        panel.tick_params(colors=_TEXT, labelsize=9, which="both")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    for panel in panels[len(markets) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=10)
    figure.suptitle("Growth of 1, costs paid; dotted: a fold begins", fontsize=11, color=_TEXT)
    figure.savefig(path, metadata={"Software": None})


def _marks(span: float) -> list[float]:
    """Values to mark on an axis whose ends are so many times apart."""
    if span > 4.0:
        return [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0]
    return [0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0]
