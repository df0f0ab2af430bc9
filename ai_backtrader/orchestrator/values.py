"""Values that pass through the orchestrator: context, votes, advice, the decision."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_backtrader.checks import Faults
from ai_backtrader.values import Action, FrozenMapping, LeverageDecision, Regime

__all__ = ["SOURCES", "Abstention", "Adjustment", "Advice", "Context", "Decision", "Vote"]

SOURCES = ("technical", "rl", "evolved", "online", "llm")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every source may look at when it votes.

    Attributes
    ----------
    symbol, at
        What is traded; UTC time of the bar, None when the caller did not say.
    indicators
        Raw features by name, of the bar just closed.
    current_price
        Quote currency.
    regime, high_volatility
        Trend label, None when unknown; None when the flag was not given.
    position
        Signed units held.
    portfolio_value
        Equity in account currency.
    current_position, risk_info
        Figures of the open position (leverage, margin_ratio, ...) and of the account (drawdown, ...).
    strategy_id
        Under which the decision's trades will be recorded.
    """

    symbol: str
    at: dt.datetime | None
    indicators: Mapping[str, float]
    current_price: float
    regime: Regime | None
    high_volatility: bool | None
    position: float
    portfolio_value: float
    current_position: Mapping[str, float]
    risk_info: Mapping[str, float]
    strategy_id: str = "orchestrator"


def _checked_confidence(subject: str, action: object, confidence: float) -> float:
    if not (isinstance(action, Action) and isinstance(confidence, float) and 0.0 <= confidence <= 1.0):
        faults = Faults(subject)
        if not isinstance(action, Action):
            faults.add(f"action must be an Action, got {action!r}")
        faults.number("confidence", confidence, low=0.0, high=1.0)
        faults.raise_if_any()
    return float(confidence)  # an agent's float32 would carry its precision into the score


@dataclass(frozen=True)
class Vote:
    """What a source wants.

    Attributes
    ----------
    source
        One of ``SOURCES``.
    action
        BUY, SELL or HOLD. A HOLD is a vote: it pulls the score towards 0.
    confidence
        0 to 1.
    reason
        One readable sentence.
    """

    source: str
    action: Action
    confidence: float
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "confidence", _checked_confidence("Vote", self.action, self.confidence))


@dataclass(frozen=True)
class Abstention:
    """A source that has nothing to say; its weight goes to those who vote.

    Attributes
    ----------
    source, reason
        Who, and why.
    failed
        True when the source raised an exception.
    """

    source: str
    reason: str
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """What recent trades say about trading now.

    Attributes
    ----------
    should_trade
        False forbids it.
    factor
        Multiplies the confidence of the other sources' view; 1 changes nothing, at least 0.
    reason
        One readable sentence.
    """

    should_trade: bool
    factor: float
    reason: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.factor < math.inf:
            faults = Faults("Adjustment")
            faults.number("factor", self.factor, low=0.0)
            faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the advisor says of the decision that is about to be taken.

    Attributes
    ----------
    action, confidence
        What it would do; 0 to 1.
    reason
        Its reasoning.
    risk_level
        "low", "medium" or "high".
    warnings
        What it warns of.
    """

    action: Action
    confidence: float
    reason: str
    risk_level: str = "medium"
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "confidence", _checked_confidence("Advice", self.action, self.confidence))
        if self.risk_level not in ("low", "medium", "high"):
            faults = Faults("Advice")
            faults.one_of("risk_level", self.risk_level, ("low", "medium", "high"))
            faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do at the next bar's open, and how it came about.

    Attributes
    ----------
    symbol, at
        What is traded; UTC time of the bar decided on.
    action
        The position wished for: BUY long, SELL short, HOLD nothing new. A wish for the side already held means keep,
        for the other side reverse: the strategy carries it out.
    confidence
        ``abs(score)``.
    score
        -1 to 1: weighted mean of the signed confidences of those who voted; exactly the sum of ``breakdown``.
    position_size_pct
        Margin as **percent** of equity; 0 with HOLD.
    leverage
        Multiple of the margin posted; 1 with HOLD.
    stop_loss, take_profit
        Prices; None with HOLD, and the target where it would lie at or below zero.
    reasoning
        Readable, one clause a voter, then what stood in the way.
    votes
        Every source's vote or abstention, in the order of ``SOURCES``.
    breakdown
        Signed contribution by source; abstaining sources are absent.
    vetoed_by
        Source that turned a trade into HOLD.
    warnings
        Of the advisor and of the sizing.
    sizing
        The leverage manager's decision; None when it was not asked.
    """

    symbol: str
    at: dt.datetime | None
    action: Action
    confidence: float
    score: float
    position_size_pct: float
    leverage: float
    stop_loss: float | None
    take_profit: float | None
    reasoning: str
    votes: tuple[Vote | Abstention, ...]
    breakdown: Mapping[str, float] = field(default_factory=FrozenMapping)
    vetoed_by: str | None = None
    warnings: tuple[str, ...] = ()
    sizing: LeverageDecision | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "breakdown", FrozenMapping(self.breakdown))
