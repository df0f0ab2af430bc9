"""What the advisor asks, answers and keeps, as frozen values."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.values import Action

__all__ = ["Advice", "Consultation", "MissingAnswerError", "ModelInfo", "RecordedAnswer", "Trigger"]


class Trigger(enum.StrEnum):
    """Why the model is asked."""

    FALL_AGAINST_BUY = "fall_24h_against_bullish_signal"
    HIGH_VOLATILITY = "high_volatility"
    REGIME_TRANSITION = "regime_transition"
    UNUSUAL_CONDITIONS = "unusual_conditions"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the advisor says of a signal.

    Attributes
    ----------
    abstained
        True when there is no opinion; ``reason`` says why, and the other fields are neutral.
    action, confidence
        What the model would do; 0 to 1. HOLD at 0 when it abstained.
    reasoning, risk_level, warnings
        Its sentence; "low", "medium" or "high"; what it warns of.
    reason
        Why it abstained; empty when it did not.
    failed
        True when it abstained because the server or its answer was at fault, not for want of a reason to ask.
    triggers, trigger_details
        Why the model was asked, and the same with figures.
    raw
        Text that the model answered, whether it could be read or not; None when there was none.
    model, model_digest, key
        Which model, and the key of the answer in the recording; empty when the model was not asked.
    seconds
        How long the model took when it was asked.
    """

    abstained: bool
    action: Action = Action.HOLD
    confidence: float = 0.0
    reasoning: str = ""
    risk_level: str = "medium"
    warnings: tuple[str, ...] = ()
    reason: str = ""
    failed: bool = False
    triggers: tuple[Trigger, ...] = ()
    trigger_details: tuple[str, ...] = ()
    raw: str | None = None
    model: str = ""
    model_digest: str = ""
    key: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Consultation:
    """A question that was put to the model or to its recording, and what came of it.

    Attributes
    ----------
    symbol, at, signal
        About what: market, UTC time of the bar (None when the caller did not say), the signal judged.
    advice
        The outcome.
    """

    symbol: str
    at: dt.datetime | None
    signal: Action
    advice: Advice


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer of a server as it came, under the key of its question.

    Attributes
    ----------
    key
        Hash of all that the answer depends on.
    model, model_digest
        Who answered; the digest is empty where the server tells none.
    request, reply
        The question as JSON text; the body of the response, or with a status other than 200 what went wrong.
    status
        HTTP status; 0 when there was no response.
    seconds
        How long it took.
    """

    key: str
    model: str
    model_digest: str
    request: str
    reply: str
    status: int
    seconds: float


@dataclass(frozen=True)
class ModelInfo:
    """A model that a server offers; the digest is empty where the server tells none."""

    name: str
    digest: str = ""


class MissingAnswerError(AIBacktraderError):
    """A replay asked what was not recorded, and was told to raise."""
