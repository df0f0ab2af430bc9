"""Q values told: probabilities, and what a leverage action means for the account."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market.margin import MaintenanceTiers, liquidation_price
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.rl.states import LEVERAGE_FEATURES

__all__ = ["action_probabilities", "analyse_leverage_action"]

Floats = NDArray[Any]

_POSITION = LEVERAGE_FEATURES.index("current_position")
_LEVERAGE = LEVERAGE_FEATURES.index("current_leverage")
_MARGIN_RATIO = LEVERAGE_FEATURES.index("margin_ratio")


def action_probabilities(q_values: Floats, allowed: NDArray[np.bool_], temperature: float = 1.0) -> Floats:
    """Softmax of the Q values over the allowed actions; 0 for the others.

    Parameters
    ----------
    q_values, allowed
        Shape (actions,); at least one is allowed.
    temperature
        In units of reward: actions whose values differ by it differ by a factor e.
    """
    scaled = np.where(allowed, np.asarray(q_values, np.float64) / temperature, -np.inf)
    powers: Floats = np.exp(scaled - scaled.max())
    powers /= powers.sum()
    return powers


def analyse_leverage_action(
    action: LeverageAction,
    *,
    vector: Floats,
    q_values: Floats,
    allowed: NDArray[np.bool_],
    probabilities: Floats,
    reason: str,
    maintenance_rate: float,
    fee_rate: float,
) -> dict[str, Any]:
    """What an action means, as plain Python values.

    Parameters
    ----------
    action
        The chosen one.
    vector
        The state, shape (35,).
    q_values, allowed, probabilities
        Shape (11,).
    reason
        Why the agent holds although it did not look; empty if it did.
    maintenance_rate, fee_rate
        Fractions of the notional, for the distance to liquidation.

    Returns
    -------
    dict
        ``action_name``; ``best_leverage`` (of the action, of the open position when the action opens nothing, 1 when
        flat); ``is_short`` (likewise); ``confidence`` (the action's probability, 0 when inputs are missing);
        ``recommendation`` (a sentence); ``action`` (number); ``q_values``, ``probabilities``, ``masks`` by action name;
        ``long_probability``, ``short_probability`` (sums over the four actions of a side);
        ``liquidation_distance`` (percent of the price: after opening for an action that opens; else of the position,
        from the share of its buffer that is left; 100 when flat or not liquidatable).
    """
    names = [member.name for member in LeverageAction]
    position, ratio = float(vector[_POSITION]), float(vector[_MARGIN_RATIO])
    held_leverage = max(round(10.0 * float(vector[_LEVERAGE]), 6), 1.0) if position else 1.0
    side = action.side or int(np.sign(position))
    leverage = action.leverage or held_leverage
    distance = _distance(side, leverage, maintenance_rate, fee_rate) if side else 100.0
    if not action.side:
        distance *= 1.0 - min(max(ratio, 0.0), 1.0) if side else 1.0
    confidence = 0.0 if reason else float(probabilities[action])
    return {
        "action": int(action),
        "action_name": action.name,
        "best_leverage": leverage,
        "is_short": side < 0,
        "confidence": confidence,
        "recommendation": _sentence(action, position, held_leverage, reason, confidence, distance),
        "q_values": dict(zip(names, map(float, q_values), strict=True)),
        "probabilities": dict(zip(names, map(float, probabilities), strict=True)),
        "masks": dict(zip(names, map(bool, allowed), strict=True)),
        "long_probability": float(probabilities[1:5].sum()),
        "short_probability": float(probabilities[5:9].sum()),
        "liquidation_distance": distance,
    }


def _distance(side: int, leverage: float, maintenance_rate: float, fee_rate: float) -> float:
    # Of one unit bought or sold at price 1: relative, so that no price is needed.
    price = liquidation_price(
        side="LONG" if side > 0 else "SHORT", entry_price=1.0, size=1.0, margin=1.0 / leverage,
        tiers=MaintenanceTiers.flat(maintenance_rate), fee_rate=fee_rate,
    )  # fmt: skip
    return 100.0 if price is None else 100.0 * abs(1.0 - price)


def _sentence(
    action: LeverageAction, position: float, held: float, reason: str, confidence: float, distance: float
) -> str:
    if reason:
        return f"Hold: {reason}"
    now = f"{'LONG' if position > 0 else 'SHORT'} {held:g}x" if position else "flat"
    if action.side:
        wanted = f"{'LONG' if action.side > 0 else 'SHORT'} {action.leverage:g}x"
        if not position:
            what = f"Open {wanted}"
        elif np.sign(position) != action.side:
            what = f"Close {now} and open {wanted}"
        else:
            what = f"Stay {wanted}" if held == action.leverage else f"Move from {now} to {wanted}"
        return f"{what} (confidence {confidence:.0%}, liquidation {distance:.1f}% away)"
    words = {
        LeverageAction.HOLD: f"Hold, stay {now}",
        LeverageAction.CLOSE: f"Close {now}",
        LeverageAction.REDUCE_HALF: f"Halve {now}",
    }
    return f"{words[action]} (confidence {confidence:.0%})"
