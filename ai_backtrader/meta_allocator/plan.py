"""The allocator's answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ai_backtrader.meta_allocator.scoring import Score
from ai_backtrader.values import Regime

__all__ = ["Allocation", "AllocationPlan"]


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one strategy gets; readable as attributes and as ``allocation["weight"]``.

    Attributes
    ----------
    strategy_id
        Which.
    weight
        Share of the capital.
    capital
        In account currency.
    reason
        One readable sentence.
    """

    strategy_id: str
    weight: float
    capital: float
    reason: str

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True, kw_only=True)
class AllocationPlan:
    """Capital across the strategies.

    Attributes
    ----------
    allocations
        One for each strategy registered, largest first; weight 0 tells why it gets nothing.
    cash_weight
        What is left over.
    total_capital, regime
        What was asked.
    forecast_loss
        Of one day at the settings' confidence, as a fraction of the capital; NaN when volatilities are not known.
    risk_budget
        What it was held to.
    diversification
        1 spread equally over all, 0 in one.
    effective_number
        Of equal holdings as concentrated as these.
    scores
        Term by term.
    changed
        False when the no-trade band kept the weights of the plan before.
    warnings
        What the user should know.
    """

    allocations: tuple[Allocation, ...]
    cash_weight: float
    total_capital: float
    regime: Regime | None
    forecast_loss: float
    risk_budget: float
    diversification: float
    effective_number: float
    scores: tuple[Score, ...]
    changed: bool
    warnings: tuple[str, ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        """Weight by strategy."""
        return {allocation.strategy_id: allocation.weight for allocation in self.allocations}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        found = asdict(self)
        found["forecast_loss"] = None if self.forecast_loss != self.forecast_loss else self.forecast_loss
        return found
