"""Margin account of one position: what was posted, what is left of it, where it is liquidated."""

from __future__ import annotations

from dataclasses import dataclass, field

from ai_backtrader.market.margin import MaintenanceTiers, liquidation_root

__all__ = ["MarginAccount"]


@dataclass(slots=True, kw_only=True)
class MarginAccount:
    """State of one margined position beside Backtrader's ``Position`` (which keeps size and entry price).

    Attributes
    ----------
    posted
        Initial margin of the size that is open, and of what a partial liquidation closed (it stays with the rest).
    margin
        What stands behind the position now: ``posted`` less the funding and interest that free cash could not pay.
    leverage
        Multiple of the margin posted at entry.
    funding
        Funding paid since the position was opened (negative: received).
    equity_at_entry, maintenance_at_entry
        Both right after the last change of size: the liquidation buffer that ``margin_ratio`` measures against.
    liquidation
        Price of the liquidation; None when no price can do it.
    units, entry
        Signed size times contract multiplier, and average entry price.
    opened_by
        ``(owner, tradeid) -> signed size``: which strategy's trades make up the position.
    inside_bar
        How the size was last raised within the current bar: ``""`` at the open or earlier, ``"limit"``, ``"stop"`` or
        ``"close"``.
    free_scheme
        Commission scheme known to charge no interest.
    last_fill
        Price of the last fill that raised the size.
    worst
        Worst mark price of the current bar for the position: its low for a long, its high for a short.
    """

    posted: float
    margin: float
    leverage: float
    tiers: MaintenanceTiers
    funding: float = 0.0
    equity_at_entry: float = 0.0
    maintenance_at_entry: float = 0.0
    liquidation: float | None = None
    units: float = 0.0
    entry: float = 0.0
    opened_by: dict[tuple[object, int], float] = field(default_factory=dict)
    inside_bar: str = ""
    free_scheme: object = None
    last_fill: float = 0.0
    worst: float = 0.0

    def revalue(self, units: float, entry_price: float, fee_rate: float) -> None:
        """Take the position's size and entry price, and find its liquidation price."""
        self.units, self.entry = units, entry_price
        sign = 1 if units > 0 else -1
        self.liquidation = liquidation_root(sign, entry_price, abs(units), self.margin, fee_rate, self.tiers)

    def bankruptcy(self) -> float:
        """Price at which the margin is used up."""
        return max(0.0, self.entry - self.margin / self.units)

    def is_beyond(self, price: float) -> bool:
        """Whether ``price`` has reached the liquidation price."""
        if self.liquidation is None:
            return False
        return price <= self.liquidation if self.units > 0 else price >= self.liquidation

    def record_owner(self, key: tuple[object, int], change: float) -> None:
        """Book a fill of a strategy's trade."""
        left = self.opened_by.get(key, 0.0) + change
        if left:
            self.opened_by[key] = left
        else:
            self.opened_by.pop(key, None)
