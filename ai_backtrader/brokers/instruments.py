"""Trading rules of an instrument: lot step, smallest size, smallest notional, maintenance tiers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ai_backtrader.checks import Faults
from ai_backtrader.market.margin import MaintenanceTiers

__all__ = ["Instrument"]


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Order limits of one instrument.

    Attributes
    ----------
    lot_step
        Sizes of opening orders are rounded down to a multiple of it; 0 leaves them as they are.
    min_size, min_notional
        Smallest size (units) and notional (quote currency) that may be opened with one order.
    tiers
        Maintenance table of this instrument; None takes the broker's.
    """

    lot_step: float = 0.0
    min_size: float = 0.0
    min_notional: float = 0.0
    tiers: MaintenanceTiers | None = None

    def __post_init__(self) -> None:
        faults = Faults("Instrument")
        for name in ("lot_step", "min_size", "min_notional"):
            faults.number(name, getattr(self, name), low=0.0)
        tiers: object = self.tiers
        if tiers is not None and not isinstance(tiers, MaintenanceTiers):
            faults.add(f"tiers must be MaintenanceTiers or None, got {tiers!r}")
        faults.raise_if_any()

    def round_down(self, size: float) -> float:
        """Largest multiple of the lot step that is not above ``size`` (units, not negative)."""
        if not self.lot_step:
            return size
        # A size that misses a multiple by rounding only (0.3 / 0.1 = 2.9999999999999996) counts as that multiple.
        steps = math.floor(size / self.lot_step * (1.0 + 1e-12))
        return round(steps * self.lot_step, 12)

    def refusal(self, size: float, price: float, mult: float) -> str | None:
        """Why an order that opens ``size`` units at ``price`` is refused; None when it is not."""
        if size <= 0.0:
            return f"lot step: the size is below {self.lot_step:g}"
        if size < self.min_size:
            return f"minimum size: {size:g} is below {self.min_size:g}"
        if size * price * mult < self.min_notional:
            return f"minimum notional: {size * price * mult:g} is below {self.min_notional:g}"
        return None
