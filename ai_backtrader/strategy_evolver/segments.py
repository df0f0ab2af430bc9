"""Train, validation and sealed test: where they lie, and how a strategy did in each.

Strategies run through all bars from the first on, as they would have traded; a segment is what happened to the account
from one bar to another. Indicators are warm everywhere but at the very start, a position may be carried over a border
(it was decided on the past), and ``simulate`` on the whole feed shows every figure again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import annual_volatility, bar_returns, exposure, max_drawdown, profit_factor, sharpe_ratio
from ai_backtrader.evidence import win_rate as share_of_wins
from ai_backtrader.simulation import STATISTICS_DTYPE, SimulationResult

__all__ = ["Borders", "Figures", "Split", "segment_returns", "segment_statistics"]

FEWEST_BARS = 500
"""Shortest feed that is searched: below, the parts are shorter than the warm-up of usual indicators."""


class Borders(NamedTuple):
    """First bars of validation and test, and the number of all bars."""

    validation: int
    test: int
    bars: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """Shares of the bars, in time order; what is left is the sealed test.

    Attributes
    ----------
    train, validation
        Fractions.
    """

    train: float = 0.5
    validation: float = 0.25

    def __post_init__(self) -> None:
        faults = Faults("Split")
        for name in ("train", "validation"):
            faults.number(name, getattr(self, name), low=0.1, high=0.8)
        if not faults.found and self.train + self.validation > 0.9:
            faults.add(
                f"train and validation must leave a tenth or more for the test, got {self.train:g} and "
                f"{self.validation:g}"
            )
        faults.raise_if_any()

    def borders(self, bars: int) -> Borders:
        """Where the parts of a feed begin.

        Raises
        ------
        SettingsError
            If the feed is too short.
        """
        if bars < FEWEST_BARS:
            raise SettingsError(
                "evolve",
                [f"the data have {bars} bars; a search that is tested on bars of its own needs {FEWEST_BARS} or more"],
            )
        validation = round(bars * self.train)
        return Borders(validation, round(bars * (self.train + self.validation)), bars)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a strategy did in one segment; returns, drawdown and shares are fractions, undefined is NaN.

    Attributes
    ----------
    bars
        Length of the segment.
    sharpe
        Annualised.
    total_return, max_drawdown, exposure, win_rate
        Of the segment alone.
    trades
        Closed in the segment.
    """

    bars: int
    sharpe: float
    total_return: float
    max_drawdown: float
    exposure: float
    win_rate: float
    trades: int

    @classmethod
    def of(cls, statistics: NDArray[np.void], bars: int) -> Figures:
        """Figures of the one row of :func:`segment_statistics`."""
        row = statistics[0]
        names = ("sharpe", "total_return", "max_drawdown", "exposure", "win_rate")
        return cls(bars=bars, trades=int(row["trades"]), **{name: float(row[name]) for name in names})


def segment_returns(result: SimulationResult, first: int, last: int) -> NDArray[np.float64]:
    """Return of each bar ``first <= bar < last``."""
    start = result.start_cash if first == 0 else float(result.equity[first - 1])
    return bar_returns(result.equity[first:last], start=start)


def segment_statistics(result: SimulationResult, first: int, last: int) -> NDArray[np.void]:
    """Statistics of the bars ``first <= bar < last``, shape (1,), dtype ``STATISTICS_DTYPE``.

    Trades count where they close. ``funding`` is that booked by the segment's fills.
    """
    returns = segment_returns(result, first, last)
    start = result.start_cash if first == 0 else float(result.equity[first - 1])
    equity = np.concatenate(([start], result.equity[first:last]))
    closed = result.trades[(result.trades["exit_bar"] >= first) & (result.trades["exit_bar"] < last)]
    fills = result.fills[(result.fills["bar"] >= first) & (result.fills["bar"] < last)]
    funding = float(np.sum(fills["funding"]))
    figures = np.zeros(1, STATISTICS_DTYPE)
    values = {
        "final_equity": equity[-1],
        "total_return": equity[-1] / start - 1.0 if start > 0.0 else np.nan,
        "annual_volatility": annual_volatility(returns, bars_per_year=result.bars_per_year),
        "sharpe": sharpe_ratio(returns, bars_per_year=result.bars_per_year),
        "max_drawdown": max_drawdown(equity),
        "exposure": exposure(result.position[first:last]),
        "trades": len(closed),
        "win_rate": share_of_wins(closed["pnlcomm"]),
        "profit_factor": profit_factor(closed["pnlcomm"]),
        "fees": float(np.sum(fills["commission"])) - funding,
        "funding": funding,
        "liquidations": int(np.count_nonzero(closed["liquidated"])),
    }
    for name, value in values.items():
        figures[name] = value
    return figures
