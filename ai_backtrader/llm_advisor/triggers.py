"""When the model is asked: four triggers, from what was known up to the bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.llm_advisor.settings import TriggerSettings
from ai_backtrader.llm_advisor.values import Trigger
from ai_backtrader.values import Action, Regime

__all__ = ["UNUSUAL_FIGURES", "Fired", "MarketWatch", "robust_distances"]

#: Figures of the market whose distance from the usual is measured; ratios by their logarithm.
UNUSUAL_FIGURES: tuple[str, ...] = (
    "price_change_1h", "price_change_24h", "price_vs_ema50", "atr_pct", "volatility_ratio", "volume_ratio",
    "funding_rate", "open_interest_change",
)  # fmt: skip
_LOGARITHMIC = frozenset({"atr_pct", "volatility_ratio", "volume_ratio"})
_NORMAL = 1.4826  # the standard deviation of a normal sample is this multiple of its median absolute deviation


class Fired(NamedTuple):
    """A trigger that fired, and its figures in words."""

    trigger: Trigger
    detail: str


def robust_distances(history: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each figure from its median in the history, in robust standard deviations (1.4826 MAD).

    Half of the history may be arbitrary without moving the scale beyond the rest, which a mean and a standard deviation
    do not survive (Rousseeuw and Croux, 1993).

    Parameters
    ----------
    history
        (n, figures); NaN is left out.
    row
        (figures,).

    Returns
    -------
    (figures,)
        At least 0; 0 where the figure or more than half of its history is missing, or its history does not move.

    Examples
    --------
    >>> robust_distances(np.array([[1.0], [2.0], [3.0]]), np.array([9.4478])).round(3)
    array([5.023])
    """
    distances = np.zeros(len(row))
    _write_distances(np.ascontiguousarray(history.T, dtype=np.float64), np.asarray(row, dtype=np.float64), distances)
    return distances


@njit(cache=True)
def _median(values: NDArray[np.float64]) -> float:
    # As np.median: the mean of the two in the middle.
    half = values.size // 2
    parted = np.partition(values, half)
    if values.size % 2:
        return float(parted[half])
    return float((parted[:half].max() + parted[half]) / 2.0)


@njit(cache=True)
def _write_distances(history: NDArray[np.float64], row: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for place in range(row.size):
        column = history[place]
        usual = column[np.isfinite(column)]
        if not math.isfinite(row[place]) or 2 * usual.size <= column.size:
            continue
        middle = _median(usual)
        scale = _NORMAL * _median(np.abs(usual - middle))
        if scale > 0.0:
            out[place] = abs(row[place] - middle) / scale


class MarketWatch:
    """Watches one symbol, bar by bar.

    Parameters
    ----------
    settings
        When the triggers fire.
    """

    def __init__(self, settings: TriggerSettings) -> None:
        self.settings = settings
        self.bars = 0
        self._regime: Regime | None = None
        self._transition = ""
        self._transition_bar = -math.inf
        self._history = np.full((settings.unusual_window, len(UNUSUAL_FIGURES)), np.nan)

    def look(
        self,
        *,
        signal: Action,
        change_24h: float | None,
        regime: Regime | None,
        high_volatility: bool | None,
        figures: Mapping[str, float],
        judge: bool = True,
    ) -> tuple[Fired, ...]:
        """Triggers that fire on a new bar, judged by the bars before it, which it then joins.

        Parameters
        ----------
        signal, change_24h, regime, high_volatility, figures
            Of the bar; the change in percent points. None is unknown.
        judge
            False only takes the bar in.
        """
        changed = regime is not None and self._regime is not None and regime is not self._regime
        if changed:
            self._transition, self._transition_bar = f"{self._regime} to {regime}", self.bars
        row = _row(figures)
        fired = self._judge(signal, change_24h, high_volatility, row) if judge else ()
        self._history[self.bars % len(self._history)] = row
        self.bars += 1
        self._regime = self._regime if regime is None else regime
        return fired

    def pass_bars(self, figures: NDArray[np.float64], regimes: Sequence[Regime]) -> None:
        """Take in bars that need no judgement, as :meth:`look` does one by one.

        Parameters
        ----------
        figures
            (n, 8) raw :data:`UNUSUAL_FIGURES`; NaN where there is none.
        regimes
            Their n labels.
        """
        for place, regime in enumerate(regimes):
            if regime is not self._regime:
                if self._regime is not None:
                    self._transition, self._transition_bar = f"{self._regime} to {regime}", self.bars + place
                self._regime = regime
        size = len(self._history)
        kept = np.array(figures[-size:])
        for column, name in enumerate(UNUSUAL_FIGURES):
            if name in _LOGARITHMIC:
                kept[:, column] = [math.log(value) if value > 0.0 else math.nan for value in kept[:, column].tolist()]
        self.bars += len(figures)
        self._history[np.arange(self.bars - len(kept), self.bars) % size] = kept

    def _judge(
        self, signal: Action, change_24h: float | None, high_volatility: bool | None, row: NDArray[np.float64]
    ) -> tuple[Fired, ...]:
        settings = self.settings
        fired = []
        if signal is Action.BUY and change_24h is not None and change_24h <= -settings.fall_24h_pct:
            fired.append(Fired(Trigger.FALL_AGAINST_BUY, f"{change_24h:+.1f}% in 24 hours"))
        if high_volatility:
            fired.append(Fired(Trigger.HIGH_VOLATILITY, "high volatility"))
        if self.bars - self._transition_bar < settings.regime_bars:
            fired.append(Fired(Trigger.REGIME_TRANSITION, self._transition))
        if self.bars >= settings.unusual_after and math.isfinite(settings.unusual_distance):
            distances = robust_distances(self._history[: self.bars], row)
            worst = int(distances.argmax())
            if distances[worst] > settings.unusual_distance:
                detail = f"{UNUSUAL_FIGURES[worst]} is {distances[worst]:.1f} robust deviations from its median"
                fired.append(Fired(Trigger.UNUSUAL_CONDITIONS, detail))
        return tuple(fired)


def _row(figures: Mapping[str, float]) -> NDArray[np.float64]:
    row = np.full(len(UNUSUAL_FIGURES), np.nan)
    for place, name in enumerate(UNUSUAL_FIGURES):
        value = figures.get(name)
        if value is None:
            continue
        if name in _LOGARITHMIC:
            value = math.log(value) if value > 0.0 else math.nan
        row[place] = value
    return row
