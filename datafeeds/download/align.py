"""Series of different clocks on one clock of bars, so that no bar holds what was not known when it closed.

A bar that starts at ``s`` and lasts ``d`` is closed, and may be acted on, at ``s + d``.

- Candles and mark price are bars of the same length: matched by their start, known at their end.
- A funding rate settled at ``f`` (to the minute; the publisher is some milliseconds late) stands at the first bar that
  starts at ``f`` or after. Bars longer than the interval carry the sum of the rates since the bar before.
- A row of metrics stamped ``m`` is known at ``m`` plus ten minutes, and stands at the bars that close at or after that,
  until a newer row is known, for an hour or a bar, whichever is longer. Five of the ten minutes are needed because the
  stamp was the end of its five minutes until June 2026 and is the beginning since; the other five are for publishing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["METRICS_DELAY", "Sources", "align", "clean_candles", "merge"]

METRICS_DELAY = 600  # seconds from the stamp of a metrics row until it counts as known
_METRICS_LIFE = 3_600  # seconds that the last known metrics stand for, at least
_SECOND = 10**9
_MINUTE = 60 * _SECOND


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Frames of the kinds, each indexed by its own UTC times, sorted, without duplicates; None where there is none.

    ``funding_known`` are the spans, as pairs of nanoseconds (start inclusive, end exclusive), in which the publisher
    lists every settlement: in them a bar without one has the rate 0, outside it has none.
    """

    candles: pd.DataFrame
    mark: pd.DataFrame | None = None
    funding: pd.DataFrame | None = None
    funding_known: tuple[tuple[int, int], ...] = ()
    metrics: pd.DataFrame | None = None


def merge(frames: list[pd.DataFrame]) -> tuple[pd.DataFrame, int]:
    """One frame in the order of time, the first row of each time, and how many further rows were left out."""
    rows = pd.concat(frames).sort_index(kind="stable")
    again = rows.index.duplicated(keep="first")
    return rows[~again], int(again.sum())


def clean_candles(candles: pd.DataFrame, seconds: int) -> tuple[pd.DataFrame, int]:
    """Candles that begin on the grid of their interval and end within it, and how many do not.

    After outages of 2018 the archive has a few that begin or end at odd seconds. Moved onto the grid they would either
    overlap the next or hold minutes of it.
    """
    starts = _nanoseconds(candles)
    length = seconds * _SECOND
    good = starts % length == 0
    if "close_time" in candles:
        good &= candles["close_time"].to_numpy() <= starts + length
        candles = candles.drop(columns="close_time")
    return candles[good], int((~good).sum())


def align(sources: Sources, seconds: int) -> pd.DataFrame:
    """Bars of ``seconds`` with every column that is known of them; cells empty (NaN) where it is not.

    Pure, and causal: rows of any source that are known after a bar's close change nothing in that bar and before.
    """
    bars = sources.candles
    starts = _nanoseconds(bars)
    columns = {name: bars[name] for name in ("open", "high", "low", "close", "volume")}
    if sources.mark is not None:
        mark = sources.mark.reindex(bars.index)
        columns |= {name: mark[name] for name in ("mark_open", "mark_high", "mark_low", "mark_close")}
    if sources.funding is not None:
        rates = funding_at(
            starts, _nanoseconds(sources.funding), sources.funding["funding_rate"].to_numpy(), sources.funding_known,
            seconds,
        )  # fmt: skip
        columns["funding_rate"] = pd.Series(rates, index=bars.index)
    if sources.metrics is not None:
        known_at = _nanoseconds(sources.metrics) + METRICS_DELAY * _SECOND
        for name in ("open_interest", "long_short_ratio"):
            values = metrics_at(starts + seconds * _SECOND, known_at, sources.metrics[name].to_numpy(), seconds)
            columns[name] = pd.Series(values, index=bars.index)
    if "taker_buy_volume" in bars:
        columns["taker_buy_volume"] = bars["taker_buy_volume"]
    return pd.DataFrame(columns, index=bars.index)


def funding_at(
    starts: NDArray[np.int64],
    settled: NDArray[np.int64],
    rates: NDArray[np.float64],
    known: tuple[tuple[int, int], ...],
    seconds: int,
) -> NDArray[np.float64]:
    """Rate of each bar: the sum of those settled after the start of the bar before, up to its own start.

    Parameters
    ----------
    starts, settled
        Starts of the bars and times of settlement, nanoseconds, ascending.
    rates
        Fractions.
    known
        Spans in which every settlement is listed.
    seconds
        Length of a bar: what was settled more than that before the first bar belongs to bars that are not here.
    """
    out = np.full(len(starts), np.nan)
    if not len(starts):
        return out
    for begin, end in known:
        out[np.searchsorted(starts, begin) : np.searchsorted(starts, end)] = 0.0
    settled = settled // _MINUTE * _MINUTE
    at = np.searchsorted(starts, settled, side="left")
    inside = (at < len(starts)) & (settled > starts[0] - seconds * _SECOND) & np.isfinite(rates)
    out[at[inside]] = np.nan_to_num(out[at[inside]])
    np.add.at(out, at[inside], rates[inside])
    return out


def metrics_at(
    closes: NDArray[np.int64], known_at: NDArray[np.int64], values: NDArray[np.float64], seconds: int
) -> NDArray[np.float64]:
    """The newest value above zero that was known when each bar closed and is not too old; NaN where there is none."""
    # Zero, which no market that trades has, and empty cells are how the publisher says that it does not know.
    told = np.isfinite(values) & (values > 0.0)
    known_at, values = known_at[told], values[told]
    newest = np.searchsorted(known_at, closes, side="right") - 1
    out = np.full(len(closes), np.nan)
    found = newest >= 0
    found[found] = closes[found] - known_at[newest[found]] < max(seconds, _METRICS_LIFE) * _SECOND
    out[found] = values[newest[found]]
    return out


def _nanoseconds(frame: pd.DataFrame) -> NDArray[np.int64]:
    return frame.index.to_numpy().astype("datetime64[ns]").astype(np.int64)
