"""What a simulation assumes of the broker: cash, costs, margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.simulation.state import MOST_TIERS, SETTINGS_DTYPE

__all__ = ["SimulationSettings"]

_MAX_LEVERAGE = 125.0  # the broker's own limit


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """Account and broker of a simulation; every default is ``LeverageBroker``'s.

    Parameters
    ----------
    cash
        Account value before the first bar.
    commission
        Fraction of the notional, each fill.
    slippage
        Fraction of the price by which market orders and stops fill worse, never outside the bar
        (``set_slippage_perc`` with its defaults).
    tiers
        Maintenance table; None is a flat 0.5 % of the notional.
    funding
        None: the rates of the data where they have some; 0 or False: none; a number: that rate at 00, 08 and 16 UTC.
    liquidation_fee
        Fraction of the notional, on top of the commission.
    shortcash
        Whether shorts at leverage 1 post nothing and their proceeds are credited (Backtrader's default), or cost their
        value as longs do.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    cash: float = 10_000.0
    commission: float = 0.0005
    slippage: float = 0.0
    tiers: MaintenanceTiers | None = None
    funding: float | bool | None = None
    liquidation_fee: float = 0.0
    shortcash: bool = True

    def __post_init__(self) -> None:
        faults = Faults("simulate")
        faults.number("cash", self.cash, above=0.0)
        faults.number("commission", self.commission, low=0.0, high=0.5)
        faults.number("slippage", self.slippage, low=0.0, high=0.5)
        faults.number("liquidation_fee", self.liquidation_fee, low=0.0, high=0.5)
        tiers: object = self.tiers
        if tiers is not None and not isinstance(tiers, MaintenanceTiers):
            faults.add(f"tiers must be MaintenanceTiers or None, got {tiers!r}")
        elif self.tiers is not None and len(self.tiers.rows) > MOST_TIERS:
            faults.add(f"tiers may have at most {MOST_TIERS} rows, got {len(self.tiers.rows)}")
        if self.funding is True:
            faults.add("funding must be a rate, False or None, got True")
        elif self.funding is not None and self.funding is not False:
            faults.number("funding", self.funding, low=-1.0, high=1.0)
        shortcash: object = self.shortcash
        if not isinstance(shortcash, bool):
            faults.add(f"shortcash must be True or False, got {shortcash!r}")
        faults.raise_if_any()

    def record(self) -> NDArray[np.void]:
        """The settings as the kernels read them, shape (1,), dtype ``SETTINGS_DTYPE``."""
        record = np.zeros(1, SETTINGS_DTYPE)
        for name in ("cash", "commission", "slippage", "liquidation_fee", "shortcash"):
            record[name] = getattr(self, name)
        record["max_leverage"] = _MAX_LEVERAGE
        rows = (MaintenanceTiers.flat(0.005) if self.tiers is None else self.tiers).rows
        record["tier_rows"] = len(rows)
        for place, row in enumerate(rows):
            table_row = (row.notional_cap, row.maintenance_rate, row.maintenance_amount, row.max_leverage)
            record["tiers"][0, place] = table_row
        return record
