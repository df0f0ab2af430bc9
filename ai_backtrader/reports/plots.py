"""Pictures of a run (extra ``[report]``: matplotlib). Nothing is shown on a screen, no global backend is touched."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.figures import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["extremes", "plot_run", "save_plot"]

Floats = NDArray[np.float64]

# Okabe and Ito's palette: told apart with any kind of colour vision; shapes differ as well.
_OWN, _MARKET, _PRICE = "#0072B2", "#8A8A8A", "#4D4D4D"
_LONG, _SHORT, _LIQUIDATED, _LEVERAGE, _MARGIN = "#009E73", "#E69F00", "#D55E00", "#0072B2", "#CC79A7"
_LOSS = "#D55E00"
_MOST_MARKERS = 250  # above, single entries and exits cover the price; the position strip still shows them


def plot_run(
    result: Mapping[str, Any], *, title: str | None = None, width: float = 12.0, height: float = 9.0, dpi: int = 120
) -> Figure:
    """Price with positions and liquidations, account beside buy and hold, leverage and margin ratio over time.

    Parameters
    ----------
    result
        The **analyzers** (not their analyses) ``performance`` and, where there was one, ``liquidations``.
    title
        None: symbol and strategy.
    width, height, dpi
        Size in inches and dots an inch.

    Returns
    -------
    matplotlib.figure.Figure
        With a canvas of its own; ``figure.savefig(path)`` writes it.

    Raises
    ------
    AIBacktraderError
        Without matplotlib, or when the run has no bars.

    Notes
    -----
    Above four points a pixel only the first, lowest, highest and last bar of each pixel are drawn (M4, Jugel et al.,
    2014): no peak and no crash is lost. Times are UTC.
    """
    figure_class, canvas_class = _matplotlib()
    performance, liquidations = result["performance"], result.get("liquidations")
    figures = performance.get_analysis()
    if not figures["bars"]:
        raise AIBacktraderError(
            "plot_run: the run has no bars, there is nothing to draw; give the strategy a feed with bars"
        )
    margin = None if liquidations is None else _worst_margin(liquidations)
    heights = [3.2, 2.6, 1.1] + ([1.1] if margin is not None else [])
    figure = figure_class(figsize=(width, height), dpi=dpi, layout="constrained")
    canvas_class(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    pixels = int(width * dpi)
    times = performance.times
    _draw_price(axes[0], performance, liquidations, pixels)
    _draw_equity(axes[1], performance, pixels)
    _draw_leverage(axes[2], times, performance.leverage, pixels)
    if liquidations is not None and margin is not None:
        _draw_margin(axes[3], times, margin, liquidations.get_analysis()["threshold"], pixels)
    fills = performance.fills()
    for moment in fills.loc[fills["liquidation"], "time"].drop_duplicates():
        for panel in axes:
            panel.axvline(moment, color=_LIQUIDATED, linewidth=0.8, alpha=0.5, zorder=1)
    _dress(figure, axes)
    axes[0].set_title(
        title or f"{figures['symbol']}, {figures['strategy']}", loc="left", fontsize=14, fontweight="bold", pad=24
    )
    summary = axes[0].annotate(
        _summary(figures), (0.0, 1.0), (0.0, 8.0), xycoords="axes fraction", textcoords="offset points", color=_PRICE
    )
    summary.set_in_layout(False)  # else a line wider than a small figure leaves no room for the panels
    return figure


def save_plot(result: Mapping[str, Any], path: str | PathLike[str], **options: Any) -> None:
    """Write :func:`plot_run` to a file; the suffix chooses the format (``.png``, ``.svg``, ``.pdf``).

    Parameters
    ----------
    result
        As for :func:`plot_run`.
    path
        File to write.
    options
        Of :func:`plot_run`.
    """
    # Without dates and versions in the file the same run writes the same bytes.
    plot_run(result, **options).savefig(path, metadata={"Software": None} if str(path).endswith(".png") else None)


def extremes(values: NDArray[Any], buckets: int) -> NDArray[np.int64]:
    """Positions of the first, lowest, highest and last value of each of ``buckets`` equal stretches, ascending.

    Parameters
    ----------
    values
        Shape (n,). NaN is skipped, unless a stretch holds nothing else.
    buckets
        Number of stretches; with ``n <= 4 * buckets`` every position is kept.
    """
    count = values.size
    if count <= 4 * buckets:
        return np.arange(count)
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    keep = [edges[:-1], edges[1:] - 1]
    for fill, pick in ((np.inf, np.argmin), (-np.inf, np.argmax)):
        known = np.where(np.isnan(values), fill, values)
        keep.append(np.array([low + pick(known[low:high]) for low, high in itertools.pairwise(edges)]))
    return np.unique(np.concatenate(keep))


def _matplotlib() -> tuple[type[Figure], Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AIBacktraderError(
            "plots need matplotlib, which is not installed: pip install 'ai-backtrader[report]'"
        ) from error
    return Figure, FigureCanvasAgg


# ------------------------------------------------------------------------------------------------------------- panels


def _draw_price(axes: Axes, performance: Any, liquidations: Any, pixels: int) -> None:
    times, price = performance.times, performance.price
    shown = extremes(price, pixels)
    axes.plot(times[shown], price[shown], color=_PRICE, linewidth=0.8, zorder=2)
    fills = performance.fills()
    fills = fills[fills["feed"] == performance.get_analysis()["symbol"]]
    entries = fills[(fills["opened"] != 0) & ~fills["liquidation"]]
    exits = fills[(fills["closed"] != 0) & (fills["opened"] == 0) & ~fills["liquidation"]]
    if len(entries) + len(exits) <= _MOST_MARKERS:
        for rows, marker, colour, word, lift in (
            (entries[entries["opened"] > 0], "^", _LONG, "entry long", -8.0),
            (entries[entries["opened"] < 0], "v", _SHORT, "entry short", 8.0),
            (exits, "o", "white", "exit", 0.0),
        ):
            _mark(axes, rows["time"], rows["price"], marker, colour, word, size=22, lift=lift)
    liquidated = fills[fills["liquidation"]]
    _mark(axes, liquidated["time"], liquidated["price"], "X", _LIQUIDATED, "liquidation", size=80)
    side = _side_by_bar(fills, times.size)
    for sign, colour, word in ((1, _LONG, "long"), (-1, _SHORT, "short")):
        if (side == sign).any():
            # A strip along the foot, in axes height, so that it never hides the price.
            axes.fill_between(
                times, 0.0, 0.025, where=side == sign, step="post", color=colour, linewidth=0, label=f"{word} position",
                transform=axes.get_xaxis_transform(), zorder=1,
            )  # fmt: skip
    _fit_scale(axes, price[~np.isnan(price)])
    axes.set_ylabel("Price (quote currency)")
    _legend(axes)


def _draw_equity(axes: Axes, performance: Any, pixels: int) -> None:
    times, equity, market = performance.times, performance.equity, performance.buy_and_hold
    shown = np.union1d(extremes(equity, pixels), extremes(market, pixels))
    peak = np.maximum.accumulate(equity)
    axes.fill_between(
        times[shown], equity[shown], peak[shown], color=_LOSS, alpha=0.18, linewidth=0, label="drawdown", zorder=1
    )
    figures = performance.get_analysis()
    own, passive = (percent(side["total_return"]) for side in (figures, figures["buy_and_hold"]))
    axes.plot(times[shown], market[shown], color=_MARKET, linewidth=0.9, label=f"buy and hold {passive}", zorder=2)
    axes.plot(times[shown], equity[shown], color=_OWN, linewidth=1.2, label=f"{figures['strategy']} {own}", zorder=3)
    _fit_scale(axes, np.concatenate((equity, market)))
    axes.set_ylabel("Account value (cash)")
    _legend(axes)


def _draw_leverage(axes: Axes, times: NDArray[Any], leverage: Floats, pixels: int) -> None:
    drawn = np.where(np.isfinite(leverage), leverage, np.nan)
    shown = extremes(drawn, pixels)
    axes.fill_between(times[shown], 0.0, drawn[shown], color=_LEVERAGE, alpha=0.55, linewidth=0)
    axes.axhline(1.0, color=_MARKET, linewidth=0.8, linestyle=":")
    axes.set_ylim(0.0, max(1.25, 1.08 * float(np.nanmax(drawn, initial=0.0))))
    axes.set_ylabel("Leverage")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")


def _draw_margin(axes: Axes, times: NDArray[Any], margin: Floats, threshold: float, pixels: int) -> None:
    shown = extremes(margin, pixels)
    # The thin edge keeps a spike of one bar, narrower than a pixel, from fading away.
    axes.fill_between(times[shown], 0.0, 100.0 * margin[shown], color=_MARGIN, linewidth=0.6)
    axes.axhline(100.0 * threshold, color=_MARKET, linewidth=0.8, linestyle=":")
    axes.axhline(100.0, color=_LIQUIDATED, linewidth=0.8)
    axes.set_ylim(0.0, 108.0)
    axes.set_yticks([0.0, 100.0 * threshold, 100.0])
    axes.set_ylabel("Margin ratio")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")


def _dress(figure: Figure, axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    for panel in axes:
        panel.grid(True, color="#E6E6E6", linewidth=0.6, zorder=0)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.005)
    locator: Any = AutoDateLocator(tz=dt.UTC)  # type: ignore[no-untyped-call]  # matplotlib.dates has no types
    formatter: Any = ConciseDateFormatter(locator, tz=dt.UTC)  # type: ignore[no-untyped-call]  # as above
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(formatter)
    axes[-1].set_xlabel("Time (UTC)")
    figure.align_ylabels(axes)


# ---------------------------------------------------------------------------------------------------------------- parts


def _summary(figures: Mapping[str, Any]) -> str:
    market = figures["buy_and_hold"]
    liquidations = figures["liquidations"]
    return (
        f"{figures['start']:%Y-%m-%d} to {figures['end']:%Y-%m-%d}  ·  "
        f"return {percent(figures['total_return'])} (buy and hold {percent(market['total_return'])})  ·  "
        f"largest drawdown {percent(figures['max_drawdown'], signed=False)}  ·  "
        f"{figures['trades']:,} trades, {liquidations:,} {'liquidation' if liquidations == 1 else 'liquidations'}"
    )


def _mark(
    axes: Axes,
    times: pd.Series,
    prices: pd.Series,
    marker: str,
    colour: str,
    word: str,
    *,
    size: float,
    lift: float = 0.0,
) -> None:
    from matplotlib.transforms import ScaledTranslation

    if len(times):
        # Entries point at the price from below or above (lift in points), so that an exit on the same bar stays seen.
        place = axes.transData + ScaledTranslation(0.0, lift / 72.0, axes.figure.dpi_scale_trans)
        axes.scatter(
            times.to_numpy(), prices.to_numpy(), marker=marker, s=size, color=colour, edgecolors=_PRICE, linewidths=0.5,
            label=word, zorder=5 if word == "liquidation" else 4, transform=place,
        )  # fmt: skip


def _legend(axes: Axes) -> None:
    handles, words = axes.get_legend_handles_labels()
    if handles:
        columns = max(2, int(axes.figure.bbox.width / axes.figure.dpi // 1.7))
        axes.legend(
            handles, words, loc="upper left", ncols=columns, fontsize=9, frameon=False, handletextpad=0.4,
            columnspacing=1.4,
        )  # fmt: skip


def _side_by_bar(fills: pd.DataFrame, bars: int) -> Floats:
    change = np.bincount(fills["bar"].to_numpy(dtype=np.int64), weights=fills["size"].to_numpy(float), minlength=bars)
    size = np.cumsum(change)
    # Sizes in floats may leave dust where a position was closed.
    dust = 1e-9 * float(np.max(np.abs(change), initial=0.0))
    return np.where(np.abs(size) > dust, np.sign(size), 0.0)


def _worst_margin(liquidations: Any) -> Floats | None:
    histories = list(liquidations.margin_ratio.values())
    worst: Floats = np.max(np.array(histories), axis=0)
    return worst if worst.any() else None


def _fit_scale(axes: Axes, values: Floats) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = float(np.min(values)), float(np.max(values))
    digits = max(0, 3 - int(np.floor(np.log10(abs(high) or 1.0))))  # 4 digits: 1.234, 12,345
    # On a linear axis a manifold range flattens everything but its top.
    if low > 0 and high / low > 4.0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(low * (low / high) ** 0.09, high * (high / low) ** 0.16)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    else:
        span = high - low or abs(high) or 1.0
        axes.set_ylim(low - 0.09 * span, high + 0.18 * span)  # head room for the legend, foot room for the strip
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.{digits}f}")
