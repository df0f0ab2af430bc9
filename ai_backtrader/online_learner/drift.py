"""Drift of a market, bar by bar."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner.detectors import Channel
from ai_backtrader.online_learner.settings import DRIFT_SERIES, DriftSettings

__all__ = ["DriftEvent", "DriftMonitor", "drift_series"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DriftEvent:
    """An alarm.

    Attributes
    ----------
    symbol
        Of the market, or of the strategy's last trade.
    series
        ``momentum``, ``volatility``, ``volume`` or ``win_rate``.
    detectors
        Names of those that raised it.
    bar
        Bars of the symbol seen before this one (0 for the first).
    at
        UTC time of the bar; None when the caller did not say.
    strategy_id
        Of a win rate; None for the market.
    """

    symbol: str
    series: str
    detectors: tuple[str, ...]
    bar: int
    at: dt.datetime | None = None
    strategy_id: str | None = None


@njit(cache=True)
def _series_value(series: int, before: float, close: float, volume: float) -> float:
    if series == 2:
        return math.log(volume) if volume > 0.0 else math.nan
    if not (before > 0.0 and close > 0.0):
        return math.nan
    log_return = math.log(close / before)
    return log_return if series == 0 else abs(log_return)


@njit(cache=True)
def _series_values(series: int, before: float, close: Array, volume: Array) -> Array:
    found = np.empty(close.shape[0])
    for i in range(close.shape[0]):
        found[i] = _series_value(series, before, close[i], volume[i])
        before = close[i]
    return found


def drift_series(close: ArrayLike, volume: ArrayLike | None = None) -> dict[str, Array]:
    """What the detectors are fed, from the bars of a market.

    Log return for momentum, its absolute value for volatility (under normality as informative of the standard deviation
    as the square, and less upset by one tail; Davidian and Carroll 1987), log volume for volume. NaN where a bar has
    none, as on the first.

    Parameters
    ----------
    close, volume
        (n,) quote currency, units; no volume makes its series NaN.

    Returns
    -------
    dict
        (n,) arrays ``momentum``, ``volatility``, ``volume``.
    """
    closes, volumes = _bars(close, volume)
    return {name: _series_values(i, math.nan, closes, volumes) for i, name in enumerate(DRIFT_SERIES)}


def _bars(close: ArrayLike, volume: ArrayLike | None) -> tuple[Array, Array]:
    try:
        closes = np.ascontiguousarray(close, dtype=np.float64)
        volumes = np.full(closes.shape, np.nan) if volume is None else np.ascontiguousarray(volume, dtype=np.float64)
    except (TypeError, ValueError):
        raise SettingsError("drift", [f"close and volume must be numbers, got {close!r:.60}, {volume!r:.60}"]) from None
    if closes.ndim != 1 or closes.shape != volumes.shape:
        raise SettingsError(
            "drift", [f"close and volume must have one dimension and length, got {closes.shape}, {volumes.shape}"]
        )
    return closes, volumes


class DriftMonitor:
    """Watches the bars of one market.

    Parameters
    ----------
    symbol
        Of the market.
    settings
        Series, detectors; None takes the defaults.
    """

    def __init__(self, symbol: str, settings: DriftSettings | None = None) -> None:
        self.symbol = symbol
        self.settings = settings = DriftSettings() if settings is None else settings
        self.bars = 0
        self._before = math.nan
        self._channels = [
            (name, DRIFT_SERIES.index(name), Channel(
                settings.detectors_of(name), warm_up=settings.warm_up, clip=settings.clip, lags=settings.lags,
            ))
            for name in settings.series
        ]  # fmt: skip

    def update(
        self, close: float, volume: float | None = None, *, at: dt.datetime | None = None
    ) -> tuple[DriftEvent, ...]:
        """Take one closed bar in; the alarms that it raises.

        A close or volume that is no positive number is passed over, as are the returns it would make.
        """
        faults = Faults("DriftMonitor.update")
        for name, value in (("close", close), ("volume", volume)):
            if value is not None and (isinstance(value, bool) or not hasattr(value, "__float__")):
                faults.add(f"{name} must be a number, got {value!r}")
        faults.raise_if_any()
        close = float(close)
        volume = math.nan if volume is None else float(volume)
        events = []
        for name, series, channel in self._channels:
            detectors = channel.update(_series_value(series, self._before, close, volume))
            if detectors:
                events.append(self._event(name, detectors, self.bars, at))
        self._before = close
        self.bars += 1
        return tuple(events)

    def scan(self, close: ArrayLike, volume: ArrayLike | None = None) -> tuple[DriftEvent, ...]:
        """Take many bars in at once: the same alarms and the same state as :meth:`update` bar by bar.

        Parameters
        ----------
        close, volume
            (n,) of the bars after those seen so far.
        """
        closes, volumes = _bars(close, volume)
        found = []
        for order, (name, series, channel) in enumerate(self._channels):
            alarms = channel.alarms(_series_values(series, self._before, closes, volumes))
            found += [(int(i), order, self._event(name, channel.names_of(int(alarms[i])), self.bars + int(i), None))
                      for i in np.flatnonzero(alarms)]  # fmt: skip
        if len(closes):
            self._before = float(closes[-1])
        self.bars += len(closes)
        return tuple(event for *_, event in sorted(found, key=lambda item: item[:2]))

    def _event(self, series: str, detectors: tuple[str, ...], bar: int, at: dt.datetime | None) -> DriftEvent:
        return DriftEvent(symbol=self.symbol, series=series, detectors=detectors, bar=bar, at=at)

    def state_dict(self) -> dict[str, Any]:
        """State as plain values that JSON holds."""
        return {
            "bars": self.bars,
            "before": None if math.isnan(self._before) else self._before,
            "channels": {name: channel.state_dict() for name, _, channel in self._channels},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave; raise SettingsError if it is damaged or of other settings."""
        try:
            self.bars = int(state["bars"])
            self._before = math.nan if state["before"] is None else float(state["before"])
            for name, _, channel in self._channels:
                channel.load_state(state["channels"][name])
        except (KeyError, TypeError) as error:
            raise SettingsError("DriftMonitor", [f"the state is damaged: {error!r}"]) from error
