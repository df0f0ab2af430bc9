"""The two learning agents: one for the direction, one for direction and leverage."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.rl.action_analysis import action_probabilities, analyse_leverage_action
from ai_backtrader.rl.actions import BasicAction, LeverageAction
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.dqn_kernels import EPISODES, STEPS, UPDATES, epsilon_at
from ai_backtrader.rl.rewards import calculate_basic_reward, calculate_reward
from ai_backtrader.rl.saving import load_network, load_weights, save_network
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.states import LeverageState, State

__all__ = ["DQNAgent", "LeverageRLAgent", "RLAgent"]

Floats = NDArray[Any]


class DQNAgent:
    """What both agents have in common: a Q-network over a state vector.

    Parameters
    ----------
    settings
        Of network and training; the defaults if None.
    rng
        For first weights, exploration and sampling; None is ``np.random.default_rng(0)``, so that two agents made
        without one are equal.
    backend, device
        What computes gradients, see :class:`~ai_backtrader.rl.dqn.DQN`.
    temperature
        Of the softmax that turns Q values into probabilities, in units of reward.

    Attributes
    ----------
    bar_seconds
        Length of the bars that it was trained on, in seconds; None where nobody said. States of bars of another length
        mean something else.
    """

    state_type: ClassVar[type[State] | type[LeverageState]]
    action_type: ClassVar[type[BasicAction] | type[LeverageAction]]

    def __init__(
        self,
        *,
        settings: DQNSettings | None = None,
        rng: np.random.Generator | None = None,
        backend: str = "numba",
        device: str = "cpu",
        temperature: float = 1.0,
    ) -> None:
        faults = Faults(type(self).__name__)
        faults.number("temperature", temperature, above=0.0)
        faults.raise_if_any()
        self.temperature = float(temperature)
        self.bar_seconds: float | None = None
        self.dqn = DQN(
            len(self.state_type.names),
            len(self.action_type),
            settings,
            rng=np.random.default_rng(0) if rng is None else rng,
            backend=backend,
            device=device,
        )
        self._loads = self._resumed = 0

    @property
    def trained(self) -> bool:
        """Whether the network has learnt anything: updates were made, or weights loaded."""
        return self._loads > 0 or bool(self.dqn.memory.counters[UPDATES])

    @property
    def version(self) -> tuple[int, int, int]:
        """Another one after every update and every load of weights."""
        return self._loads, self._resumed, int(self.dqn.memory.counters[UPDATES])

    def acting_copy(self) -> Self:
        """Agent of the same weights that stays as it is when this one learns; it shares all else, to act by only."""
        copied, dqn = copy.copy(self), copy.copy(self.dqn)
        memory = dqn.memory
        dqn.memory = memory._replace(online=memory.online.copy(), counters=memory.counters.copy())
        copied.dqn = dqn
        return copied

    @property
    def epsilon(self) -> float:
        """Share of random actions when training, by the steps remembered so far."""
        return float(epsilon_at(self.dqn.hyper, self.dqn.memory.counters[STEPS]))

    def q_values(self, state: State | LeverageState | Floats) -> Floats:
        """Q value of every action, shape (actions,), masks not applied."""
        values: Floats = self.dqn.q_values(self._vector(state)[np.newaxis])[0]
        return values

    def action_mask(self, state: State | LeverageState | Floats) -> NDArray[np.bool_]:
        """Which actions the state allows, shape (actions,)."""
        self._vector(state)
        return np.ones(len(self.action_type), np.bool_)

    def probabilities(self, state: State | LeverageState | Floats) -> Floats:
        """Softmax of the Q values over the allowed actions, shape (actions,), float64, sum 1; 0 for the masked ones."""
        return action_probabilities(self.q_values(state), self.action_mask(state), self.temperature)

    def remember(
        self,
        state: State | LeverageState | Floats,
        action: int,
        reward: float,
        next_state: State | LeverageState | Floats | None,
        done: bool,
        *,
        truncated: bool = False,
    ) -> None:
        """Store one step for training.

        Parameters
        ----------
        next_state
            May be None when ``done``: nothing follows.
        done
            The episode ended for good; its last value is not bootstrapped.
        truncated
            The episode was cut off (data end, time limit); its last value is bootstrapped.
        """
        if next_state is None and not done:
            raise SettingsError(type(self).__name__, ["next_state must be given unless done is True, got None"])
        following = state if next_state is None else next_state
        self.dqn.remember(
            self._vector(state), int(action), reward, self._vector(following), bool(done),
            truncated=truncated, next_mask=self.action_mask(following),
        )  # fmt: skip
        self.dqn.memory.counters[STEPS] += 1
        self.dqn.memory.counters[EPISODES] += int(done or truncated)

    def train_step(self) -> float | None:
        """One update from the replay; the mean loss, or None while it holds fewer transitions than a batch."""
        return self.dqn.train_step()

    def save(self, path: str | Path) -> str:
        """Write a checkpoint and return its SHA-256."""
        return save_network(self.dqn, path, feature_version=self.state_type.version)

    def load(self, path: str | Path) -> None:
        """Take a checkpoint of the same settings, with replay and moments, to train on.

        Raises
        ------
        AIBacktraderError
            If the file is missing or damaged.
        SettingsError
            If it belongs to another agent, feature version or settings.
        """
        load_network(self.dqn, path, feature_version=self.state_type.version)
        self._resumed += 1

    def load_weights(self, path: str | Path) -> None:
        """Take the weights alone, of a checkpoint of an agent or of a training, to act by.

        Raises
        ------
        AIBacktraderError
            If the file is missing or damaged.
        SettingsError
            If feature version or widths differ.
        """
        load_weights(self.dqn, path, feature_version=self.state_type.version)
        self._loads += 1

    def take_weights(self, weights: Floats) -> None:
        """Take weights of shape (n_parameters,), as a training found them, to act by or to train on."""
        self.dqn.set_weights(weights)
        self._loads += 1

    def _chosen(self, state: State | LeverageState | Floats, training: bool) -> int:
        # An agent that does not know the prices, their volatility or its own position does not act.
        if isinstance(state, State | LeverageState) and not state.ready:
            return 0
        epsilon = self.epsilon if training else 0.0
        return self.dqn.act(self._vector(state), self.action_mask(state), epsilon=epsilon)

    def _vector(self, state: State | LeverageState | Floats) -> Floats:
        if isinstance(state, self.state_type):
            return state.vector
        if isinstance(state, State | LeverageState):
            raise SettingsError(
                type(self).__name__,
                [f"state must be a {self.state_type.__name__} ({self.state_type.version}), got {state.version}"],
            )
        vector = np.asarray(state, np.float32)
        if vector.shape != (len(self.state_type.names),) or not np.isfinite(vector).all():
            raise SettingsError(
                type(self).__name__,
                [f"state must be finite and of shape ({len(self.state_type.names)},), got {vector.shape} {vector!r}"],
            )
        return vector


class RLAgent(DQNAgent):
    """The basic agent: HOLD, BUY or SELL from 18 features (network 18-128-64-32-3).

    Examples
    --------
    >>> agent = RLAgent()
    >>> agent.select_action(State.from_market_data({"rsi": 30.0}, position=0))
    0
    """

    state_type = State
    action_type = BasicAction

    def select_action(self, state: State | Floats, training: bool = False) -> int:
        """0 HOLD, 1 BUY, 2 SELL; HOLD whenever a price, volatility or position feature is missing.

        Parameters
        ----------
        training
            True: explore, with the chance :attr:`epsilon`.
        """
        return self._chosen(state, training)

    def calculate_reward(
        self,
        *,
        pnl_pct: float,
        risk_adjusted_return: float = 0.0,
        traded: bool = False,
        holding_winner: bool = False,
        holding_loser: bool = False,
    ) -> float:
        """See :func:`~ai_backtrader.rl.rewards.calculate_basic_reward`."""
        return calculate_basic_reward(
            pnl_pct=pnl_pct, risk_adjusted_return=risk_adjusted_return, traded=traded,
            holding_winner=holding_winner, holding_loser=holding_loser,
        )  # fmt: skip


class LeverageRLAgent(DQNAgent):
    """The leverage agent: 11 actions from 35 features (network 35-128-64-32-11).

    Examples
    --------
    >>> agent = LeverageRLAgent()
    >>> action, info = agent.select_action(LeverageState.from_market_data({"rsi": 30.0}))
    >>> action, info["reason"][:15]
    (0, 'inputs missing:')
    """

    state_type = LeverageState
    action_type = LeverageAction

    _POSITION = LeverageState.names.index("current_position")

    def action_mask(self, state: State | LeverageState | Floats) -> NDArray[np.bool_]:
        """Which actions the state allows: CLOSE and REDUCE_HALF only in a position."""
        allowed = super().action_mask(state)
        if self._vector(state)[self._POSITION] == 0.0:
            allowed[[LeverageAction.CLOSE, LeverageAction.REDUCE_HALF]] = False
        return allowed

    def select_action(self, state: LeverageState | Floats, training: bool = False) -> tuple[int, dict[str, Any]]:
        """Action and what it was chosen from; HOLD whenever a price, volatility or position feature is missing.

        Returns
        -------
        action : int
            A :class:`~ai_backtrader.rl.LeverageAction`'s number.
        info : dict
            ``q_values``, ``probabilities``, ``mask`` (arrays of shape (11,)), ``epsilon``, ``explored`` (the action is
            not the best one) and ``reason`` (empty unless the agent holds because inputs are missing).
        """
        action = self._chosen(state, training)
        values, allowed = self.q_values(state), self.action_mask(state)
        missing = isinstance(state, LeverageState) and not state.ready
        return action, {
            "q_values": values,
            "probabilities": action_probabilities(values, allowed, self.temperature),
            "mask": allowed,
            "epsilon": self.epsilon if training else 0.0,
            "explored": not missing and action != int(np.where(allowed, values, -np.inf).argmax()),
            "reason": f"inputs missing: {', '.join(state.missing)}" if missing else "",  # type: ignore[union-attr]  # missing says it is a state
        }

    def get_action_analysis(
        self, state: LeverageState | Floats, *, maintenance_rate: float = 0.005, fee_rate: float = 0.0
    ) -> dict[str, Any]:
        """What the agent would do, in words and numbers; see :func:`~.action_analysis.analyse_leverage_action`."""
        action, info = self.select_action(state)
        return analyse_leverage_action(
            LeverageAction(action), vector=self._vector(state), q_values=info["q_values"], allowed=info["mask"],
            probabilities=info["probabilities"], reason=info["reason"],
            maintenance_rate=maintenance_rate, fee_rate=fee_rate,
        )  # fmt: skip

    def calculate_reward(
        self,
        *,
        action: LeverageAction | int | str,
        pnl_pct: float,
        leverage_used: float,
        volatility: float,
        is_short: bool,
        margin_ratio: float = 0.0,
        liquidation_distance: float = 100.0,
    ) -> float:
        """See :func:`~ai_backtrader.rl.rewards.calculate_reward`."""
        return calculate_reward(
            action=action, pnl_pct=pnl_pct, leverage_used=leverage_used, volatility=volatility, is_short=is_short,
            margin_ratio=margin_ratio, liquidation_distance=liquidation_distance,
        )  # fmt: skip
