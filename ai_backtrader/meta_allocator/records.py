"""What is known of a strategy: figures told, daily returns, closed trades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ai_backtrader.checks import Faults
from ai_backtrader.values import FrozenMapping, Regime

__all__ = ["FIGURES", "RegimeTrades", "StrategyRecord", "checked_figures"]

FIGURES: Mapping[str, tuple[float, float]] = {
    "sharpe_ratio": (-math.inf, math.inf),
    "n_obs": (2.0, math.inf),
    "periods_per_year": (1e-9, math.inf),
    "win_rate": (0.0, 1.0),
    "n_trades": (0.0, math.inf),
    "max_drawdown": (0.0, 1.0),
    "profit_factor": (0.0, math.inf),
    "volatility": (0.0, math.inf),
    **{f"sharpe_{regime}": (-math.inf, math.inf) for regime in Regime},
    **{f"n_obs_{regime}": (2.0, math.inf) for regime in Regime},
}
"""Figures that count, with their bounds: ``volatility`` is annual, ``sharpe_bull`` the Sharpe ratio in that regime."""


@dataclass(frozen=True, kw_only=True)
class RegimeTrades:
    """Closed trades of one regime, summed up.

    Attributes
    ----------
    n, mean, m2
        Number, mean and sum of squared deviations of the net returns on margin, as fractions.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def with_trade(self, value: float) -> RegimeTrades:
        """One trade more (Welford 1962)."""
        n = self.n + 1
        delta = value - self.mean
        mean = self.mean + delta / n
        return RegimeTrades(n=n, mean=mean, m2=self.m2 + delta * (value - mean))

    @property
    def ratio(self) -> float:
        """Mean over standard deviation, a trade's own Sharpe ratio; NaN below 2 trades or without spread."""
        if self.n < 2 or not self.m2 > 0.0:
            return math.nan
        return self.mean / math.sqrt(self.m2 / (self.n - 1))


@dataclass(frozen=True, kw_only=True)
class StrategyRecord:
    """One strategy as the allocator sees it.

    Attributes
    ----------
    strategy_id
        Its name.
    figures
        Those of ``FIGURES`` that were told.
    wins, losses, won, lost
        Closed trades: how many, and their net returns on margin summed, as fractions (``lost`` positive).
    by_regime
        Closed trades by the regime at entry.
    """

    strategy_id: str
    figures: Mapping[str, float]
    wins: int = 0
    losses: int = 0
    won: float = 0.0
    lost: float = 0.0
    by_regime: Mapping[str, RegimeTrades] = field(default_factory=FrozenMapping)

    def with_trade(self, value: float, regime: Regime | None) -> StrategyRecord:
        """One closed trade more; the figures that were told stay."""
        trades = dict(self.by_regime)
        if regime is not None:
            trades[regime.value] = trades.get(regime.value, RegimeTrades()).with_trade(value)
        return replace(
            self,
            wins=self.wins + (value > 0.0),
            losses=self.losses + (value < 0.0),
            won=self.won + max(value, 0.0),
            lost=self.lost + max(-value, 0.0),
            by_regime=FrozenMapping(trades),
        )


def checked_figures(strategy_id: str, figures: Mapping[str, float]) -> FrozenMapping[str, float]:
    """Figures as plain floats, checked.

    Raises
    ------
    SettingsError
        If a figure is unknown, no finite number or out of its bounds (an infinite profit factor, of a strategy that
        never lost, is allowed).
    """
    faults = Faults(f"strategy {strategy_id!r}")
    given: object = figures
    if not isinstance(given, Mapping):
        faults.add(f"the figures must map names to numbers, got {figures!r}")
        faults.raise_if_any()
    faults.known_keys("the figures", figures, FIGURES)
    for name, value in figures.items():
        if name in FIGURES and not (name == "profit_factor" and value == math.inf):
            low, high = FIGURES[name]
            faults.number(name, value, low=low, high=high)
    faults.raise_if_any()
    return FrozenMapping({name: float(value) for name, value in figures.items()})
