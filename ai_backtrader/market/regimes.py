"""Market regimes: a trend label and a high-volatility flag for every bar, causal and with hysteresis.

The trend score of a bar is direction times conviction, within [-1, 1]. Direction is the mean of the EMA alignment and
of the distance from EMA50 in ATR (3 ATR count in full); conviction runs from 0.5 to 1 with the mean of ADX (15 to 35)
and the efficiency ratio (0 to 0.4). The score is smoothed exponentially. A label is entered at one threshold, left at
a lower one, and held for a minimum number of bars, so that it does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from types import MappingProxyType

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market.features import MARKET_FEATURES, MarketFeatures
from ai_backtrader.values import Regime

__all__ = ["REGIME_CODES", "RegimeSettings", "RegimeTracker", "Regimes", "label_regimes"]

Floats = NDArray[np.float64]

#: int8 codes of the labels: the sign is the direction, 0 is sideways.
REGIME_CODES: Mapping[Regime, int] = MappingProxyType(
    {Regime.STRONG_BULL: 2, Regime.BULL: 1, Regime.SIDEWAYS: 0, Regime.BEAR: -1, Regime.STRONG_BEAR: -2}
)
_REGIME_OF = {code: regime for regime, code in REGIME_CODES.items()}

_COLUMNS = np.array(
    [
        MARKET_FEATURES.index(name)
        for name in ("ema_alignment", "price_vs_ema50", "adx", "trend_strength", "volatility_ratio", "atr_ratio")
    ]
)
# State of a tracker: smoothed score (NaN before the first ready bar), label, bars in it, flag, bars in it.
_N_STATE = 5


@dataclass(frozen=True, kw_only=True)
class RegimeSettings:
    """Thresholds of the labels.

    Attributes
    ----------
    smoothing_bars
        Span of the exponential smoothing of the trend score, in bars.
    enter_trend, exit_trend
        Absolute score from which bull or bear is entered, and below which it ends.
    enter_strong, exit_strong
        The same for strong_bull and strong_bear.
    enter_volatility, exit_volatility
        High volatility begins where the volatility ratio or the ATR ratio exceeds the first, and ends where both are
        below the second.
    min_bars
        A label, and the flag, is held for at least that many bars.
    """

    smoothing_bars: int = 16
    enter_trend: float = 0.35
    exit_trend: float = 0.10
    enter_strong: float = 0.65
    exit_strong: float = 0.40
    enter_volatility: float = 1.75
    exit_volatility: float = 1.20
    min_bars: int = 18

    def __post_init__(self) -> None:
        faults = Faults("RegimeSettings")
        faults.whole("smoothing_bars", self.smoothing_bars, low=1)
        faults.whole("min_bars", self.min_bars, low=1)
        for name in ("enter_trend", "exit_trend", "enter_strong", "exit_strong"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("enter_volatility", "exit_volatility"):
            faults.number(name, getattr(self, name), above=0.0)
        if not faults.found:
            rising = ("exit_trend", "enter_trend"), ("exit_strong", "enter_strong"), ("exit_trend", "exit_strong")
            for low, high in (*rising, ("enter_trend", "enter_strong"), ("exit_volatility", "enter_volatility")):
                if not getattr(self, low) < getattr(self, high):
                    faults.add(f"{low} must be below {high}, got {getattr(self, low)!r} and {getattr(self, high)!r}")
        faults.raise_if_any()


@njit(cache=True, error_model="numpy")
def _label(score: float, label: float, settings: Floats) -> float:
    """Label that the score asks for, given the label in force."""
    enter_trend, exit_trend, enter_strong, exit_strong = settings[1], settings[2], settings[3], settings[4]
    side = 1.0 if score > 0.0 else -1.0
    size = abs(score)
    held = label * side  # 1 or 2 where the score still points the label's way
    if size >= (exit_strong if held == 2.0 else enter_strong):
        return 2.0 * side
    if size >= (exit_trend if held >= 1.0 else enter_trend):
        return side
    return 0.0


@njit(cache=True, error_model="numpy")
def _advance(
    raw: Floats,
    atr_pct: Floats,
    columns: NDArray[np.int64],
    settings: Floats,
    state: Floats,
    labels: NDArray[np.int8],
    flags: NDArray[np.bool_],
) -> None:
    """Labels and flags of the rows of ``raw``; ``state`` goes from bar to bar."""
    weight = 2.0 / (settings[0] + 1.0)
    min_bars = settings[7]
    for t in range(raw.shape[0]):
        alignment = raw[t, columns[0]]
        if math.isnan(alignment):
            labels[t] = 0
            flags[t] = False
            continue
        reach = raw[t, columns[1]] / atr_pct[t] / 3.0 if atr_pct[t] > 0.0 else 0.0
        direction = 0.5 * (alignment + min(max(reach, -1.0), 1.0))
        force = 0.5 * (
            min(max((raw[t, columns[2]] - 15.0) / 20.0, 0.0), 1.0) + min(max(raw[t, columns[3]] / 0.4, 0.0), 1.0)
        )
        score = direction * (0.5 + 0.5 * force)
        unstable = max(raw[t, columns[4]], raw[t, columns[5]])
        if math.isnan(state[0]):  # first ready bar: nothing to hold on to
            state[0] = score
            state[1] = _label(score, 0.0, settings)
            state[3] = 1.0 if unstable > settings[5] else 0.0
        else:
            state[0] += weight * (score - state[0])
            state[2] += 1.0
            state[4] += 1.0
            wanted = _label(state[0], state[1], settings)
            if wanted != state[1] and state[2] >= min_bars:
                state[1] = wanted
                state[2] = 0.0
            high = unstable > settings[5] or (state[3] == 1.0 and unstable >= settings[6])
            if high != (state[3] == 1.0) and state[4] >= min_bars:
                state[3] = 1.0 if high else 0.0
                state[4] = 0.0
        labels[t] = np.int8(state[1])
        flags[t] = state[3] == 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Regimes:
    """Regime of every bar of a data set; read-only arrays.

    Attributes
    ----------
    labels
        (n,) int8, coded by :data:`REGIME_CODES`; sideways before the features are ready.
    high_volatility
        (n,) bool.
    """

    labels: NDArray[np.int8]
    high_volatility: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.labels.size

    def label(self, t: int) -> Regime:
        """Trend label of bar ``t``."""
        return _REGIME_OF[int(self.labels[t])]


class RegimeTracker:
    """Regime bar by bar: the labels that :func:`label_regimes` gives, for a live feed.

    Parameters
    ----------
    settings
        None means the defaults.
    """

    def __init__(self, settings: RegimeSettings | None = None) -> None:
        self.settings = settings or RegimeSettings()
        self._numbers = np.array(astuple(self.settings), dtype=np.float64)
        self._state = np.full(_N_STATE, 0.0)
        self._state[0] = np.nan
        self._before = self._state.copy()
        self._label = np.zeros(1, dtype=np.int8)
        self._flag = np.zeros(1, dtype=np.bool_)

    @property
    def regime(self) -> Regime:
        """Trend label after the last bar; sideways before the first ready one."""
        return _REGIME_OF[int(self._label[0])]

    @property
    def code(self) -> int:
        """Code of the label in :data:`REGIME_CODES`."""
        return int(self._label[0])

    @property
    def high_volatility(self) -> bool:
        """High-volatility flag after the last bar."""
        return bool(self._flag[0])

    def update(self, indicators: Mapping[str, float]) -> None:
        """Take the raw features of the next bar, as ``indicators()`` names them."""
        raw = np.array([[indicators[name] for name in MARKET_FEATURES]])
        self.update_row(raw, indicators["atr_pct"])

    def update_row(self, raw: Floats, atr_pct: float, *, revise: bool = False) -> None:
        """Take one row (1, 23) of raw features; ``revise`` replaces the last one."""
        if revise:
            self._state[:] = self._before
        else:
            self._before[:] = self._state
        self._run(raw, np.array([atr_pct]), self._label, self._flag)

    def _run(self, raw: Floats, atr_pct: Floats, labels: NDArray[np.int8], flags: NDArray[np.bool_]) -> None:
        frozen = raw.view()
        frozen.flags.writeable = False  # one array type, one compilation
        _advance(frozen, atr_pct, _COLUMNS, self._numbers, self._state, labels, flags)


def label_regimes(features: MarketFeatures, settings: RegimeSettings | None = None) -> Regimes:
    """Trend label and high-volatility flag of every bar.

    Parameters
    ----------
    features
        Of :func:`~ai_backtrader.market.features.compute_features`.
    settings
        None means the defaults.

    Notes
    -----
    A label at bar ``t`` uses bars up to ``t`` alone. Before ``features.ready_from`` the label is sideways and the flag
    down: nothing known is no trend.
    """
    n = len(features)
    labels = np.zeros(n, dtype=np.int8)
    flags = np.zeros(n, dtype=np.bool_)
    RegimeTracker(settings)._run(features.raw, 100.0 * features.atr / features.close, labels, flags)
    labels.flags.writeable = False
    flags.flags.writeable = False
    return Regimes(labels=labels, high_volatility=flags)
