"""Outcome patterns: how trades ended that were entered in like conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner.encoding import pack, unpack
from ai_backtrader.online_learner.neighbour_search import encode, judged
from ai_backtrader.online_learner.pattern_kernels import binomial_tail, inverse_scales
from ai_backtrader.online_learner.settings import PatternSettings

__all__ = ["PatternMemory", "PatternVerdict", "shrunk_win_rate"]

_SMALLEST = 256  # places to begin with; they double up to the capacity
_SIDES = (1, 0, -1)


class PatternVerdict(NamedTuple):
    """What like trades say.

    Attributes
    ----------
    n_neighbours
        Trades that were compared.
    win_rate, mean_pnl_pct
        Of these; fraction, percent points.
    shrunk_win_rate
        The win rate shrunk towards ``base_win_rate``.
    base_win_rate
        Of all remembered trades of the side asked for.
    probability
        Of at most so many wins by chance, at the base win rate.
    """

    n_neighbours: int
    win_rate: float
    mean_pnl_pct: float
    shrunk_win_rate: float
    base_win_rate: float
    probability: float


def shrunk_win_rate(wins: float, n: float, prior: float, strength: float) -> float:
    """Win rate of ``n`` trades as if ``strength`` more had won at the rate ``prior`` (mean of a beta posterior)."""
    total = n + strength
    return (wins + strength * prior) / total if total > 0.0 else prior


class PatternMemory:
    """The remembered trades of one strategy: conditions at entry, side, result.

    Memory is bounded: at ``capacity`` the oldest trade makes room. Each feature is measured in its own robust standard
    deviations over the memory, taken anew each time the memory has turned over by a quarter.

    Parameters
    ----------
    settings
        Features, capacity and limits; None takes the defaults.

    Examples
    --------
    >>> memory = PatternMemory(PatternSettings(features=("rsi",), min_trades=8, neighbours=2))
    >>> for rsi in range(20, 80, 5):
    ...     memory.add({"rsi": float(rsi)}, pnl_pct=1.0 if rsi < 50 else -1.0)
    >>> memory.judge({"rsi": 75.0}).win_rate
    0.0
    """

    def __init__(self, settings: PatternSettings | None = None) -> None:
        self.settings = PatternSettings() if settings is None else settings
        self._least_features = max(1, math.ceil(self.settings.min_features * len(self.settings.features)))
        self._n_features = len(self.settings.features)
        self._added = 0
        self._rescale_at = 0
        self._inverse = np.zeros(self._n_features)
        self._features = np.empty((self._n_features, 0), order="F")
        self._pnl_pcts, self._sides = np.empty(0), np.empty(0, dtype=np.int8)
        self._codes = np.empty((self._n_features + 1, 0), dtype=np.int16)
        self._allocate(min(_SMALLEST, self.settings.capacity))
        self._counts = [(0, 0)] * 3  # trades and wins by side + 1
        self._tails: dict[tuple[int, int, float], float] = {}  # of the binomial, until the next trade

    def __len__(self) -> int:
        return min(self._added, self.settings.capacity)

    def _allocate(self, places: int) -> None:
        features = np.full((self._n_features, places), np.nan, order="F")  # a trade's lie together
        pnl_pcts, sides = np.zeros(places), np.zeros(places, dtype=np.int8)
        codes = np.zeros((self._n_features + 1, places), dtype=np.int16)
        held = min(len(self), self._pnl_pcts.shape[0])
        features[:, :held], pnl_pcts[:held] = self._features[:, :held], self._pnl_pcts[:held]
        sides[:held], codes[:, :held] = self._sides[:held], self._codes[:, :held]
        self._features, self._pnl_pcts, self._sides, self._codes = features, pnl_pcts, sides, codes

    def _encode(self, first: int, end: int) -> None:
        encode(self._features, self._sides, first, end, self._inverse, self.settings.distance_cap, self._codes)

    def add(self, indicators: Mapping[str, float], *, pnl_pct: float, side: int = 0) -> None:
        """Remember a trade; one without any of the features is passed over.

        Parameters
        ----------
        indicators
            Raw features at entry, by name; what is missing or NaN is remembered as missing.
        pnl_pct
            Net return, percent points, finite.
        side
            +1 long, -1 short, 0 not told.
        """
        conditions = self._conditions(indicators)
        if conditions is None:
            return
        if not math.isfinite(pnl_pct):
            raise SettingsError("PatternMemory.add", [f"pnl_pct must be finite, got {pnl_pct!r}"])
        if side not in _SIDES:
            raise SettingsError("PatternMemory.add", [f"side must be 1, 0 or -1, got {side!r}"])
        place = self._added % self.settings.capacity
        if place >= self._pnl_pcts.shape[0]:
            self._allocate(min(2 * place, self.settings.capacity))
        if self._added >= self.settings.capacity:
            self._count(int(self._sides[place]), float(self._pnl_pcts[place]), -1)
        self._features[:, place] = conditions
        self._pnl_pcts[place], self._sides[place] = pnl_pct, side
        self._count(side, pnl_pct, 1)
        self._added += 1
        if self._added >= self._rescale_at:
            self._inverse = inverse_scales(self._features, len(self))
            self._rescale_at = self._added + max(1, len(self) // 4)
            self._encode(0, len(self))
        else:
            self._encode(place, place + 1)

    def _count(self, side: int, pnl_pct: float, change: int) -> None:
        self._tails.clear()
        trades, won = self._counts[side + 1]
        self._counts[side + 1] = trades + change, won + change * (pnl_pct > 0.0)

    def judge(self, indicators: Mapping[str, float], *, side: int = 0) -> PatternVerdict | None:
        """What like trades say of conditions; None where too little is remembered or given.

        Parameters
        ----------
        indicators
            Raw features now, by name.
        side
            +1 or -1 compares with trades of this side (and those whose side was not told); 0 with all.
        """
        settings = self.settings
        n = len(self)
        if n < settings.min_trades:
            return None
        conditions = self._conditions(indicators, self._least_features)
        if conditions is None:
            return None
        n_base, n_won = self._counts[1] if side else (0, 0)
        for of_side in (side,) if side else _SIDES:
            trades, won = self._counts[of_side + 1]
            n_base, n_won = n_base + trades, n_won + won
        if n_base < settings.min_trades:
            return None
        k = min(settings.neighbours, n_base // 4)
        wins, total = judged(
            self._features,
            self._codes,
            self._pnl_pcts,
            n,
            self._inverse,
            settings.distance_cap,
            conditions,
            side,
            k,
        )
        base = n_won / n_base
        asked = wins, k, base
        probability = self._tails.get(asked)
        if probability is None:
            probability = self._tails[asked] = binomial_tail(wins, k, base)
        return PatternVerdict(
            k,
            wins / k,
            total / k,
            shrunk_win_rate(wins, k, base, settings.prior_strength),
            base,
            probability,
        )

    def _conditions(self, indicators: Mapping[str, float], least: int = 1) -> NDArray[np.float64] | None:
        given = [indicators.get(name) for name in self.settings.features]
        try:
            query = np.array(given, dtype=np.float64)  # None becomes NaN
        except (TypeError, ValueError):
            faults = Faults("PatternMemory")
            for name, value in zip(self.settings.features, given, strict=True):
                if value is not None and value == value:
                    faults.number(f"indicators[{name!r}]", value)
            faults.raise_if_any()
            raise
        try:
            # Nothing is missing: a quarter of the time of looking at each.
            if math.isfinite(sum(given)):  # type: ignore[arg-type]  # None raises TypeError
                return query
        except TypeError:  # None among them
            pass
        known = np.isfinite(query)
        n_known = np.count_nonzero(known)
        if n_known < least:
            return None
        if n_known < len(query):
            query[~known] = np.nan
        return query

    def state_dict(self) -> dict[str, Any]:
        """State as plain values that JSON holds."""
        n = len(self)
        return {
            "features": list(self.settings.features),
            "added": self._added,
            "rescale_at": self._rescale_at,
            "inverse": pack(self._inverse),
            "conditions": pack(self._features[:, :n]),
            "pnl_pcts": pack(self._pnl_pcts[:n]),
            "sides": pack(self._sides[:n]),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises
        ------
        SettingsError
            If it is damaged, or of other features or another capacity.
        """
        subject = "PatternMemory"
        if state.get("features") != list(self.settings.features):
            raise SettingsError(
                subject, [f"state must be of the features {self.settings.features}, got {state.get('features')!r}"]
            )
        try:
            added, rescale_at = int(state["added"]), int(state["rescale_at"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(subject, [f"the state is damaged: {error!r}"]) from error
        n = min(added, self.settings.capacity)
        conditions = unpack(state.get("conditions", {}), shape=(self._n_features, n), subject=subject)
        pnl_pcts = unpack(state.get("pnl_pcts", {}), shape=(n,), subject=subject)
        sides = unpack(state.get("sides", {}), shape=(n,), subject=subject, dtype=np.int8)
        inverse = unpack(state.get("inverse", {}), shape=(self._n_features,), subject=subject)
        if not (np.isfinite(pnl_pcts).all() and np.isin(sides, _SIDES).all()):
            raise SettingsError(subject, ["the state is damaged: results must be finite and sides 1, 0 or -1"])
        places = min(_SMALLEST, self.settings.capacity)
        while places < n:
            places = min(2 * places, self.settings.capacity)
        self._added = 0
        self._allocate(places)
        self._features[:, :n], self._pnl_pcts[:n], self._sides[:n] = conditions, pnl_pcts, sides
        self._added, self._rescale_at, self._inverse = added, rescale_at, inverse
        self._encode(0, n)
        for side in _SIDES:
            of_side = sides == side
            self._counts[side + 1] = int(of_side.sum()), int((pnl_pcts[of_side] > 0.0).sum())
