"""Risk figures of a sized position."""

from __future__ import annotations

import math

from ai_backtrader.leverage.experience import KellyEstimate
from ai_backtrader.leverage.request import Request
from ai_backtrader.leverage.settings import LeverageSettings
from ai_backtrader.market.margin import liquidation_root

__all__ = ["flat_metrics", "position_metrics"]

_Z95 = 1.6448536269514722  # one-sided 95 % quantile of the normal distribution


def position_metrics(
    request: Request,
    settings: LeverageSettings,
    kelly: KellyEstimate,
    *,
    stop_distance: float,
    leverage: float,
    notional: float,
    loss_per_unit: float,
    reduce: float,
) -> dict[str, float]:
    """Risk figures of the position; the names are told at ``LeverageManager.calculate_optimal_leverage``.

    Parameters
    ----------
    request, settings, kelly
        What was asked, and the manager's state.
    stop_distance, loss_per_unit
        Quote currency.
    leverage, notional
        Multiple; account currency.
    reduce
        Share of the open position to close.
    """
    reading, account, sign = request.reading, request.account, request.side.sign
    price = reading.price
    units = notional / price
    margin = notional / leverage
    max_loss = units * loss_per_unit
    metrics = {
        "max_loss_usd": max_loss,
        "margin_usd": margin,
        "notional_usd": notional,
        "effective_leverage": notional / account.equity,
        "risk_fraction": max_loss / account.equity,
        "var_95_1d_usd": _Z95 * notional * reading.volatility / math.sqrt(settings.days_per_year),
        "funding_per_day_usd": sign * notional * account.funding_rate * settings.funding_per_day,
        "reduce_fraction": reduce,
        **_known(request, kelly),
    }
    fee = settings.liquidation_fee
    level: float | None = None
    if sign < 0 or leverage > 1.0:  # nothing liquidates a long at 1x; rounding would put its price a hair above 0
        # The unchecked form: the figures were checked when they were asked with, and this runs on every bar.
        level = liquidation_root(sign, price, units, margin, fee, account.tiers)
    entry_fee = account.fee_rate * notional
    if level is None:
        # A long whose whole value is posted: the worst price is 0.
        metrics["liquidation_distance_pct"] = 1.0
        metrics["loss_at_liquidation_usd"] = margin + entry_fee
    else:
        away = sign * (price - level)
        lost = units * (away + (account.fee_rate + fee) * level)
        metrics["liquidation_distance_pct"] = away / price
        metrics["loss_at_liquidation_usd"] = min(lost, margin) + entry_fee
    if reading.price_known:
        metrics["stop_price"] = price - sign * stop_distance
        if level is not None:
            metrics["liquidation_price"] = level
    return metrics


def flat_metrics(request: Request, kelly: KellyEstimate, *, reduce: float) -> dict[str, float]:
    """Risk figures where nothing is traded: the money is 0."""
    return {
        "max_loss_usd": 0.0,
        "margin_usd": 0.0,
        "notional_usd": 0.0,
        "effective_leverage": 0.0,
        "risk_fraction": 0.0,
        "var_95_1d_usd": 0.0,
        "funding_per_day_usd": 0.0,
        "reduce_fraction": reduce,
        "liquidation_distance_pct": 1.0,
        "loss_at_liquidation_usd": 0.0,
        **_known(request, kelly),
    }


def _known(request: Request, kelly: KellyEstimate) -> dict[str, float]:
    known = {"kelly_fraction": kelly.share} if kelly.enough else {}
    if request.reading.volatility == request.reading.volatility:
        known["annual_volatility"] = request.reading.volatility
    return known
