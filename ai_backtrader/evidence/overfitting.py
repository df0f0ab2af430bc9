"""Probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV).

The bars are cut into blocks; every choice of half of them is a training set, the other half its test set. The trial
that is best in training is looked up in the test: if choosing means something it stays near the top, if the search only
fitted noise it lands anywhere. The probability of overfitting is the share of choices in which the chosen trial ends
in the lower half.

Reference: Bailey, Borwein, Lopez de Prado and Zhu (2015), "The Probability of Backtest Overfitting", Journal of
Computational Finance 20(4), 39-69.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults

__all__ = ["OverfittingEvidence", "probability_of_backtest_overfitting"]

Metric = Literal["sharpe", "mean"] | Callable[[NDArray[np.float64]], NDArray[np.float64]]

_MOST_BLOCKS = 20  # 184,756 splits; the next even number has four times as many


@dataclass(frozen=True, kw_only=True)
class OverfittingEvidence:
    """What :func:`probability_of_backtest_overfitting` found.

    Arrays have one value a split, in the order of ``itertools.combinations`` over the blocks of the training set.

    Attributes
    ----------
    probability
        Share of splits in which the trial chosen in training ends in the lower half of the test; NaN when unknown.
    standard_error
        Of the probability, by the jackknife over pairs of neighbouring blocks. The splits share their bars and are far
        from independent: on pure noise single probabilities between 0.3 and 0.7 are ordinary.
    interval
        Probability plus and minus 1.96 standard errors, within 0 and 1.
    logits
        ``log(w / (1 - w))`` of the relative rank ``w = rank / (n_trials + 1)`` of the chosen trial in the test.
    chosen
        Column of the trial chosen in training.
    in_sample, out_of_sample
        Its metric in training and in the test.
    degradation_slope, degradation_intercept
        Least squares line of ``out_of_sample`` over ``in_sample``: a falling line says that the better a trial looks,
        the worse it does.
    probability_of_loss
        Share of splits in which the chosen trial's metric in the test is below zero.
    n_splits, n_trials, n_obs, blocks
        What it was computed from; ``n_obs`` counts the bars that were used.
    """

    probability: float
    standard_error: float
    interval: tuple[float, float]
    logits: NDArray[np.float64]
    chosen: NDArray[np.int64]
    in_sample: NDArray[np.float64]
    out_of_sample: NDArray[np.float64]
    degradation_slope: float
    degradation_intercept: float
    probability_of_loss: float
    n_splits: int
    n_trials: int
    n_obs: int
    blocks: int


@njit(cache=True, error_model="numpy")  # without checks of the divisor the loops are vectorised
def _score(  # type: ignore[no-untyped-def]  # numba infers them
    sums, squares, shifts, members, bars, is_sharpe, total, square, out
):
    """Write the metric of every trial over the blocks in ``members``, which hold ``bars`` bars."""
    total[:] = 0.0
    square[:] = 0.0
    for block in members:
        for j in range(total.size):
            total[j] += sums[block, j]
            square[j] += squares[block, j]
    # A trial that is flat over these bars has no edge there: 0. What is left of its spread is at most the rounding of
    # a sum of so many squares.
    tolerance = 4.0 * bars * 2.220446049250313e-16
    for j in range(total.size):
        mean = total[j] / bars
        if is_sharpe:
            spread = square[j] - total[j] * mean
            flat = spread <= tolerance * square[j]
            out[j] = 0.0 if flat else (shifts[j] + mean) / math.sqrt(spread / (bars - 1))
        else:
            out[j] = shifts[j] + mean


@njit(cache=True, error_model="numpy")
def _place(train, test):  # type: ignore[no-untyped-def]  # numba infers them
    """Column of the best in training (the first of equals), and its rank in the test from 1, below all its equals."""
    best = 0
    for j in range(1, train.size):
        if train[j] > train[best]:
            best = j
    rank = 1
    for j in range(test.size):
        if test[j] < test[best]:
            rank += 1
    return best, rank


@njit(cache=True, error_model="numpy")
def _cross_validate(sums, squares, shifts, halves, bars, is_sharpe):  # type: ignore[no-untyped-def]  # numba infers
    """CSCV over additive block statistics; ``halves`` in lexical order, so that the last mirrors the first."""
    n_splits, half = halves.shape
    n_trials = shifts.size
    chosen = np.empty(n_splits, np.int64)
    ranks = np.empty(n_splits, np.int64)
    inside, outside = np.empty(n_splits), np.empty(n_splits)
    total, square = np.empty(n_trials), np.empty(n_trials)
    one, other = np.empty(n_trials), np.empty(n_trials)
    for i in range(n_splits // 2):
        mirror = n_splits - 1 - i  # the complement of the i-th choice: one pair of scores serves both
        _score(sums, squares, shifts, halves[i], half * bars, is_sharpe, total, square, one)
        _score(sums, squares, shifts, halves[mirror], half * bars, is_sharpe, total, square, other)
        chosen[i], ranks[i] = _place(one, other)
        inside[i], outside[i] = one[chosen[i]], other[chosen[i]]
        chosen[mirror], ranks[mirror] = _place(other, one)
        inside[mirror], outside[mirror] = other[chosen[mirror]], one[chosen[mirror]]
    return chosen, ranks, inside, outside


def _halves(blocks: int) -> NDArray[np.int64]:
    return np.array(list(combinations(range(blocks), blocks // 2)), dtype=np.int64)


_Splits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _by_sums(cut: NDArray[np.float64], metric: str) -> Callable[[NDArray[np.int64]], _Splits]:
    """CSCV of any subset of the blocks of ``cut``, shape (blocks, bars, trials), from sums over each block."""
    # Shifted by its first value a constant column is exactly zero, and sums of squares do not cancel.
    shifts = cut[0, 0].copy()
    shifted = cut - shifts
    sums, squares = shifted.sum(axis=1), np.square(shifted).sum(axis=1)

    def run(members: NDArray[np.int64]) -> _Splits:
        found: _Splits = _cross_validate(
            sums[members], squares[members], shifts, _halves(members.size), cut.shape[1], metric == "sharpe"
        )
        return found

    return run


def _by_calls(
    cut: NDArray[np.float64], metric: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Callable[[NDArray[np.int64]], _Splits]:
    """The same with the caller's metric, which sees the bars of each half in their order."""
    known: dict[tuple[int, ...], NDArray[np.float64]] = {}

    def scores(members: NDArray[np.int64]) -> NDArray[np.float64]:
        key = tuple(members.tolist())
        if key not in known:
            values = np.asarray(metric(cut[members].reshape(-1, cut.shape[2])), dtype=np.float64)
            if values.shape != (cut.shape[2],) or np.isnan(values).any():
                faults = Faults("probability_of_backtest_overfitting")
                faults.add(f"metric must give one number for each of {cut.shape[2]} trials, got {values!r}")
                faults.raise_if_any()
            known[key] = values
        return known[key]

    def run(members: NDArray[np.int64]) -> _Splits:
        halves = members[_halves(members.size)]
        placed = []
        for half, rest in zip(halves, halves[::-1], strict=True):
            train, test = scores(half), scores(rest)
            best, rank = _place(train, test)
            placed.append((best, rank, train[best], test[best]))
        best, rank, inside, outside = (np.array(column) for column in zip(*placed, strict=True))
        return best, rank, inside, outside

    return run


def _checked(returns: ArrayLike, blocks: int, metric: object) -> NDArray[np.float64]:
    table = np.asarray(returns, dtype=np.float64)
    faults = Faults("probability_of_backtest_overfitting")
    faults.whole("blocks", blocks, low=2, high=_MOST_BLOCKS)
    if not faults.found and blocks % 2:
        faults.add(f"blocks must be even, got {blocks}")
    if not callable(metric):
        faults.one_of("metric", metric, ("sharpe", "mean"))
    if table.ndim != 2:
        faults.add(f"returns must have the shape (bars, trials), got {table.shape}")
    else:
        table = table[~np.isnan(table).all(axis=1)] if table.size else table
        bad = np.argwhere(~np.isfinite(table))
        if bad.size:
            row, column = bad[0]
            faults.add(f"trial {column} has {table[row, column]} on a bar where others have a return; fill it with 0")
    faults.raise_if_any()
    return table


def _share_in_lower_half(ranks: NDArray[np.int64], n_trials: int) -> float:
    return float(np.mean(2 * ranks <= n_trials + 1))


def _jackknife(run: Callable[[NDArray[np.int64]], _Splits], blocks: int, n_trials: int) -> float:
    """Standard error of the probability: leave out two neighbouring blocks at a time (their number stays even)."""
    groups = blocks // 2
    if groups < 3:
        return math.nan
    every = np.arange(blocks)
    left_out = [_share_in_lower_half(run(np.delete(every, (2 * g, 2 * g + 1)))[1], n_trials) for g in range(groups)]
    return math.sqrt((groups - 1) * float(np.var(left_out)))


def probability_of_backtest_overfitting(
    returns: ArrayLike, *, blocks: int = 16, metric: Metric = "sharpe"
) -> OverfittingEvidence:
    """Probability that the best trial of a search owes its place to the sample (PBO), with its spread.

    Parameters
    ----------
    returns
        Shape (bars, trials): the returns of every trial of the search, not of the good ones alone. Bars on which all
        are NaN are dropped; the last bars that fill no block are not used.
    blocks
        Even, 2 to 20. 16 give 12,870 splits.
    metric
        ``"sharpe"`` (per bar, n - 1; 0 for a trial that is flat over the bars), ``"mean"``, or a function of returns
        of shape (bars, trials) that gives one number a trial, the larger the better (called for every half, so keep
        ``blocks`` small).

    Returns
    -------
    OverfittingEvidence
        Unknown (NaN, no splits) with fewer than two trials, too few bars for two a half, or constant returns
        throughout (so also on empty and all-NaN input). Of equal trials the first is chosen, and in the test the
        chosen ranks below its equals: copies of a trial do not make it look better. With 2 or 4 blocks the standard
        error is NaN.

    Raises
    ------
    SettingsError
        A wrong shape, number of blocks or metric; a trial without a return where others have one.

    Notes
    -----
    Time grows with ``splits * trials``: seconds for 16 blocks over 10,000 trials on one core.
    The standard error errs on the large side, as jackknives do: over 100 matrices of pure noise (640 bars, 30 trials)
    it is 0.28 on average where the probabilities spread by 0.19.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> noise = rng.normal(0, 0.01, (800, 40))
    >>> found = probability_of_backtest_overfitting(noise)
    >>> f"{found.probability:.2f} +- {found.standard_error:.2f}"
    '0.25 +- 0.14'
    >>> noise[:, 7] += 0.003
    >>> probability_of_backtest_overfitting(noise).probability < 0.01
    True
    """
    table = _checked(returns, blocks, metric)
    n_trials = table.shape[1]
    bars = table.shape[0] // blocks
    used = np.ascontiguousarray(table[: bars * blocks])
    if n_trials < 2 or bars * blocks < 4 or bool((used == used[0]).all()):
        return _unknown(n_trials, used.shape[0], blocks)
    cut = used.reshape(blocks, bars, n_trials)
    run = _by_calls(cut, metric) if callable(metric) else _by_sums(cut, metric)
    chosen, ranks, inside, outside = run(np.arange(blocks))
    probability = _share_in_lower_half(ranks, n_trials)
    error = _jackknife(run, blocks, n_trials)
    width = 1.96 * error
    slope, intercept = _line(inside, outside)
    return OverfittingEvidence(
        probability=probability,
        standard_error=error,
        interval=(max(0.0, probability - width), min(1.0, probability + width))
        if math.isfinite(error)
        else (math.nan, math.nan),
        logits=np.log(ranks / (n_trials + 1 - ranks)),
        chosen=chosen,
        in_sample=inside,
        out_of_sample=outside,
        degradation_slope=slope,
        degradation_intercept=intercept,
        probability_of_loss=float(np.mean(outside < 0.0)),
        n_splits=ranks.size,
        n_trials=n_trials,
        n_obs=used.shape[0],
        blocks=blocks,
    )


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    away = x - x.mean()
    if not away.any():
        return math.nan, math.nan
    slope = float(away @ y / (away @ away))
    return slope, float(y.mean() - slope * x.mean())


def _unknown(n_trials: int, n_obs: int, blocks: int) -> OverfittingEvidence:
    nothing = np.empty(0)
    return OverfittingEvidence(
        probability=math.nan,
        standard_error=math.nan,
        interval=(math.nan, math.nan),
        logits=nothing,
        chosen=np.empty(0, np.int64),
        in_sample=nothing,
        out_of_sample=nothing,
        degradation_slope=math.nan,
        degradation_intercept=math.nan,
        probability_of_loss=math.nan,
        n_splits=0,
        n_trials=n_trials,
        n_obs=n_obs,
        blocks=blocks,
    )
