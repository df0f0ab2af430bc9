"""Caps of leverage and size of the position, as pure functions of money, prices and tiers."""

from __future__ import annotations

import math

from ai_backtrader.market.margin import MaintenanceTiers

__all__ = ["floor_to_step", "liquidation_cap", "loss_per_unit", "position_notional", "tier_cap"]


def loss_per_unit(*, sign: int, price: float, stop_distance: float, fee_rate: float, slippage: float) -> float:
    """Loss of one unit that is entered at ``price`` and stopped, with slippage and fees both ways.

    Parameters
    ----------
    sign
        +1 long, -1 short.
    price, stop_distance
        In quote currency; the stop lies at ``price - sign * stop_distance``.
    fee_rate, slippage
        Fractions of the price a side; slippage is against the trader both times.

    Notes
    -----
    An open that gaps past the stop loses more: no rule decided at the close can bound that.
    """
    entry = price * (1.0 + sign * slippage)
    leave = (price - sign * stop_distance) * (1.0 - sign * slippage)
    return sign * (entry - leave) + fee_rate * (entry + leave)


def tier_cap(*, equity: float, margin_share: float, limit: float, tiers: MaintenanceTiers) -> tuple[float, float]:
    """Highest leverage that its tier allows even when the whole margin share is posted, and the notional of that.

    A position at leverage L has a notional of at most ``margin_share * equity * L``, and never above the last tier; the
    cap is the highest L, at most ``limit``, with ``L <= tiers.max_leverage(that notional)``. It looks at the largest
    notional, not at the one finally chosen: the latter shrinks as volatility rises, and leverage must not rise with
    volatility.
    """
    posted = margin_share * equity
    last = tiers.rows[-1]
    # Within a tier both its leverage and its notional cap bind; the last tier's leverage holds for any account, because
    # the notional stops at its cap. The hair below a cap keeps the rounded product inside its tier.
    leverage = last.max_leverage
    for row in tiers.rows[:-1]:
        leverage = max(leverage, min(row.max_leverage, row.notional_cap * (1.0 - 1e-12) / posted))
    leverage = min(leverage, limit)
    return leverage, min(posted * leverage, last.notional_cap)


def liquidation_cap(
    *,
    sign: int,
    price: float,
    distance: float,
    notional: float,
    tiers: MaintenanceTiers,
    liquidation_fee: float,
) -> float:
    """Highest leverage at which the liquidation price lies at least ``distance`` from ``price``.

    At the price Q, ``distance`` away, a position of S units with margin M holds ``M - S*distance``; it survives Q if
    that is at least the maintenance margin and the liquidation fee of the notional ``S*Q``. Solved for
    ``S*price / M``: exact at ``notional``, and on the safe side for any smaller one, because the maintenance margin per
    notional never falls with size.

    Parameters
    ----------
    sign
        +1 long, -1 short.
    price, distance
        In quote currency.
    notional
        Largest notional in question, quote currency.
    tiers
        Maintenance tiers.
    liquidation_fee
        Fraction of the notional.

    Returns
    -------
    float
        At least 1 for a long, which nothing can liquidate at 1x; a short may be below 1: then no leverage keeps the
        distance.
    """
    level = price - sign * distance
    if level <= 0.0:
        return 1.0
    at_level = notional * level / price
    owed = tiers.maintenance(at_level) + liquidation_fee * at_level
    cap = 1.0 / (distance / price + owed / notional)
    return max(cap, 1.0) if sign > 0 else cap


def position_notional(
    *,
    equity: float,
    leverage: float,
    margin_share: float,
    risk_share: float,
    loss_fraction: float,
    fee_rate: float,
    largest: float,
) -> float:
    """Largest notional within the margin share, the risk share and the tiers.

    Parameters
    ----------
    equity
        Account currency.
    leverage
        Multiple of the margin posted.
    margin_share
        Largest share of equity for margin and entry fee together (so that an order for all of it can be paid).
    risk_share
        Largest share of equity lost at the stop.
    loss_fraction
        Loss at the stop as a fraction of the notional, costs included.
    fee_rate
        Fraction of the notional.
    largest
        Largest notional that the tiers take, account currency.
    """
    by_margin = margin_share * equity / (1.0 / leverage + fee_rate)
    by_risk = risk_share * equity / loss_fraction
    return max(min(by_margin, by_risk, largest), 0.0)


def floor_to_step(leverage: float, step: float) -> float:
    """Highest multiple of ``step`` that is not above ``leverage``, to ten decimals (3.2, not 3.2000000000000002)."""
    count = math.floor(leverage / step)
    floored = round(count * step, 10)
    return floored if floored <= leverage else round((count - 1) * step, 10)
