"""How else the same history could have gone: block bootstrap of returns, Monte Carlo of trades.

A bootstrap of single bars would tear apart what follows on what (trends, clusters of volatility); blocks keep it. The
samples here are drawn around the circle, so that every bar is as likely as every other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults

__all__ = [
    "BlockLength",
    "BootstrapEvidence",
    "TradeOrderEvidence",
    "block_bootstrap",
    "bootstrap_indices",
    "optimal_block_length",
    "shuffle_trades",
]

Scheme = Literal["stationary", "circular"]


class BlockLength(NamedTuple):
    """Block lengths in bars that estimate a mean best: expected length (stationary) and fixed length (circular)."""

    stationary: float
    circular: float


@dataclass(frozen=True, kw_only=True)
class BootstrapEvidence:
    """A statistic, its bootstrap distribution and what follows from it.

    Attributes
    ----------
    estimate
        The statistic of the series itself.
    samples
        Shape (n_resamples,), the statistic of each resample; NaN where it was undefined.
    standard_error
        Deviation of the samples.
    interval
        Percentile interval at ``confidence``.
    block_length
        Bars a block, as used.
    confidence
        As asked.
    """

    estimate: float
    samples: NDArray[np.float64]
    standard_error: float
    interval: tuple[float, float]
    block_length: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class TradeOrderEvidence:
    """What the same trades would have done in another order, or drawn again.

    Attributes
    ----------
    max_drawdown
        Of the trades in their own order, as a positive fraction of the highest equity so far.
    max_drawdowns, final_equities
        Shape (n_shuffles,).
    share_as_bad
        Share of the orders whose drawdown is at least that of the trades' own order: small means that the history was
        unluckily ordered, large that it was lucky.
    ruin_probability
        Share of the orders in which the equity reached zero.
    """

    max_drawdown: float
    max_drawdowns: NDArray[np.float64]
    final_equities: NDArray[np.float64]
    share_as_bad: float
    ruin_probability: float

    def drawdown_quantile(self, level: float) -> float:
        """Drawdown that a share ``level`` of the orders does not exceed; NaN without trades."""
        return float(np.quantile(self.max_drawdowns, level)) if self.max_drawdowns.size else math.nan


def _present(faults: Faults, name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        faults.add(f"{name} must have one dimension, got shape {array.shape}")
    elif np.isinf(array).any():
        faults.add(f"{name} must be finite or NaN, got an infinity at position {int(np.argmax(np.isinf(array)))}")
    return array[~np.isnan(array)]


# ------------------------------------------------------------------------------------------------------ block bootstrap


def bootstrap_indices(
    n: int, *, block_length: float, rng: np.random.Generator, scheme: Scheme = "stationary"
) -> NDArray[np.int64]:
    """Positions of one resample of ``n`` bars.

    Parameters
    ----------
    n
        Bars, 0 or more.
    block_length
        At least 1. Stationary: expected length of the blocks, whose lengths are geometric (Politis and Romano, 1994,
        "The Stationary Bootstrap", JASA 89). Circular: fixed length, rounded to whole bars (Politis and Romano, 1992).
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Shape (n,), positions from 0 to n - 1; a block that reaches the end goes on at the beginning.
    """
    faults = Faults("bootstrap_indices")
    faults.whole("n", n, low=0)
    faults.number("block_length", block_length, low=1.0)
    faults.one_of("scheme", scheme, ("stationary", "circular"))
    faults.raise_if_any()
    if n == 0:
        return np.empty(0, np.int64)
    at = np.arange(n)
    if scheme == "stationary":
        begins = rng.random(n) < 1.0 / block_length
    else:
        begins = at % max(1, round(block_length)) == 0
    begins[0] = True
    first = np.flatnonzero(begins)
    block = np.cumsum(begins) - 1
    indices: NDArray[np.int64] = (rng.integers(0, n, first.size)[block] + at - first[block]) % n
    return indices


def optimal_block_length(series: ArrayLike) -> BlockLength:
    """Block lengths that minimise the mean squared error of the bootstrap variance of the mean.

    Politis and White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 23,
    with the correction of Patton, Politis and White (2009).

    Parameters
    ----------
    series
        Shape (n,); NaN is dropped. For a statistic of squares (volatility, Sharpe under clusters) the longer length of
        the series and of its squares is the careful choice.

    Returns
    -------
    BlockLength
        At least 1 and at most ``min(3 sqrt(n), n / 3)``, rounded up. Fewer than 8 values, or equal ones: 1, because
        there is nothing to keep together or no way to tell.
    """
    faults = Faults("optimal_block_length")
    values = _present(faults, "series", series)
    faults.raise_if_any()
    n = values.size
    if n < 8 or values.min() == values.max():
        return BlockLength(1.0, 1.0)
    centred = values - values.mean()
    patience = max(5, int(math.log10(n)))
    most = min(math.ceil(math.sqrt(n)) + patience, n - 1)
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in range(most + 1)]) / n
    # The bandwidth: twice the last lag before `patience` small correlations in a row, as the paper defines it.
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    quiet = np.convolve(small, np.ones(patience), "valid") == patience
    if quiet.any():
        last = max(1, int(np.argmax(quiet)))
    else:
        last = int(np.flatnonzero(~small)[-1]) + 1 if (~small).any() else 1
    width = min(2 * last, most)
    lag = np.arange(1, width + 1)
    taper = np.minimum(1.0, 2.0 * (1.0 - lag / width))  # flat-top window
    spectrum = covariance[0] + 2.0 * float(taper @ covariance[1 : width + 1])
    slope = 2.0 * float(taper @ (lag * covariance[1 : width + 1]))
    highest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))

    def length(variance: float) -> float:
        if variance <= 0.0:
            return float(highest)
        return min(float(highest), max(1.0, math.cbrt(2.0 * slope * slope / variance * n)))

    return BlockLength(length(2.0 * spectrum**2), length(4.0 / 3.0 * spectrum**2))


def block_bootstrap(
    series: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    block_length: float | None = None,
    scheme: Scheme = "stationary",
    confidence: float = 0.95,
) -> BootstrapEvidence:
    """Distribution of a statistic of a series whose bars depend on each other.

    Parameters
    ----------
    series
        Shape (n,), usually returns; NaN is dropped.
    statistic
        Gives a number from a series of the same length, for example ``lambda r: sharpe_ratio(r, bars_per_year=252)``.
    rng
        Source of randomness: the same generator state gives the same result.
    n_resamples
        At least 1.
    block_length
        None: :func:`optimal_block_length` of the series.
    scheme
        See :func:`bootstrap_indices`.
    confidence
        Of the interval, between 0 and 1.

    Returns
    -------
    BootstrapEvidence
        NaN throughout, with NaN samples, on empty and all-NaN series; a single value or equal ones give the statistic
        of them every time.

    Examples
    --------
    >>> import numpy as np
    >>> returns = np.random.default_rng(1).normal(0.001, 0.01, 500)
    >>> found = block_bootstrap(returns, np.mean, rng=np.random.default_rng(2))
    >>> found.interval[0] < found.estimate < found.interval[1]
    True
    """
    faults = Faults("block_bootstrap")
    values = _present(faults, "series", series)
    faults.whole("n_resamples", n_resamples, low=1)
    faults.number("confidence", confidence, low=0.0, high=1.0)
    if block_length is not None:
        faults.number("block_length", block_length, low=1.0)
    faults.one_of("scheme", scheme, ("stationary", "circular"))
    faults.raise_if_any()
    length = block_length if block_length is not None else getattr(optimal_block_length(values), scheme)
    if not values.size:
        nothing = np.full(n_resamples, math.nan)
        return BootstrapEvidence(
            estimate=math.nan,
            samples=nothing,
            standard_error=math.nan,
            interval=(math.nan, math.nan),
            block_length=length,
            confidence=confidence,
        )
    samples = np.array(
        [
            statistic(values[bootstrap_indices(values.size, block_length=length, rng=rng, scheme=scheme)])
            for _ in range(n_resamples)
        ],
        dtype=np.float64,
    )
    known = samples[~np.isnan(samples)]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(known, (tail, 1.0 - tail)) if known.size else (math.nan, math.nan)
    return BootstrapEvidence(
        estimate=float(statistic(values)),
        samples=samples,
        standard_error=float(np.std(known, ddof=1)) if known.size > 1 else math.nan,
        interval=(float(low), float(high)),
        block_length=length,
        confidence=confidence,
    )


# ---------------------------------------------------------------------------------------------- Monte Carlo of trades


@njit(cache=True)
def _walk(results, start, compound):  # type: ignore[no-untyped-def]  # numba infers them
    """Largest drawdown, final equity and whether zero was reached, trade by trade; ruin ends the account."""
    equity = start
    peak = start
    deepest = 0.0
    for i in range(results.size):
        equity = equity * (1.0 + results[i]) if compound else equity + results[i]
        if equity <= 0.0:
            return max(deepest, (peak - equity) / peak), equity, True
        peak = max(peak, equity)
        deepest = max(deepest, (peak - equity) / peak)
    return deepest, equity, False


def shuffle_trades(
    results: ArrayLike,
    *,
    start: float,
    rng: np.random.Generator,
    n_shuffles: int = 1000,
    compound: bool = False,
    replace: bool = False,
) -> TradeOrderEvidence:
    """Drawdowns of the same trades in other orders.

    One history is one order of its trades, and its drawdown is one draw. Shuffling says how deep the same trades could
    have gone; it takes them to be independent, so runs of losses that a market brings together come out too mild.

    Parameters
    ----------
    results
        Shape (n,), result of each closed trade after costs; NaN is dropped.
    start
        Equity before the first trade, above 0.
    rng
        Source of randomness.
    n_shuffles
        At least 1.
    compound
        False: results are money and add up. True: results are fractions of the equity and multiply.
    replace
        False: every trade once, in a new order; the end stays the same but for rounding. True: drawn again with
        replacement, which also varies which trades there are.

    Returns
    -------
    TradeOrderEvidence
        Without trades: no drawdowns, and NaN in the figures. An account that reaches zero stays where it fell to.

    Examples
    --------
    >>> import numpy as np
    >>> found = shuffle_trades([100, -50, 30, -80, 60] * 8, start=1000, rng=np.random.default_rng(1))
    >>> found.max_drawdown < found.drawdown_quantile(0.95) < 1
    True
    """
    faults = Faults("shuffle_trades")
    values = _present(faults, "results", results)
    faults.number("start", start, above=0.0)
    faults.whole("n_shuffles", n_shuffles, low=1)
    faults.raise_if_any()
    if not values.size:
        nothing = np.empty(0)
        return TradeOrderEvidence(
            max_drawdown=math.nan,
            max_drawdowns=nothing,
            final_equities=nothing,
            share_as_bad=math.nan,
            ruin_probability=math.nan,
        )
    own, _, _ = _walk(values, float(start), compound)
    drawdowns, finals = np.empty(n_shuffles), np.empty(n_shuffles)
    ruined = 0
    for i in range(n_shuffles):
        order = rng.choice(values, values.size) if replace else rng.permutation(values)
        drawdowns[i], finals[i], broke = _walk(order, float(start), compound)
        ruined += broke
    return TradeOrderEvidence(
        max_drawdown=own,
        max_drawdowns=drawdowns,
        final_equities=finals,
        share_as_bad=float(np.mean(drawdowns >= own)),
        ruin_probability=ruined / n_shuffles,
    )
