"""Judging a search: the luck in it, how flat its top is, which parameters mattered, what holding would have done."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer.evaluation import Evaluation, outcome_in
from ai_backtrader.parameter_optimizer.result import Overfitting, Part, Plateau
from ai_backtrader.parameter_optimizer.space import Space

__all__ = ["ReturnMatrix", "holding_figures", "overfitting_of", "parameter_importance", "part_of", "plateau_of"]

Floats = NDArray[np.float64]

_MOST_CELLS = 16_000_000  # 128 MB of returns
_FEWEST_ROWS = 256
_BLOCKS = 16
_FEWEST_SCORES = 20  # below, a forest over some parameters explains noise
_TREES = 100
_SHUFFLES = 5


class ReturnMatrix:
    """Bar returns of every trial of a search, in bounded memory: what CSCV needs.

    Where trials times bars exceed 16 million, consecutive bars are compounded to as many rows as fit, at least 256.

    Parameters
    ----------
    n_trials
        Most trials that will be added.
    """

    def __init__(self, n_trials: int) -> None:
        self._n_trials = max(1, n_trials)
        self._columns: list[Floats] = []

    def add(self, evaluation: Evaluation) -> None:
        """Keep one trial's returns; a run that failed has none, and one without trades has zeros."""
        if evaluation.outcome is None:
            return
        # After a ruin nothing moves any more.
        returns = np.nan_to_num(evaluation.outcome.returns)
        together = math.ceil(returns.size / max(_FEWEST_ROWS, _MOST_CELLS // self._n_trials))
        if together > 1:
            whole = returns[: returns.size // together * together].reshape(-1, together)
            returns = np.prod(1.0 + whole, axis=1) - 1.0
        self._columns.append(returns)

    def table(self) -> Floats:
        """Shape (rows, trials)."""
        return np.stack(self._columns, axis=1) if self._columns else np.empty((0, 0))


def overfitting_of(returns: Floats) -> Overfitting:
    """Probability of backtest overfitting of a search, from its trials' returns, shape (rows, trials)."""
    found = ev.probability_of_backtest_overfitting(returns, blocks=_BLOCKS)
    return Overfitting(
        probability=found.probability,
        standard_error=found.standard_error,
        low=found.interval[0],
        high=found.interval[1],
        degradation_slope=found.degradation_slope,
        probability_of_loss=found.probability_of_loss,
        n_splits=found.n_splits,
        n_trials=found.n_trials,
        n_obs=found.n_obs,
        blocks=found.blocks,
    )


def plateau_of(best: float, neighbours: Sequence[Evaluation]) -> Plateau:
    """How much of the winner's score its neighbours keep."""
    scores = [0.0 if e.score is None else e.score for e in neighbours if e.score is not None or best > 0.0]
    if not scores:
        return Plateau(neighbours=len(neighbours), mean=math.nan, worst=math.nan, share=math.nan)
    kept = float(np.mean([score >= 0.5 * best for score in scores])) if best > 0.0 else math.nan
    return Plateau(neighbours=len(neighbours), mean=float(np.mean(scores)), worst=min(scores), share=kept)


def parameter_importance(
    space: Space, parameters: Sequence[Mapping[str, Any]], scores: Sequence[float], *, seed: int
) -> tuple[dict[str, float], float]:
    """Which parameters move the score: permutation importance in a forest of extra trees (Breiman, 2001).

    Parameters
    ----------
    space
        That was searched.
    parameters, scores
        Of the trials that have a score.
    seed
        Of the forest and its permutations.

    Returns
    -------
    tuple
        Shares by name, largest first, that sum to 1 (all 0 where nothing matters), and the forest's out-of-bag
        coefficient of determination. Empty and NaN with fewer than 20 trials or equal scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size < _FEWEST_SCORES or values.min() == values.max():
        return {}, math.nan
    from sklearn.ensemble import ExtraTreesRegressor

    # Ranks: one ruinous trial would otherwise be all that a squared error sees.
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") / (values.size - 1)
    units = np.stack([space.to_unit(p) for p in parameters])
    rng = np.random.default_rng([seed, 0x1A9])
    forest = ExtraTreesRegressor(
        _TREES, min_samples_leaf=3, bootstrap=True, oob_score=True, random_state=int(rng.integers(2**31))
    )
    with warnings.catch_warnings():
        # A tree may, by a small chance, hold every trial in its bag; the others then speak for it.
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        forest.fit(units, ranks)
    base = np.mean(np.square(forest.predict(units) - ranks))
    losses = np.empty(len(space))
    for column in range(len(space)):
        shuffled = np.concatenate([units] * _SHUFFLES)
        for part in np.split(shuffled, _SHUFFLES):
            part[:, column] = rng.permutation(part[:, column])
        errors = np.square(forest.predict(shuffled) - np.tile(ranks, _SHUFFLES))
        losses[column] = max(0.0, float(np.mean(errors) - base))
    total = losses.sum()
    shares = losses / total if total > 0.0 else losses
    order = np.argsort(-shares, kind="stable")
    names = [dimension.name for dimension in space.dimensions]
    return {names[place]: float(shares[place]) for place in order}, float(forest.oob_score_)


def holding_figures(
    data: MarketData, first: int, last: int, chosen: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Sharpe ratio, return and drawdown of the market held over the bars ``first <= bar < last``, without costs.

    With ``chosen``, held in the bars after the chosen ones alone, as a position decided there would be.
    """
    close = data.close
    returns = np.concatenate(([0.0], close[1:] / close[:-1] - 1.0))
    if chosen is not None:
        returns = returns * np.concatenate(([False], chosen[: len(close) - 1]))
    part = returns[first:last]
    equity = np.concatenate(([1.0], np.cumprod(1.0 + part)))
    return {
        "sharpe": ev.sharpe_ratio(part, bars_per_year=data.bars_per_year),
        "total_return": float(equity[-1] - 1.0),
        "max_drawdown": ev.max_drawdown(equity),
    }


def part_of(
    evaluation: Evaluation, data: MarketData, first: int, last: int, chosen: NDArray[np.bool_] | None = None
) -> Part:
    """The winner in one stretch beside holding."""
    return Part(
        bars=last - first,
        score=evaluation.score,
        figures=outcome_in(evaluation).metrics,
        holding=holding_figures(data, first, last, chosen),
    )
