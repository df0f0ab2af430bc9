"""Covariance of the strategies' daily returns, and the loss that it lets one expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["Covariance", "estimate_covariance", "forecast_loss"]


@dataclass(frozen=True, kw_only=True)
class Covariance:
    """Daily covariance of the strategies.

    Attributes
    ----------
    matrix
        (n, n); NaN in the rows and columns of strategies whose volatility is not known.
    correlation
        (n, n), ones on the diagonal; 0 between strategies whose correlation is not known.
    shrinkage
        Share of the target in the Ledoit-Wolf estimate; NaN when there was none.
    """

    matrix: NDArray[np.float64]
    correlation: NDArray[np.float64]
    shrinkage: float


def estimate_covariance(
    returns: Sequence[NDArray[np.float64] | None], volatilities: Sequence[float], *, min_overlap: int
) -> Covariance:
    """Covariance from the days that the strategies share, shrunk (Ledoit and Wolf 2004).

    Parameters
    ----------
    returns
        Daily returns of each strategy, the latest last; None or fewer than ``min_overlap`` of them count as unknown.
    volatilities
        Daily volatility told for each, NaN when unknown; used where returns are not enough.
    min_overlap
        Days that must be shared. Strategies of shorter records count as unknown; they take part with the volatility
        told and, for the loss, a correlation of 1.

    Returns
    -------
    Covariance
    """
    n = len(returns)
    long = {i: series for i, series in enumerate(returns) if series is not None and len(series) >= min_overlap}
    known = list(long)
    daily = np.array(volatilities, dtype=np.float64)
    correlation, links, shrinkage = np.eye(n), np.ones((n, n)), math.nan
    if known:
        days = min(map(len, long.values()))
        shared, shrinkage = _ledoit_wolf(np.column_stack([series[-days:] for series in long.values()]))
        spread = np.sqrt(np.diag(shared))
        daily[known] = spread
        with np.errstate(invalid="ignore", divide="ignore"):
            inner = np.nan_to_num(shared / np.outer(spread, spread), nan=0.0)
        np.fill_diagonal(inner, 1.0)
        block = np.ix_(known, known)
        correlation[block] = links[block] = inner
    return Covariance(matrix=links * np.outer(daily, daily), correlation=correlation, shrinkage=shrinkage)


def _ledoit_wolf(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    from sklearn.covariance import ledoit_wolf  # heavy; only funds need it

    # The target is a multiple of the identity: without a common scale it would lend one strategy another's volatility.
    scale = table.std(axis=0, ddof=1)
    scaled = table / np.where(scale > 0.0, scale, 1.0)
    if table.shape[1] == 1:
        return np.array([[scale[0] ** 2]]), 0.0
    shrunk, share = ledoit_wolf(scaled)
    spread = np.sqrt(np.diag(shrunk))
    correlation = shrunk / np.outer(np.where(spread > 0.0, spread, 1.0), np.where(spread > 0.0, spread, 1.0))
    return correlation * np.outer(scale, scale), float(share)


def forecast_loss(weights: NDArray[np.float64], covariance: NDArray[np.float64], confidence: float) -> float:
    """Loss of one day that is not exceeded with the given probability, as a fraction of the capital.

    The normal quantile times the volatility of the mix (RiskMetrics 1996); a mean return is not counted on.

    Parameters
    ----------
    weights
        (n,).
    covariance
        (n, n), daily.
    confidence
        Above 0.5.

    Returns
    -------
    float
        NaN when a strategy that is held has no known volatility.
    """
    held = np.flatnonzero(weights)
    if not len(held):
        return 0.0
    share = weights[held]
    variance = float(share @ covariance[np.ix_(held, held)] @ share)
    return NormalDist().inv_cdf(confidence) * math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan
