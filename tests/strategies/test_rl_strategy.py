"""An agent alone in Cerebro trades what it trades in its environment, to the last bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MaintenanceTiers, MarketData, compute_features
from ai_backtrader.rl import EnvironmentSettings, LeverageRLAgent, RLAgent, build_arrays
from ai_backtrader.rl.greedy_play import Play, play_network
from ai_backtrader.strategies import LeverageRLStrategy, RLStrategy

SETTINGS = EnvironmentSettings(
    cash=5_000.0,
    commission=0.0004,
    slippage=0.0002,
    tiers=MaintenanceTiers.flat(0.01),
    liquidation_fee=0.004,
    funding=0.0003,
    episode_bars=None,
    random_start=False,
)


def random_agent(kind: type[Any], seed: int) -> Any:
    """An agent that wants something else at almost every bar: on average no action is better than another."""
    rng = np.random.default_rng(seed)
    agent = kind(rng=rng)
    weights = agent.dqn.memory.online.copy()
    states = rng.uniform(-1.0, 1.0, (500, agent.dqn.n_features))
    weights[-agent.dqn.n_actions :] -= agent.dqn.q_values(states).mean(axis=0)  # the biases of the last layer
    agent.take_weights(weights)
    return agent


def in_environment(data: MarketData, agent: Any, settings: EnvironmentSettings, *, leveraged: bool) -> Play:
    return play_network(build_arrays(data, settings, leveraged=leveraged), agent.dqn.sizes, agent.dqn.memory.online)


def in_cerebro(
    data: MarketData, strategy: type[Any], settings: EnvironmentSettings, *, preload: bool = True, **params: Any
) -> Any:
    cerebro = bt.Cerebro(stdstats=False, preload=preload, runonce=preload)
    cerebro.broker = LeverageBroker(
        tiers=settings.tiers, funding=settings.funding, liquidation_fee=settings.liquidation_fee
    )
    cerebro.broker.setcash(settings.cash)
    cerebro.broker.setcommission(commission=settings.commission)
    cerebro.broker.set_shortcash(False)
    cerebro.broker.set_slippage_perc(settings.slippage)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(strategy, settings=settings, **params)
    return cerebro.run()[0]


@pytest.fixture(scope="module")
def bars() -> MarketData:
    return load_sample().head(1_100)


def wild(data: MarketData) -> MarketData:
    """The same bars with eight times their moves: liquidations happen."""
    columns = data.columns()
    for name in ("open", "high", "low", "close"):
        columns[name] = data.close[0] * (columns[name] / data.close[0]) ** 8
    return dataclasses.replace(data, **columns)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "strategy"), [(LeverageRLAgent, LeverageRLStrategy), (RLAgent, RLStrategy)], ids=["leverage", "basic"]
)
def test_its_equity_is_the_environments_at_every_bar(bars: MarketData, kind: Any, strategy: Any, seed: int) -> None:
    data, agent = wild(bars), random_agent(kind, seed)
    played = in_environment(data, agent, SETTINGS, leveraged=kind is LeverageRLAgent)
    ran = in_cerebro(data, strategy, SETTINGS, agent=agent)
    steps = len(played.actions)
    assert np.unique(played.actions).size > 1
    assert played.figures["trades"] > 3
    assert ran.actions[:steps] == played.actions.tolist()
    assert ran.equity[: steps + 1] == played.equity.tolist()


def test_bar_by_bar_it_sees_and_does_the_same(bars: MarketData) -> None:
    agent = random_agent(LeverageRLAgent, 4)
    at_once = in_cerebro(bars, LeverageRLStrategy, SETTINGS, agent=agent)
    singly = in_cerebro(bars, LeverageRLStrategy, SETTINGS, preload=False, agent=agent)
    assert singly.actions == at_once.actions
    assert singly.equity == at_once.equity


def test_no_decision_depends_on_later_bars(bars: MarketData) -> None:
    agent = random_agent(LeverageRLAgent, 5)
    whole = in_cerebro(bars, LeverageRLStrategy, SETTINGS, agent=agent)
    for end in (700, 901, 1_050):
        part = in_cerebro(bars.head(end), LeverageRLStrategy, SETTINGS, agent=agent)
        assert part.actions == whole.actions[: len(part.actions)]
        assert part.equity == whole.equity[: len(part.equity)]


def test_it_begins_when_told_and_never_before_the_features_are_ready(bars: MarketData) -> None:
    ready, agent = compute_features(bars).ready_from, random_agent(RLAgent, 6)
    assert len(in_cerebro(bars, RLStrategy, SETTINGS, agent=agent).actions) == len(bars) - ready
    assert len(in_cerebro(bars, RLStrategy, SETTINGS, agent=agent, start=1_000).actions) == len(bars) - 1_000


def test_without_an_agent_it_takes_the_one_that_ships(bars: MarketData) -> None:
    ran = in_cerebro(bars, LeverageRLStrategy, SETTINGS)
    assert ran.agent.trained
    assert ran.actions


def test_agents_that_cannot_trade_are_refused(bars: MarketData) -> None:
    with pytest.raises(SettingsError, match="has learnt nothing: train it"):
        in_cerebro(bars, LeverageRLStrategy, SETTINGS, agent=LeverageRLAgent())
    with pytest.raises(SettingsError, match="agent must be a LeverageRLAgent, got"):
        in_cerebro(bars, LeverageRLStrategy, SETTINGS, agent=random_agent(RLAgent, 1))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(PerpetualData(dataname=bars))
    cerebro.addstrategy(LeverageRLStrategy, agent=random_agent(LeverageRLAgent, 1))
    with pytest.raises(SettingsError, match="needs a LeverageBroker, got BackBroker"):
        cerebro.run()
