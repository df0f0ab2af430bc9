"""Scores to weights within limits, pure: what the caps leave over is cash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["capped_weights", "diversification_score", "effective_number", "within_budget"]

_HALVINGS = 60  # a float's mantissa is halved to nothing


def capped_weights(scores: NDArray[np.float64], low: float, high: float, *, total: float = 1.0) -> NDArray[np.float64]:
    """Weights ``clip(k * score, low, high)`` with the largest ``k`` whose sum is at most ``total``.

    Scores of 0 get nothing. Where even ``low`` for each does not fit into ``total``, the lowest score is dropped, of
    equal ones the last, until it does. Nothing is renormalised afterwards: renormalising breaks the caps.

    Parameters
    ----------
    scores
        (n,) at least 0.
    low, high
        Bounds of every weight that is not 0; ``0 < low <= high``.
    total
        Largest sum.

    Returns
    -------
    (n,) float64
        Each 0 or within the bounds, the sum at most ``total``; less when every weight is at its cap.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0.0]
    # A sum that is above the total by the rounding of its own addition still fits.
    chosen = order[: int(np.floor(total / low * (1.0 + 1e-12)))]
    weights = np.zeros(len(scores))
    if len(chosen):
        weights[chosen] = _filled(scores[chosen], low, high, total)
    return weights


def _filled(scores: NDArray[np.float64], low: float, high: float, total: float) -> NDArray[np.float64]:
    if len(scores) * high <= total:
        return np.full(len(scores), high)
    scores = np.maximum(scores / scores.max(), 1e-12)  # a smaller share is the floor anyway, and would overflow below
    # The sum grows with k, piecewise linear with kinks where a weight leaves its floor or reaches its cap.
    kinks = np.unique(np.concatenate([low / scores, high / scores]))
    sums = np.array([np.clip(k * scores, low, high).sum() for k in kinks])
    above = int(np.searchsorted(sums, total, side="right"))
    if above == 0:
        return np.full(len(scores), low)
    left, right = kinks[above - 1], kinks[min(above, len(kinks) - 1)]
    rise = sums[min(above, len(kinks) - 1)] - sums[above - 1]
    k = left if rise <= 0.0 else left + (total - sums[above - 1]) / rise * (right - left)
    filled: NDArray[np.float64] = np.clip(k * scores, low, high)
    return filled


def within_budget(
    scores: NDArray[np.float64],
    low: float,
    high: float,
    *,
    risk: Callable[[NDArray[np.float64]], float],
    budget: float,
) -> NDArray[np.float64]:
    """:func:`capped_weights` of the largest total at which the risk stays within the budget.

    Parameters
    ----------
    scores, low, high
        As there.
    risk
        Risk of a vector of weights; growing with each of them. NaN (not known) counts as within.
    budget
        Largest risk.

    Returns
    -------
    (n,) float64
        All 0 when even ``low`` in the best strategy alone is too much.
    """

    def fits(weights: NDArray[np.float64]) -> bool:
        return not risk(weights) > budget

    full = capped_weights(scores, low, high)
    if fits(full):
        return full
    least = capped_weights(scores, low, high, total=low)
    if not fits(least):
        return np.zeros(len(scores))
    bottom, top, best = low, float(full.sum()), least
    for _ in range(_HALVINGS):
        middle = 0.5 * (bottom + top)
        weights = capped_weights(scores, low, high, total=middle)
        if fits(weights):
            bottom, best = middle, weights
        else:
            top = middle
    return best


def effective_number(weights: NDArray[np.float64]) -> float:
    """Number of equal holdings that are as concentrated: ``1 / HHI`` of the invested part; 0 when nothing is."""
    invested = float(weights.sum())
    if not invested > 0.0:
        return 0.0
    shares = weights / invested
    return float(1.0 / (shares @ shares))


def diversification_score(weights: NDArray[np.float64]) -> float:
    """1 when the invested part is spread equally over all ``n`` strategies, 0 when it lies in one.

    ``(1 - HHI) / (1 - 1 / n)`` with the Herfindahl-Hirschman index ``HHI`` of the shares; 0 for a single strategy and
    when nothing is invested.

    Parameters
    ----------
    weights
        (n,) of all strategies that could be held, zeros included.
    """
    n, effective = len(weights), effective_number(weights)
    if n < 2 or effective == 0.0:
        return 0.0
    return min(1.0, max(0.0, (1.0 - 1.0 / effective) / (1.0 - 1.0 / n)))
