"""What happened, as frozen values that the systems hand to a journal.

The engine's systems do not know where events are kept: they call ``journal.record(event)``. The default journal
forgets.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ai_backtrader.values import Direction, FrozenMapping, Regime

__all__ = ["Event", "ForgetfulJournal", "Journal", "RegimeChanged", "TradeClosed"]


@dataclass(frozen=True, kw_only=True)
class TradeClosed:
    """A position was closed (by order, stop, target or liquidation).

    Attributes
    ----------
    symbol, strategy_id
        What was traded, and by which strategy.
    direction
        LONG or SHORT.
    opened_at, closed_at
        UTC, naive; None when the caller did not say.
    entry_price, exit_price
        In quote currency.
    size
        Units, positive.
    leverage
        Multiple of the margin posted.
    pnl
        Net of commission and funding, in account currency.
    pnl_pct
        Net return on the margin posted, in percent points (1.05 is 1.05 %).
    commission, funding
        Paid, in account currency (negative funding was received).
    hold_bars, hold_duration_mins
        How long it was open.
    regime
        Label at entry.
    indicators_at_entry
        Raw features at the bar of the decision.
    liquidated
        True when the broker closed it.
    paper
        True when no order was sent: the trade was withheld and only followed on paper.
    """

    symbol: str
    strategy_id: str
    direction: Direction
    entry_price: float
    exit_price: float
    pnl_pct: float
    pnl: float = 0.0
    size: float = 0.0
    leverage: float = 1.0
    commission: float = 0.0
    funding: float = 0.0
    hold_bars: int = 0
    hold_duration_mins: float = 0.0
    opened_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    regime: Regime | None = None
    indicators_at_entry: Mapping[str, float] = field(default_factory=FrozenMapping)
    liquidated: bool = False
    paper: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "indicators_at_entry", FrozenMapping(self.indicators_at_entry))


@dataclass(frozen=True, kw_only=True)
class RegimeChanged:
    """The regime label of a symbol changed at a bar."""

    symbol: str
    at: dt.datetime | None
    before: Regime | None
    after: Regime
    high_volatility: bool


Event = TradeClosed | RegimeChanged


class Journal(Protocol):
    """Where events go."""

    def record(self, event: Event) -> None:
        """Keep the event."""


class ForgetfulJournal:
    """Keeps nothing: the default, so that a backtest leaves no file behind."""

    def record(self, event: Event) -> None:
        """Forget the event."""
