"""Bars that are passed on, and looked at later, teach what bars looked at once do."""

from __future__ import annotations

import numpy as np

from ai_backtrader.events import TradeClosed
from ai_backtrader.online_learner import OnlineLearner
from ai_backtrader.values import Direction


def a_trade(number: int) -> TradeClosed:
    return TradeClosed(
        symbol="X", strategy_id="s", direction=Direction.LONG, entry_price=100.0, exit_price=99.0,
        pnl_pct=-1.0 if number % 4 else 0.5, paper=number > 8,
    )  # fmt: skip


def test_passed_bars_leave_the_learner_as_bars_taken_at_once_do() -> None:
    rng = np.random.default_rng(4)
    sizes = np.where(np.arange(9_000) // 1_500 % 2, 0.02, 0.003)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1.0, 9_000) * sizes))
    volume = rng.lognormal(3.0, 1.0, 9_000)
    at_once, passed = OnlineLearner(), OnlineLearner()
    at, number = 0, 0
    while at < len(close):
        fresh = int(rng.integers(1, 60))
        part = slice(at, at + fresh)
        at_once.on_bars("X", close=close[part], volume=volume[part])
        passed.pass_bars("X", close=close[part].tolist(), volume=volume[part].tolist())
        assert passed.health("s") == at_once.health("s")  # counted at once: a degraded strategy is tried again
        if rng.random() < 0.1:
            number += 1
            for learner in (at_once, passed):
                learner.on_trade_complete(a_trade(number))
        at += fresh
    assert at_once.requests()
    assert passed.requests() == at_once.requests()
    assert passed.state_dict() == at_once.state_dict()
