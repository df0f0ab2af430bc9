"""Accounts that are no crypto derivatives: foreign exchange and stocks on margin.

They have a flat margin rate and no funding; holding a position overnight costs (or pays) a yearly rate on its value.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import backtrader as bt

from ai_backtrader.brokers.leverage_broker import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.market.margin import MaintenanceTiers

__all__ = ["FX_MAJOR", "FX_MINOR", "US_STOCKS", "CarryScheme", "MarginPreset"]


class CarryScheme(bt.CommInfoBase):
    """Commission as a fraction of the value, and yearly rates for holding: overnight swap, borrowing of stock or cash.

    Params
    ------
    commission : float
        Fraction of the value of a fill.
    long_rate, short_rate : float, default 0.0
        Yearly rate that a long or short pays on its value at the open of each new day, for the calendar days since;
        negative where it is paid to the holder. ``days / 365 * rate * size * price``.
    """

    params = (
        ("stocklike", True),
        ("commtype", bt.CommInfoBase.COMM_PERC),
        ("percabs", True),
        ("long_rate", 0.0),
        ("short_rate", 0.0),
    )

    def get_credit_interest(self, data: Any, pos: Any, dt: dt.datetime) -> float:
        """What the position owes since the day it was last charged."""
        rate = self.p.long_rate if pos.size > 0 else self.p.short_rate
        days = (dt.date() - pos.datetime.date()).days
        if days <= 0 or not rate:
            return 0.0
        return float(days / 365.0 * rate * abs(pos.size) * data.open[0] * self.p.mult)


@dataclass(frozen=True, kw_only=True)
class MarginPreset:
    """Margin rules of a kind of account.

    Attributes
    ----------
    name
        What it is.
    max_leverage
        Highest leverage at entry (1 / initial margin rate); also the default leverage of :meth:`broker`.
    maintenance_rate
        Maintenance margin as a fraction of the position's value.
    source
        Rule it is taken from.

    Examples
    --------
    ``cerebro.broker = FX_MAJOR.broker(leverage=10, long_rate=0.021, short_rate=-0.008)``
    """

    name: str
    max_leverage: float
    maintenance_rate: float
    source: str

    @property
    def tiers(self) -> MaintenanceTiers:
        """One-row table of the maintenance rate."""
        return MaintenanceTiers.flat(self.maintenance_rate, self.max_leverage)

    def broker(
        self,
        *,
        leverage: float | None = None,
        commission: float = 0.0,
        long_rate: float = 0.0,
        short_rate: float = 0.0,
        **settings: Any,
    ) -> LeverageBroker:
        """``LeverageBroker`` under these rules, without funding.

        Parameters
        ----------
        leverage
            Default leverage; None takes the highest allowed.
        commission
            Fraction of the value of a fill.
        long_rate, short_rate
            Yearly rates for holding overnight (see :class:`CarryScheme`).
        **settings
            Any other parameter of ``LeverageBroker``.

        Raises
        ------
        SettingsError
            If the leverage is out of range or a rate is not finite.
        """
        faults = Faults("MarginPreset.broker")
        for name, value in (("commission", commission), ("long_rate", long_rate), ("short_rate", short_rate)):
            faults.number(name, value)
        faults.raise_if_any()
        settings = {"funding": False, "tiers": self.tiers, "max_leverage": self.max_leverage} | settings
        broker = LeverageBroker(leverage=self.max_leverage if leverage is None else leverage, **settings)
        broker.addcommissioninfo(CarryScheme(commission=commission, long_rate=long_rate, short_rate=short_rate))
        return broker


_ESMA = (
    "ESMA Decision (EU) 2018/796 on CFDs for retail clients: initial margin {}, close-out at half of the initial margin"
)

FX_MAJOR = MarginPreset(
    name="FX, major pairs (EU retail)",
    max_leverage=30.0,
    maintenance_rate=0.5 / 30.0,
    source=_ESMA.format("3.33 %"),
)
FX_MINOR = MarginPreset(
    name="FX, other pairs (EU retail)",
    max_leverage=20.0,
    maintenance_rate=0.5 / 20.0,
    source=_ESMA.format("5 %"),
)
US_STOCKS = MarginPreset(
    name="US stocks, margin account",
    max_leverage=2.0,
    maintenance_rate=0.30,
    source="Regulation T (12 CFR 220.12): initial margin 50 %; FINRA Rule 4210(c): maintenance 30 % of a short's value "
    "(25 % of a long's; the higher one stands for both)",
)
