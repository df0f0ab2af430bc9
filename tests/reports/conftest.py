"""A levered run with liquidations, decisions and open trades, to report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import Decisions, Liquidations, Performance
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.orchestrator import Abstention, Decision, Vote
from ai_backtrader.values import Action


class Scripted(bt.Strategy):
    """Trades at market on the bars named, at 10x, and says it decided on every bar."""

    params = (("plan", {}),)

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def next(self) -> None:
        size = self.p.plan.get(len(self) - 1, 0.0)
        if size:
            (self.buy if size > 0 else self.sell)(size=abs(size), leverage=10.0)
        action = Action.from_sign(size)
        votes = (Vote("technical", action, 0.5, "scripted"), Abstention("rl", "not trained"))
        self.decisions.append(
            Decision(
                symbol="X",
                at=bt.num2date(self.data.datetime[0]),
                action=action,
                confidence=0.5,
                score=0.5 * action.sign,
                position_size_pct=10.0,
                leverage=10.0,
                stop_loss=None,
                take_profit=None,
                reasoning="scripted",
                votes=votes,
                breakdown={"technical": 0.5 * action.sign},
            )
        )


@pytest.fixture(scope="session")
def report_of() -> Callable[..., dict[str, Any]]:
    """Run the closes in Cerebro and give what a report takes."""

    def go(closes: Any, plan: dict[int, float]) -> dict[str, Any]:
        close = np.asarray(closes, dtype=float)
        open_ = np.concatenate((close[:1], close[:-1]))
        frame = pd.DataFrame(
            {"open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close), "close": close},
            index=pd.date_range("2024-01-01", periods=close.size, freq="h"),
        )
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = LeverageBroker(funding=0.0001)
        cerebro.broker.setcash(10_000.0)
        cerebro.broker.setcommission(0.0005)
        feed = bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=60, volume=None)
        cerebro.adddata(feed, name="BTC perpetual")
        cerebro.addstrategy(Scripted, plan=plan)
        for analyzer in (Performance, Liquidations, Decisions):
            cerebro.addanalyzer(analyzer)
        strategy = cerebro.run()[0]
        found = strategy.analyzers
        return {
            "run": {"symbol": "BTC perpetual", "at": dt.datetime(2024, 1, 1)},
            "strategy": strategy,
            "performance": found.performance,
            "liquidations": found.liquidations,
            "decisions": found.decisions,
        }

    return go


@pytest.fixture(scope="session")
def report(report_of: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 600)))
    return report_of(closes, {10: 100.0, 200: 300.0, 300: -150.0, 450: -100.0})
