"""When the model is asked: four triggers, from what was known up to the bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
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
    for place, value in enumerate(row):
        usual = history[:, place]
        usual = usual[np.isfinite(usual)]
        if not math.isfinite(value) or 2 * len(usual) <= len(history):
            continue
        middle = np.median(usual)
        scale = _NORMAL * float(np.median(np.abs(usual - middle)))
        if scale > 0.0:
            distances[place] = abs(value - middle) / scale
    return distances


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
