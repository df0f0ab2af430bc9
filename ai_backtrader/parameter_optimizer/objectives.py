"""What makes one parameter set better than another: a measure of its outcome, discounted where trades are few."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.checks import Faults
from ai_backtrader.simulation import SimulationResult

__all__ = ["OBJECTIVES", "NoScore", "Objective", "Outcome"]

Floats = NDArray[np.float64]

_MOST = 100.0  # a ratio without anything below it: a profit factor without a loss


class NoScore(Exception):  # noqa: N818  # a finding about a parameter set, not an error of the program
    """A parameter set has no score; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """How one parameter set did in one stretch of bars (and, where asked, in one regime): what an objective sees.

    Attributes
    ----------
    parameters
        The set.
    equity
        Account value before the stretch and at each of its closes, shape (bars + 1,).
    returns
        Of each bar, shape (bars,); NaN after a ruin.
    trades
        Closed in the stretch, dtype ``TRADE_DTYPE``.
    held
        Whether a position was open, shape (bars,).
    bars_per_year
        Of the data.
    result
        The whole run that this is a part of.
    """

    parameters: Mapping[str, object]
    equity: Floats
    returns: Floats
    trades: NDArray[np.void]
    held: NDArray[np.bool_]
    bars_per_year: float
    result: SimulationResult

    @functools.cached_property
    def metrics(self) -> Mapping[str, float]:
        """Every measure of :data:`OBJECTIVES` with its plain sign, and ``trades`` and ``exposure``."""
        figures = {name: measure(self) for name, (_, measure) in OBJECTIVES.items()}
        figures |= {"trades": float(len(self.trades)), "exposure": ev.exposure(self.held)}
        return MappingProxyType(figures)


def _growth(outcome: Outcome) -> float:
    start = float(outcome.equity[0])
    return float(outcome.equity[-1]) / start if start > 0.0 else math.nan


def _rate(outcome: Outcome) -> float:
    return ev.compound_rate(_growth(outcome), years=len(outcome.returns) / outcome.bars_per_year)


def _calmar(outcome: Outcome) -> float:
    drawdown = ev.max_drawdown(outcome.equity)
    return _rate(outcome) / drawdown if drawdown > 0.0 else math.nan


OBJECTIVES: Mapping[str, tuple[float, Callable[[Outcome], float]]] = MappingProxyType(
    {
        "sharpe": (1.0, lambda o: ev.sharpe_ratio(o.returns, bars_per_year=o.bars_per_year)),
        "sortino": (1.0, lambda o: ev.sortino_ratio(o.returns, bars_per_year=o.bars_per_year)),
        "calmar": (1.0, _calmar),
        "total_return": (1.0, lambda o: _growth(o) - 1.0),
        "cagr": (1.0, _rate),
        "omega": (1.0, lambda o: ev.omega_ratio(o.returns, bars_per_year=o.bars_per_year)),
        "profit_factor": (1.0, lambda o: ev.profit_factor(o.trades["pnlcomm"])),
        "win_rate": (1.0, lambda o: ev.win_rate(o.trades["pnlcomm"])),
        "expectancy": (1.0, lambda o: ev.expectancy(o.trades["pnlcomm"])),
        "sqn": (1.0, lambda o: ev.system_quality_number(o.trades["pnlcomm"])),
        "max_drawdown": (-1.0, lambda o: ev.max_drawdown(o.equity)),
        "annual_volatility": (-1.0, lambda o: ev.annual_volatility(o.returns, bars_per_year=o.bars_per_year)),
    }
)
"""Measures by name, with the sign that makes more of it better; defined as in ``SimulationResult.metrics``."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How an outcome becomes a score.

    Attributes
    ----------
    measure
        Name in :data:`OBJECTIVES`, or a function of an :class:`Outcome` that gives a number, the larger the better.
    min_trades
        Below so many closed trades a gain is multiplied, and a loss divided, by their share of it: a graded discount,
        so that few lucky trades do not win, and one trade more is always better than none. 0 for no discount.
    fewest_trades
        Below so many there is no score at all.
    """

    measure: str | Callable[[Outcome], float] = "sharpe"
    min_trades: int = 30
    fewest_trades: int = 1

    def __post_init__(self) -> None:
        faults = Faults("Objective")
        if not callable(self.measure):
            faults.one_of("measure", self.measure, tuple(OBJECTIVES))
        faults.whole("min_trades", self.min_trades, low=0)
        faults.whole("fewest_trades", self.fewest_trades, low=1)
        faults.raise_if_any()

    @property
    def name(self) -> str:
        """Of the measure."""
        if isinstance(self.measure, str):
            return self.measure
        return str(getattr(self.measure, "__qualname__", type(self.measure).__name__))

    @property
    def sign(self) -> float:
        """-1 where less of the measure is better."""
        return OBJECTIVES[self.measure][0] if isinstance(self.measure, str) else 1.0

    def value(self, outcome: Outcome) -> float:
        """The measure itself, with its plain sign.

        Raises
        ------
        NoScore
            If too few trades were closed, or it is undefined.
        """
        trades = len(outcome.trades)
        if trades < self.fewest_trades:
            raise NoScore(
                "no trade was closed" if not trades else f"{trades} trades closed, {self.fewest_trades} are needed"
            )
        measure = OBJECTIVES[self.measure][1] if isinstance(self.measure, str) else self.measure
        value = float(measure(outcome))
        if math.isnan(value):
            raise NoScore(f"{self.name} is undefined ({trades} trades)")
        return value if math.isfinite(value) else math.copysign(_MOST, value)

    def score(self, outcome: Outcome, *, share: float = 1.0) -> float:
        """The measure, larger is better, discounted; ``share`` scales ``min_trades`` for a shorter stretch.

        Raises
        ------
        NoScore
            As :meth:`value`.
        """
        value = self.sign * self.value(outcome)
        if not self.min_trades:
            return value
        discount = min(1.0, len(outcome.trades) / max(1.0, self.min_trades * share))
        return value * discount if value > 0.0 else value / discount
