"""What the caller of the orchestrator asks, checked and read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ai_backtrader.checks import Faults
from ai_backtrader.orchestrator.values import Context
from ai_backtrader.values import Action

__all__ = ["atr_of", "check_question", "flag_of", "stop_obstacle"]


def check_question(price: float, equity: float, position: float, base_confidence: float | None) -> None:
    """Raise SettingsError unless every figure is finite and in range."""
    # The common case first: this runs on every bar.
    try:
        if (
            0.0 < price < math.inf
            and -math.inf < equity < math.inf
            and -math.inf < position < math.inf
            and (base_confidence is None or 0.0 <= base_confidence <= 1.0)
        ):
            return
    except TypeError:
        pass  # a value of another kind: named below
    faults = Faults("decide")
    faults.number("current_price", price, above=0.0)
    faults.number("portfolio_value", equity)
    faults.number("position", position)
    if base_confidence is not None:
        faults.number("base_confidence", base_confidence, low=0.0, high=1.0)
    faults.raise_if_any()


def flag_of(indicators: Mapping[str, float]) -> bool | None:
    """The ``high_volatility`` flag; None when it was not given."""
    value = indicators.get("high_volatility")
    return None if value is None else value > 0.0


def atr_of(context: Context) -> float:
    """ATR in price units; NaN when the indicators do not tell it."""
    atr = context.indicators.get("atr")
    if atr is not None and 0.0 < atr < math.inf:
        return float(atr)
    percent = context.indicators.get("atr_pct")
    if percent is not None and 0.0 < percent < math.inf:
        return percent / 100.0 * context.current_price
    return math.nan


def stop_obstacle(action: Action, price: float, distance: float) -> str:
    """Why no stop can be placed ``distance`` (quote currency, NaN when unknown) from the price; empty if it can."""
    if distance != distance:
        return f"no ATR among the indicators, so {action.value} can have no stop"
    if action is Action.BUY and distance >= price:
        return f"the stop, {distance:g} below {price:g}, would lie at or below zero"
    return ""
