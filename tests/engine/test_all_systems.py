"""A run with every system on sees no future, repeats itself, and keeps what it learnt in the database."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader import Engine, EngineSettings, LearningDatabase
from ai_backtrader.audit import check_lookahead
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import SOURCES, Vote
from ai_backtrader.strategies import Adaptation, AIStrategy
from ai_backtrader.values import Regime

BARS = 1_100
ADAPTING = Adaptation(every_bars=400, min_bars=600, generations=2, population=12, n_trials=12)


def trade(data: MarketData, engine: Engine, **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy, engine=engine, **params)
    return cerebro.run()[0]


@pytest.fixture(scope="module")
def whole(eurusd: MarketData, systems: SimpleNamespace) -> Any:
    data = eurusd.head(BARS)
    return trade(data, systems.make_engine(data), adaptation=ADAPTING)


def test_all_five_systems_vote_in_one_run(whole: Any) -> None:
    voted = {vote.source for decision in whole.decisions for vote in decision.votes if isinstance(vote, Vote)}
    assert voted == set(SOURCES)
    assert whole.engine.orchestrator.failures == {}
    assert whole.closed_trades
    assert {record.bar for record in whole.adaptations} >= {600}


@pytest.mark.parametrize("cut", [500, 850])
def test_the_future_changes_nothing_before_it_with_every_system_on(
    cut: int, whole: Any, eurusd: MarketData, systems: SimpleNamespace
) -> None:
    data = eurusd.head(cut)
    short = trade(data, systems.make_engine(data), adaptation=ADAPTING)
    assert list(short.decisions) == whole.decisions[: len(short.decisions)]
    assert short.adaptations == whole.adaptations[: len(short.adaptations)]


def test_the_same_run_twice_gives_the_same_answer(whole: Any, eurusd: MarketData, systems: SimpleNamespace) -> None:
    data = eurusd.head(BARS)
    again = trade(data, systems.make_engine(data), adaptation=ADAPTING)
    assert list(again.decisions) == list(whole.decisions)
    assert again.closed_trades == whole.closed_trades


@pytest.mark.slow
def test_the_look_ahead_check_is_clean_with_every_system_on(eurusd: MarketData, systems: SimpleNamespace) -> None:
    data = eurusd.head(420)

    def fresh() -> Engine:
        engine: Engine = systems.make_engine(data)
        engine.evolved._watched.clear()  # the run gives the bars that it has
        return engine

    report = check_lookahead(AIStrategy, data, make_broker=LeverageBroker, engine=fresh)
    assert report.clean, report
    assert report.first_difference is None
    assert report.runs > 5


def test_what_a_run_learns_is_in_the_database_when_it_ends(
    tmp_path: Path, eurusd: MarketData, systems: SimpleNamespace
) -> None:
    path = tmp_path / "ai_learning.db"
    data = eurusd.head(BARS)
    with systems.make_engine(data, database=path) as engine:
        strategy = trade(data, engine)
        # Another connection sees it before anything is closed: the run's end made it durable.
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
            (count,) = other.execute("select count(*) from trades where paper = 0").fetchone()
        assert count == len(strategy.closed_trades) > 0
        transitions = engine.database.regime_transitions()
    told = [decision.at for decision in strategy.decisions]
    assert len(transitions) > 3
    assert set(transitions["after"]) <= {regime.value for regime in Regime}
    assert told[0] <= transitions["at"].iloc[0].to_pydatetime().replace(tzinfo=None)
    with LearningDatabase(path) as again:
        trades = again.trades()
    assert sorted(trades["pnl"].tolist())[:3] == pytest.approx(sorted(
        trade.pnl for trade in (*strategy.closed_trades, *strategy.paper_trades)
    )[:3])  # fmt: skip


def test_an_engine_that_starts_again_knows_what_was_evolved(tmp_path: Path, eurusd: MarketData) -> None:
    settings = EngineSettings(database=tmp_path / "ai_learning.db")
    with Engine(settings) as engine:
        result = engine.evolver.evolve(eurusd, n_generations=2, population=10, journal=engine.journal)
        assert engine.flush()
    with Engine(settings) as restarted:
        assert restarted.database is not None
        assert len(restarted.database.evolved_strategies()) == len(result.champions)


def test_without_a_database_there_is_nothing_to_flush() -> None:
    engine = Engine()
    assert engine.database is None
    assert engine.flush()
    engine.close()
