"""Statistics of many runs, from the sums that the kernels keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.compiling import compiled

__all__ = ["STATISTICS_DTYPE", "sharpe_of_sums", "statistics_of"]

STATISTICS_DTYPE = np.dtype(
    [
        ("final_equity", np.float64),
        ("total_return", np.float64),
        ("annual_volatility", np.float64),
        ("sharpe", np.float64),
        ("max_drawdown", np.float64),
        ("exposure", np.float64),
        ("trades", np.int64),
        ("win_rate", np.float64),
        ("profit_factor", np.float64),
        ("fees", np.float64),
        ("funding", np.float64),
        ("liquidations", np.int64),
        ("rejected", np.int64),
    ]
)
"""Figures of one run, named and defined as in ``SimulationResult.metrics``."""


@compiled
def _annual(seen: int, total: float, squares: float, bars_per_year: float) -> tuple[float, float]:
    """Annual volatility and Sharpe ratio; a run that never moved has no ratio, with one observation there is none."""
    mean = total / seen
    deviation = np.sqrt(max((squares - total * mean) / (seen - 1.0), 0.0)) if seen > 1 else np.nan
    scale = np.sqrt(bars_per_year)
    return deviation * scale, (mean / deviation if deviation > 0.0 else np.nan) * scale


@compiled
def _fill_statistics(runs: Any, start_cash: float, bars: int, bars_per_year: float, out: Any) -> None:
    for i in range(len(runs)):
        run, row = runs[i], out[i]
        row.final_equity = run.equity
        row.total_return = run.equity / start_cash - 1.0
        row.annual_volatility, row.sharpe = _annual(run.observations, run.sum_returns, run.sum_squares, bars_per_year)
        row.max_drawdown = run.max_drawdown
        row.exposure = run.bars_held / bars
        row.trades = run.trades
        row.win_rate = run.wins / run.trades if run.trades > 0 else np.nan
        row.profit_factor = run.gains / run.losses if run.gains > 0.0 or run.losses > 0.0 else np.nan
        row.fees = run.fees
        row.funding = run.funding
        row.liquidations = run.liquidations
        row.rejected = run.rejected


def statistics_of(runs: NDArray[np.void], start_cash: float, bars: int, bars_per_year: float) -> NDArray[np.void]:
    """Statistics of finished runs.

    Parameters
    ----------
    runs
        Shape (runs,), dtype ``RUN_DTYPE``.
    start_cash, bars, bars_per_year
        Account value before the first bar, number of bars, and of bars in a year.

    Returns
    -------
    ndarray
        Shape (runs,), dtype :data:`STATISTICS_DTYPE`.
    """
    out = np.empty(len(runs), STATISTICS_DTYPE)
    _fill_statistics(runs, start_cash, bars, bars_per_year, out)
    return out


@compiled
def sharpe_of_sums(counts: NDArray[np.int64], sums: NDArray[np.float64], bars_per_year: float) -> NDArray[np.float64]:
    """Annual Sharpe ratios from sums of returns and of their squares.

    Parameters
    ----------
    counts
        Bars of each label, shape (labels,).
    sums
        Shape (runs, labels, 2).
    bars_per_year
        For the annual figure.

    Returns
    -------
    ndarray
        Shape (runs, labels); NaN without deviation or with fewer than two bars.
    """
    ratios = np.empty(sums.shape[:2])
    for run in range(sums.shape[0]):
        for label in range(sums.shape[1]):
            total, squares = sums[run, label, 0], sums[run, label, 1]
            ratios[run, label] = _annual(counts[label], total, squares, bars_per_year)[1]
    return ratios
