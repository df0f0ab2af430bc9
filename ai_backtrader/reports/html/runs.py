"""Sections of a Cerebro run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers import Allocations, Decisions, Evidence, Learning, Liquidations, Performance, Timeline
from ai_backtrader.analyzers.evidence import evidence_figures
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.figures import money, multiple, number, percent, verdict, withheld
from ai_backtrader.reports.html.adapting import adaptation_section
from ai_backtrader.reports.html.cards import card_of, card_table
from ai_backtrader.reports.html.deciding import decision_section
from ai_backtrader.reports.html.funds import fund_section
from ai_backtrader.reports.html.learning import learning_section
from ai_backtrader.reports.html.parts import (
    BUCKETS,
    Chart,
    Section,
    Table,
    Words,
    aligned,
    area,
    bars,
    line,
    marks,
    moments,
    numbers,
    safe,
    scale,
    thinned,
)
from ai_backtrader.reports.tables import figure_rows

__all__ = ["run_of", "run_sections"]

_MOST_MARKS = 2_000  # of one kind; more would hide the price and slow the page
_KINDS = {
    "performance": Performance,
    "liquidations": Liquidations,
    "decisions": Decisions,
    "evidence": Evidence,
    "timeline": Timeline,
    "allocations": Allocations,
    "learning": Learning,
}


def run_of(result: Any, *, without: Any = None) -> dict[str, Any]:
    """Analyzers of a run by name, and its ``strategy`` and ``run`` card, from a strategy or from such a mapping.

    Parameters
    ----------
    result
        The strategy or mapping.
    without
        Strategy of the same run without adaptation; it becomes ``unadapted``. None leaves that as it is.

    Raises
    ------
    AIBacktraderError
        If the analyzer Performance was not there, or saw no bars.
    """
    if isinstance(result, Mapping):
        run = dict(result)
    else:
        run = {"strategy": result}
        for analyzer in result.analyzers:
            for name, kind in _KINDS.items():
                if isinstance(analyzer, kind):
                    run.setdefault(name, analyzer)
    if not isinstance(run.get("performance"), Performance):
        raise AIBacktraderError(
            "save_html: the run has no analyzer Performance; call cerebro.addanalyzer(Performance) before run(), and "
            "Liquidations, Decisions, Evidence, Timeline, Learning and Allocations for their sections"
        )
    if not run["performance"].get_analysis()["bars"]:
        raise AIBacktraderError("save_html: the run has no bars, there is nothing to show; give it a feed with bars")
    return run if without is None else run | {"unadapted": without}


def run_sections(run: Mapping[str, Any]) -> list[Section]:
    """Sections of :func:`run_of`: verdict, account, margin, trades, decisions, evidence, attribution, card."""
    performance: Performance = run["performance"]
    figures = performance.get_analysis()
    liquidations = run.get("liquidations")
    rows = [
        row
        for group in figure_rows(figures, None if liquidations is None else liquidations.get_analysis())
        for row in group
    ]
    sections = [
        Section(
            title="Result",
            parts=[
                Words(text=verdict(figures), kind="verdict"),
                Table(heads=("", figures["strategy"], "Buy and hold"), rows=rows),
            ],
        ),
        _over_time(run),
    ]
    strategy = run.get("strategy")
    sections += [
        section
        for section in (
            decision_section(run["decisions"]) if "decisions" in run else None,
            _evidence(run),
            _attribution(run),
            fund_section(run["allocations"]) if "allocations" in run else None,
            adaptation_section(run),
            learning_section(strategy, run.get("learning")),
        )
        if section is not None
    ]
    card = run.get("run") or (card_of(strategy) if strategy is not None else {})
    if card:
        sections.append(Section(title="Run card", parts=[card_table(card)]))
    return aligned(sections, performance.times)


# ----------------------------------------------------------------------------------------------------------- over time


def _over_time(run: Mapping[str, Any]) -> Section:
    performance: Performance = run["performance"]
    timeline: Timeline | None = run.get("timeline")
    bars_seen = performance.times.size
    charts = [
        _price_chart(performance), _equity_chart(performance), _drawdown_chart(performance),
        _leverage_chart(run), *_margin_charts(run),
    ]  # fmt: skip
    if timeline is not None and timeline.series("funding").any():
        charts.append(_funding_chart(timeline))
    note = "With a mouse, drag over a chart to zoom: all of them follow. Double-click to come back."
    if bars_seen > 4 * BUCKETS:
        note += (
            f" Of {bars_seen:,} bars each curve shows the first, lowest, highest and last of every "
            f"{math.ceil(bars_seen / BUCKETS):,}: no peak and no crash is left out, what lies between is."
        )
    return Section(title="Over time", parts=[Words(text=note, kind="note"), *charts])


def _shown(performance: Performance, *series: NDArray[np.float64]) -> tuple[NDArray[np.int64], Any]:
    positions = thinned(*series)
    return positions, moments(performance.times[positions])


def _timed(title: str, traces: list[dict[str, Any]], told: str, **options: Any) -> Chart:
    layout = {"xaxis": {"type": "date"}} | options.pop("layout", {})
    return Chart(title=title, traces=traces, layout=layout, told=told, timeline=True, **options)


def _price_chart(performance: Performance) -> Chart:
    price, figures = performance.price, performance.get_analysis()
    shown, when = _shown(performance, price)
    traces = [line(when, price[shown], str(figures["symbol"]), "@price", hovertemplate="%{x}<br>%{y:,.6~g}", width=1.2)]
    fills = performance.fills()
    fills = fills[fills["feed"] == figures["symbol"]]
    kinds = (
        ("entry long", "@long", "triangle-up", (fills["opened"] > 0) & ~fills["liquidation"], 10),
        ("entry short", "@short", "triangle-down", (fills["opened"] < 0) & ~fills["liquidation"], 10),
        ("exit", "@price", "circle-open", (fills["closed"] != 0) & (fills["opened"] == 0) & ~fills["liquidation"], 8),
        ("liquidation", "@loss", "x", fills["liquidation"], 13),
    )
    left = []
    for name, colour, symbol, chosen, size in kinds:
        rows = fills[chosen]
        if len(rows) > _MOST_MARKS:
            left.append(f"{len(rows) - _MOST_MARKS:,} of {len(rows):,} ({name})")
            rows = rows.nlargest(_MOST_MARKS, "notional").sort_index()
        if len(rows):
            traces.append(
                marks(
                    moments(rows["time"].to_numpy()), rows["price"].to_numpy(), name, colour, symbol, size=size,
                    text=[_fill_words(name, fill) for fill in rows.itertuples()],
                    hovertemplate="%{text}<extra></extra>",
                )
            )  # fmt: skip
    note = f"The smallest fills are not marked: {', '.join(left)}." if left else ""
    return _timed(
        "Price and trades", traces,
        f"Price of {figures['symbol']} with {figures['trades']:,} closed trades, {figures['liquidations']:,} "
        "liquidations marked.",
        layout={"yaxis": {"title": {"text": "Price"}} | scale(price)}, note=note, height=380,
    )  # fmt: skip


def _fill_words(name: str, fill: Any) -> str:
    return safe(
        f"{name}: {abs(fill.size):,.6g} at {fill.price:,.6g}, {fill.time:%Y-%m-%d %H:%M}, "
        f"notional {fill.notional:,.2f}, commission {fill.commission:,.2f}"
    )


def _equity_chart(performance: Performance) -> Chart:
    equity, market, figures = performance.equity, performance.buy_and_hold, performance.get_analysis()
    shown, when = _shown(performance, equity, market)
    own, passive = figures["total_return"], figures["buy_and_hold"]["total_return"]
    template = "%{y:,.2f}"
    return _timed(
        "Account value", [
            line(when, market[shown], f"buy and hold {percent(passive)}", "@market", dash="dot",
                 hovertemplate=template),
            line(when, equity[shown], f"{figures['strategy']} {percent(own)}", "@own", hovertemplate=template, width=2),
        ],
        f"{figures['strategy']} {percent(own)}, buy and hold {percent(passive)}.",
        layout={"hovermode": "x unified", "yaxis": {"title": {"text": "Account currency"}} | scale(equity, market)},
        height=340,
    )  # fmt: skip


def _drawdown_chart(performance: Performance) -> Chart:
    own = -100.0 * ev.drawdowns(performance.growth)
    market = -100.0 * ev.drawdowns(performance.buy_and_hold)
    shown, when = _shown(performance, own, market)
    template = "%{y:.2f} %"
    return _timed(
        "Drawdown", [
            line(when, market[shown], "buy and hold", "@market", hovertemplate=template, dash="dot", width=1.2),
            area(when, own[shown], str(performance.get_analysis()["strategy"]), "@loss", hovertemplate=template),
        ],
        f"Deepest {own.min(initial=0.0):.1f} %.",
        layout={"hovermode": "x unified", "yaxis": {"title": {"text": "Below the peak, %"}, "ticksuffix": " %"}},
        height=240,
    )  # fmt: skip


def _leverage_chart(run: Mapping[str, Any]) -> Chart:
    performance: Performance = run["performance"]
    leverage = np.where(np.isfinite(performance.leverage), performance.leverage, np.nan)
    shown, when = _shown(performance, leverage)
    traces = [area(when, leverage[shown], "leverage", "@own", hovertemplate="%{y:.2f}x", shape="hv")]
    return _timed(
        "Leverage", [*traces, *_liquidation_marks(run, leverage)],
        f"Notional over the account's value; highest {multiple(float(np.nanmax(leverage, initial=0.0)))}.",
        layout={"yaxis": {"title": {"text": "Notional / equity"}, "ticksuffix": "x", "rangemode": "tozero"}},
        height=240,
    )  # fmt: skip


def _margin_charts(run: Mapping[str, Any]) -> list[Chart]:
    performance: Performance = run["performance"]
    ratio, threshold = _margin_ratio(run)
    if ratio is None:
        return []
    shown, when = _shown(performance, ratio)
    percents = 100.0 * ratio
    ends = performance.times[[0, -1]]
    traces = [
        area(when, percents[shown], "margin ratio", "@margin", hovertemplate="%{y:.1f} %", shape="hv"),
        line(
            moments(ends), [100.0 * threshold] * 2, f"danger above {threshold:.0%}", "@market", dash="dot",
            hoverinfo="skip",
        ),
        *_liquidation_marks(run, percents),
    ]  # fmt: skip
    return [
        _timed(
            "Margin ratio", traces,
            f"Share of the liquidation buffer used up; highest {percents.max(initial=0.0):.1f} %, gone at 100 %.",
            layout={"yaxis": {"title": {"text": "Buffer used up"}, "ticksuffix": " %", "range": [0, 108]}}, height=240,
        )
    ]  # fmt: skip


def _margin_ratio(run: Mapping[str, Any]) -> tuple[NDArray[np.float64] | None, float]:
    liquidations, timeline = run.get("liquidations"), run.get("timeline")
    threshold = 0.7 if liquidations is None else float(liquidations.get_analysis()["threshold"])
    if liquidations is not None:
        ratio = np.max(np.array(list(liquidations.margin_ratio.values())), axis=0)
    elif timeline is not None:
        ratio = timeline.series("margin_ratio")
    else:
        return None, threshold
    return (ratio if ratio.any() else None), threshold


def _liquidation_marks(run: Mapping[str, Any], series: NDArray[np.float64]) -> list[dict[str, Any]]:
    performance: Performance = run["performance"]
    fills = performance.fills()
    at = np.unique(fills.loc[fills["liquidation"], "bar"].to_numpy(dtype=np.int64))
    if not at.size:
        return []
    words: dict[Any, list[str]] = {}
    liquidations = run.get("liquidations")
    for event in () if liquidations is None else liquidations.events:
        told = (
            f"liquidated {event['side']} {event['size']:,.6g} {event['data_name']} at {event['price']:,.6g} "
            f"({event['leverage']:.3g}x, {event['reason']}): lost {event['loss']:,.2f}"
        )
        words.setdefault(np.datetime64(event["bar_time"], "ms"), []).append(told)
    texts = [
        "<br>".join(safe(told) for told in words.get(moment.astype("datetime64[ms]"), ["liquidated"]))
        for moment in performance.times[at]
    ]
    return [
        marks(
            moments(performance.times[at]), np.nan_to_num(series[at]), "liquidation", "@loss", "x", size=11, text=texts,
            hovertemplate="%{text}<extra></extra>",
        )
    ]  # fmt: skip


def _funding_chart(timeline: Timeline) -> Chart:
    paid = -timeline.series("funding")
    shown = thinned(paid)
    figures = timeline.get_analysis()
    return _timed(
        "Funding", [
            area(moments(timeline.times[shown]), paid[shown], "funding so far", "@third", hovertemplate="%{y:,.2f}",
                 shape="hv"),
        ],
        f"Paid {money(figures['funding_paid'])}, received {money(figures['funding_received'])}.",
        layout={"yaxis": {"title": {"text": "Received less paid"}}}, height=220,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- evidence


def _evidence(run: Mapping[str, Any]) -> Section:
    performance: Performance = run["performance"]
    note = ""
    if "evidence" in run:
        figures = run["evidence"].get_analysis()
    else:
        growth, held, told = performance.growth, performance.buy_and_hold, performance.get_analysis()
        # The bootstrap costs a second per two million resampled bars.
        resamples = min(1_000, max(100, 2_000_000 // max(1, growth.size)))
        figures = evidence_figures(
            ev.bar_returns(growth, start=1.0), np.concatenate(([0.0], held[1:] / held[:-1] - 1.0)),
            trades=told["trades"], bars_per_year=told["bars_per_year"], resamples=resamples,
        )  # fmt: skip
        note = (
            "Counted as one trial. Where this strategy was chosen among others, add the analyzer Evidence with "
            "n_trials: every one of them costs certainty."
        )
    rows = [
        ("Sharpe ratio, annual", number(figures["sharpe_ratio"])),
        (
            f"{figures['confidence']:.0%} interval",
            f"{number(figures['sharpe_low'])} to {number(figures['sharpe_high'])}",
        ),
        ("Probability that the true one is above 0", percent(figures["probabilistic_sharpe"], signed=False)),
        ("Probability that it is above holding's", percent(figures["beats_benchmark"], signed=False)),
        ("Trials counted", f"{figures['n_trials']:,.0f}"),
        ("Best of so many without an edge", number(figures["expected_maximum"])),
        ("Deflated Sharpe ratio", number(figures["deflated_sharpe"])),
        ("Bars needed to be sure", _whole(figures["minimum_track_record"])),
        ("Bars of the run", f"{figures['bars']:,}"),
    ]
    parts: list[Any] = [Words(text=figures["verdict"], kind="verdict"), Table(heads=("", ""), rows=rows)]
    return Section(title="Evidence", parts=parts + ([Words(text=note, kind="note")] if note else []))


def _whole(value: float) -> str:
    return "no number is enough" if math.isinf(value) else number(value) if math.isnan(value) else f"{value:,.0f}"


# ---------------------------------------------------------------------------------------------------------- attribution


def _attribution(run: Mapping[str, Any]) -> Section:
    figures = run["performance"].get_analysis()
    # Closed results are net of what the closing fills booked; set the costs apart again.
    costs = figures["fees"] + figures["funding"]
    change = figures["final_equity"] - figures["start_equity"]
    steps = [("start", figures["start_equity"]), ("price moves", change + costs), ("fees", -figures["fees"])]
    if figures["funding"]:
        steps.append(("funding", -figures["funding"]))
    steps.append(("end", figures["final_equity"]))
    parts: list[Any] = [
        Chart(
            title="From start to end",
            traces=[
                {
                    "type": "waterfall", "x": [name for name, _ in steps], "y": numbers([value for _, value in steps]),
                    "measure": ["absolute", *["relative"] * (len(steps) - 2), "total"], "name": "account",
                    "text": [money(value) for _, value in steps], "textposition": "auto", "textangle": 0,
                    "insidetextfont": {"color": "@paper"}, "outsidetextfont": {"color": "@ink"},
                    "hovertemplate": "%{x}: %{text}<extra></extra>", "increasing": {"marker": {"color": "@long"}},
                    "decreasing": {"marker": {"color": "@loss"}}, "totals": {"marker": {"color": "@market"}},
                    "connector": {"line": {"color": "@line"}},
                }
            ],
            layout={"yaxis": {"title": {"text": "Account currency"}, "range": _span([value for _, value in steps])}},
            told=", ".join(f"{name} {money(value)}" for name, value in steps), height=300,
        )
    ]  # fmt: skip
    strategy = run.get("strategy")
    closed = getattr(strategy, "closed_trades", None)
    if closed:
        parts += [_trades_chart(closed), _groups(closed)]
    decisions = run.get("decisions")
    if decisions is not None and decisions.get_analysis()["paper"]["trades"]:
        parts.append(Words(text=withheld(decisions.get_analysis()["paper"])))
    months = _months(run["performance"])
    return Section(title="Where it came from", parts=[*parts, *months])


def _span(values: list[float]) -> list[float]:
    """Axis around the heights of a waterfall: its total would else flatten its steps."""
    heights = np.concatenate((np.cumsum(values[:-1]), [values[-1]]))
    low, high = float(heights.min()), float(heights.max())
    room = 0.15 * ((high - low) or abs(high) or 1.0)
    return [low - room, high + room]


def _trades_chart(closed: Any) -> Chart:
    order = range(1, len(closed) + 1)
    results = np.array([trade.pnl for trade in closed])
    texts = [
        safe(
            f"{trade.direction} {trade.symbol}, {trade.opened_at} to {trade.closed_at}: {trade.pnl:+,.2f} "
            f"({trade.pnl_pct:+.2f} % of margin at {trade.leverage:.3g}x){', liquidated' if trade.liquidated else ''}"
        )
        for trade in closed
    ]
    colours = ["@long" if result > 0.0 else "@loss" for result in results]
    return Chart(
        title="Result of each closed trade",
        traces=[
            bars(list(order), numbers(results), "trade", colours, text=texts, textposition="none",
                 hovertemplate="%{text}<extra></extra>"),
        ],
        layout={"xaxis": {"title": {"text": "Trade"}}, "yaxis": {"title": {"text": "Net result"}}, "bargap": 0.1},
        told=f"{int((results > 0).sum()):,} of {results.size:,} won.", height=240,
    )  # fmt: skip


def _groups(closed: Any) -> Table:
    frame = pd.DataFrame(
        {
            "side": [str(trade.direction) for trade in closed],
            "regime": [f"{trade.regime or 'no'} regime" for trade in closed],
            "symbol": [trade.symbol for trade in closed],
            "pnl": [trade.pnl for trade in closed],
            "costs": [trade.commission + trade.funding for trade in closed],
        }
    )
    rows = []
    for key in ("side", "regime", "symbol"):
        for name, group in frame.groupby(key, sort=True):
            rows.append(
                (
                    str(name), f"{len(group):,}", percent(float((group["pnl"] > 0).mean()), signed=False),
                    money(group["pnl"].sum()), money(group["costs"].sum()),
                )
            )  # fmt: skip
    return Table(heads=("Closed trades", "Trades", "Won", "Net result", "Fees and funding"), rows=rows)


def _months(performance: Performance) -> list[Any]:
    growth = pd.Series(performance.growth, index=pd.DatetimeIndex(performance.times))
    ends = growth.groupby(pd.DatetimeIndex(growth.index).to_period("M")).last()
    if len(ends) < 2:
        return []
    returns = 100.0 * (ends / ends.shift(1, fill_value=1.0) - 1.0)
    colours = ["@long" if value > 0.0 else "@loss" for value in returns]
    names = [str(month) for month in returns.index]
    return [
        Chart(
            title="Month by month",
            traces=[bars([f"{name}-15" for name in names], numbers(returns), "return", colours,
                         hovertemplate="%{x|%B %Y}: %{y:+.2f} %<extra></extra>")],
            layout={"xaxis": {"type": "date"}, "yaxis": {"title": {"text": "Return, %"}, "ticksuffix": " %"}},
            told=f"{int((returns > 0).sum())} of {len(returns)} months gained.", height=240,
        )
    ]  # fmt: skip
