"""The noise floor: how good the best of many random results is.

Run strategies without any idea (random rules, random entries) through the same data, costs and metric as the search,
and see what their best reaches. A search whose best is not above that floor has found nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults

__all__ = ["NoiseFloor", "noise_floor"]


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """Distribution of the best of ``n_trials`` random results.

    Attributes
    ----------
    n_trials
        Trials of the search the floor is for.
    n_random
        Random results it was computed from (NaN dropped).
    expected
        Mean of the best; NaN where the random results are fewer than the trials, because the best of many is then
        beyond the best of few.
    levels, quantiles
        Quantiles of the best at these levels; NaN where the random results are too few to tell.
    random
        Shape (n_random,), the random results, ascending.
    """

    n_trials: int
    n_random: int
    expected: float
    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    random: NDArray[np.float64]

    def p_value(self, best: float) -> float:
        """Probability that the best of ``n_trials`` random results is at least ``best``.

        ``1 - (1 - p) ** n_trials`` with the share ``p = (1 + those at least as good) / (1 + n_random)``, which is never
        zero (Phipson and Smyth, 2010). NaN for NaN and without random results.
        """
        if math.isnan(best) or not self.n_random:
            return math.nan
        above = self.n_random - int(np.searchsorted(self.random, best, side="left"))
        if above == self.n_random:
            return 1.0
        return -math.expm1(self.n_trials * math.log1p(-(1 + above) / (1 + self.n_random)))


def noise_floor(
    random_results: ArrayLike, *, n_trials: int, levels: Sequence[float] = (0.5, 0.9, 0.95, 0.99)
) -> NoiseFloor:
    """What the best of ``n_trials`` random results reaches.

    The best of N independent draws lies below x with probability ``F(x) ** N``; F is taken from the random results, so
    its quantile ``q`` is their quantile ``q ** (1 / N)``. No shape is assumed, and nothing is extrapolated.

    Parameters
    ----------
    random_results
        Shape (m,), the metric (larger is better) of random strategies; NaN (no trade) is dropped.
    n_trials
        Trials of the search to be judged, at least 1. Trials that resemble each other count as fewer: with the full
        number the floor is on the strict side.
    levels
        Between 0 and 1, both excluded.

    Returns
    -------
    NoiseFloor
        NaN without random results, and in each quantile that m results are too few to tell: level ``q`` wants
        ``m >= 1 / (1 - q ** (1 / N))``, about ``N / (1 - q)``.

    Raises
    ------
    SettingsError
        A wrong shape, number of trials or level; an infinite result.

    Examples
    --------
    >>> import numpy as np
    >>> floor = noise_floor(np.random.default_rng(1).normal(size=20_000), n_trials=50)
    >>> round(floor.expected, 1)
    2.2
    >>> floor.p_value(1.0) > 0.99, floor.p_value(4.5) < 0.01
    (True, True)
    """
    values = np.asarray(random_results, dtype=np.float64)
    faults = Faults("noise_floor")
    if values.ndim != 1:
        faults.add(f"random_results must have one dimension, got shape {values.shape}")
    elif np.isinf(values).any():
        faults.add("random_results must be finite or NaN, got an infinity")
    faults.whole("n_trials", n_trials, low=1)
    for level in levels:
        if not 0.0 < level < 1.0:
            faults.add(f"levels must lie between 0 and 1, both excluded, got {level!r}")
    faults.raise_if_any()
    known = np.sort(values[~np.isnan(values)])
    m = known.size
    expected = math.nan
    if m >= n_trials:
        # The best of N is the k-th smallest of m with probability (k/m)**N - ((k-1)/m)**N.
        steps = (np.arange(m + 1) / m) ** n_trials
        expected = float(known @ np.diff(steps))
    quantiles = []
    for level in levels:
        share = level ** (1.0 / n_trials)
        enough = m > 0 and m * (1.0 - share) >= 1.0
        quantiles.append(float(np.quantile(known, share, method="inverted_cdf")) if enough else math.nan)
    return NoiseFloor(
        n_trials=n_trials,
        n_random=m,
        expected=expected,
        levels=tuple(levels),
        quantiles=tuple(quantiles),
        random=known,
    )
