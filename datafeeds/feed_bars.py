"""The bars of any Backtrader feed as MarketData."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np

from ai_backtrader.datafeeds.feature_rows import FeatureRows
from ai_backtrader.market import MarketData

__all__ = ["bars_of_feed"]


def bars_of_feed(data: Any, features: FeatureRows) -> MarketData:
    """All bars of a preloaded feed, else those up to the one it stands at.

    Parameters
    ----------
    data
        A Backtrader feed.
    features
        Its features: they have checked the prices, and know which lines are real and how long a bar is.
    """
    held = getattr(data, "market_data", None)
    end = data.buflen() if features.table is not None else len(data)
    if held is not None and not getattr(data, "resampling", 0) and not getattr(data, "replaying", 0):
        bars: MarketData = held if end == len(held) else held.head(end)
        return bars
    numbers = data.lines.datetime.array[:end]
    # A float of days is exact to 0.01 ms in our years; finer digits are noise.
    times = [np.datetime64(bt.num2date(number), "ms") for number in numbers]
    return MarketData(
        symbol=data._name or "data",
        times=np.array(times, dtype="datetime64[ns]"),
        bar_seconds=int(features.bar_seconds),
        **features.columns(end),
    )
