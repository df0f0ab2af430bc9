"""What a long lived through on 2020-03-12 and on 2021-05-19, by the mark price and by the last price.

    python examples/crashes.py FOLDER [--plot docs/images/crashes.png]

FOLDER holds BTCUSDT-perp-1h-2020-2023.csv.gz and ETHUSDT-perp-1h-2020-2023.csv.gz: hourly bars of the perpetuals with
mark price and funding rates. A long with a margin of 1,000 is bought at the close of the day before and of the third
day before (the open of 00:00 UTC), and held until three days after; the table is Markdown.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import backtrader as bt

from ai_backtrader.brokers import LeverageBroker, Liquidation
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData

CRASHES = (dt.date(2020, 3, 12), dt.date(2021, 5, 19))
MARKETS = ("BTC", "ETH")
DAYS_BEFORE = (1, 3)
LEVERAGES = (2.0, 3.0, 5.0, 10.0)
MARGIN, CASH = 1_000.0, 10_000.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a position ended: its liquidation price, its liquidation, if it had one, and what it cost or earned."""

    entry: float
    liquidation_price: float
    liquidation: Liquidation | None
    funding: float
    result: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One position under both triggers, and the lowest prices from its entry on."""

    market: str
    crash: dt.date
    days_before: int
    leverage: float
    by_mark: Outcome
    by_last: Outcome
    lowest_mark: float
    lowest_last: float


class Hold(bt.Strategy):
    """Buys at the open of the second bar and waits."""

    params = (("leverage", 1.0),)

    def __init__(self) -> None:
        self.entry = self.liquidation_price = 0.0

    def next(self) -> None:
        """Buy once."""
        if len(self) == 1:
            self.buy(size=MARGIN * self.p.leverage / self.data.close[0], leverage=self.p.leverage)

    def notify_order(self, order: Any) -> None:
        """Note where the position would be liquidated."""
        if order.status == order.Completed and order.isbuy():
            self.entry = order.executed.price
            self.liquidation_price = self.broker.liquidation_price(self.data)


def load(folder: Path, market: str) -> MarketData:
    """The perpetual of a market."""
    return MarketData.from_csv(folder / f"{market}USDT-perp-1h-2020-2023.csv.gz")


def around(data: MarketData, crash: dt.date, days_before: int) -> MarketData:
    """Bars from the last one before the entry to three days after the crash."""
    entry = dt.datetime.combine(crash, dt.time()) - dt.timedelta(days=days_before - 1)
    end = dt.datetime.combine(crash, dt.time()) + dt.timedelta(days=4)
    return data.between(entry - dt.timedelta(hours=1), end)


def without_mark(data: MarketData) -> MarketData:
    """The same bars with the last price as the only price."""
    frame = data.to_frame()
    return MarketData.from_frame(
        frame.drop(columns=[name for name in frame if name.startswith("mark_")]), symbol=data.symbol
    )


def hold(data: MarketData, leverage: float) -> Outcome:
    """Buy at the open of the second bar and hold to the end."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(CASH)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(Hold, leverage=leverage)
    strategy = cerebro.run()[0]
    liquidations = cerebro.broker.liquidations
    return Outcome(
        entry=strategy.entry,
        liquidation_price=strategy.liquidation_price,
        liquidation=liquidations[0] if liquidations else None,
        funding=cerebro.broker.funding_paid(),
        result=cerebro.broker.getvalue() - CASH,
    )


def rows(folder: Path) -> Iterator[Row]:
    """Every position of the table."""
    for market in MARKETS:
        data = load(folder, market)
        for crash in CRASHES:
            for days in DAYS_BEFORE:
                bars = around(data, crash, days)
                last = without_mark(bars)
                held = bars.between(bars.times[1], bars.times[-1])
                for leverage in LEVERAGES:
                    yield Row(
                        market=market,
                        crash=crash,
                        days_before=days,
                        leverage=leverage,
                        by_mark=hold(bars, leverage),
                        by_last=hold(last, leverage),
                        lowest_mark=float(held.mark_low.min()),
                        lowest_last=float(held.low.min()),
                    )


def told(outcome: Outcome) -> str:
    """An outcome in the words of the table."""
    if outcome.liquidation is None:
        return f"lives, {outcome.result:+,.0f}"
    return f"dies {outcome.liquidation.bar_time:%d %b %H:%M}, {outcome.result:+,.0f}"


def table(found: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| market | crash | bought at | entry | leverage | liquidation | lowest mark | by the mark price | lowest last "
        "| by the last price |",
        "|---|---|---|---:|---:|---:|---:|---|---:|---|",
    ]
    for row in found:
        bought = row.crash - dt.timedelta(days=row.days_before - 1)
        differ = (row.by_mark.liquidation is None) != (row.by_last.liquidation is None)
        by_mark, by_last = (f"**{told(each)}**" if differ else told(each) for each in (row.by_mark, row.by_last))
        lines.append(
            f"| {row.market} | {row.crash} | {bought:%d %b} 00:00 | {row.by_mark.entry:,.2f} | {row.leverage:g}x "
            f"| {row.by_mark.liquidation_price:,.2f} | {row.lowest_mark:,.2f} | {by_mark} "
            f"| {row.lowest_last:,.2f} | {by_last} |"
        )
    return "\n".join(lines)


def plot(folder: Path, path: Path) -> None:
    """Both crashes on both markets: the bar ranges of mark and last price, and where the longs of the eve die."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import DateFormatter, HourLocator
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 7.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(MARKETS), len(CRASHES))
    for across, market in zip(panels, MARKETS, strict=True):
        data = load(folder, market)
        for axes, crash in zip(across, CRASHES, strict=True):
            start = dt.datetime.combine(crash, dt.time())
            bars = data.between(start, start + dt.timedelta(hours=36))
            axes.fill_between(bars.times, bars.low, bars.high, step="post", color="#E69F00", alpha=0.45, linewidth=0,
                              label="last price, range of the hour")  # fmt: skip
            axes.fill_between(bars.times, bars.mark_low, bars.mark_high, step="post", color="#0072B2", alpha=0.55,
                              linewidth=0, label="mark price, range of the hour")  # fmt: skip
            for leverage in LEVERAGES:
                price = hold(around(data, crash, 1), leverage).liquidation_price
                axes.axhline(price, color="#D55E00", linewidth=0.9, linestyle="--")
                axes.annotate(f"{leverage:g}x dies", (1.0, price), xycoords=("axes fraction", "data"), ha="right",
                              va="bottom", fontsize=8, color="#B34700")  # fmt: skip
            axes.set_title(f"{market} perpetual, {crash}", loc="left", fontsize=11, fontweight="bold")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.xaxis.set_major_locator(HourLocator(byhour=(0, 6, 12, 18)))
            axes.xaxis.set_major_formatter(DateFormatter("%d %b\n%H:%M"))
            axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    figure.supylabel("Price (USDT)", fontsize=10)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    missing = [market for market in MARKETS if not (options.folder / f"{market}USDT-perp-1h-2020-2023.csv.gz").exists()]
    if missing:
        print(f"skipped: {options.folder} has no perpetual data of {', '.join(missing)}")
        return
    print(table(list(rows(options.folder))))
    if options.plot is not None:
        plot(options.folder, options.plot)


if __name__ == "__main__":
    main()
