"""What happened, as frozen values that the systems hand to a journal.

The engine's systems do not know where events are kept: they call ``journal.record(event)``. The default journal
forgets. Six kinds of event, six tables of the learning database.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.values import Direction, FrozenMapping, Regime

__all__ = [
    "Event",
    "ExperiencesGathered",
    "ForgetfulJournal",
    "Journal",
    "ParametersOptimized",
    "RegimeChanged",
    "StrategyEvolved",
    "StrategyScored",
    "TradeClosed",
]


@dataclass(frozen=True, kw_only=True)
class TradeClosed:
    """A position was closed (by order, stop, target or liquidation).

    Attributes
    ----------
    symbol, strategy_id
        What was traded, and by which strategy.
    direction
        LONG or SHORT.
    opened_at, closed_at
        UTC, naive; None when the caller did not say.
    entry_price, exit_price
        In quote currency.
    size
        Units, positive.
    leverage
        Multiple of the margin posted.
    pnl
        Net of commission and funding, in account currency.
    pnl_pct
        Net return on the margin posted, in percent points (1.05 is 1.05 %).
    commission, funding
        Paid, in account currency (negative funding was received).
    hold_bars, hold_duration_mins
        How long it was open.
    regime
        Label at entry.
    indicators_at_entry
        Raw features at the bar of the decision.
    liquidated
        True when the broker closed it.
    paper
        True when no order was sent: the trade was withheld and only followed on paper.
    """

    symbol: str
    strategy_id: str
    direction: Direction
    entry_price: float
    exit_price: float
    pnl_pct: float
    pnl: float = 0.0
    size: float = 0.0
    leverage: float = 1.0
    commission: float = 0.0
    funding: float = 0.0
    hold_bars: int = 0
    hold_duration_mins: float = 0.0
    opened_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    regime: Regime | None = None
    indicators_at_entry: Mapping[str, float] = field(default_factory=FrozenMapping)
    liquidated: bool = False
    paper: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "indicators_at_entry", FrozenMapping(self.indicators_at_entry))


@dataclass(frozen=True, kw_only=True)
class RegimeChanged:
    """The regime label of a symbol changed at a bar."""

    symbol: str
    at: dt.datetime | None
    before: Regime | None
    after: Regime
    high_volatility: bool


@dataclass(frozen=True, kw_only=True)
class StrategyScored:
    """A strategy was measured.

    Attributes
    ----------
    symbol, strategy_id
        What was traded, and by which strategy.
    at
        UTC, naive, of the last bar that was measured; None when the caller did not say.
    regime
        The regime whose trades were measured; None for all.
    sample
        What was measured: ``"train"``, ``"validation"``, ``"test"``, ``"live"`` or a word of the caller's.
    figures
        Named metrics (``sharpe_ratio``, ``win_rate``, ...), fractions where they are shares.
    """

    symbol: str
    strategy_id: str
    at: dt.datetime | None = None
    regime: Regime | None = None
    sample: str = "live"
    figures: Mapping[str, float] = field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", FrozenMapping(self.figures))


@dataclass(frozen=True, kw_only=True)
class ParametersOptimized:
    """A parameter search ended.

    Attributes
    ----------
    key
        Hash of all that the answer depends on: data, costs, space, strategy, objective, regime, seed, version. The
        same key, the same answer.
    symbol, timeframe, strategy, regime
        What was searched; ``timeframe`` in words (``"1h"``), ``strategy`` the family's name, ``regime`` None for all.
    parameters
        The best ones.
    score
        Of the objective, in sample.
    n_trials
        Evaluations that the search cost.
    seed
        Of the search.
    result
        The whole result as JSON text, for the cache.
    at
        UTC, naive, of the last bar that the search saw; None when the caller did not say.
    """

    key: str
    symbol: str
    timeframe: str
    strategy: str
    parameters: Mapping[str, float | int | str | bool]
    score: float
    n_trials: int
    seed: int
    regime: Regime | None = None
    result: str = "{}"
    at: dt.datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", FrozenMapping(self.parameters))


@dataclass(frozen=True, kw_only=True)
class StrategyEvolved:
    """The evolver found a champion.

    Attributes
    ----------
    fingerprint
        Of the chromosome.
    chromosome
        As JSON text.
    symbol
        Of the data that it was found on.
    data_fingerprint
        Of those data.
    fitness
        On the train slice.
    passed
        True when it survived the sealed test.
    proven
        True when Cerebro repeated it fill for fill; None when nobody looked.
    regime
        The regime it does best in; None when it was not asked.
    figures
        Named metrics (``validation_sharpe``, ``test_sharpe``, ``deflated_sharpe``, ...).
    generation, seed
        Where in which search it was found.
    at
        UTC, naive, of the last bar that the search saw; None when the caller did not say.
    """

    fingerprint: str
    chromosome: str
    symbol: str
    data_fingerprint: str
    fitness: float
    passed: bool
    proven: bool | None = None
    regime: Regime | None = None
    figures: Mapping[str, float] = field(default_factory=FrozenMapping)
    generation: int = 0
    seed: int = 0
    at: dt.datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", FrozenMapping(self.figures))


@dataclass(frozen=True, kw_only=True, eq=False)
class ExperiencesGathered:
    """A batch of transitions that an agent may learn from.

    Attributes
    ----------
    agent, feature_version
        Whose (``"basic"``, ``"leverage"``), and by which feature list (``"leverage-state/1"``).
    symbol
        Of the data.
    states, next_states
        (n, features) float32.
    actions, rewards
        (n,) int64 and float64.
    terminated
        (n,) bool: the episode ended there for good, as opposed to being cut.
    at
        UTC, naive, of the last transition; None when the caller did not say.
    """

    agent: str
    feature_version: str
    symbol: str
    states: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    next_states: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    at: dt.datetime | None = None


Event = TradeClosed | RegimeChanged | StrategyScored | ParametersOptimized | StrategyEvolved | ExperiencesGathered


class Journal(Protocol):
    """Where events go."""

    def record(self, event: Event) -> None:
        """Keep the event."""


class ForgetfulJournal:
    """Keeps nothing: the default, so that a backtest leaves no file behind."""

    def record(self, event: Event) -> None:
        """Forget the event."""
