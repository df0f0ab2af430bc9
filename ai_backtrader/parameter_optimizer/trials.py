"""Trials as values, and what a search found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.values import FrozenMapping

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Proposal", "SearchResult", "Trial"]


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Parameters that the search wants to know the score of.

    Attributes
    ----------
    number
        Of the trial, counted from 0; tells the search which one an answer belongs to.
    params
        Values by name, plain Python.
    """

    number: int
    params: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", FrozenMapping(self.params))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An evaluation and what came of it.

    Attributes
    ----------
    number
        Counted from 0, in the order they were proposed.
    params
        Values by name, plain Python.
    score
        As the objective gave it; None where it failed.
    failed
        Why there is no score: the exception, NaN or infinity; None where there is one.
    seconds
        Wall time of the evaluation; 0 where nobody measured. Does not count when trials are compared.
    figures
        Named numbers that the objective gave beside its score.
    """

    number: int
    params: Mapping[str, Any]
    score: float | None
    failed: str | None = None
    seconds: float = field(default=0.0, compare=False)
    figures: Mapping[str, float] = field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", FrozenMapping(self.params))
        object.__setattr__(self, "figures", FrozenMapping(self.figures))


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """What a search found; unpacks into the best parameters and their score.

    Attributes
    ----------
    params
        The best parameters.
    score
        Their score, in sample: the best of many, so it flatters.
    trials
        Every evaluation, failed ones included, in order; empty where the answer came from the cache.
    n_trials
        Evaluations that the answer cost.
    maximize
        Whether more is better.
    interrupted
        True when Ctrl-C ended the search before its budget.
    cached
        True when nothing was evaluated because the same question had been answered before.
    key
        Of the cache; None where what was searched on is unknown, so that nothing was kept.

    Examples
    --------
    >>> result = SearchResult(params={"fast": 12}, score=1.5)
    >>> best_params, score = result
    >>> best_params["fast"], score
    (12, 1.5)
    """

    params: Mapping[str, Any]
    score: float
    trials: tuple[Trial, ...] = ()
    n_trials: int = 0
    maximize: bool = True
    interrupted: bool = False
    cached: bool = False
    key: str | None = None

    def __iter__(self) -> Iterator[Any]:
        yield dict(self.params)
        yield self.score

    @property
    def convergence(self) -> NDArray[np.float64]:
        """Best score after each trial, shape (trials,); NaN before the first that succeeded."""
        best, record = math.nan, np.empty(len(self.trials))
        for place, trial in enumerate(self.trials):
            if trial.score is not None and (
                math.isnan(best) or (trial.score > best if self.maximize else trial.score < best)
            ):
                best = trial.score
            record[place] = best
        return record

    def to_frame(self) -> pd.DataFrame:
        """One row a trial: number, the parameters, score (NaN where it failed), failed, seconds, and the figures."""
        import pandas as pd

        rows = [
            {
                "number": trial.number, **trial.params,
                "score": math.nan if trial.score is None else trial.score,
                "failed": trial.failed, "seconds": trial.seconds, **trial.figures,
            }
            for trial in self.trials
        ]  # fmt: skip
        return pd.DataFrame(rows)
