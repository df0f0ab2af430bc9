"""What the orchestrator asks of the systems around it: sources, sizer, listeners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from ai_backtrader.events import TradeClosed
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.orchestrator.values import Abstention, Adjustment, Advice, Context, Vote
from ai_backtrader.values import Action, Direction, LeverageDecision, Regime

__all__ = ["AdvicePort", "OnlinePort", "PositionSizer", "TradeListener", "VotePort"]


class VotePort(Protocol):
    """Source that looks at the market alone: the technical source, an RL agent, an evolved strategy."""

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote, or abstain with the reason (nothing trained, nothing found, inputs missing)."""


class OnlinePort(Protocol):
    """Source that knows how trading has gone lately."""

    def adjust(self, context: Context, action: Action, confidence: float) -> Adjustment | Abstention:
        """Judge the view of the sources before it: trade at all, and how much of the confidence remains."""


class AdvicePort(Protocol):
    """Source that sees the decision about to be taken and may object."""

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        """Advise on it; must answer within its own deadline."""


class PositionSizer(Protocol):
    """Chooses leverage and size; the leverage manager is one."""

    def calculate_optimal_leverage(
        self,
        *,
        indicators: Mapping[str, float],
        account_balance: float,
        current_position: Mapping[str, float] | None = None,
        risk_budget: float | None = None,
        regime: Regime | str | None = None,
        direction: Direction | str | None = None,
        confidence: float | None = None,
        price: float | None = None,
        stop_distance: float | None = None,
        risk_info: Mapping[str, float] | None = None,
        tiers: MaintenanceTiers | None = None,
        fee_rate: float | None = None,
        slippage: float | None = None,
        funding_rate: float | None = None,
    ) -> LeverageDecision:
        """Return leverage and margin share for the direction; size 0 for no trade."""


@runtime_checkable
class TradeListener(Protocol):
    """Learns from closed trades."""

    def on_trade_complete(self, trade: TradeClosed) -> None:
        """Learn from one trade."""
