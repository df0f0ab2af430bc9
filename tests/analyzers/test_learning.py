"""The analyzer of the online learner: what it records is what the learner said."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.analyzers import Learning
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.online_learner import DriftEvent, OnlineLearner
from ai_backtrader.strategies import AIStrategy
from ai_backtrader.strategies.adaptation import Adaptation


class Followed(AIStrategy):
    """Writes down what its learner says at every bar, and every alarm it raises."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[Any, str]] = []
        self.heard: list[DriftEvent] = []
        learner: OnlineLearner = self.engine.online_learner
        scan = learner._scan

        def listen(*args: Any) -> tuple[DriftEvent, ...]:
            events = scan(*args)
            self.heard += events
            return events

        learner._scan = listen  # type: ignore[method-assign]  # a listener at the one door

    def next(self) -> None:
        super().next()
        for name in self.engine.online_learner.strategies():
            self.said.append((self.data.datetime.datetime(0), str(self.engine.online_learner.health(name).state)))


def run(strategy: type[bt.Strategy], bars: int = 4_500, **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(bars)))
    cerebro.addstrategy(strategy, **params)
    cerebro.addanalyzer(Learning)
    return cerebro.run()[0]


@pytest.fixture(scope="module")
def followed() -> Any:
    return run(Followed)


def test_changes_of_health_are_those_that_the_learner_went_through(followed: Any) -> None:
    said = followed.said
    wanted = [said[0], *(now for before, now in pairwise(said) if before[1] != now[1])]
    frame = followed.analyzers.learning.health()
    assert len(wanted) > 1
    assert frame["state"].tolist() == [state for _, state in wanted]
    assert [moment.to_pydatetime() for moment in frame["time"].dt.round("s")] == [
        moment.replace(microsecond=0) for moment, _ in wanted
    ]
    found = followed.analyzers.learning.get_analysis().health.ai
    assert found.changes == len(wanted) - 1
    assert found.healthy == pytest.approx(np.mean([state == "HEALTHY" for _, state in said]))
    assert found.healthy + found.degraded + found.probation == pytest.approx(1.0)


def test_alarms_are_every_alarm_that_the_learner_raised(followed: Any) -> None:
    heard = [event for event in followed.heard if event.strategy_id is None]
    alarms = followed.analyzers.learning.alarms()
    times = load_sample().times
    assert heard
    assert list(zip(alarms["time"], alarms["series"], strict=True)) == [
        (times[event.bar], event.series) for event in heard
    ]
    assert sum(followed.analyzers.learning.get_analysis().alarms.values()) == len(heard)


def test_searches_on_the_way_are_counted() -> None:
    strategy = run(AIStrategy, adaptation=Adaptation(min_bars=1_500, generations=1, population=6, n_trials=4))
    analysis = strategy.analyzers.learning.get_analysis()
    assert analysis.searches == len(strategy.adaptations) > 0
    assert analysis.put_forward == sum(search.put_forward for search in strategy.adaptations)


def test_a_strategy_without_an_engine_has_nothing_to_tell() -> None:
    strategy = run(bt.Strategy, bars=300)
    assert dict(strategy.analyzers.learning.get_analysis()) == {}
    assert strategy.analyzers.learning.health().empty
    assert strategy.analyzers.learning.alarms().empty
