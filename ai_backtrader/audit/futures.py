"""Other futures for the same past: market data, arrays and frames of which only later rows change (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.market import MarketData

__all__ = ["changed_after", "changed_market", "future_score", "known_bars", "reordered"]

_PRICES = ("open", "high", "low", "close", "mark_open", "mark_high", "mark_low", "mark_close")
# Log distance within which mirrored prices stay: 4.5 times up or down is far, and no price overflows.
_REACH = 1.5


def known_bars(data: MarketData, moment: np.datetime64) -> int:
    """How many bars of the feed are complete at the moment."""
    ends = data.times + np.timedelta64(data.bar_seconds, "s")
    return int(np.searchsorted(ends, moment, side="right"))


def changed_market(data: MarketData, known: int, rng: np.random.Generator) -> MarketData:
    """The feed with every bar from ``known`` on turned into another future.

    Prices are mirrored at the last known close in logarithms, three times as far and with noise: what rose falls,
    highs become lows. Volumes and the other columns change their size, funding rates their sign too.
    """
    if known >= len(data):
        return data
    later = slice(known, None)
    count = len(data) - known
    centre = np.log(data.close[known - 1] if known else data.close[0])
    # Small beside the moves that it turns round, on a quiet market too.
    noise = rng.normal(0.0, 0.3 * float(np.diff(np.log(data.close)).std()) + 1e-6, count)
    factor = np.exp(rng.normal(0.0, 0.7, count))
    columns: dict[str, Any] = {}
    for name, values in data.columns().items():
        changed = np.array(values)
        if name in _PRICES:
            distance = -3.0 * (np.log(values[later]) - centre)
            changed[later] = np.exp(centre + _REACH * np.tanh(distance / _REACH) + noise)
        else:
            if name == "funding_rate":  # bars without a stamp get one
                changed[later] = np.where(values[later] == 0.0, rng.choice((-1e-4, 1e-4), count), -values[later])
            else:
                changed[later] *= factor
        columns[name] = changed
    for prefix in ("", "mark_"):
        low, high = f"{prefix}low", f"{prefix}high"
        if low in columns:
            columns[low], columns[high] = (
                np.concatenate((columns[low][:known], columns[high][later])),
                np.concatenate((columns[high][:known], columns[low][later])),
            )
    return replace(data, **columns)


def changed_after(values: Any, known: int | NDArray[np.bool_], rng: np.random.Generator) -> Any:
    """A copy of an array, series, frame, list, tuple or dict of which the rows not known are others.

    Numbers are mirrored at the last known one, truth values turned round, anything else is put in another order.

    Parameters
    ----------
    values
        One row a bar.
    known
        Number of rows that stay, or for each row whether it stays.
    """
    if isinstance(values, pd.DataFrame):
        columns = [changed_after(values.iloc[:, place], known, rng) for place in range(values.shape[1])]
        frame = pd.concat(columns, axis=1) if columns else values.copy()
        frame.columns = values.columns
        return frame
    if isinstance(values, pd.Series):
        return pd.Series(_changed(values.to_numpy(copy=True), known, rng), index=values.index, name=values.name)
    if isinstance(values, np.ndarray):
        return _changed(values.copy(), known, rng)
    if isinstance(values, dict):
        return dict(zip(values, _changed(np.array(list(values.values())), known, rng).tolist(), strict=True))
    changed = _changed(np.array(values), known, rng).tolist()
    return tuple(changed) if isinstance(values, tuple) else changed


def _changed(array: NDArray[Any], known: int | NDArray[np.bool_], rng: np.random.Generator) -> NDArray[Any]:
    stays = np.arange(len(array)) < known if isinstance(known, int) else known
    later = np.flatnonzero(~stays)
    if array.dtype == np.bool_:
        array[later] = ~array[later]
    elif np.issubdtype(array.dtype, np.number) and array.ndim == 1:
        past = array[stays & np.isfinite(array)]
        finite = array[np.isfinite(array)]
        centre = past[-1] if past.size else array.dtype.type(0)
        if 0 < np.unique(finite).size <= 3:  # a signal
            array[later] = finite.min() + finite.max() - array[later]
        elif finite.size and finite.min() > 0 and centre > 0 and np.issubdtype(array.dtype, np.floating):
            array[later] = centre * np.clip(centre / array[later], 0.05, 20.0) ** 2  # a price stays one
        else:
            array[later] = centre - 2 * (array[later] - centre)
    else:
        array[later] = array[rng.permutation(later)]
    return array


def reordered(values: Any, rng: np.random.Generator) -> Any:
    """A copy of an array, series, frame, list, tuple or dict with its rows in another order (labels stay)."""
    order = rng.permutation(len(values))
    if isinstance(values, pd.Series | pd.DataFrame):
        return values.iloc[order].set_axis(values.index, axis=0)
    if isinstance(values, np.ndarray):
        return values[order]
    rows = list(values.values()) if isinstance(values, dict) else list(values)
    mixed = [rows[place] for place in order]
    return dict(zip(values, mixed, strict=True)) if isinstance(values, dict) else type(values)(mixed)


def future_score(column: NDArray[np.float64], close: NDArray[np.float64]) -> str | None:
    """What a column knows of the bars after each row, in words; None where nothing shows.

    The column is freed of what the present close and the last returns say (least squares), and so are the ranks of the
    next bar's and the next five bars' return; what is left is correlated. Without knowledge of the future
    ``correlation * sqrt(rows)`` is about standard normal for the next bar; told is only what lies beyond 6, with a
    correlation of at least 0.2 (over five bars, whose returns overlap: 0.4, and 7 with a fifth of the rows).
    A column whose mean is 0 and standard deviation 1 over all rows has been normalised with all of them.
    """
    finite = np.isfinite(column)
    if finite.sum() < 50 or np.ptp(column[finite]) == 0.0:
        return None
    known = column[finite]
    many = np.unique(known).size > 10  # as many ups as downs have mean 0 and deviation 1 by themselves
    if many and abs(known.mean()) < 1e-9 and any(abs(known.std(ddof=ddof) - 1.0) < 1e-9 for ddof in (0, 1)):
        return "has mean 0 and standard deviation 1 over all bars: normalised with the future"
    steps = np.diff(np.log(close), prepend=np.log(close[0]))
    lags = [np.concatenate((np.zeros(lag), steps[: len(steps) - lag])) for lag in range(6)]
    past = np.column_stack((np.ones(len(close)), np.log(close), close, *lags))
    for horizon, least, beyond in ((1, 0.2, 6.0), (5, 0.4, 7.0)):
        rows = np.flatnonzero(finite[:-horizon])
        ahead = np.log(close[rows + horizon] / close[rows])
        ranks = ahead.argsort().argsort().astype(np.float64)
        left = [_residual(past[rows], values) for values in (column[rows], ranks)]
        scale = np.linalg.norm(left[0]) * np.linalg.norm(left[1])
        if rows.size < 50 or scale <= 1e-9 * np.linalg.norm(column[rows] - column[rows].mean()) * np.linalg.norm(ranks):
            continue
        correlation = float(left[0] @ left[1] / scale)
        # Returns over several bars overlap: fewer of them are independent.
        if abs(correlation) >= least and abs(correlation) * np.sqrt(rows.size / horizon) > beyond:
            bars = "bar" if horizon == 1 else f"{horizon} bars"
            return f"knows the next {bars}: correlation {correlation:+.2f} with the return to come"
    return None


def _residual(past: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = past / np.maximum(np.abs(past).max(axis=0), 1e-300)
    fitted: NDArray[np.float64] = values - scaled @ np.linalg.lstsq(scaled, values, rcond=None)[0]
    return fitted
