"""Orchestrator and leverage manager on computed features: names and units meet, and the vote follows trends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.leverage import LeverageManager
from ai_backtrader.market import MarketData, compute_features, label_regimes
from ai_backtrader.orchestrator import Decision, Orchestrator
from ai_backtrader.values import Action


def decisions(data: MarketData, *, every: int = 1) -> Iterator[Decision]:
    features = compute_features(data)
    regimes = label_regimes(features)
    orchestrator = Orchestrator(sizer=LeverageManager())
    for t in range(features.ready_from, len(data), every):
        indicators = features.indicators(t)
        yield orchestrator.decide(
            symbol=data.symbol,
            indicators=indicators,
            current_price=indicators["close"],
            regime=regimes.label(t),
            portfolio_value=10_000.0,
            risk_info={"bars_per_year": data.bars_per_year},
        )


def walk(drift: float, seed: int) -> MarketData:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(drift, 0.004, 600)))
    open_ = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * 1.001,
            "low": np.minimum(open_, close) * 0.999,
            "close": close,
            "volume": rng.lognormal(3.0, 0.5, 600),
        },
        index=pd.date_range("2021-01-01", periods=600, freq="h", tz="UTC"),
    )
    return MarketData.from_frame(frame, symbol="WALK")


@pytest.mark.parametrize(("drift", "wish"), [(0.003, Action.BUY), (-0.003, Action.SELL)])
def test_the_vote_follows_a_trend(drift: float, wish: Action) -> None:
    actions = Counter(decision.action for decision in decisions(walk(drift, seed=4)))
    against = Action.SELL if wish is Action.BUY else Action.BUY
    assert actions[wish] > 0.4 * actions.total()
    assert actions[against] <= 0.02 * actions.total()


def test_the_features_hold_everything_that_vote_and_size_need() -> None:
    for decision in decisions(walk(0.0, seed=5), every=10):
        assert decision.votes[0].source in decision.breakdown, "the technical source votes on every bar"
        if decision.sizing is not None:
            assert decision.sizing.missing == ()


@pytest.mark.parametrize(
    "name", ["BTCUSDT-perp-1h-2020-2023", "EURUSD-1h-2017-2022", "ORCL-1d-1995-2014-backtrader-sample"]
)
def test_real_markets_are_traded_both_ways_within_the_limits(name: str, shared_csv: Callable[[str], Path]) -> None:
    data = MarketData.from_csv(shared_csv(f"{name}.csv.gz"))
    actions: Counter[Action] = Counter()
    for decision in decisions(data, every=max(1, len(data) // 1_000)):
        actions[decision.action] += 1
        if decision.sizing is None or decision.action is Action.HOLD:
            continue
        metrics = decision.sizing.risk_metrics
        assert 1.0 <= decision.leverage <= 10.0
        assert 0.0 < decision.position_size_pct <= 25.0
        assert metrics["max_loss_usd"] <= 200.0
        if "liquidation_price" in metrics and decision.stop_loss is not None:
            assert decision.action.sign * (decision.stop_loss - metrics["liquidation_price"]) > 0.0
    assert min(actions[action] for action in Action) > 0.03 * actions.total(), actions
