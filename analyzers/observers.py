"""Observers: leverage, margin ratio and confidence under Backtrader's own chart."""

from __future__ import annotations

import math
from typing import Any

import backtrader as bt

from ai_backtrader.analyzers.recording import accounts_of, position_reader

__all__ = ["ConfidenceObserver", "LeverageObserver", "MarginObserver"]


class LeverageObserver(bt.Observer):
    """Notional of all positions over the account's value at each close: 0 when flat, NaN where the account owes."""

    lines = ("leverage",)
    plotinfo = {"plot": True, "subplot": True, "plotname": "Leverage", "plotyhlines": [1.0]}
    plotlines = {"leverage": {"color": "#0072B2", "_name": "leverage"}}

    def next(self) -> None:
        """File one bar."""
        broker = self._owner.broker
        notional, value = 0.0, broker.getvalue()
        for account in accounts_of(broker):
            position_in = position_reader(account)
            for feed in self._owner.datas:
                position = position_in(feed)
                if position:
                    multiplier = float(account.getcommissioninfo(feed).p.mult)
                    notional += abs(position.size) * feed.close[0] * multiplier
        self.l[0][0] = 0.0 if not notional else notional / value if value > 0.0 else math.nan


class MarginObserver(bt.Observer):
    """Worst margin ratio of the positions at each close, percent: 0 when flat, 100 where one was liquidated."""

    lines = ("margin",)
    plotinfo = {
        "plot": True,
        "subplot": True,
        "plotname": "Margin ratio in %",
        "plotyhlines": [70.0, 100.0],
        "plotymargin": 0.05,
    }
    plotlines = {"margin": {"color": "#CC79A7", "_name": "margin ratio"}}

    def __init__(self) -> None:
        self._liquidated = 0

    def next(self) -> None:
        """File one bar."""
        worst, liquidated = 0.0, 0
        for account in accounts_of(self._owner.broker):
            if hasattr(account, "margin_ratio"):
                position_in = position_reader(account)
                for feed in self._owner.datas:
                    if position_in(feed):
                        worst = max(worst, account.margin_ratio(feed))
                liquidated += len(account.liquidations)
        if liquidated > self._liquidated:
            worst, self._liquidated = 1.0, liquidated
        self.l[0][0] = 100.0 * worst


class ConfidenceObserver(bt.Observer):
    """Score of the strategy's latest decision: above 0 it leans to buying, its size is the confidence; NaN before."""

    lines = ("score",)
    plotinfo = {"plot": True, "subplot": True, "plotname": "Confidence", "plotyhlines": [-1.0, 0.0, 1.0]}
    plotlines = {"score": {"color": "#009E73", "_name": "score"}}

    def next(self) -> None:
        """File one bar."""
        decisions: Any = getattr(self._owner, "decisions", ())
        self.l[0][0] = decisions[-1].score if len(decisions) else math.nan
