"""Transitions out of a replay and into it, and closed trades as transitions."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ExperiencesGathered, TradeClosed
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.rl.agents import DQNAgent, LeverageRLAgent
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.replay import Replay, add_transition
from ai_backtrader.rl.states import LEVERAGE_FEATURES, LeverageState
from ai_backtrader.simulation.compiling import compiled
from ai_backtrader.values import Direction

__all__ = ["BATCH", "PastTrade", "gathered", "learn_from_experiences", "past_trades", "store_experiences"]

BATCH = 10_000
"""Most transitions of one :class:`~ai_backtrader.events.ExperiencesGathered`."""

_POSITION = LEVERAGE_FEATURES.index("current_position")
_WHEN_HELD = (int(LeverageAction.CLOSE), int(LeverageAction.REDUCE_HALF))
_LEVERAGES = (1.0, 3.0, 5.0, 10.0)


def gathered(
    dqn: DQN, n_steps: int, *, agent: str, feature_version: str, symbol: str, at: dt.datetime | None
) -> Iterator[ExperiencesGathered]:
    """The newest transitions of a replay, oldest first, in batches of at most :data:`BATCH`.

    Parameters
    ----------
    dqn
        With ``n_step`` 1, so that each transition is one step.
    n_steps
        Steps since the last call; what the replay has already dropped is left out.
    agent, feature_version, symbol, at
        Of the events.
    """
    replay = dqn.memory.replay
    capacity = replay.actions.size
    count = min(n_steps, int(replay.ring[1]))
    rows = (int(replay.ring[0]) - count + np.arange(count)) % capacity
    for first in range(0, count, BATCH):
        part = rows[first : first + BATCH]
        yield ExperiencesGathered(
            agent=agent,
            feature_version=feature_version,
            symbol=symbol,
            states=replay.states[part].astype(np.float32),
            actions=replay.actions[part],
            rewards=replay.rewards[part].astype(np.float64),
            next_states=replay.next_states[part].astype(np.float32),
            terminated=replay.discounts[part] == 0.0,
            at=at,
        )


@compiled
def _store(
    replay: Replay,
    states: NDArray[Any],
    actions: NDArray[np.int64],
    rewards: NDArray[np.float64],
    next_states: NDArray[Any],
    masks: NDArray[np.bool_],
    discounts: NDArray[np.float64],
) -> None:
    for row in range(actions.size):
        add_transition(replay, states[row], actions[row], rewards[row], next_states[row], masks[row], discounts[row])


def store_experiences(dqn: DQN, batch: ExperiencesGathered, *, agent: str, feature_version: str) -> int:
    """Put transitions into a network's replay; the number stored is returned.

    What is allowed in the next state follows from its position: CLOSE and REDUCE_HALF only where there is one.

    Raises
    ------
    SettingsError
        If they are another agent's, of another feature version, or of the wrong shape.
    """
    faults = Faults("experiences")
    if batch.agent != agent:
        faults.add(f"agent must be {agent!r}, got {batch.agent!r}")
    if batch.feature_version != feature_version:
        faults.add(f"feature_version must be {feature_version!r}, got {batch.feature_version!r}")
    count = len(batch.actions)
    for name, shape in (
        ("states", (count, dqn.n_features)), ("next_states", (count, dqn.n_features)), ("rewards", (count,)),
        ("terminated", (count,)),
    ):  # fmt: skip
        found = np.asarray(getattr(batch, name))
        if found.shape != shape:
            faults.add(f"{name} must have shape {shape}, got {found.shape}")
        elif not np.isfinite(found).all():
            faults.add(f"{name} must be finite")
    if count and not (int(np.min(batch.actions)) >= 0 and int(np.max(batch.actions)) < dqn.n_actions):
        faults.add(f"actions must be between 0 and {dqn.n_actions - 1}")
    faults.raise_if_any()
    dtype = dqn.settings.dtype
    masks = np.ones((count, dqn.n_actions), np.bool_)
    if agent == "leverage":
        masks[np.ix_(np.asarray(batch.next_states)[:, _POSITION] == 0.0, _WHEN_HELD)] = False
    _store(
        dqn.memory.replay,
        np.ascontiguousarray(batch.states, dtype),
        np.ascontiguousarray(batch.actions, np.int64),
        np.ascontiguousarray(batch.rewards, np.float64),
        np.ascontiguousarray(batch.next_states, dtype),
        masks,
        np.where(batch.terminated, 0.0, dqn.settings.gamma),
    )
    return count


def learn_from_experiences(agent: DQNAgent, batch: ExperiencesGathered, *, updates: int) -> float:
    """Store transitions and make so many updates from the replay; the mean loss is returned.

    Parameters
    ----------
    agent
        :class:`~ai_backtrader.rl.LeverageRLAgent` or :class:`~ai_backtrader.rl.RLAgent`.
    batch
        From a learning database (``database.experiences(...)``).
    updates
        How many.

    Raises
    ------
    SettingsError
        If the transitions do not fit the agent, or are fewer than a batch of its settings.
    AIBacktraderError
        If the training diverges.
    """
    kind = "leverage" if isinstance(agent, LeverageRLAgent) else "basic"
    store_experiences(agent.dqn, batch, agent=kind, feature_version=agent.state_type.version)
    losses = []
    for _ in range(updates):
        loss = agent.train_step()
        if loss is None:
            held, needed = int(agent.dqn.memory.replay.ring[1]), agent.dqn.settings.batch_size
            raise SettingsError(
                "learn_from_experiences", [f"an update needs {needed} transitions, the replay has {held}; give more"]
            )
        losses.append(loss)
    return float(np.mean(losses)) if losses else math.nan


class PastTrade(NamedTuple):
    """A closed trade as the leverage agent learns from it.

    Attributes
    ----------
    entry_indicators
        Raw features at the bar of the decision.
    action
        The :class:`~ai_backtrader.rl.LeverageAction` that opens such a trade: its side, and that of the leverages 1, 3,
        5 and 10 which is nearest in ratio.
    pnl_pct
        Net return on the margin posted, percent points.
    leverage
        Multiple of the margin posted.
    volatility
        ATR in percent of the price at entry.
    is_short
        Its side.
    max_margin_ratio
        1 where the trade was liquidated; else 0, because closed trades do not tell.
    next_state
        None: the trade is over.
    done
        True.
    """

    entry_indicators: dict[str, float]
    action: LeverageAction
    pnl_pct: float
    leverage: float
    volatility: float
    is_short: bool
    max_margin_ratio: float
    next_state: LeverageState | None = None
    done: bool = True


def past_trades(trades: Iterable[TradeClosed]) -> list[PastTrade]:
    """Closed trades (``database.trade_events()``) as what the leverage agent learns from, in their order.

    Trades without ``atr_pct`` among their indicators are left out: their reward is not defined.

    Examples
    --------
    >>> trade = TradeClosed(
    ...     symbol="BTC/USDT", strategy_id="rl", direction=Direction.SHORT, entry_price=100.0, exit_price=98.0,
    ...     pnl_pct=9.5, leverage=5.0, indicators_at_entry={"atr_pct": 1.2},
    ... )
    >>> past_trades([trade])[0].action.name
    'SHORT_5X'
    """
    found = []
    for trade in trades:
        volatility = trade.indicators_at_entry.get("atr_pct")
        if volatility is None or not math.isfinite(volatility):
            continue
        short = trade.direction is Direction.SHORT
        place = min(range(4), key=lambda place: abs(math.log(max(trade.leverage, 1e-9) / _LEVERAGES[place])))
        found.append(
            PastTrade(
                entry_indicators=dict(trade.indicators_at_entry),
                action=LeverageAction((5 if short else 1) + place),
                pnl_pct=trade.pnl_pct,
                leverage=max(1.0, trade.leverage),
                volatility=volatility,
                is_short=short,
                max_margin_ratio=1.0 if trade.liquidated else 0.0,
            )
        )
    return found
