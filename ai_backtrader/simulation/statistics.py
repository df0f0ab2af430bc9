"""Statistics of many runs, from the sums that the kernels keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["STATISTICS_DTYPE", "statistics_of"]

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
    out["final_equity"] = runs["equity"]
    out["total_return"] = runs["equity"] / start_cash - 1.0
    for name in ("max_drawdown", "trades", "fees", "funding", "liquidations", "rejected"):
        out[name] = runs[name]
    out["exposure"] = runs["bars_held"] / bars
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = runs["observations"].astype(np.float64)
        mean = runs["sum_returns"] / seen
        variance = (runs["sum_squares"] - runs["sum_returns"] * mean) / (seen - 1.0)
        # A run that never moved has no deviation; with one observation there is none either.
        deviation = np.where(seen > 1.0, np.sqrt(np.maximum(variance, 0.0)), np.nan)
        out["annual_volatility"] = deviation * np.sqrt(bars_per_year)
        out["sharpe"] = np.where(deviation > 0.0, mean / deviation, np.nan) * np.sqrt(bars_per_year)
        out["win_rate"] = np.where(runs["trades"] > 0, runs["wins"] / runs["trades"], np.nan)
        ratio = runs["gains"] / runs["losses"]
        out["profit_factor"] = np.where((runs["gains"] > 0.0) | (runs["losses"] > 0.0), ratio, np.nan)
    return out
