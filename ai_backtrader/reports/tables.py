"""The result of a run as tables for the terminal."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ai_backtrader.reports.adaptations import adaptation_table
from ai_backtrader.reports.figures import (
    MISSING,
    analyses,
    bars_as_time,
    money,
    multiple,
    number,
    percent,
    verdict,
    withheld,
)

__all__ = ["figure_rows", "result_table", "result_text"]

_Row = tuple[str, str, str]


def result_table(result: Mapping[str, Any]) -> RenderableType:
    """Everything a reader needs to judge a run, for ``rich.console.Console().print``.

    Parameters
    ----------
    result
        ``performance`` and, where there were any, ``liquidations`` and ``decisions``: analyzers or their analyses;
        ``adaptation``, of ``AdaptationComparison.to_dict()``.

    Returns
    -------
    RenderableType
        Figures beside buy and hold, votes by source, a verdict in plain words. Undefined figures are dashes.
    """
    found = analyses(result)
    performance = found["performance"]
    parts: list[RenderableType] = [_figures(performance, found.get("liquidations"))]
    decisions = found.get("decisions")
    if decisions and decisions["decisions"]:
        parts += [Text(), _votes(decisions)]
        if decisions["paper"]["trades"]:
            parts += [Text(), Text(withheld(decisions["paper"]))]
    if "adaptation" in found:
        parts += [Text(), adaptation_table(found["adaptation"])]
    parts += [Text(), Text(verdict(performance), style="bold")]
    return Group(*parts)


def result_text(result: Mapping[str, Any], *, width: int = 100) -> str:
    """:func:`result_table` as plain text of at most ``width`` columns, for files and READMEs."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(result_table(result))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _figures(performance: Mapping[str, Any], liquidations: Mapping[str, Any] | None) -> Table:
    table = _table(_title(performance))
    table.add_column("")
    table.add_column(performance["strategy"], justify="right")
    table.add_column("Buy and hold", justify="right", style="dim")
    for section in figure_rows(performance, liquidations):
        for row in section:
            table.add_row(*row)
        table.add_section()
    return table


def figure_rows(
    performance: Mapping[str, Any], liquidations: Mapping[str, Any] | None
) -> tuple[Iterable[tuple[str, str, str]], ...]:
    """Label, figure and buy and hold's of the account, the ratios, the trades and the costs, from analyses."""
    return _account(performance), _ratios(performance), _trades(performance), _costs(performance, liquidations)


def _table(title: str, *, collapse_padding: bool = False) -> Table:
    return Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False,
        collapse_padding=collapse_padding,
    )  # fmt: skip


def _title(performance: Mapping[str, Any]) -> str:
    year = performance["bars_per_year"]
    return f"{performance['symbol']}, {bars_as_time(performance['bars'], year)}"


def _account(performance: Mapping[str, Any]) -> Iterable[_Row]:
    market = performance["buy_and_hold"]
    yield "Start", _time(performance["start"]), ""
    yield "End", _time(performance["end"]), ""
    held = performance["start_equity"] * (1.0 + market["total_return"])
    yield "Start equity", money(performance["start_equity"]), ""
    yield "Final equity", money(performance["final_equity"]), money(held)
    yield "Peak equity", money(performance["peak_equity"]), ""


def _ratios(performance: Mapping[str, Any]) -> Iterable[_Row]:
    sides = (performance, performance["buy_and_hold"])
    rows = (
        ("Return", "total_return", percent),
        ("CAGR", "cagr", percent),
        ("Volatility, annual", "volatility", _share),
        ("Sharpe ratio", "sharpe_ratio", number),
        ("Sortino ratio", "sortino_ratio", number),
        ("Calmar ratio", "calmar_ratio", number),
        ("Largest drawdown", "max_drawdown", _share),
    )
    for label, key, form in rows:
        yield label, *(form(side[key]) for side in sides)  # type: ignore[misc]  # two sides make a row of three
    year = performance["bars_per_year"]
    yield "Longest drawdown", *(bars_as_time(side["max_drawdown_bars"], year) for side in sides)  # type: ignore[misc]  # as above
    yield "Exposure", _share(performance["exposure"]), _share(1.0)
    yield "Time above 1x", _share(performance["time_above_1x"]), _share(0.0)
    yield "Highest leverage", multiple(performance["max_leverage"]), multiple(1.0)
    yield "Turnover a year", multiple(performance["turnover"]), ""


def _trades(performance: Mapping[str, Any]) -> Iterable[_Row]:
    still_open = performance["trades_open"]
    yield "Trades", f"{performance['trades']:,}" + (f" (+{still_open} open)" if still_open else ""), ""
    yield "Win rate", _share(performance["win_rate"]), ""
    yield "Best trade, of equity", percent(performance["best_return"]), ""
    yield "Worst trade, of equity", percent(performance["worst_return"]), ""
    yield "Average trade, of equity", percent(performance["average_return"]), ""
    yield "Average trade, length", bars_as_time(performance["average_bars"], performance["bars_per_year"]), ""
    yield "Expectancy per trade", money(performance["expectancy"]), ""
    yield "Profit factor", number(performance["profit_factor"]), ""
    yield "SQN", number(performance["sqn"]), ""
    yield "Kelly fraction", percent(performance["kelly_fraction"]), ""


def _costs(performance: Mapping[str, Any], liquidations: Mapping[str, Any] | None) -> Iterable[_Row]:
    yield "Fees paid", money(performance["fees"]), ""
    funding = performance["funding"]
    yield ("Funding received", money(-funding), "") if funding < 0 else ("Funding paid", money(funding), "")
    yield "Liquidations", f"{performance['liquidations']:,}", ""
    if liquidations is not None:
        if liquidations["liquidations"]:
            yield "Lost in liquidations", money(liquidations["loss"]), ""
        yield "Highest margin ratio", _share(liquidations["max_margin_ratio"]), ""
        label = f"Margin ratio above {liquidations['threshold']:.0%}"
        yield label, _share(liquidations["time_above_threshold"]), ""
    yield "Rejected orders", f"{performance['rejected_orders']:,}", ""


def _votes(decisions: Mapping[str, Any]) -> Table:
    actions = decisions["actions"]
    counts = ", ".join(f"{actions[action]:,} {action.lower()}" for action in ("BUY", "SELL", "HOLD"))
    title = f"Votes in {decisions['decisions']:,} decisions ({counts}, {decisions['vetoes']:,} vetoed)"
    table = _table(title, collapse_padding=True)
    table.add_column("Source", no_wrap=True)
    for name in ("Weight", "Votes", "Buy", "Sell", "Hold", "Silent", "Failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Why silent", overflow="fold")  # the most common reason
    for name, source in decisions["sources"].items():
        counts_of = (source[key] for key in ("votes", "buys", "sells", "holds", "abstentions", "failures"))
        table.add_row(
            name,
            MISSING if math.isnan(source["weight"]) else f"{source['weight']:.0%}",
            *(f"{count:,}" for count in counts_of),
            source["most_common_reason"],
        )
    return table


def _share(fraction: float) -> str:
    return percent(fraction, signed=False)


def _time(moment: dt.datetime | None) -> str:
    return MISSING if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
