"""The agents' actions as Backtrader orders, their account features from Backtrader's notifications, and the replay.

What the compiled environment does in training is done here in Cerebro, by ordinary orders on a
:class:`~ai_backtrader.brokers.LeverageBroker`: the same actions end in the same cash and equity at every bar.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.brokers import EquityPeak, LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData, MarketFeatures, compute_features
from ai_backtrader.rl import (
    BasicAction,
    EnvironmentSettings,
    LeverageAction,
    LeverageState,
    State,
)
from ai_backtrader.rl.actions import CLOSES, HALVES, TARGETS, action_table, basic_action_table
from ai_backtrader.rl.playback import checked_actions
from ai_backtrader.rl.states import ACCOUNT_FEATURES

__all__ = [
    "AccountFeatures",
    "ActionDesk",
    "ActionReplay",
    "Replay",
    "position_named",
    "replay_in_cerebro",
    "risk_named",
]

_POSITION, _RISK = tuple(ACCOUNT_FEATURES)[:6], tuple(ACCOUNT_FEATURES)[6:]
_RECENT = 20  # trades that the win rate looks back on


class AccountFeatures:
    """Position and account as the agents see them, followed through the orders of one feed.

    Hand it every order from ``notify_order`` and call :meth:`update` at every ``next``; then :meth:`position_info` and
    :meth:`risk_info` are what ``LeverageState.from_market_data`` takes.

    Parameters
    ----------
    strategy, data
        Whose orders on which feed.
    """

    def __init__(self, strategy: Any, data: Any) -> None:
        self._strategy, self._data = strategy, data
        self._leverage = 1.0
        self._posted = self._pnl = self._commission = 0.0
        self._entry_bar = 0
        self._closed: tuple[int, int] | None = None  # bar and side of the last close by an order
        self._peak = EquityPeak(strategy.broker)
        self._losses = 0
        self._recent: list[bool] = []
        self._win_rate = 0.5
        self.trades = 0
        self.halvings = 0

    @property
    def leverage(self) -> float:
        """Leverage of the open position, 1 when flat."""
        return self._leverage

    def on_order(self, order: Any) -> None:
        """Take the fill of an order (call from ``notify_order``)."""
        if order.data is not self._data or order.status != order.Completed:
            return
        for bit in order.executed.exbits:
            if bit.closed:
                self._pnl += bit.pnl
                self._commission += bit.closedcomm
                if bit.psize == bit.opened:
                    self._end_trade(1 if bit.closed < 0.0 else -1, bool(order.info.get("liquidation")))
                else:
                    self.halvings += 1
            if bit.opened:
                self._begin_trade(order, bit)

    def update(self, equity: float | None = None) -> None:
        """Take in the equity of a new bar (call once a bar, from ``next``); None asks the broker for it."""
        self._peak.update(self._strategy.broker.getvalue() if equity is None else equity)

    def position_info(self) -> dict[str, float]:
        """The six position features, raw."""
        return position_named(self.values(self._strategy.broker.getvalue()))

    def risk_info(self) -> dict[str, float]:
        """The three risk features, raw."""
        return risk_named(self.values(self._strategy.broker.getvalue()))

    def values(self, equity: float) -> tuple[float, ...]:
        """Raw values of the nine ``ACCOUNT_FEATURES`` at the account's equity; what is unknown while flat is 0."""
        data, broker = self._data, self._strategy.broker
        position = broker.getposition(data)
        size = position.size
        risk = 100.0 * (1.0 - equity / self._peak.value), float(self._losses), self._win_rate
        if not size:
            return 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, *risk
        close = data.close[0]
        margined = isinstance(broker, LeverageBroker)
        unbooked = broker.position_funding(data) if margined else 0.0
        gain = self._pnl + size * (close - position.price)
        solvent = equity > 0.0
        return (
            size * close / (equity * self._leverage) if solvent else size,
            self._leverage,
            100.0 * (gain - (self._commission + unbooked)) / self._posted,
            float(len(data) - self._entry_bar),
            100.0 * (size * (close - position.price)) / equity if solvent else 0.0,
            broker.margin_ratio(data) if margined else 0.0,
            *risk,
        )

    def _begin_trade(self, order: Any, bit: Any) -> None:
        bar, side = len(self._data), 1 if bit.opened > 0.0 else -1
        scheme = self._strategy.broker.getcommissioninfo(self._data)
        chosen = getattr(order, "margin_leverage", None)
        self._leverage = float(chosen or scheme.get_leverage())
        self._posted = abs(bit.opened) * bit.price / self._leverage
        self._pnl, self._commission = 0.0, bit.openedcomm
        self.halvings = 0
        if self._closed != (bar, side):  # else it was resized: the same position goes on
            self._entry_bar = bar

    def _end_trade(self, side: int, liquidated: bool) -> None:
        net = self._pnl - self._commission
        self._recent = [*self._recent, net > 0.0][-_RECENT:]
        self.trades += 1
        self._win_rate = (sum(self._recent) + 1.0) / (len(self._recent) + 2.0)
        if net > 0.0:
            self._losses = 0
        elif net < 0.0:
            self._losses += 1
        self._closed = None if liquidated else (len(self._data), side)
        self._leverage = 1.0


def position_named(values: tuple[float, ...]) -> dict[str, float]:
    """The six position features of :meth:`AccountFeatures.values` by name; flat, those that are known."""
    if not values[0]:
        return {"current_position": 0.0, "current_leverage": 1.0, "margin_ratio": 0.0}
    return dict(zip(_POSITION, values, strict=False))


def risk_named(values: tuple[float, ...]) -> dict[str, float]:
    """The three risk features of :meth:`AccountFeatures.values` by name."""
    return dict(zip(_RISK, values[len(_POSITION) :], strict=True))


class ActionDesk:
    """Turns action numbers into orders on one feed, exactly as the environment does.

    Parameters
    ----------
    strategy, data
        Who trades what; the strategy hands its ``notify_order`` to ``account.on_order``.
    settings
        ``margin_fraction``, ``most_halvings`` and ``turn_round`` are read.
    leveraged
        True: the eleven actions of ``LeverageAction``; False: the three of ``BasicAction``.
    """

    def __init__(self, strategy: Any, data: Any, settings: EnvironmentSettings, *, leveraged: bool) -> None:
        self._strategy, self._data, self._settings = strategy, data, settings
        table = action_table() if leveraged else basic_action_table(turn_round=settings.turn_round)
        self._table = [(int(kind), int(side), float(leverage)) for kind, side, leverage in table]
        self.account = AccountFeatures(strategy, data)

    def mask(self) -> NDArray[np.bool_]:
        """Which actions are allowed now; one that is not does nothing."""
        held = bool(self._strategy.getposition(self._data).size)
        halves = held and self.account.halvings < self._settings.most_halvings
        return np.array([held if kind == CLOSES else halves if kind == HALVES else True for kind, _, _ in self._table])

    def act(self, action: int | BasicAction | LeverageAction) -> None:
        """Send the orders of an action at the bar's close."""
        kind, side, leverage = self._table[action]
        strategy, data = self._strategy, self._data
        held = strategy.getposition(data).size
        if kind == CLOSES:
            if held:
                strategy.close(data)
        elif kind == HALVES:
            if self.mask()[action]:
                (strategy.sell if held > 0 else strategy.buy)(data=data, size=abs(held * 0.5))
        elif side:
            if held * side < 0.0:
                strategy.close(data)
                if kind == TARGETS:
                    self._enter(side, leverage)
            elif not held:
                self._enter(side, leverage)
            elif kind == TARGETS and leverage != self.account.leverage:
                strategy.close(data)
                self._enter(side, leverage)

    def _enter(self, side: int, leverage: float) -> None:
        strategy, data = self._strategy, self._data
        size = strategy.broker.getvalue() * self._settings.margin_fraction * leverage / data.close[0]
        if size > 0.0:
            (strategy.buy if side > 0 else strategy.sell)(data=data, size=size, leverage=leverage)


class ActionReplay(bt.Strategy):
    """Sends the orders of a given sequence of actions, one a bar.

    Params:
      - ``actions``: action numbers
      - ``start``: 0-based bar at whose close the first is sent
      - ``settings``: :class:`~ai_backtrader.rl.EnvironmentSettings`
      - ``leveraged`` (default: ``True``): eleven actions, or the three of the basic agent

    Attributes
    ----------
    equity, cash
        At every close from ``start`` on.
    account_rows
        ``(position_info, risk_info)`` at those closes.
    tally
        Liquidations, refused orders and funding paid, up to the last of them.
    """

    params = (("actions", ()), ("start", 0), ("settings", None), ("leveraged", True))

    def __init__(self) -> None:
        settings = EnvironmentSettings() if self.p.settings is None else self.p.settings
        self.desk = ActionDesk(self, self.data, settings, leveraged=self.p.leveraged)
        self.equity: list[float] = []
        self.cash: list[float] = []
        self.account_rows: list[tuple[dict[str, float], dict[str, float]]] = []
        self.refused = 0
        self.tally = (0, 0, 0.0)

    def notify_order(self, order: Any) -> None:
        """Follow the fills."""
        self.desk.account.on_order(order)
        if order.status in (order.Margin, order.Rejected):
            self.refused += 1

    def next(self) -> None:
        """Write the account down and send the bar's orders."""
        place = len(self.data) - 1 - self.p.start
        if place < 0 or place > len(self.p.actions):
            return
        account = self.desk.account
        account.update()
        self.equity.append(self.broker.getvalue())
        self.cash.append(self.broker.getcash())
        self.account_rows.append((account.position_info(), account.risk_info()))
        broker = self.broker
        self.tally = (len(broker.liquidations), self.refused, broker.funding_paid())
        if place < len(self.p.actions):
            self.desk.act(int(self.p.actions[place]))


class Replay(NamedTuple):
    """An episode in Cerebro, bar by bar; row 0 is the bar of the first decision.

    Attributes
    ----------
    equity, cash
        (steps + 1,) at each close.
    states
        (steps + 1, features) float32, or of length 0 where no features were given.
    liquidations, rejected, funding_paid
        How many there were, and how much in account currency, up to the last row.
    """

    equity: NDArray[np.float64]
    cash: NDArray[np.float64]
    states: NDArray[np.float32]
    liquidations: int
    rejected: int
    funding_paid: float


def replay_in_cerebro(
    data: MarketData,
    actions: ArrayLike,
    settings: EnvironmentSettings | None = None,
    *,
    leveraged: bool = True,
    start: int | None = None,
    features: MarketFeatures | None = None,
    with_states: bool = True,
) -> Replay:
    """Replay a sequence of actions in Cerebro: the slow twin of :func:`ai_backtrader.rl.play_actions`.

    Parameters
    ----------
    data
        The feed.
    actions
        Action numbers, one a bar.
    settings
        Those of the environment.
    leveraged
        True: the eleven actions; False: the three.
    start
        Bar at whose close the first is decided; None is the first on which the features are ready.
    features
        Those of ``data``; None computes them.
    with_states
        Whether to build the agent's state at every bar too.

    Raises
    ------
    SettingsError
        If the actions or the start are not permitted.
    """
    settings = EnvironmentSettings() if settings is None else settings
    taken = checked_actions("replay_in_cerebro", actions, len(LeverageAction if leveraged else BasicAction))
    features = compute_features(data) if features is None else features
    start = features.ready_from if start is None else start
    faults = Faults("replay_in_cerebro")
    faults.whole("start", start, low=features.ready_from, high=len(data) - 2)
    faults.raise_if_any()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(
        tiers=settings.tiers, funding=settings.funding, liquidation_fee=settings.liquidation_fee
    )
    cerebro.broker.setcash(settings.cash)
    cerebro.broker.setcommission(commission=settings.commission)
    cerebro.broker.set_shortcash(False)
    if settings.slippage:
        cerebro.broker.set_slippage_perc(settings.slippage)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(ActionReplay, actions=taken, start=start, settings=settings, leveraged=leveraged)
    strategy = cerebro.run()[0]
    liquidations, refused, funding = strategy.tally
    states = [
        _state(features.indicators(start + place), *row, data.bar_seconds, leveraged)
        for place, row in enumerate(strategy.account_rows if with_states else ())
    ]
    return Replay(
        equity=np.array(strategy.equity),
        cash=np.array(strategy.cash),
        states=np.array(states, dtype=np.float32),
        liquidations=liquidations,
        rejected=refused,
        funding_paid=funding,
    )


def _state(
    indicators: dict[str, float],
    position: dict[str, float],
    risk: dict[str, float],
    bar_seconds: float,
    leveraged: bool,
) -> NDArray[np.float32]:
    if leveraged:
        return LeverageState.from_market_data(indicators, position, risk, bar_seconds=bar_seconds).to_vector()
    return State.from_market_data(
        indicators,
        position["current_position"],
        position.get("position_pnl", 0.0),
        position.get("position_duration", 0.0),
        bar_seconds=bar_seconds,
    ).to_vector()
