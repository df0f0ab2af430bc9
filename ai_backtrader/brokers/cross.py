"""Cross margin: where on a joint move of all prices an account's equity meets its maintenance margin.

Every leg's price goes in a straight line from ``start`` to ``end``, all at the same pace; ``share`` in [0, 1] says how
far. Equity is linear in the share and the maintenance margin convex, so what is above it is concave: positive at the
start, it has at most one root, which Newton's method finds from the far end without overshooting (each tangent lies
above the function).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ai_backtrader.market.margin import MaintenanceTiers

__all__ = ["Leg", "bankruptcy_share", "equity_at", "liquidation_share"]

_STEPS = 100  # one a tier crossed is enough; a bound against rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One position on its way: signed units (size times multiplier), entry price, two prices, its tiers."""

    units: float
    entry: float
    start: float
    end: float
    tiers: MaintenanceTiers

    def price(self, share: float) -> float:
        """Price after a share of the way."""
        return self.start + share * (self.end - self.start)


def equity_at(wallet: float, legs: Sequence[Leg], share: float) -> float:
    """Money of the account after a share of the way: wallet plus unrealised profits."""
    return wallet + math.fsum(leg.units * (leg.price(share) - leg.entry) for leg in legs)


def _buffer(wallet: float, legs: Sequence[Leg], share: float, fee_rate: float) -> tuple[float, float]:
    """Equity above maintenance, and its slope towards the end."""
    terms, slopes = [wallet], []
    for leg in legs:
        price, way = leg.price(share), leg.end - leg.start
        notional = abs(leg.units) * price
        rate, amount = leg.tiers.rate_and_amount(notional)
        terms += [leg.units * (price - leg.entry), amount - (rate + fee_rate) * notional]
        slopes.append(way * (leg.units - (rate + fee_rate) * abs(leg.units)))
    return math.fsum(terms), math.fsum(slopes)


def liquidation_share(wallet: float, legs: Sequence[Leg], fee_rate: float) -> float | None:
    """Share of the way at which equity falls to the maintenance margin; 0 if it is there already, None if it does not.

    Parameters
    ----------
    wallet
        Money behind the positions without their unrealised profits.
    legs
        The open positions.
    fee_rate
        Liquidation fee that counts into the maintenance margin.
    """
    if _buffer(wallet, legs, 0.0, fee_rate)[0] <= 0.0:
        return 0.0
    share = 1.0
    value, slope = _buffer(wallet, legs, share, fee_rate)
    if value > 0.0:
        return None
    for _ in range(_STEPS):
        if not value < 0.0 or not slope < 0.0:
            break
        better = share - value / slope
        if not 0.0 <= better < share:
            break
        share = better
        value, slope = _buffer(wallet, legs, share, fee_rate)
    return share


def bankruptcy_share(wallet: float, legs: Sequence[Leg]) -> float:
    """Share of the way beyond which the account owes money: 1 if it does not at the end, 0 if it does at the start."""
    first, last = equity_at(wallet, legs, 0.0), equity_at(wallet, legs, 1.0)
    if last >= 0.0:
        return 1.0
    return max(0.0, first / (first - last)) if first > 0.0 else 0.0
