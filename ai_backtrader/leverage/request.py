"""What the caller of the leverage manager says, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ai_backtrader.checks import Faults
from ai_backtrader.leverage.policy import LeverageProposal
from ai_backtrader.leverage.reading import Reading
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.values import Direction, Regime

__all__ = ["Account", "Request", "check_account", "check_trade"]


class Account(NamedTuple):
    """Money, costs and risk: equity in account currency, everything else fractions."""

    equity: float
    risk_budget: float
    tiers: MaintenanceTiers
    fee_rate: float
    slippage: float
    funding_rate: float
    margin_ratio: float
    drawdown: float

    def in_double_precision(self) -> Account:
        """Figures as plain floats: a float32 would otherwise carry its precision into the money."""
        return Account(
            float(self.equity),
            float(self.risk_budget),
            self.tiers,
            float(self.fee_rate),
            float(self.slippage),
            float(self.funding_rate),
            float(self.margin_ratio),
            float(self.drawdown),
        )


class Request(NamedTuple):
    """One question to the selection flow; ``stop_distance`` None means ``stop_atr`` ATR."""

    reading: Reading
    account: Account
    regime: Regime | None
    proposal: LeverageProposal
    side: Direction
    confidence: float
    stop_distance: float | None


def check_account(account: Account) -> None:
    """Raise SettingsError unless every figure is finite and in range."""
    # The common case first: this runs on every bar.
    try:
        if (
            -math.inf < account.equity < math.inf
            and 0.0 <= account.risk_budget <= 1.0
            and 0.0 <= account.fee_rate <= 0.1
            and 0.0 <= account.slippage <= 0.1
            and -0.1 <= account.funding_rate <= 0.1
            and 0.0 <= account.margin_ratio < math.inf
            and 0.0 <= account.drawdown < math.inf
        ):
            return
    except TypeError:
        pass  # a value of another kind: named below
    faults = Faults("calculate_optimal_leverage")
    faults.number("account_balance", account.equity)
    faults.number("risk_budget", account.risk_budget, low=0.0, high=1.0)
    faults.number("fee_rate", account.fee_rate, low=0.0, high=0.1)
    faults.number("slippage", account.slippage, low=0.0, high=0.1)
    faults.number("funding_rate", account.funding_rate, low=-0.1, high=0.1)
    faults.number("current_position['margin_ratio']", account.margin_ratio, low=0.0)
    faults.number("risk_info['drawdown']", account.drawdown, low=0.0)
    faults.raise_if_any()


def check_trade(
    *, confidence: float | None, price: float | None, stop_distance: float | None, risk_info: Mapping[str, float]
) -> None:
    """Raise SettingsError unless every figure that is given is finite and in range."""
    try:
        if (
            (confidence is None or 0.0 <= confidence <= 1.0)
            and (price is None or 0.0 < price < math.inf)
            and (stop_distance is None or 0.0 < stop_distance < math.inf)
            and ("bars_per_year" not in risk_info or 0.0 < risk_info["bars_per_year"] < math.inf)
        ):
            return
    except TypeError:
        pass  # a value of another kind: named below
    faults = Faults("calculate_optimal_leverage")
    if confidence is not None:
        faults.number("confidence", confidence, low=0.0, high=1.0)
    for name, value in (("price", price), ("stop_distance", stop_distance)):
        if value is not None:
            faults.number(name, value, above=0.0)
    if "bars_per_year" in risk_info:
        faults.number("risk_info['bars_per_year']", risk_info["bars_per_year"], above=0.0)
    faults.raise_if_any()
