"""The observers draw what the analyzers record, and disturb nothing."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import (
    ConfidenceObserver,
    LeverageObserver,
    Liquidations,
    MarginObserver,
    Performance,
    Timeline,
)
from ai_backtrader.brokers import LeverageBroker

OBSERVERS = (LeverageObserver, MarginObserver, ConfidenceObserver)


class Levered(bt.Strategy):
    def next(self) -> None:
        if len(self) in (5, 60):
            self.buy(size=300.0, leverage=10.0)


def run(*observers: Any, broker: Any = None) -> Any:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.02, 120)))
    frame = pd.DataFrame(
        {"open": close, "high": close, "low": close, "close": close},
        index=pd.date_range("2024-01-01", periods=close.size, freq="h"),
    )
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(funding=0.0001) if broker is None else broker
    cerebro.broker.setcash(10_000.0)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame, volume=None), name="X")
    cerebro.addstrategy(Levered)
    for analyzer in (Performance, Liquidations, Timeline):
        cerebro.addanalyzer(analyzer)
    for observer in observers:
        cerebro.addobserver(observer)
    return cerebro.run()[0]


def values(observer: Any) -> Any:
    return np.array(observer.lines[0].array[: len(observer)])


def test_leverage_and_margin_are_those_of_the_analyzers() -> None:
    strategy = run(*OBSERVERS)
    leverage, margin, score = (values(observer) for observer in strategy.observers)
    found = strategy.analyzers
    assert found.liquidations.get_analysis()["liquidations"] > 0
    assert leverage.max() > 2.0
    np.testing.assert_array_equal(leverage, found.performance.leverage)
    np.testing.assert_array_equal(margin, 100.0 * found.liquidations.margin_ratio["X"])
    assert np.isnan(score).all()  # a strategy without decisions has no confidence


def test_observers_and_timeline_leave_the_run_as_it_is() -> None:
    watched, alone = run(*OBSERVERS), run()
    np.testing.assert_array_equal(watched.analyzers.performance.equity, alone.analyzers.performance.equity)


def test_a_plain_broker_has_no_margin_ratio() -> None:
    strategy = run(MarginObserver, broker=bt.brokers.BackBroker(checksubmit=False))
    assert not values(strategy.observers[0]).any()


class TestTimeline:
    def test_series_are_those_of_the_other_analyzers(self) -> None:
        found = run().analyzers
        curve, timeline = found.timeline.curve(), found.timeline
        np.testing.assert_array_equal(curve["equity"], found.performance.equity)
        np.testing.assert_array_equal(curve["leverage"], found.performance.leverage)
        np.testing.assert_array_equal(curve["margin_ratio"], found.liquidations.margin_ratio["X"])
        assert list(curve.index) == list(pd.DatetimeIndex(found.performance.times))
        assert timeline.get_analysis()["funding"] == pytest.approx(found.performance.get_analysis()["funding"])

    def test_funding_paid_less_received_is_what_was_paid_in_all(self) -> None:
        analysis = run().analyzers.timeline.get_analysis()
        assert analysis["funding"] > 0.0
        assert analysis["funding_paid"] - analysis["funding_received"] == pytest.approx(analysis["funding"])
