"""The learning agents alone in Backtrader: no other system has a say."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import backtrader as bt

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import FeatureRows
from ai_backtrader.errors import SettingsError
from ai_backtrader.rl import DQNAgent, EnvironmentSettings, LeverageRLAgent, LeverageState, RLAgent, State
from ai_backtrader.rl.shipped import load_pretrained
from ai_backtrader.strategies.rl_actions import ActionDesk

__all__ = ["LeverageRLStrategy", "RLStrategy"]

logger = logging.getLogger("ai_backtrader")


class _AgentStrategy(bt.Strategy):
    """What both strategies share: at every close the agent sees the state and its best allowed action is sent."""

    params = (("agent", None), ("settings", None), ("start", 0))

    _kind: ClassVar[type[RLAgent] | type[LeverageRLAgent]]
    _leveraged: ClassVar[bool]
    _name_of_kind: ClassVar[str]

    def __init__(self) -> None:
        agent: DQNAgent = load_pretrained(self._name_of_kind) if self.p.agent is None else self.p.agent
        if not isinstance(agent, self._kind):
            raise SettingsError(type(self).__name__, [f"agent must be a {self._kind.__name__}, got {agent!r}"])
        if not agent.trained:
            raise SettingsError(
                type(self).__name__,
                ["agent has learnt nothing: train it (train_agent), load weights, or leave agent out"],
            )
        if self._leveraged and not isinstance(self.broker, LeverageBroker):
            raise SettingsError(
                type(self).__name__,
                [f"needs a LeverageBroker, got {type(self.broker).__name__}: cerebro.broker = LeverageBroker()"],
            )
        self.agent = agent
        settings = EnvironmentSettings() if self.p.settings is None else self.p.settings
        self.features = FeatureRows(self.data, preloaded=self.env._dopreload)
        if agent.bar_seconds not in (None, self.features.bar_seconds):
            logger.warning(
                "%s: the agent was trained on bars of %g s, these last %g s: the same numbers mean other things to it",
                type(self).__name__, agent.bar_seconds, self.features.bar_seconds,
            )  # fmt: skip
        self.desk = ActionDesk(self, self.data, settings, leveraged=self._leveraged)
        self.actions: list[int] = []
        self.equity: list[float] = []

    def notify_order(self, order: Any) -> None:
        """Follow the fills."""
        self.desk.account.on_order(order)

    def next(self) -> None:
        """Look, choose, send."""
        features, account = self.features, self.desk.account
        features.advance()
        if not features.ready or len(self.data) <= self.p.start:
            return
        account.update()
        state = self._state()
        action = self.agent.dqn.act(state.vector, self.desk.mask())
        self.equity.append(self.broker.getvalue())
        self.actions.append(action)
        self.desk.act(action)

    def _state(self) -> State | LeverageState:
        indicators, seconds = self.features.indicators(), self.features.bar_seconds
        position = self.desk.account.position_info()
        if self._leveraged:
            risk = self.desk.account.risk_info()
            return LeverageState.from_market_data(indicators, position, risk, bar_seconds=seconds)
        return State.from_market_data(
            indicators,
            position["current_position"],
            position.get("position_pnl", 0.0),
            position.get("position_duration", 0.0),
            bar_seconds=seconds,
        )


class RLStrategy(_AgentStrategy):
    """The basic agent alone: HOLD, BUY or SELL at every bar, at leverage 1.

    Its trades are those of its environment: on a ``LeverageBroker`` with the same costs, equity is the same at every
    bar, to the last bit.

    Params:
      - ``agent`` (default: the one that ships): a trained :class:`~ai_backtrader.rl.RLAgent`
      - ``settings`` (default: ``EnvironmentSettings()``): ``margin_fraction`` and ``turn_round`` are read
      - ``start`` (default: ``0``): first bar that it may act on, from 0; never before the features are ready

    Attributes
    ----------
    actions
        One a bar, from the first on that it acted.
    equity
        At the closes of those bars.

    Raises
    ------
    SettingsError
        If the agent is another or has learnt nothing.
    """

    _kind = RLAgent
    _leveraged = False
    _name_of_kind = "basic"


class LeverageRLStrategy(_AgentStrategy):
    """The leverage agent alone: one of eleven actions at every bar, on a ``LeverageBroker``.

    Params:
      - ``agent`` (default: the one that ships): a trained :class:`~ai_backtrader.rl.LeverageRLAgent`
      - ``settings`` (default: ``EnvironmentSettings()``): ``margin_fraction`` and ``most_halvings`` are read
      - ``start`` (default: ``0``): first bar that it may act on, from 0; never before the features are ready

    Attributes
    ----------
    actions, equity
        As of :class:`RLStrategy`.

    Raises
    ------
    SettingsError
        If the agent is another or has learnt nothing, or the broker knows no leverage.
    """

    _kind = LeverageRLAgent
    _leveraged = True
    _name_of_kind = "leverage"
