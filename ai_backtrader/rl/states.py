"""The two state vectors: 18 features for the basic agent, 35 for the leverage agent.

The market's part is :func:`ai_backtrader.market.feature_vector`; the position's and the account's are here, computed by
one kernel for training and for Cerebro alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market import MARKET_FEATURES, STRUCTURE_FEATURES, FeatureSettings, feature_vector
from ai_backtrader.simulation.compiling import inlined
from ai_backtrader.values import FrozenMapping

__all__ = [
    "ACCOUNT_FEATURES",
    "BASIC_FEATURES",
    "BASIC_STATE_VERSION",
    "LEVERAGE_FEATURES",
    "LEVERAGE_STATE_VERSION",
    "LeverageState",
    "MarketPart",
    "State",
    "market_part",
    "write_account",
]

BASIC_STATE_VERSION = "basic-state/1"
LEVERAGE_STATE_VERSION = "leverage-state/1"

#: What the state says of position and account: raw values, their order, and what they are when flat and unknown.
ACCOUNT_FEATURES: Mapping[str, float] = FrozenMapping(
    {
        "current_position": 0.0,
        "current_leverage": 1.0,
        "position_pnl": 0.0,
        "position_duration": 0.0,
        "unrealized_pnl": 0.0,
        "margin_ratio": 0.0,
        "drawdown_current": 0.0,
        "consecutive_losses": 0.0,
        "win_rate_recent": 0.5,
    }
)

_BASIC_MARKET = (
    "price_change_1h",
    "price_change_4h",
    "price_change_24h",
    "price_vs_ema20",
    "price_vs_ema50",
    "rsi",
    "rsi_change",
    "macd_hist",
    "momentum_5",
    "atr_ratio",
    "bb_position",
    "volatility_ratio",
    "adx",
    "trend_direction",
    "volume_ratio",
)
_BASIC_ACCOUNT = ("current_position", "position_pnl", "position_duration")

#: The 18 features of :class:`State`, in order.
BASIC_FEATURES: tuple[str, ...] = _BASIC_MARKET + _BASIC_ACCOUNT

#: The 35 features of :class:`LeverageState`, in order.
LEVERAGE_FEATURES: tuple[str, ...] = MARKET_FEATURES + STRUCTURE_FEATURES + tuple(ACCOUNT_FEATURES)

_POSITION = tuple(ACCOUNT_FEATURES)[:6]
_RISK = tuple(ACCOUNT_FEATURES)[6:]
# Without these an agent does not know what it looks at: prices, volatility, and its own position.
_NEEDED = frozenset((*MARKET_FEATURES[:6], *MARKET_FEATURES[12:17], *_POSITION, "atr_pct_median"))
# Short names that callers use.
_ALIASES = {
    "current_position": "position",
    "current_leverage": "leverage",
    "position_pnl": "pnl_pct",
    "position_duration": "duration",
    "drawdown_current": "drawdown_pct",
}


_KNOWN_NAMES = frozenset((*LEVERAGE_FEATURES, *_ALIASES.values()))
_ACCOUNT = tuple(ACCOUNT_FEATURES)
_BASIC_KNOWN = frozenset((*_BASIC_MARKET, "atr_pct_median"))
_BASIC_COLUMNS = np.array([LEVERAGE_FEATURES.index(name) for name in _BASIC_MARKET])
_BASIC_PLACES = np.array([_ACCOUNT.index(name) for name in _BASIC_ACCOUNT])
_LOWEST, _HIGHEST = np.float32(-1.0), np.float32(1.0)


@inlined
def _clip(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


@inlined
def write_account(
    out: NDArray[np.float32],
    at: int,
    position: float,
    leverage: float,
    pnl: float,
    duration: float,
    unrealized: float,
    margin_ratio: float,
    drawdown: float,
    losses: float,
    win_rate: float,
) -> None:
    """Entries of the nine :data:`ACCOUNT_FEATURES` from their raw values, into ``out[at : at + 9]``."""
    out[at] = _clip(position, 1.0)
    out[at + 1] = _clip(leverage / 10.0, 1.0)
    out[at + 2] = _clip(pnl / 50.0, 1.0)
    out[at + 3] = _clip(duration / 100.0, 1.0)
    out[at + 4] = _clip(unrealized / 10.0, 1.0)
    out[at + 5] = _clip(margin_ratio, 1.0)
    out[at + 6] = _clip(drawdown / 30.0, 1.0)
    out[at + 7] = _clip(losses / 5.0, 1.0)
    out[at + 8] = _clip(2.0 * win_rate - 1.0, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Features:
    """A state vector with what was known of it."""

    vector: NDArray[np.float32] = field(repr=False)
    missing: tuple[str, ...]

    names: ClassVar[tuple[str, ...]]
    version: ClassVar[str]

    def __post_init__(self) -> None:
        vector = np.array(self.vector, dtype=np.float32)
        if vector.shape != (len(self.names),):
            faults = Faults(type(self).__name__)
            faults.add(f"vector must have shape ({len(self.names)},), got {vector.shape}")
            faults.raise_if_any()
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)

    @property
    def ready(self) -> bool:
        """Whether every price, volatility and position feature is known; if not, an agent holds."""
        return not _NEEDED.intersection(self.missing)

    def to_vector(self) -> NDArray[np.float32]:
        """The network's input: float32, every entry within [-1, 1]; a copy."""
        return self.vector.copy()

    def named(self) -> dict[str, float]:
        """Vector entries by name."""
        return dict(zip(self.names, self.vector.tolist(), strict=True))


class State(_Features):
    """State of the basic agent: 15 market features and three of the position.

    Attributes
    ----------
    vector
        (18,) float32 in the order of ``names``, within [-1, 1]; read-only.
    missing
        Names that were not given, or NaN; their entries are neutral.
    names, version
        Feature names in order; version of the list, stored with checkpoints and experiences.

    Examples
    --------
    >>> state = State.from_market_data({"rsi": 71.0, "adx": 30.0}, position=1)
    >>> state.to_vector().shape, state.ready
    ((18,), False)
    """

    names = BASIC_FEATURES
    version = BASIC_STATE_VERSION

    @classmethod
    def from_market_data(
        cls,
        indicators: Mapping[str, float],
        position: float = 0.0,
        position_pnl: float = 0.0,
        position_duration: float = 0.0,
        *,
        bar_seconds: float = 3600.0,
        settings: FeatureSettings | None = None,
        strict: bool = False,
    ) -> Self:
        """State from raw features by name.

        Parameters
        ----------
        indicators
            Raw features (:meth:`ai_backtrader.market.MarketFeatures.indicators`), all or a few; other keys are ignored.
        position
            Signed position in units of full size, -1 to 1.
        position_pnl
            Net return since entry on the entry value, percent points.
        position_duration
            Bars since entry.
        bar_seconds, settings
            As given when the features were computed.
        strict
            True: a missing or NaN feature raises.

        Raises
        ------
        SettingsError
            If a value is no number, or with ``strict`` naming all that is missing.
        """
        part = market_part(indicators, bar_seconds=bar_seconds, settings=settings, subject="State")
        state = cls.from_part(part, position, position_pnl, position_duration)
        if strict:
            _refuse_missing("State", state.missing)
        return state

    @classmethod
    def from_part(
        cls, part: MarketPart, position: float = 0.0, position_pnl: float = 0.0, position_duration: float = 0.0
    ) -> Self:
        """State from a market's part that is known already; the rest as in :meth:`from_market_data`."""
        given = {"position": position, "position_pnl": position_pnl, "position_duration": position_duration}
        _check_numbers("State", ("", given))
        account, lacking = _account_entries({"current_position": position, **given}, {}, _BASIC_ACCOUNT)
        if part.missing:
            lacking = tuple(name for name in part.missing if name in _BASIC_KNOWN) + lacking
        vector = np.concatenate((part.entries[_BASIC_COLUMNS], account[_BASIC_PLACES]))
        return cls(vector=vector, missing=lacking)


class LeverageState(_Features):
    """State of the leverage agent: 23 features of the market, three of its structure, nine of position and account.

    Attributes
    ----------
    vector
        (35,) float32 in the order of ``names``, within [-1, 1]; read-only.
    missing
        Names that were not given, or NaN; their entries are neutral.
    names, version
        Feature names in order; version of the list, stored with checkpoints and experiences.

    Examples
    --------
    >>> state = LeverageState.from_market_data(
    ...     indicators={"rsi": 28.0},
    ...     position_info={"position": 0, "leverage": 1, "margin_ratio": 0.2},
    ...     risk_info={"consecutive_losses": 0, "win_rate_recent": 0.55},
    ... )
    >>> state.to_vector().shape, "position_pnl" in state.missing, "drawdown_current" in state.missing
    ((35,), False, True)
    """

    names = LEVERAGE_FEATURES
    version = LEVERAGE_STATE_VERSION

    @classmethod
    def from_market_data(
        cls,
        indicators: Mapping[str, float],
        position_info: Mapping[str, float] | None = None,
        risk_info: Mapping[str, float] | None = None,
        *,
        bar_seconds: float = 3600.0,
        settings: FeatureSettings | None = None,
        strict: bool = False,
    ) -> Self:
        """State from raw features by name.

        Parameters
        ----------
        indicators
            Raw features (:meth:`ai_backtrader.market.MarketFeatures.indicators`), all or a few; other keys are ignored.
        position_info
            Raw values of ``current_position`` (or ``position``: signed, in units of full size, -1 to 1),
            ``current_leverage`` (``leverage``: multiple), ``position_pnl`` (``pnl_pct``: net, percent of the margin
            posted), ``position_duration`` (``duration``: bars), ``unrealized_pnl`` (percent of the equity),
            ``margin_ratio`` (share of the liquidation buffer used up, 0 to 1). None: flat. When flat, what is not given
            is known to be nothing; a margin ratio that is given is taken as it is.
        risk_info
            ``drawdown_current`` (``drawdown_pct``: percent below the highest equity), ``consecutive_losses``
            (closed trades in a row), ``win_rate_recent`` (fraction of the last 20).
        bar_seconds, settings
            As given when the features were computed.
        strict
            True: a missing or NaN feature raises, except those of the market's structure, which many feeds do not have.

        Raises
        ------
        SettingsError
            If a value is no number, or with ``strict`` naming all that is missing.
        """
        position = {"current_position": 0.0} if position_info is None else position_info
        risk = {} if risk_info is None else risk_info
        _check_numbers("LeverageState", ("indicators", indicators), ("position_info", position), ("risk_info", risk))
        part = market_part(indicators, bar_seconds=bar_seconds, settings=settings, subject="")
        state = cls.from_part(part, position, risk)
        if strict:
            lacking = tuple(name for name in state.missing if name not in STRUCTURE_FEATURES)
            _refuse_missing("LeverageState", lacking)
        return state

    @classmethod
    def from_part(cls, part: MarketPart, position_info: Mapping[str, float], risk_info: Mapping[str, float]) -> Self:
        """State from a market's part that is known already; the rest as in :meth:`from_market_data`."""
        _check_numbers("LeverageState", ("position_info", position_info), ("risk_info", risk_info))
        account, lacking = _account_entries(position_info, risk_info, _ACCOUNT)
        return cls(vector=np.concatenate((part.entries, account)), missing=part.missing + lacking)


class MarketPart(NamedTuple):
    """The market's 26 entries of a state (float32), and the names that were missing."""

    entries: NDArray[np.float32]
    missing: tuple[str, ...]


def market_part(
    indicators: Mapping[str, float],
    *,
    bar_seconds: float = 3600.0,
    settings: FeatureSettings | None = None,
    subject: str = "market_part",
) -> MarketPart:
    """The market's part of both states, from raw features by name.

    Parameters
    ----------
    indicators, bar_seconds, settings
        As for :meth:`LeverageState.from_market_data`.
    subject
        Named in an error; empty: the numbers have been checked.
    """
    if subject:
        _check_numbers(subject, ("indicators", indicators))
    # None says the same as no key; what no market gives (an RSI of 300) is brought back within bounds.
    known = indicators
    if None in indicators.values():
        known = {name: value for name, value in indicators.items() if value is not None}
    entries, missing = feature_vector(known, bar_seconds=bar_seconds, settings=settings)
    return MarketPart(np.minimum(np.maximum(entries, _LOWEST), _HIGHEST), missing)


def _check_numbers(subject: str, *groups: tuple[str, Mapping[str, float]]) -> None:
    faults = None
    for group, values in groups:
        given: object = values
        if not isinstance(given, Mapping):
            faults = Faults(subject) if faults is None else faults
            faults.add(f"{group} must be a mapping of names to numbers, got {given!r}")
            continue
        for name, value in values.items():
            # The common case first: both agents look at some forty numbers a bar.
            if type(value) is float and -math.inf < value < math.inf:
                continue
            if (group and name not in _KNOWN_NAMES) or value is None or value != value:
                continue
            faults = Faults(subject) if faults is None else faults
            faults.number(f"{group}[{name!r}]" if group else name, value)
    if faults is not None:
        faults.raise_if_any()


def _refuse_missing(subject: str, missing: tuple[str, ...]) -> None:
    if missing:
        faults = Faults(subject)
        faults.add(f"features are missing or NaN: {', '.join(missing)}; give them, or leave strict=False")
        faults.raise_if_any()


def _account_entries(
    position: Mapping[str, float], risk: Mapping[str, float], names: tuple[str, ...]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Entries of the account's features, and which of ``names`` were missing."""
    raw = {}
    for names_of, source in ((_POSITION, position), (_RISK, risk)):
        for name in names_of:
            value = source.get(name)
            if value is None and name not in source:
                value = source.get(_ALIASES.get(name, name))
            raw[name] = math.nan if value is None else float(value)
    flat = raw["current_position"] == 0.0
    missing = []
    for name, value in raw.items():
        if value != value:
            raw[name] = ACCOUNT_FEATURES[name]
            if name in names and not (flat and name in _POSITION):
                missing.append(name)
    out = np.empty(len(ACCOUNT_FEATURES), dtype=np.float32)
    write_account(out, 0, *raw.values())
    return out, tuple(missing)
