"""Fitness: what makes a strategy better, from the statistics of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.evidence import sharpe_ratio
from ai_backtrader.rules import StrategyChromosome

__all__ = ["OBJECTIVES", "Fitness", "gene_count", "worst_of_regimes", "worst_regime_sharpe"]

Floats = NDArray[np.float64]

OBJECTIVES = {
    "sharpe": 1.0,
    "total_return": 1.0,
    "profit_factor": 1.0,
    "max_drawdown": -1.0,
    "annual_volatility": -1.0,
    "exposure": -1.0,
    "fees": -1.0,
}
"""Statistics that can be an objective, with the sign that makes more of it better."""

_FEWEST_REGIME_BARS = 50  # a regime with fewer bars says nothing about a strategy


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """How the statistics of a run become scores.

    Attributes
    ----------
    objectives
        Names in :data:`OBJECTIVES`; several make the search keep their trade-offs (NSGA-II).
    min_trades
        Below so many closed trades a gain is multiplied, and a loss divided, by their share of it: a graded discount,
        so that few lucky trades do not win, and one trade more is always better than none. 0 for no discount. Counted
        over the bars of the search; shorter stretches need proportionally fewer.
    complexity_charge
        Taken off the first objective for each gene, in its unit (Sharpe: per year).
    worst_regime
        Take for ``"sharpe"`` the lowest of the Sharpe ratios in bull, sideways and bear markets (regimes with 50 bars
        or more), in place of the whole. Slower, for it needs the equity at every bar.
    """

    objectives: tuple[str, ...] = ("sharpe",)
    min_trades: int = 30
    complexity_charge: float = 0.02
    worst_regime: bool = False

    def __post_init__(self) -> None:
        faults = Faults("Fitness")
        names: object = self.objectives
        if not isinstance(names, tuple) or not names or len(set(names)) < len(names):
            faults.add(f"objectives must be a tuple of different names, one or more, got {names!r}")
        else:
            for name in names:
                faults.one_of("objectives", name, tuple(OBJECTIVES))
        faults.whole("min_trades", self.min_trades, low=0)
        faults.number("complexity_charge", self.complexity_charge, low=0.0)
        worst_regime: object = self.worst_regime
        if not isinstance(worst_regime, bool):
            faults.add(f"worst_regime must be True or False, got {worst_regime!r}")
        elif worst_regime and "sharpe" not in self.objectives:
            faults.add(f"worst_regime needs 'sharpe' among the objectives, got {self.objectives!r}")
        faults.raise_if_any()

    def scores(self, statistics: NDArray[np.void], genes: Sequence[int], *, share: float = 1.0) -> Floats:
        """Scores of some runs, shape (runs, objectives); NaN where a run never traded.

        Parameters
        ----------
        statistics
            Dtype ``STATISTICS_DTYPE``, shape (runs,).
        genes
            Number of genes of each chromosome.
        share
            Length of the stretch over that of the search, by which ``min_trades`` is scaled.
        """
        trades = statistics["trades"].astype(np.float64)
        enough = max(1.0, self.min_trades * share)
        discount = np.minimum(1.0, trades / enough) if self.min_trades else np.ones(len(trades))
        discount[trades == 0.0] = np.nan
        columns = []
        for name in self.objectives:
            value = OBJECTIVES[name] * statistics[name]
            value = np.where(np.isposinf(value), 1e6, value)  # a profit factor without a loss
            columns.append(np.where(value > 0.0, value * discount, value / discount))
        columns[0] = columns[0] - self.complexity_charge * np.asarray(genes, dtype=np.float64)
        return np.stack(columns, axis=1)


def gene_count(chromosome: StrategyChromosome) -> int:
    """Genes of all sections."""
    return sum(len(section) for section in chromosome.sections.values())


def worst_regime_sharpe(returns: Floats, trend: NDArray[np.int8], *, bars_per_year: float) -> float:
    """Lowest Sharpe ratio over the regimes.

    Parameters
    ----------
    returns
        Return of each bar, shape (bars,).
    trend
        Sign of the regime each bar's position was decided in: 1 bull, 0 sideways, -1 bear; shape (bars,).
    bars_per_year
        For the annual figure.

    Returns
    -------
    float
        NaN when no regime has 50 bars. A regime in which the account never moved counts as 0: standing aside is
        neither good nor bad.
    """
    found = []
    for sign in (1, 0, -1):
        part = returns[trend == sign]
        if len(part) >= _FEWEST_REGIME_BARS:
            ratio = sharpe_ratio(part, bars_per_year=bars_per_year)
            found.append(0.0 if np.isnan(ratio) else ratio)
    return min(found, default=float("nan"))


def worst_of_regimes(sharpes: Floats, bars: NDArray[np.int64]) -> Floats:
    """The same for many runs, from their Sharpe ratios in each regime.

    Parameters
    ----------
    sharpes
        Shape (runs, regimes).
    bars
        Bars of each regime, shape (regimes,).

    Returns
    -------
    ndarray
        Shape (runs,).
    """
    known = np.nan_to_num(sharpes[:, bars >= _FEWEST_REGIME_BARS], nan=0.0)
    return known.min(axis=1) if known.shape[1] else np.full(len(known), np.nan)
