"""Quiet bars with every system on: nobody is asked, and nothing differs from asking everybody."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader import Engine
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine.sources import _basic_pull, _leverage_pull
from ai_backtrader.market import MarketData
from ai_backtrader.market.feature_settings import feature_spans
from ai_backtrader.orchestrator import Decision
from ai_backtrader.rl import State
from ai_backtrader.rl.pulls import brain_of, pulls_of_stretch, rows_of
from ai_backtrader.rl.states import ACCOUNT_FEATURES
from ai_backtrader.strategies import AIStrategy

BARS = 700


def trade(data: MarketData, engine: Engine, **cerebro_args: Any) -> Any:
    engine.evolved._watched.clear()  # the run gives the bars that it has
    cerebro = bt.Cerebro(stdstats=False, **cerebro_args)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy, engine=engine)
    return cerebro.run()[0]


def all_of(strategy: Any) -> tuple[Any, ...]:
    engine, broker = strategy.engine, strategy.broker
    return (
        list(strategy.decisions), strategy.closed_trades, strategy.paper_trades, broker.getvalue(), broker.getcash(),
        engine.online_learner.state_dict(), engine.leverage_manager.state_dict(), engine.advisor.report(),
        engine.advisor.consultations,
    )  # fmt: skip


def deferred(strategy: Any) -> int:
    return sum(not isinstance(entry, Decision) for entry in strategy.decisions._entries)


@pytest.fixture(scope="module")
def bulk(eurusd: MarketData, systems: SimpleNamespace) -> Any:
    data = eurusd.head(BARS)
    return trade(data, systems.make_engine(data))


def test_most_bars_are_quiet_and_are_decided_as_if_everybody_had_been_asked(
    bulk: Any, eurusd: MarketData, systems: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = eurusd.head(BARS)
    monkeypatch.setattr(Engine, "quiet_bars", lambda *_, **__: None)
    asked = trade(data, systems.make_engine(data))
    assert deferred(asked) == 0
    assert deferred(bulk) > len(bulk.decisions) / 2
    held = [entry for entry in bulk.decisions._entries if not isinstance(entry, Decision) and entry[0].size]
    assert held  # in a position too
    assert bulk.closed_trades
    assert all_of(bulk) == all_of(asked)


@pytest.mark.parametrize("options", [{"preload": False, "runonce": False}, {"exactbars": 1}], ids=str)
def test_bars_that_come_one_by_one_are_decided_alike(
    options: dict[str, Any], eurusd: MarketData, systems: SimpleNamespace
) -> None:
    data = eurusd.head(700)
    at_once = trade(data, systems.make_engine(data))
    streamed = trade(data, systems.make_engine(data), **options)
    assert deferred(at_once) > 0
    assert deferred(streamed) == 0
    assert all_of(at_once) == all_of(streamed)


@pytest.mark.parametrize("cut", [260, 431, 640])
def test_the_bars_that_are_looked_at_together_tell_nothing_of_one_another(
    cut: int, bulk: Any, eurusd: MarketData, systems: SimpleNamespace
) -> None:
    data = eurusd.head(cut)
    short = trade(data, systems.make_engine(data))
    assert list(short.decisions) == bulk.decisions[: len(short.decisions)]
    told = [entry if isinstance(entry, Decision) else entry[1] for entry in short.decisions._entries]
    assert told == [
        entry if isinstance(entry, Decision) else entry[1] for entry in bulk.decisions._entries[: len(told)]
    ]


def test_what_agents_and_manager_learn_later_changes_no_decision(eurusd: MarketData, systems: SimpleNamespace) -> None:
    data = eurusd.head(400)
    strategy = trade(data, systems.make_engine(data))
    before = list(strategy.decisions)
    systems.teach(strategy.engine.leverage_agent, 35, 11, seed=9)
    systems.teach(strategy.engine.rl_agent, 18, 3, seed=9)
    for trade_number in range(40):
        strategy.engine.leverage_manager.on_trade_complete(systems.trade_of(random.Random(trade_number), data.symbol))
    assert list(strategy.decisions) == before


def test_the_compiled_look_at_the_agents_says_what_they_say(
    bench: SimpleNamespace, systems: SimpleNamespace, eurusd: MarketData
) -> None:
    engine = systems.make_engine(eurusd)
    rng = np.random.default_rng(3)
    features = bench.features
    spans = np.array(feature_spans(3600.0), dtype=np.int64)
    count = 4
    brains = brain_of(engine.rl_agent, count), brain_of(engine.leverage_agent, count)
    pulls, errors = np.empty(count), np.empty(count)
    source = engine._agents
    for _ in range(60):
        first = int(rng.integers(features.ready_from, len(features) - count))
        side = int(rng.integers(-1, 2))
        account = np.array([
            side * rng.uniform(0.01, 1.2), rng.uniform(1.0, 10.0) if side else 1.0, *side * rng.normal(0.0, 9.0, 1),
            abs(side) * float(rng.integers(0, 200)), side * rng.normal(), abs(side) * rng.uniform(), rng.uniform(0, 40),
            float(rng.integers(0, 7)), rng.uniform(),
        ])  # fmt: skip
        pulls_of_stretch(rows_of(features), spans, first, count, side, account, *brains, pulls, errors)
        named = dict(zip(ACCOUNT_FEATURES, account.tolist(), strict=True))
        position = {name: named[name] for name in list(ACCOUNT_FEATURES)[:6]}
        risk = {name: named[name] for name in list(ACCOUNT_FEATURES)[6:]}
        for place in range(count):
            indicators = features.indicators(first + place)
            seen = source.look(indicators, position, risk)
            plain = State.from_market_data(
                indicators, side, named["position_pnl"] / named["current_leverage"], named["position_duration"]
            )
            own = (_leverage_pull(seen, side)[0] + _basic_pull(engine.rl_agent, plain, side)[0]) / 2.0
            assert abs(pulls[place] - own) < errors[place] / 10.0
            assert errors[place] < 0.01


def test_an_account_that_is_not_known_makes_no_bar_quiet(
    bench: SimpleNamespace, systems: SimpleNamespace, eurusd: MarketData
) -> None:
    quiet = systems.make_engine(eurusd).quiet_bars(bench.features, bench.regimes, symbol=eurusd.symbol)
    flat = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)
    bars = range(bench.features.ready_from + 1, len(bench.features))
    assert any(quiet.holds(bar, 0, flat) for bar in bars)
    assert not any(quiet.holds(bar, 0, (*flat[:6], float("nan"), 0.0, 0.5)) for bar in bars)
    assert not any(quiet.holds(bar, 0, flat) for bar in range(bench.features.ready_from))
