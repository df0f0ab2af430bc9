"""The account over time: equity, cash, leverage, margin ratio and funding at every bar."""

from __future__ import annotations

import math
from array import array
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers.recording import accounts_of, analysis_of, position_reader, times_of

__all__ = ["Timeline"]

_SERIES = ("equity", "cash", "notional", "margin_ratio", "funding")


class Timeline(bt.Analyzer):
    """What the account looked like at each bar's close.

    Works with any broker: where there is no margin, the margin ratio and the funding are 0. In a fund they are the
    worst and the sum of its sub-accounts. Positions are only looked up, never made: the run stays what it is.

    ``get_analysis()`` gives ``bars``, ``funding`` (paid in all; negative was received), ``funding_paid`` and
    ``funding_received`` (both positive, bar by bar), ``lowest_cash``, ``max_leverage``, ``max_margin_ratio`` (NaN
    without bars); :meth:`curve` gives the series.
    """

    def __init__(self) -> None:
        self._numbers = array("d")
        self._recorded = {name: array("d") for name in _SERIES}
        self._now = (math.nan, math.nan)

    def start(self) -> None:
        """Find the accounts and feeds to read."""
        self._broker = self.strategy.broker
        self._clock = self.strategy.lines.datetime
        self._liquidated = 0

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        """Keep cash and value at this bar's close until :meth:`next` files them."""
        self._now = (cash, value)

    def next(self) -> None:
        """File one bar."""
        cash, value = self._now
        notional = ratio = funding = 0.0
        liquidated = 0
        # A fund opens its sub-accounts after the analyzers have started.
        for account in accounts_of(self._broker):
            notional, ratio = self._positions(account, notional, ratio)
            funding += account.funding_paid() if hasattr(account, "funding_paid") else 0.0
            liquidated += len(getattr(account, "liquidations", ()))
        if liquidated > self._liquidated:
            ratio, self._liquidated = 1.0, liquidated  # the position is gone at the close
        self._numbers.append(self._clock[0])
        for name, figure in zip(_SERIES, (value, cash, notional, ratio, funding), strict=True):
            self._recorded[name].append(figure)

    def _positions(self, account: Any, notional: float, ratio: float) -> tuple[float, float]:
        position_in = position_reader(account)
        for feed in self.datas:
            position = position_in(feed)
            if position:
                multiplier = float(account.getcommissioninfo(feed).p.mult)
                notional += abs(position.size) * feed.close[0] * multiplier
                if hasattr(account, "margin_ratio"):
                    ratio = max(ratio, account.margin_ratio(feed))
        return notional, ratio

    @property
    def times(self) -> NDArray[np.datetime64]:
        """Time of each bar (UTC, datetime64[ns]), shape (n,)."""
        return times_of(self._numbers)

    def series(self, name: str) -> NDArray[np.float64]:
        """One of ``equity``, ``cash``, ``notional``, ``margin_ratio``, ``funding`` (paid so far), shape (n,)."""
        return np.array(self._recorded[name])

    @property
    def leverage(self) -> NDArray[np.float64]:
        """Notional of all positions over the account's value, shape (n,); inf where it owes."""
        notional, value = self.series("notional"), self.series("equity")
        ratio = np.where(notional > 0.0, np.inf, 0.0)
        np.divide(notional, value, out=ratio, where=value > 0.0)
        return ratio

    def curve(self) -> pd.DataFrame:
        """Frame by bar time (UTC): equity, cash, drawdown (positive fraction), leverage, margin_ratio, funding."""
        equity = self.series("equity")
        columns = {
            "equity": equity,
            "cash": self.series("cash"),
            "drawdown": ev.drawdowns(equity),
            "leverage": self.leverage,
            "margin_ratio": self.series("margin_ratio"),
            "funding": self.series("funding"),
        }
        return pd.DataFrame(columns, index=pd.DatetimeIndex(self.times, name="time"))

    def stop(self) -> None:
        """Sum up; let go of the run so that the analyzer pickles."""
        del self._broker, self._clock
        funding = self.series("funding")
        steps = np.diff(funding, prepend=0.0)
        bars = len(self._numbers)
        self.rets = analysis_of(
            {
                "bars": bars,
                "funding": float(funding[-1]) if bars else 0.0,
                "funding_paid": math.fsum(steps[steps > 0.0]),
                "funding_received": -math.fsum(steps[steps < 0.0]),
                "lowest_cash": float(self.series("cash").min()) if bars else math.nan,
                "max_leverage": float(self.leverage.max()) if bars else math.nan,
                "max_margin_ratio": float(self.series("margin_ratio").max()) if bars else math.nan,
            }
        )
