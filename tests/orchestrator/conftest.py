"""Sources, sizers and journals written by hand for the orchestrator's tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ai_backtrader.events import Event, TradeClosed
from ai_backtrader.orchestrator import Abstention, Adjustment, Advice, Context, Vote
from ai_backtrader.values import Action


class Voting:
    """Gives one answer and counts how often it was asked; ``answer`` None stands for a source that raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def _say(self, *question: Any) -> Any:
        self.asked.append(question)
        if self.answer is None:
            raise RuntimeError("out of order")
        return self.answer

    def vote(self, context: Context) -> Vote | Abstention:
        return self._say(context)

    def adjust(self, context: Context, action: Action, confidence: float) -> Adjustment | Abstention:
        return self._say(context, action, confidence)

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        return self._say(context, action, confidence)


class Memory:
    """Journal and listener that keep everything; broken ones raise."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        if self.broken:
            raise OSError("disk full")
        self.events.append(event)

    def on_trade_complete(self, trade: TradeClosed) -> None:
        self.record(trade)


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    return SimpleNamespace(Voting=Voting, Memory=Memory)


@pytest.fixture(scope="session")
def indicators() -> dict[str, float]:
    """A calm uptrend at 95,393."""
    return {
        "close": 95_393.0,
        "atr_pct": 0.5,
        "price_vs_ema20": 1.0,
        "price_vs_ema50": 2.0,
        "ema_alignment": 1.0,
        "rsi": 60.0,
        "macd_hist": 0.2,
        "macd_signal_cross": 0.0,
        "adx": 30.0,
        "trend_direction": 1.0,
        "trend_strength": 0.4,
        "volatility_ratio": 1.0,
        "atr_ratio": 1.0,
        "high_volatility": 0.0,
    }


@pytest.fixture(scope="session")
def question(indicators: dict[str, float]) -> dict[str, Any]:
    """Arguments of a decision."""
    return {
        "symbol": "BTC/USDT",
        "indicators": indicators,
        "current_price": 95_393.0,
        "regime": "bull",
        "position": 0.0,
        "portfolio_value": 10_766.0,
    }
