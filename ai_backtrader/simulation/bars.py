"""What the kernels see of market data: prices, mark prices, and the funding that falls due at each bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketData
from ai_backtrader.simulation.state import AHEAD_DTYPE, BAR_DTYPE, WINDOW

__all__ = ["ahead_of", "bars_of", "funding_due"]

_DAY_OF_1970 = 719_163
_DAY_NANOSECONDS = 86_400 * 10**9
_FUNDING_DAYS = 8.0 / 24.0
# The broker's own slack: its days are floats whose last place is worth 10 microseconds.
_SLACK_DAYS = 1e-8


def funding_due(data: MarketData, funding: float | bool | None) -> NDArray[np.float64]:
    """Funding rate that falls due at the start of each bar, as ``LeverageBroker`` charges it, shape (bars,).

    Parameters
    ----------
    data
        Market data; a bar is charged the stamps since the start of the bar before it, its own start included.
    funding
        None: the rates of the data where they have some; False or 0: none; a number: that rate at 00, 08 and 16 UTC.
    """
    if funding is None:
        rates = data.funding_rate
        return np.zeros(len(data)) if rates is None else np.nan_to_num(rates, nan=0.0)
    nanoseconds = data.times.astype("datetime64[ns]").astype(np.int64)
    days, rest = nanoseconds // _DAY_NANOSECONDS, nanoseconds % _DAY_NANOSECONDS
    moments = (days + _DAY_OF_1970).astype(np.float64) + rest / _DAY_NANOSECONDS
    stamps = np.floor((moments + _SLACK_DAYS) / _FUNDING_DAYS)
    return float(funding) * np.diff(stamps, prepend=stamps[:1])


def bars_of(data: MarketData, funding: float | bool | None = None) -> NDArray[np.void]:
    """Bars of ``BAR_DTYPE``, shape (bars,)."""
    bars = np.empty(len(data), BAR_DTYPE)
    for name in ("open", "high", "low", "close"):
        bars[name] = getattr(data, name)
    for name in ("mark_open", "mark_high", "mark_low"):
        mark = getattr(data, name)
        bars[name] = getattr(data, name.removeprefix("mark_")) if mark is None else mark
    bars["funding"] = funding_due(data, funding)
    return bars


def ahead_of(bars: NDArray[np.void]) -> NDArray[np.void]:
    """What lies ahead of a position at each bar, shape (bars,), dtype ``AHEAD_DTYPE``."""
    count = len(bars)
    ahead = np.empty(count, AHEAD_DTYPE)
    for name, source, extreme in (
        ("lowest_low", "low", np.minimum),
        ("highest_high", "high", np.maximum),
        ("lowest_close", "close", np.minimum),
        ("highest_close", "close", np.maximum),
        ("lowest_mark", "mark_low", np.minimum),
        ("highest_mark", "mark_high", np.maximum),
    ):
        row = np.array(bars[source])
        width = 1
        while width < WINDOW:  # two windows of half the width
            extreme(row[:-width], row[width:], out=row[:-width])
            width *= 2
        ahead[name] = row
    due = np.flatnonzero(bars["funding"])
    ahead["funding"] = np.append(due, count)[np.searchsorted(due, np.arange(count), side="right")]
    return ahead
