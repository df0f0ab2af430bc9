"""Evolved strategies vote alike however Cerebro hands out the bars: at once, one by one, keeping one, rebuilt."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader import Engine
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import FoundStrategy
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import Vote
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategies import Adaptation, AIStrategy
from ai_backtrader.values import Regime

WAYS: dict[str, dict[str, Any]] = {
    "at once": {},
    "bar by bar": {"preload": False, "runonce": False},
    "keeping one bar": {"exactbars": 1},
}


def run(data: MarketData, rules: StrategyChromosome, feed: str, **options: Any) -> Any:
    rng = np.random.default_rng(3)
    engine = Engine()
    engine.evolved.add(
        FoundStrategy(chromosome=StrategyChromosome.random(rng), confidence=0.9, regime=regime)
        for regime in (Regime.STRONG_BULL, Regime.STRONG_BEAR)
    )
    engine.evolved.add([FoundStrategy(chromosome=rules, confidence=0.8)])
    cerebro = bt.Cerebro(stdstats=False, **options)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0001)
    frame = data.to_frame()
    source = bt.feeds.PandasData(
        dataname=frame.set_axis(frame.index.tz_localize(None)),
        timeframe=bt.TimeFrame.Minutes,
        compression=60,
        name="EUR",
    )
    add = {"plain": cerebro.adddata, "resampled": cerebro.resampledata, "replayed": cerebro.replaydata}[feed]
    add(source, **({} if feed == "plain" else {"timeframe": bt.TimeFrame.Minutes, "compression": 120}))
    cerebro.addstrategy(AIStrategy, engine=engine)
    return cerebro.run()[0]


@pytest.mark.parametrize("feed", ["plain", "resampled", "replayed"])
def test_the_votes_are_the_same_in_every_way(feed: str, eurusd: MarketData, systems: SimpleNamespace) -> None:
    data = eurusd.head(900)
    runs = {name: run(data, systems.RULES, feed, **options) for name, options in WAYS.items()}
    decisions = list(runs["at once"].decisions)
    votes = [
        vote for decision in decisions for vote in decision.votes if isinstance(vote, Vote) and vote.source == "evolved"
    ]
    assert len({vote.action for vote in votes}) == 2
    assert len(votes) > 50
    for name, other in runs.items():
        assert list(other.decisions) == decisions, name
        assert len(other.closed_trades) == len(runs["at once"].closed_trades) > 3


def test_an_engine_that_trades_again_has_the_bars_of_the_new_run(eurusd: MarketData) -> None:
    # One engine, two runs of other bars under one name: the second run votes on its own.
    found = FoundStrategy(chromosome=StrategyChromosome.random(np.random.default_rng(3)), confidence=0.9)

    def decisions(engine: Engine, data: MarketData, **options: Any) -> list[Any]:
        cerebro = bt.Cerebro(stdstats=False, **options)
        cerebro.broker = LeverageBroker()
        frame = data.to_frame()
        cerebro.adddata(
            bt.feeds.PandasData(
                dataname=frame.set_axis(frame.index.tz_localize(None)), timeframe=bt.TimeFrame.Minutes, compression=60
            ),
            name="EUR",
        )
        cerebro.addstrategy(AIStrategy, engine=engine)
        return [vote for decision in cerebro.run()[0].decisions for vote in decision.votes if vote.source == "evolved"]

    first, second = eurusd.head(800), eurusd.between(str(eurusd.times[900]), str(eurusd.times[1_700]))
    for options in WAYS.values():
        fresh, used = Engine(), Engine()
        for engine in (fresh, used):
            engine.evolved.add([found])
        decisions(used, first)
        assert decisions(used, second, **options) == decisions(fresh, second, **options) != []


@pytest.mark.parametrize("adaptation", [None, Adaptation(every_bars=300, min_bars=500, generations=2, population=8)])
@pytest.mark.parametrize("feeds", [1, 2])
def test_the_learner_is_left_in_the_same_state_in_every_way(
    feeds: int, adaptation: Adaptation | None, eurusd: MarketData
) -> None:
    # To the types of its numbers: what keeps NumPy's can be written nowhere. With exactbars=1 Backtrader itself breaks
    # down where a feed begins later, or ends earlier, than another.
    known: dict[str, tuple[Any, ...]] = {}
    for name, options in WAYS.items():
        cerebro = bt.Cerebro(stdstats=False, **options)
        cerebro.broker = LeverageBroker()
        cerebro.broker.setcommission(commission=0.0001)
        cerebro.adddata(PerpetualData(dataname=eurusd.head(900)), name="one")
        if feeds == 2:
            cerebro.adddata(PerpetualData(dataname=eurusd.head(900)), name="two")
        cerebro.addstrategy(AIStrategy, adaptation=adaptation)
        ran = cerebro.run()[0]
        learnt = json.dumps(ran.engine.online_learner.state_dict(), sort_keys=True)
        known[name] = learnt, list(ran.decisions), ran.closed_trades, len(ran.adaptations)
    assert known["at once"][2]
    assert (adaptation is not None) == bool(known["at once"][3])
    for name, found in known.items():
        assert found == known["at once"], name
