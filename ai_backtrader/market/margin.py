"""Margin arithmetic of leveraged positions: maintenance tiers, liquidation and bankruptcy price, margin ratio.

A position of ``size`` units opened at ``entry_price`` with ``margin`` posted has the equity
``margin + sign * size * (price - entry_price)`` and must keep the maintenance margin
``rate * notional - amount (+ fee_rate * notional)``, where rate and amount are those of the tier of the notional *at
that price*. It is liquidated where the two meet.

Because rates rise from tier to tier and the maintenance margin is continuous, it is the maximum of the tiers' straight
lines (a convex function). Equity minus maintenance is then the minimum of straight lines, each strictly monotone in the
price, so it has exactly one root: for a long the largest, for a short the smallest of the roots that the tiers have one
by one. No search for "the right tier" is needed, and no tier is picked by the entry notional.

A coin-margined (inverse) contract is worth ``size / price`` coins: for the formulas it is a position on the *other*
side in ``1 / price``, with the margin in coins.
"""

from __future__ import annotations

import math

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.market.maintenance import MaintenanceTiers, TierRow
from ai_backtrader.values import Direction

__all__ = [
    "MaintenanceTiers",
    "TierRow",
    "bankruptcy_price",
    "liquidation_price",
    "maintenance_ratio",
    "margin_ratio",
]


_NO_MAINTENANCE = MaintenanceTiers.flat(0.0)


def _sign(side: Direction | str, subject: str) -> int:
    direction = side if isinstance(side, Direction) else Direction.parse(side)
    if direction is Direction.FLAT:
        raise SettingsError(subject, [f"side must be long or short, got {side!r}"])
    return direction.sign


def _check_position(subject: str, entry_price: float, size: float, margin: float) -> None:
    faults = Faults(subject)
    faults.number("entry_price", entry_price, above=0.0)
    faults.number("size", size, above=0.0)
    faults.number("margin", margin)
    faults.raise_if_any()


def liquidation_root(
    sign: int, entry_price: float, size: float, margin: float, fee_rate: float, tiers: MaintenanceTiers
) -> float | None:
    """:func:`liquidation_price` without argument checks, for the broker's loop; ``sign`` is +1 or -1."""
    value = size * entry_price
    rates, amounts = tiers.rates, tiers.amounts
    if sign > 0:
        owed = value - margin
        root = max(
            (owed - amount) / (size * (1.0 - rate - fee_rate)) for rate, amount in zip(rates, amounts, strict=True)
        )
        return root if root > 0.0 else None
    backed = value + margin
    root = min(
        (backed + amount) / (size * (1.0 + rate + fee_rate)) for rate, amount in zip(rates, amounts, strict=True)
    )
    return root if root > 0.0 else 0.0


def liquidation_price(
    *,
    side: Direction | str,
    entry_price: float,
    size: float,
    margin: float,
    tiers: MaintenanceTiers,
    fee_rate: float = 0.0,
    maintenance_at: str = "mark",
) -> float | None:
    """Price at which a position's equity equals its maintenance margin, the tier taken at that price.

    For a long ``(size * entry - margin - amount) / (size * (1 - rate - fee_rate))``, for a short
    ``(size * entry + margin + amount) / (size * (1 + rate + fee_rate))``: the isolated-margin formula of the
    USD-margined exchanges (Binance, "How to Calculate Liquidation Price of USD-M Futures Contracts"), which also serves
    cross margin when ``margin`` is the balance that stands behind the position.

    Parameters
    ----------
    side
        ``Direction`` or text: LONG/SHORT, BUY/SELL, in any case.
    entry_price
        Average entry, quote currency a unit.
    size
        Units, positive.
    margin
        Money that stands behind the position (notional / leverage at entry, less funding taken from it).
    tiers
        Maintenance table.
    fee_rate
        Fee of the liquidation as a fraction of the notional, when the venue counts it into the maintenance margin.
    maintenance_at
        "mark": the maintenance margin is that of the notional at the liquidation price (Binance; what
        ``LeverageBroker`` does). "entry": that of the notional at the entry, a fixed sum (Bybit's USDT contracts).

    Returns
    -------
    float or None
        None for a long that no positive price can liquidate (leverage 1 or less).

    Raises
    ------
    SettingsError
        If a number is not finite, price or size are not positive, or the side is none.

    Examples
    --------
    >>> liquidation_price(side="long", entry_price=100, size=10, margin=100, tiers=MaintenanceTiers.flat(0.005))
    90.45226130653266
    """
    _check_position("liquidation_price", entry_price, size, margin)
    faults = Faults("liquidation_price")
    faults.number("fee_rate", fee_rate, low=0.0)
    if not faults.found and fee_rate + tiers.rates[-1] >= 1.0:
        faults.add(
            f"fee_rate plus the highest maintenance rate {tiers.rates[-1]:g} must stay below 1, got {fee_rate!r}"
        )
    faults.one_of("maintenance_at", maintenance_at, ("mark", "entry"))
    faults.raise_if_any()
    sign = _sign(side, "liquidation_price")
    if maintenance_at == "entry":
        margin -= tiers.maintenance(size * entry_price)
        tiers = _NO_MAINTENANCE
    return liquidation_root(sign, entry_price, size, margin, fee_rate, tiers)


def bankruptcy_price(*, side: Direction | str, entry_price: float, size: float, margin: float) -> float:
    """Price at which the margin is used up: ``entry - margin/size`` for a long, ``entry + margin/size`` for a short.

    Zero for a long that posted its whole value (leverage 1 or less). Arguments and errors as for
    :func:`liquidation_price`.
    """
    _check_position("bankruptcy_price", entry_price, size, margin)
    return max(0.0, entry_price - _sign(side, "bankruptcy_price") * margin / size)


def margin_ratio(*, equity: float, maintenance: float, equity_at_entry: float, maintenance_at_entry: float) -> float:
    """Share of the liquidation buffer used up: 0 right after the last change of size, 1 at liquidation.

    ``1 - clip((equity - maintenance) / (equity_at_entry - maintenance_at_entry), 0, 1)``, a fraction; all arguments in
    money. Isolated margin: equity is margin plus unrealised profit; cross margin: that of the account. Where there was
    no buffer at entry the answer is 1.
    """
    buffer = equity_at_entry - maintenance_at_entry
    if not buffer > 0.0:
        return 1.0
    return 1.0 - min(1.0, max(0.0, (equity - maintenance) / buffer))


def maintenance_ratio(*, equity: float, maintenance: float) -> float:
    """Ratio that exchanges show: maintenance margin over equity; 1 at liquidation, infinite without equity."""
    return maintenance / equity if equity > 0.0 else math.inf
