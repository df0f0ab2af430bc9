"""Engines in which every system has something to say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ai_backtrader import Engine, EngineSettings
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.engine import FoundStrategy
from ai_backtrader.events import TradeClosed
from ai_backtrader.llm_advisor import RecordedAnswer, get_advisor
from ai_backtrader.market import MarketData, compute_features, label_regimes
from ai_backtrader.rules import Gene, Operator, Section, Series, StrategyChromosome
from ai_backtrader.values import Action, Direction

RULES = StrategyChromosome(
    entry_long=Section((Gene(Series("ema", (10,)), Operator.ABOVE, Series("ema", (30,))),)),
    entry_short=Section((Gene(Series("ema", (10,)), Operator.BELOW, Series("ema", (30,))),)),
    filters=Section((Gene(Series("adx", (14,)), Operator.ABOVE, 15.0),)),
)


class Recording:
    """Recorded answers in which every question has the answer that was last told."""

    def __init__(self) -> None:
        self.reply = reply_of("HOLD", 0.3, "medium")

    def answer(self, key: str) -> RecordedAnswer:
        return RecordedAnswer(key, "m", "d", "{}", self.reply, 200, 0.0)

    def keep_answer(self, answer: RecordedAnswer) -> None:
        raise AssertionError("a replay keeps nothing")


def reply_of(action: str, confidence: float, risk: str) -> str:
    said = {"action": action, "confidence": confidence, "reasoning": "r", "risk_level": risk, "warnings": []}
    message = {"role": "assistant", "content": json.dumps(said)}
    return json.dumps({"model": "m", "message": message, "done": True, "done_reason": "stop"})


def random_reply(rng: random.Random) -> str:
    return reply_of(rng.choice([a.value for a in Action]), rng.random(), rng.choice(["low", "medium", "high"]))


def teach(agent: Any, names: int, actions: int, *, seed: int) -> None:
    """A few updates on random steps: a network that has learnt, if nothing of use."""
    rng = np.random.default_rng(seed)
    batch = agent.dqn.settings.batch_size
    for _ in range(batch + 8):
        state, following = rng.uniform(-1.0, 1.0, (2, names)).astype(np.float32)
        agent.remember(state, int(rng.integers(actions)), float(rng.normal(0.0, 3.0)), following, False)
    for _ in range(5):
        assert agent.train_step() is not None
    assert agent.trained


def make_engine(data: MarketData, *, recording: Recording | None = None, **settings: Any) -> Engine:
    """All five sources: agents that have learnt, rules with their bars, closed trades, recorded answers."""
    advisor = get_advisor(
        model="m", mode="replay", store=Recording() if recording is None else recording, model_digest="d",
        max_calls_per_run=10**6, base_url="http://127.0.0.1:9",
    )  # fmt: skip
    engine = Engine(EngineSettings(**settings), advisor=advisor)
    teach(engine.rl_agent, 18, 3, seed=1)
    teach(engine.leverage_agent, 35, 11, seed=2)
    engine.evolved.add([FoundStrategy(chromosome=RULES, confidence=0.9)])
    engine.evolved.watch(data.symbol, data)
    return engine


def trade_of(rng: random.Random, symbol: str, **facts: Any) -> TradeClosed:
    """A closed trade that won a little more often than it lost."""
    side = rng.choice([Direction.LONG, Direction.SHORT])
    pnl_pct = rng.gauss(0.4, 2.0)
    told = {"symbol": symbol, "strategy_id": "orchestrator", "direction": side, "entry_price": 100.0, "leverage": 1.0}
    return TradeClosed(**(told | {"exit_price": 100.0 + side.sign * pnl_pct, "pnl_pct": pnl_pct} | facts))


@pytest.fixture(scope="session")
def eurusd() -> MarketData:
    return load_sample().head(2_000)


@pytest.fixture(scope="session")
def bench(eurusd: MarketData) -> SimpleNamespace:
    """The sample's features and labels, and questions about random bars of it."""
    features = compute_features(eurusd)
    regimes = label_regimes(features)
    times = eurusd.times.astype("datetime64[us]").tolist()

    def question(rng: random.Random) -> dict[str, Any]:
        bar = rng.randrange(features.ready_from, len(eurusd))
        side = rng.choice([0, 0, 1, -1])
        position = {"current_position": 0.3 * side, "current_leverage": 2.0 if side else 1.0, "margin_ratio": 0.1}
        if side:
            position |= {"position_pnl": rng.gauss(0, 3), "position_duration": rng.randrange(1, 99)}
            position |= {"unrealized_pnl": rng.gauss(0, 1), "leverage": 2.0}
        return {
            "symbol": eurusd.symbol,
            "indicators": features.indicators(bar),
            "current_price": float(eurusd.close[bar]),
            "portfolio_value": 10.0 ** rng.uniform(2, 6),
            "regime": regimes.label(bar),
            "high_volatility": rng.random() < 0.5,  # what the advisor is asked at
            "position": 1_000.0 * side,
            "at": times[bar],
            "current_position": position,
            "risk_info": {"drawdown_current": rng.uniform(0, 20), "consecutive_losses": 1.0, "win_rate_recent": 0.5},
        }

    return SimpleNamespace(features=features, regimes=regimes, times=times, question=question)


@pytest.fixture(scope="session")
def systems() -> SimpleNamespace:
    return SimpleNamespace(
        RULES=RULES, Recording=Recording, make_engine=make_engine, random_reply=random_reply, reply_of=reply_of,
        trade_of=trade_of, teach=teach,
    )  # fmt: skip


@pytest.fixture
def quiet_log() -> Callable[[], None]:
    """Thousands of planned failures: their warnings are tested elsewhere."""
    import logging

    logger = logging.getLogger("ai_backtrader")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
