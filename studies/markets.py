"""The markets of the study: files, bars, costs, and where the walk-forward folds are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ai_backtrader.market import MarketData
from ai_backtrader.pipeline import PipelineSettings, Profile

__all__ = ["MARKETS", "Fold", "Market", "folds_of", "load"]


@dataclass(frozen=True, kw_only=True)
class Market:
    """One market as the study trades it.

    Attributes
    ----------
    name, title, kind
        For folders, tables, and what it stands for.
    file
        Bars, in the folder of data.
    rule
        Length of the bars traded, as pandas writes it; None: as they are in the file.
    design
        Bars that each fold is searched on.
    folds
        Walks, one after the other, over the rest of the bars.
    costs
        Fields of :class:`~ai_backtrader.pipeline.PipelineSettings`: what the market charges and allows.
    told
        The same in words.
    """

    name: str
    title: str
    kind: str
    file: str
    rule: str | None
    design: int
    folds: int = 3
    costs: Mapping[str, Any]
    told: str


MARKETS = {
    market.name: market
    for market in (
        Market(
            name="btc-spot", title="BTC/USDT spot", kind="crypto spot", file="BTCUSDT-1h-2018-2023.csv.gz", rule="4h",
            design=4383,
            costs={"commission": 0.001, "slippage": 0.0001, "max_leverage": 1.0, "allow_short": False},
            told="0.1 % commission and 0.01 % slippage a fill; no leverage, no shorts",
        ),
        Market(
            name="btc-perp", title="BTC/USDT perpetual", kind="perpetual with funding",
            file="BTCUSDT-perp-1h-2020-2023.csv.gz", rule="4h", design=3285,
            costs={"commission": 0.0005, "slippage": 0.0001, "max_leverage": 10.0, "allow_short": True},
            told="0.05 % commission and 0.01 % slippage a fill, the funding that was settled, liquidation on the mark "
            "price at 0.5 % maintenance; up to 10x, shorts",
        ),
        Market(
            name="eurusd", title="EUR/USD", kind="FX", file="EURUSD-1h-2017-2022.csv.gz", rule="4h", design=3285,
            costs={"commission": 0.00003, "slippage": 0.00003, "max_leverage": 10.0, "allow_short": True},
            told="0.003 % commission and 0.003 % slippage a fill (0.7 pips in all); up to 10x, shorts; no swap",
        ),
        Market(
            name="sp500", title="S&P 500", kind="stocks, daily", file="SP500-1d-1999-2018.csv.gz", rule=None,
            design=2013,
            costs={"commission": 0.0001, "slippage": 0.0002, "max_leverage": 2.0, "allow_short": True},
            told="0.01 % commission and 0.02 % slippage a fill; up to 2x, shorts; no dividends, no interest",
        ),
    )
}  # fmt: skip
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Bars of one fold: ``design`` of them to search on, the rest to walk.

    Attributes
    ----------
    number
        From 1 on.
    data
        Design and walk.
    design
        How many bars of it are the design.
    """

    number: int
    data: MarketData
    design: int

    def settings(self, market: Market, profile: str | Profile, seed: int, **changes: Any) -> PipelineSettings:
        """What the run of this fold is made of."""
        share = self.design / len(self.data)
        return PipelineSettings(profile=profile, seed=seed, design_share=share, **{**market.costs, **changes})


def load(market: Market, folder: Path) -> MarketData:
    """Bars of a market, from the folder of data, at the length at which they are traded."""
    data = MarketData.from_csv(folder / market.file)
    return data if market.rule is None else _longer(data, market.rule)


def _longer(data: MarketData, rule: str) -> MarketData:
    """Longer bars; the rate of a bar is the sum of what fell due in it, which here is all at its start."""
    how = {
        "open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "mark_open": "first",
        "mark_high": "max", "mark_low": "min", "mark_close": "last", "funding_rate": "sum",
    }  # fmt: skip
    frame = data.to_frame()
    longer = frame.resample(rule).agg({name: how[name] for name in frame.columns})
    seconds = int(pd.Timedelta(rule).total_seconds())
    return MarketData.from_frame(longer.dropna(subset=["close"]), symbol=data.symbol, bar_seconds=seconds)


def folds_of(market: Market, data: MarketData) -> list[Fold]:
    """Consecutive folds: each is searched on ``design`` bars and walks those after them, which the next one knows."""
    walk = (len(data) - market.design) // market.folds
    late = len(data) - market.design - walk * market.folds  # bars that do not divide evenly are left out at the start
    return [
        Fold(
            number=number + 1,
            data=_bars(data, late + number * walk, late + number * walk + market.design + walk),
            design=market.design,
        )
        for number in range(market.folds)
    ]


def _bars(data: MarketData, first: int, last: int) -> MarketData:
    return data.head(last).between(data.times[first], None)
