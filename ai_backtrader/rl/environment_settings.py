"""What an environment assumes, which bars it may use, and the arrays that its kernels read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MARKET_FEATURES, MarketData, MarketFeatures, compute_features
from ai_backtrader.market.feature_kernels import structure_vector_row
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rl.actions import action_table, basic_action_table
from ai_backtrader.rl.env_kernels import LANE_DTYPE, MARKET_DTYPE, SHARED_DTYPE, EnvArrays, reset
from ai_backtrader.rl.rewards import REWARD_MODES, RewardSettings
from ai_backtrader.rl.states import BASIC_FEATURES
from ai_backtrader.simulation import SimulationSettings
from ai_backtrader.simulation.bars import bars_of

__all__ = ["EnvironmentSettings", "Segment", "build_arrays", "market_entries", "split_by_time"]

_WHOLE: Final = "whole"


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings:
    """Account, broker, sizes, episodes and reward of an environment.

    Parameters
    ----------
    cash, commission, slippage, tiers, funding, liquidation_fee
        As in :class:`~ai_backtrader.simulation.SimulationSettings`.
    margin_fraction
        Margin that an entry posts, as a fraction of the equity at the close where it is decided. What is left pays the
        commission and the gap to the open; an order that the cash cannot pay is refused.
    reward_mode, reward
        One of :data:`~ai_backtrader.rl.REWARD_MODES`, and its numbers. The default passes the audit and, of those that
        do, did best on held-out bars where there was something to learn (``benchmarks/agents_on_markets.py``).
    episode_bars
        Steps after which an episode is truncated; None: at the end of its segment.
    random_start
        Whether an episode starts at a random bar of its segment, or always at the first.
    ruin
        The episode ends (terminated) once the equity is at most this fraction of the starting cash.
    most_halvings
        How often a position may be halved; then REDUCE_HALF is masked.
    turn_round
        Basic environment: whether BUY in a short and SELL in a long position also open the other side, or only close.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    cash: float = 10_000.0
    commission: float = 0.0005
    slippage: float = 0.0
    tiers: MaintenanceTiers | None = None
    funding: float | bool | None = None
    liquidation_fee: float = 0.0
    margin_fraction: float = 0.9
    reward_mode: str = "risk_averse"
    reward: RewardSettings = field(default_factory=RewardSettings)
    episode_bars: int | None = 720
    random_start: bool = True
    ruin: float = 0.05
    most_halvings: int = 4
    turn_round: bool = False

    def __post_init__(self) -> None:
        faults = Faults("EnvironmentSettings")
        try:
            self.broker()
        except SettingsError as error:
            faults.found.extend(error.faults)
        faults.number("margin_fraction", self.margin_fraction, above=0.0, high=1.0)
        faults.one_of("reward_mode", self.reward_mode, REWARD_MODES)
        reward: object = self.reward
        if not isinstance(reward, RewardSettings):
            faults.add(f"reward must be RewardSettings, got {reward!r}")
        if self.episode_bars is not None:
            faults.whole("episode_bars", self.episode_bars, low=1)
        faults.number("ruin", self.ruin, low=0.0, high=0.99)
        faults.whole("most_halvings", self.most_halvings, low=0, high=50)
        for name in ("random_start", "turn_round"):
            if not isinstance(getattr(self, name), bool):
                faults.add(f"{name} must be True or False, got {getattr(self, name)!r}")
        faults.raise_if_any()

    def broker(self) -> SimulationSettings:
        """The broker's part, as the simulation takes it."""
        return SimulationSettings(
            cash=self.cash,
            commission=self.commission,
            slippage=self.slippage,
            tiers=self.tiers,
            funding=self.funding,
            liquidation_fee=self.liquidation_fee,
            shortcash=False,
        )


@dataclass(frozen=True)
class Segment:
    """Bars ``start <= bar < stop`` of a data set; an episode sees and trades no other (features look further back)."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


def split_by_time(
    data: MarketData, *, train: float = 0.6, validation: float = 0.2, gap: int = 0
) -> Mapping[str, Segment]:
    """Segments ``"train"``, ``"validation"`` and ``"test"`` in the order of time.

    Parameters
    ----------
    data
        The feed; bars before the features are ready belong to no segment.
    train, validation
        Fractions of the usable bars; the test has the rest.
    gap
        Bars left out between two segments. Features at the start of a segment look back into the one before; no trade
        and no reward reaches over.

    Raises
    ------
    SettingsError
        If the fractions leave nothing for the test, or a segment would have fewer than two bars.
    """
    faults = Faults("split_by_time")
    faults.number("train", train, above=0.0, high=1.0)
    faults.number("validation", validation, above=0.0, high=1.0)
    faults.whole("gap", gap, low=0)
    if not faults.found and train + validation >= 1.0:
        faults.add(f"train and validation must leave a part for the test, got {train} and {validation}")
    faults.raise_if_any()
    ready = compute_features(data.head(2)).ready_from
    usable = len(data) - ready
    edges = [ready + round(usable * share) for share in (0.0, train, train + validation, 1.0)]
    parts = {
        name: Segment(edges[place] + (gap if place else 0), edges[place + 1])
        for place, name in enumerate(("train", "validation", "test"))
    }
    for name, part in parts.items():
        if len(part) < 2:
            faults.add(f"{name} has {len(part)} bars of the {len(data)} given ({ready} warm up); give more data")
    faults.raise_if_any()
    return parts


def market_entries(features: MarketFeatures, *, leveraged: bool) -> NDArray[np.float32]:
    """The market's part of the state, one row a bar: shape (bars, 26), or (bars, 15) for the basic agent."""
    if not leveraged:
        columns = [MARKET_FEATURES.index(name) for name in BASIC_FEATURES if name in MARKET_FEATURES]
        return np.ascontiguousarray(features.vector[:, columns])
    structure = np.empty((len(features), 3))
    for bar in range(len(features)):
        structure_vector_row(features.structure[bar], structure[bar])
    entries = np.nan_to_num(structure, nan=0.0).astype(np.float32)
    return np.concatenate((features.vector, entries), axis=1)


def build_arrays(
    data: MarketData,
    settings: EnvironmentSettings,
    *,
    leveraged: bool,
    lanes: int = 1,
    segment: Segment | str = _WHOLE,
    features: MarketFeatures | None = None,
) -> EnvArrays:
    """Arrays of an environment for :mod:`ai_backtrader.rl.env_kernels`, every lane reset to the first start.

    Parameters
    ----------
    data
        The feed.
    settings
        See :class:`EnvironmentSettings`.
    leveraged
        True: eleven actions and 35 features; False: three and 18.
    lanes
        Episodes side by side.
    segment
        Bars that may be traded: a :class:`Segment`, the name of one of :func:`split_by_time`, or ``"whole"``.
    features
        Those of ``data``, to compute them once for several environments; None computes them.

    Raises
    ------
    SettingsError
        If the segment lies outside the data, is too short, or has no bar on which the features are ready.
    """
    faults = Faults("environment")
    given: object = data
    if not isinstance(given, MarketData):
        faults.add(
            f"data must be MarketData, got {type(given).__name__}; load it with MarketData.from_csv or from_frame"
        )
        faults.raise_if_any()
    faults.whole("lanes", lanes, low=1)
    if isinstance(segment, str):
        faults.one_of("segment", segment, (_WHOLE, "train", "validation", "test"))
    faults.raise_if_any()
    if features is None:
        features = compute_features(data)
    elif len(features) != len(data):
        faults.add(f"features have {len(features)} bars, data {len(data)}; give those of the same data")
        faults.raise_if_any()
    if isinstance(segment, str):
        part = Segment(0, len(data)) if segment == _WHOLE else split_by_time(data)[segment]
    else:
        part = segment
        faults.whole("segment.start", part.start, low=0)
        faults.whole("segment.stop", part.stop, low=2, high=len(data))
    first, last = max(part.start, features.ready_from), part.stop - 1
    if last <= first:
        faults.add(
            f"segment has no step: its last bar is {last}, its first with features {first} "
            f"(they are ready from bar {features.ready_from} on); give more bars"
        )
    faults.raise_if_any()
    length = last - first if settings.episode_bars is None else min(settings.episode_bars, last - first)
    actions = action_table() if leveraged else basic_action_table(turn_round=settings.turn_round)
    shared = np.zeros(1, SHARED_DTYPE)
    shared["settings"] = settings.broker().record()
    shared["reward"] = settings.reward.record(settings.reward_mode)
    shared["n_actions"], shared["leveraged"] = len(actions), leveraged
    shared["actions"][0, : len(actions)] = actions
    for name in ("margin_fraction", "ruin", "most_halvings"):
        shared[name] = getattr(settings, name)
    shared["first_start"], shared["last_bar"], shared["episode_bars"] = first, last, length
    shared["last_start"] = last - length if settings.random_start else first
    market = np.empty(len(data), MARKET_DTYPE)
    bars = bars_of(data, settings.funding)
    for name in bars.dtype.names or ():
        market[name] = bars[name]
    market["mark_close"] = data.close if data.mark_close is None else data.mark_close
    market["volatility"] = 100.0 * features.atr / features.close
    market["usual_bar"] = features.atr_pct_median
    env = EnvArrays(
        lanes=np.zeros(lanes, LANE_DTYPE),
        market=market,
        features=market_entries(features, leveraged=leveraged),
        shared=shared,
    )
    for lane in range(lanes):
        reset(env, lane, first)
    return env
