"""Mending what can be mended, one named repair at a time; each says what it did."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market.report import Repair
from ai_backtrader.market.settings import LoadSettings
from ai_backtrader.market.table import MARK, PRICES, REQUIRED, Table
from ai_backtrader.market.validation import impossible_optional, spikes

__all__ = ["repair_table"]


def repair_table(table: Table, settings: LoadSettings) -> tuple[Table, tuple[Repair, ...]]:
    """Table after the repairs that ``settings`` ask for, and what each changed.

    The order is fixed (the order of ``REPAIRS``), whatever order they were named in, so that the same options give the
    same data. A repair that finds nothing to do leaves no trace. What no repair covers is left for the checks.
    """
    done: list[Repair] = []
    for name in settings.repairs:
        mended, changed, detail = _REPAIRS[name](table, settings)
        hits = np.flatnonzero(changed)
        if len(hits):
            done.append(Repair(name=name, count=len(hits), first=table.place(int(hits[0])), detail=detail))
            table = mended
    return table, tuple(done)


_Mended = tuple[Table, NDArray[np.bool_], str]


def _drop(table: Table, faulty: NDArray[np.bool_], detail: str) -> _Mended:
    return table.take(~faulty), faulty, detail


def _text_to_nan(table: Table, settings: LoadSettings) -> _Mended:
    # The reader has already emptied the cells (only it sees the text) and left the mask of their rows.
    return table, table.had_text if table.had_text is not None else np.zeros(len(table), bool), "text emptied"


def _drop_nan(table: Table, settings: LoadSettings) -> _Mended:
    bad = [~np.isfinite(table.columns[name]) for name in REQUIRED if name in table.columns]
    return _drop(table, np.any([np.isnat(table.times), *bad], axis=0), "bar without time, price or volume dropped")


def _drop_nonpositive(table: Table, settings: LoadSettings) -> _Mended:
    bad = [table.columns[name] <= 0 for name in PRICES]
    return _drop(table, np.any(bad, axis=0), "bar with a price of zero or below dropped")


def _reverse(table: Table, settings: LoadSettings) -> _Mended:
    steps = np.diff(table.times.astype(np.int64))
    backwards = len(steps) > 0 and bool((steps <= 0).all()) and bool((steps < 0).any())
    return table.take(slice(None, None, -1)), np.full(len(table), backwards), "descending times turned round"


def _sort(table: Table, settings: LoadSettings) -> _Mended:
    order = np.argsort(table.times, kind="stable")
    return table.take(order), order != np.arange(len(order)), "bar moved into the order of time"


def _drop_duplicates(table: Table, settings: LoadSettings) -> _Mended:
    # np.unique gives the first position of each time, also where the feed is not sorted.
    _, first = np.unique(table.times, return_index=True)
    repeated = np.ones(len(table), bool)
    repeated[first] = False
    return _drop(table, repeated & ~np.isnat(table.times), "later bar of the same time dropped")


def _clip_ohlc(table: Table, settings: LoadSettings) -> _Mended:
    changed = np.zeros(len(table), bool)
    for names in (PRICES, MARK):
        if not all(name in table.columns for name in names):
            continue
        prices = np.array([table.columns[name] for name in names])
        # Each side by itself: a high of 1 must not become the low. A bar with a NaN is another repair's business.
        high, low = prices[[0, 1, 3]].max(axis=0), prices[[0, 2, 3]].min(axis=0)
        whole = ~np.isnan(prices).any(axis=0)
        wrong = whole & ((high != prices[1]) | (low != prices[2]))
        changed |= wrong
        table = table.with_columns(
            **{names[1]: np.where(wrong, high, prices[1]), names[2]: np.where(wrong, low, prices[2])}
        )
    return table, changed, "high and low widened to contain open and close"


def _clip_volume(table: Table, settings: LoadSettings) -> _Mended:
    volume = np.where(table.columns["volume"] < 0, 0.0, table.columns["volume"])
    changed = volume != table.columns["volume"]
    changed &= ~np.isnan(volume)
    mended = {"volume": volume}
    taker = table.columns.get("taker_buy_volume")
    if taker is not None:
        mended["taker_buy_volume"] = np.where(np.isnan(taker), taker, np.clip(taker, 0.0, volume))
        changed |= (mended["taker_buy_volume"] != taker) & ~np.isnan(taker)
    return table.with_columns(**mended), changed, "volume put between its bounds"


def _drop_optional(table: Table, settings: LoadSettings) -> _Mended:
    changed = np.zeros(len(table), bool)
    mended: dict[str, NDArray[np.float64]] = {}
    masks = [(name, mask) for name, _, mask in impossible_optional(table, max_funding_rate=settings.max_funding_rate)]
    masks += [(name, table.columns[name] <= 0) for name in MARK if name in table.columns]
    masks += [(name, np.isinf(values)) for name, values in table.columns.items() if name not in REQUIRED]
    for name, mask in masks:
        mended[name] = np.where(mask, np.nan, mended.get(name, table.columns[name]))
        changed |= mask
    return table.with_columns(**mended), changed, "impossible optional value emptied"


def _drop_spikes(table: Table, settings: LoadSettings) -> _Mended:
    close = table.columns["close"]
    if not (close > 0).all():
        return table, np.zeros(len(table), bool), ""
    return _drop(table, spikes(close, settings.spike_factor), "bar whose close jumps and comes back dropped")


_REPAIRS: dict[str, Callable[[Table, LoadSettings], _Mended]] = {
    "text_to_nan": _text_to_nan,
    "drop_nan": _drop_nan,
    "drop_nonpositive": _drop_nonpositive,
    "reverse": _reverse,
    "sort": _sort,
    "drop_duplicates": _drop_duplicates,
    "clip_ohlc": _clip_ohlc,
    "clip_volume": _clip_volume,
    "drop_optional": _drop_optional,
    "drop_spikes": _drop_spikes,
}
