"""Settings of an audit, and the error it raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.market import MaintenanceTiers

__all__ = ["AuditError", "AuditSettings"]


class AuditError(AIBacktraderError):
    """The strategy cannot be loaded or run; the message says where and why."""


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """The account on which a strategy is audited.

    Attributes
    ----------
    leverage
        Multiple that the user sets with ``setcommission(leverage=…)``; the same is the position's leverage at the
        exchange.
    cash
        Starting cash in account currency.
    commission, slippage
        Per fill, as fractions of the notional and of the price.
    tiers
        Maintenance table; None is a flat rate of 0.5 % of the notional.
    liquidation_fee
        Fee of a liquidation as a fraction of the notional.
    funding
        Rate per ``funding_hours`` as a fraction; None takes the data's funding rates where they have them; 0 is none.
    funding_hours
        Hours between two stamps of a constant rate, from midnight UTC.
    params
        Parameters of the strategy.
    sizer, sizer_params
        Sizer class for orders without a size, and its parameters; None leaves Backtrader's (1 unit).
    """

    leverage: float = 1.0
    cash: float = 10_000.0
    commission: float = 0.0
    slippage: float = 0.0
    tiers: MaintenanceTiers | None = None
    liquidation_fee: float = 0.0
    funding: float | None = None
    funding_hours: float = 8.0
    params: Mapping[str, Any] = field(default_factory=dict)
    sizer: Any = None
    sizer_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = Faults("audit")
        faults.number("leverage", self.leverage, low=1.0, high=125.0)
        faults.number("cash", self.cash, above=0.0)
        for name in ("commission", "slippage", "liquidation_fee"):
            faults.number(name, getattr(self, name), low=0.0, high=0.1)
        tiers: object = self.tiers
        if tiers is not None and not isinstance(tiers, MaintenanceTiers):
            faults.add(f"tiers must be MaintenanceTiers or None, got {tiers!r}")
        if self.funding is not None:
            faults.number("funding", self.funding, low=-0.1, high=0.1)
        faults.number("funding_hours", self.funding_hours, above=0.0)
        faults.raise_if_any()

    @property
    def table(self) -> MaintenanceTiers:
        """Maintenance table that holds."""
        return MaintenanceTiers.flat(0.005) if self.tiers is None else self.tiers
