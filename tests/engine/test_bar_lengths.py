"""Agents see in a run what they saw in training, whatever the bars' length, and are silent on bars of another one."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader import Engine, EngineSettings
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.engine import AgentPolicy, AgentSource
from ai_backtrader.leverage import LeverageSettings, VolatilityTargetPolicy
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import Abstention, Context, OrchestratorSettings, Vote
from ai_backtrader.rl import EnvironmentSettings, LeverageTradingEnv, TradingEnv, load_pretrained
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.strategies import AIStrategy, LeverageRLStrategy

MINUTES, HOUR, DAY = 900, 3_600, 86_400
NEVER = OrchestratorSettings(hold_threshold=1.0)


def bars_of(seconds: int, n: int = 420) -> MarketData:
    rng = np.random.default_rng(seconds)
    close = 100.0 * np.exp(np.cumsum(rng.standard_t(4, n) * 0.01))
    open_ = np.concatenate([[100.0], close[:-1]])
    reach = np.exp(np.abs(rng.normal(0.0, 0.006, (2, n))))
    return MarketData(
        symbol="S", times=np.datetime64("2020-01-01", "ns") + np.arange(n) * np.timedelta64(seconds, "s"),
        bar_seconds=seconds, open=open_, close=close, high=np.maximum(open_, close) * reach[0],
        low=np.minimum(open_, close) / reach[1], volume=rng.lognormal(3.0, 1.0, n),
    )  # fmt: skip


def listening(kind: type[Any], systems: SimpleNamespace, seen: list[NDArray[np.float32]]) -> Any:
    """An agent that has learnt, and keeps the states it is asked about."""

    class Listening(kind):  # type: ignore[misc]  # whichever of the two
        def probabilities(self, state: Any) -> Any:
            seen.append(state.to_vector())
            return super().probabilities(state)

    agent = Listening()
    systems.teach(agent, agent.dqn.n_features, agent.dqn.n_actions, seed=1)
    return agent


def trade(data: MarketData, engine: Engine, **options: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False, **options)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy, engine=engine)
    return cerebro.run()[0]


@pytest.mark.parametrize("seconds", [60, MINUTES, HOUR, 4 * HOUR, DAY])
@pytest.mark.parametrize(
    ("kind", "environment"), [(RLAgent, TradingEnv), (LeverageRLAgent, LeverageTradingEnv)], ids=["basic", "leverage"]
)
def test_the_states_of_a_run_are_those_of_the_environment(
    kind: type[Any], environment: type[Any], seconds: int, systems: SimpleNamespace
) -> None:
    data = bars_of(seconds, 1_700 if seconds == 60 else 420)
    seen: list[NDArray[np.float32]] = []
    engine = Engine(EngineSettings(orchestrator=NEVER), agents=[listening(kind, systems, seen)])
    trade(data, engine, preload=False, runonce=False)
    env = environment(data, EnvironmentSettings(random_start=False, episode_bars=None))
    state, _ = env.reset(seed=1)
    trained_on, ended = [state], False
    while not ended:
        state, _, terminated, truncated, _ = env.step(np.int64(0))
        trained_on.append(state)
        ended = terminated or truncated
    assert len(seen) >= len(trained_on) > 100
    np.testing.assert_array_equal(np.array(seen[: len(trained_on)]), np.array(trained_on))


@pytest.mark.parametrize("seconds", [MINUTES, DAY])
def test_bars_that_are_looked_at_together_are_decided_as_one_by_one(seconds: int, systems: SimpleNamespace) -> None:
    data = bars_of(seconds, 600)
    runs = [trade(data, systems.make_engine(data), **options) for options in ({}, {"preload": False, "runonce": False})]
    at_once, singly = ((list(run.decisions), run.closed_trades, run.broker.getvalue()) for run in runs)
    assert at_once == singly
    assert runs[0].closed_trades
    asked = [decision for decision in runs[0].decisions if any(vote.source == "rl" for vote in decision.votes)]
    assert all(isinstance(vote, Vote) for decision in asked for vote in decision.votes if vote.source == "rl")


def question(systems: SimpleNamespace, bench: SimpleNamespace, **risk: float) -> Context:
    return Context(
        symbol="S", at=None, indicators=bench.features.indicators(900), current_price=1.0, regime=None,
        high_volatility=None, position=0.0, portfolio_value=1.0, risk_info=risk,
        current_position={"current_position": 0.0, "margin_ratio": 0.0},
    )  # fmt: skip


def test_an_agent_is_silent_on_bars_of_another_length_and_says_why(
    systems: SimpleNamespace, bench: SimpleNamespace
) -> None:
    hourly, unknown = LeverageRLAgent(), RLAgent()
    systems.teach(hourly, 35, 11, seed=1)
    hourly.bar_seconds = 3_600.0
    source = AgentSource(unknown, hourly)
    told = "the leverage agent was trained on bars of 3600 s, these last 86400 s"
    assert source.vote(question(systems, bench, bar_seconds=86_400.0)) == Abstention("rl", told)
    same = source.vote(question(systems, bench, bar_seconds=3_600.0))
    assert isinstance(same, Vote)
    assert source.vote(question(systems, bench)) == same  # who does not say is taken to mean the agent's own

    systems.teach(unknown, 18, 3, seed=1)  # nobody said what it was trained on: it votes alone
    alone = source.vote(question(systems, bench, bar_seconds=86_400.0))
    assert isinstance(alone, Vote)
    assert "leverage agent" not in alone.reason
    assert alone == AgentSource(unknown, LeverageRLAgent()).vote(question(systems, bench, bar_seconds=86_400.0))

    policy, fallback = (AgentPolicy(source, VolatilityTargetPolicy(LeverageSettings())) for _ in range(2))
    asked = question(systems, bench, bar_seconds=86_400.0)
    proposed = policy.propose(asked.indicators, asked.current_position, asked.risk_info, None)
    assert proposed == fallback.fallback.propose(asked.indicators, asked.current_position, asked.risk_info, None)


@pytest.mark.parametrize("options", [{}, {"preload": False, "runonce": False}], ids=["at once", "bar by bar"])
def test_a_run_on_bars_of_another_length_is_that_without_the_agents(
    options: dict[str, Any], systems: SimpleNamespace
) -> None:
    data = bars_of(DAY, 500)
    strangers, beginners = systems.make_engine(data), systems.make_engine(data)
    for name, kind in (("rl_agent", RLAgent), ("leverage_agent", LeverageRLAgent)):
        getattr(strangers, name).bar_seconds = 3_600.0
        setattr(beginners, name, kind())
    beginners._agents.basic, beginners._agents.leverage = beginners.rl_agent, beginners.leverage_agent
    with_them, without = (trade(data, engine, **options) for engine in (strangers, beginners))
    decided, alone = (
        [(decision.action, decision.confidence, decision.position_size_pct) for decision in run.decisions]
        for run in (with_them, without)
    )
    assert decided == alone
    assert with_them.broker.getvalue() == without.broker.getvalue()  # so were the multiples
    reasons = {v.reason for d in with_them.decisions for v in d.votes if v.source == "rl"}
    assert reasons == {"the leverage agent was trained on bars of 3600 s, these last 86400 s"}


def test_agents_that_ship_know_their_bars() -> None:
    assert load_sample().bar_seconds == 3_600
    assert [load_pretrained(kind).bar_seconds for kind in ("basic", "leverage")] == [3_600.0, 3_600.0]


def test_an_agents_own_strategy_warns_of_bars_of_another_length(
    caplog: pytest.LogCaptureFixture, systems: SimpleNamespace
) -> None:
    agent = LeverageRLAgent()
    systems.teach(agent, 35, 11, seed=1)
    for known, count in ((None, 0), (86_400.0, 0), (3_600.0, 1)):
        agent.bar_seconds = known
        caplog.clear()
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = LeverageBroker()
        cerebro.adddata(PerpetualData(dataname=bars_of(DAY, 200)))
        cerebro.addstrategy(LeverageRLStrategy, agent=agent)
        with caplog.at_level(logging.WARNING, logger="ai_backtrader"):
            cerebro.run()
        told = [record.getMessage() for record in caplog.records if "trained on bars of 3600 s" in record.getMessage()]
        assert len(told) == count
