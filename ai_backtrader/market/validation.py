"""The faults that market data must not have: each check names the first bar at fault."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import DataError
from ai_backtrader.market.settings import LoadSettings
from ai_backtrader.market.table import MARK, OPTIONAL, PRICES, REQUIRED, Table, show_time

__all__ = ["check_table", "fill_mark", "infer_bar_seconds", "spikes"]


def check_table(table: Table, settings: LoadSettings) -> None:
    """Raise :class:`DataError` for the first fault; the checks run in the order of this function.

    Times first (a row is named by its time), then prices, volume, optional columns, spikes, number of bars.
    """
    check_shape(table)
    check_bars(table, 1)
    check_times(table)
    check_prices(table)
    check_volume(table)
    check_optional(table, max_funding_rate=settings.max_funding_rate)
    check_spikes(table, settings)
    check_bars(table, settings.min_bars)


def check_bars(table: Table, least: int) -> None:
    """Refuse fewer than ``least`` bars."""
    if len(table) < least:
        read = f" of {table.rows_read} rows read" if table.rows_read != len(table) else ""
        raise DataError(
            "too few bars",
            feed=table.feed, value=f"{len(table)} bars{read}", mend=f"At least {least} are needed (min_bars=)",
        )  # fmt: skip


def check_shape(table: Table) -> None:
    """Refuse columns that are missing, of another length than the times, or only part of the mark price."""
    for name in REQUIRED:
        if name not in table.columns:
            raise DataError("missing column", feed=table.feed, column=name, mend="Give open, high, low, close, volume")
    for name, values in table.columns.items():
        if values.shape != table.times.shape:
            raise DataError(
                "column of another length than the times",
                feed=table.feed, column=name, value=f"shape {values.shape}", mend=f"Give {len(table)} values",
            )  # fmt: skip
    present = [name for name in MARK if name in table.columns]
    absent = [name for name in MARK if name not in table.columns]
    if present and absent:
        raise DataError(
            "mark price is incomplete",
            feed=table.feed, column=", ".join(absent), value="only " + ", ".join(present),
            mend="Give all four of mark_open, mark_high, mark_low, mark_close, or none",
        )  # fmt: skip


def check_times(table: Table) -> None:
    """Refuse missing, duplicated, reversed and unsorted times."""
    times = table.times
    table.refuse(
        "missing time", np.isnat(times), column="datetime", value=times, mend="repair='drop_nan' drops the row"
    )
    nanos = times.astype(np.int64)
    back, same = np.zeros(len(times), bool), np.zeros(len(times), bool)
    back[1:], same[1:] = nanos[1:] < nanos[:-1], nanos[1:] == nanos[:-1]
    if back.any() and (back | same)[1:].all():
        raise DataError(
            "times run backwards",
            feed=table.feed, row=table.place(1), column="datetime",
            value=f"{show_time(times[1])} after {show_time(times[0])}",
            mend="Give the oldest bar first; repair='reverse' turns the feed round",
        )  # fmt: skip
    table.refuse(
        "times are not sorted", back, column="datetime", value=times, mend="Sort by time; repair='sort' does it"
    )
    table.refuse(
        "duplicated time", same, column="datetime", value=times,
        mend="Keep one bar for each time; repair='drop_duplicates' keeps the first",
    )  # fmt: skip


def check_prices(table: Table) -> None:
    """Refuse prices that are not finite, not positive, or outside their bar; the same for the mark price."""
    columns = table.columns
    for name in REQUIRED:
        _refuse_non_finite(table, name, mend="Fill it from the source; repair='drop_nan' drops the bar")
    for name in PRICES:
        table.refuse(
            "price is zero" if (columns[name][columns[name] <= 0][:1] == 0).all() else "price is negative",
            columns[name] <= 0, column=name,
            mend="Prices must be above zero; repair='drop_nonpositive' drops the bar",
        )  # fmt: skip
    mend = "Check the source; repair='clip_ohlc' widens high and low to contain open and close"
    _check_bar(table, *(columns[name] for name in PRICES), names=PRICES, mend=mend)
    if MARK[0] in columns:
        for name in MARK:
            table.refuse(
                "mark price is not a finite number above zero",
                (columns[name] <= 0) | np.isinf(columns[name]), column=name,
                mend="Leave the cell empty where the source has none; repair='drop_optional' empties it",
            )  # fmt: skip
        _check_bar(table, *(columns[name] for name in MARK), names=MARK, mend=mend)


def _check_bar(
    table: Table,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    *,
    names: tuple[str, ...],
    mend: str,
) -> None:
    # NaN compares false: empty mark cells pass.
    crossed = high < low
    if crossed.any():
        first = int(np.flatnonzero(crossed)[0])
        value = np.full(len(table), f"{names[1]} {high[first]}, {names[2]} {low[first]}")
        table.refuse("high below low", crossed, column=names[1], value=value, mend=mend)
    for name, values in ((names[0], open_), (names[3], close)):
        outside = (values > high) | (values < low)
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            value = np.full(len(table), f"{values[first]} outside {low[first]} to {high[first]}")
            table.refuse(f"{name.removeprefix('mark_')} outside the bar", outside, column=name, value=value, mend=mend)


def check_volume(table: Table) -> None:
    """Refuse negative volume and taker-buy volume outside 0 to volume."""
    volume = table.columns["volume"]
    mend = "repair='clip_volume' lifts negative volume to 0 and puts taker-buy volume between 0 and volume"
    table.refuse("negative volume", volume < 0, column="volume", mend=mend)
    taker = table.columns.get("taker_buy_volume")
    if taker is not None:
        table.refuse("negative volume", taker < 0, column="taker_buy_volume", mend=mend)
        table.refuse("taker-buy volume above volume", taker > volume, column="taker_buy_volume", mend=mend)


def check_optional(table: Table, *, max_funding_rate: float) -> None:
    """Refuse impossible optional values; NaN is allowed and means: none at that bar."""
    mend = "Leave the cell empty where the source has none; repair='drop_optional' empties it"
    for name in OPTIONAL:
        if name in table.columns:
            table.refuse("infinite value", np.isinf(table.columns[name]), column=name, mend=mend)
    for name, problem, faulty in impossible_optional(table, max_funding_rate=max_funding_rate):
        table.refuse(problem, faulty, column=name, mend=mend)


def impossible_optional(table: Table, *, max_funding_rate: float) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Column, problem and mask of each rule that optional values must keep."""
    rules = []
    for name, values in table.columns.items():
        if name == "funding_rate":
            limit = f"funding rate beyond ±{max_funding_rate:.0%} (rates are fractions: 0.0001 is 1 basis point)"
            rules.append((name, limit, np.abs(values) > max_funding_rate))
        elif name == "open_interest":
            rules.append((name, "negative open interest", values < 0))
        elif name == "long_short_ratio":
            rules.append((name, "long/short ratio not above zero", values <= 0))
    return rules


def check_spikes(table: Table, settings: LoadSettings) -> None:
    """Refuse closes that jump and come back, and jumps that no market makes in one bar."""
    close = table.columns["close"]
    table.refuse(
        f"price spike: the close moves by more than a factor of {settings.spike_factor:g} and comes back",
        spikes(close, settings.spike_factor), column="close",
        mend="Check the source; repair='drop_spikes' drops the bar, spike_factor= allows it",
    )  # fmt: skip
    limit = np.log(settings.jump_factor)
    move = np.abs(np.diff(np.log(close), prepend=np.log(close[:1])))
    allow = "Check the source (another unit, a split that was not adjusted?); jump_factor= allows it"
    table.refuse(
        f"price jump: the close moves by more than a factor of {settings.jump_factor:g} in one bar",
        move > limit, column="close", mend=allow,
    )  # fmt: skip
    for name in ("high", "low"):
        table.refuse(
            f"price spike: {name} lies more than a factor of {settings.jump_factor:g} from the close",
            np.abs(np.log(table.columns[name] / close)) > limit, column=name, mend=allow,
        )  # fmt: skip


def spikes(close: NDArray[np.float64], factor: float) -> NDArray[np.bool_]:
    """Mask of the bars whose close moves by more than ``factor`` and is back with the next bar.

    "Back" means: the move over both bars together is less than half of the first, in logarithms. The rule needs the bar
    after, so the last bar is never a spike.
    """
    found = np.zeros(len(close), dtype=bool)
    if len(close) >= 3:
        logs = np.log(close)
        there = np.abs(logs[1:-1] - logs[:-2])
        found[1:-1] = (there > np.log(factor)) & (np.abs(logs[2:] - logs[:-2]) < there / 2)
    return found


def infer_bar_seconds(table: Table, given: int | None) -> int:
    """Nominal bar length in seconds: ``given``, or the most common step between bars.

    Raises
    ------
    DataError
        If it cannot be known (one bar, steps that differ too much, bars shorter than a second), or if bars overlap:
        a step shorter than the bar (for bars of a day and longer, shorter than 0.9 of it: days of 23 hours and
        months of 28 days exist).
    """
    nanos = table.times.astype(np.int64)
    steps = nanos[1:] - nanos[:-1]
    mend = "Say bar_seconds=, or check the times of the source"
    if given is None:
        if not len(steps):
            raise DataError("bar length cannot be inferred", feed=table.feed, value=f"{len(table)} bar", mend=mend)
        sizes, counts = np.unique(steps, return_counts=True)
        commonest = int(np.argmax(counts))
        share = counts[commonest] / len(steps)
        if share < 0.5:
            raise DataError(
                "irregular bars: bar length cannot be inferred",
                feed=table.feed, value=f"most common step {sizes[commonest] / 1e9:g} s in {share:.0%} of the bars",
                mend=mend,
            )  # fmt: skip
        if sizes[commonest] % 10**9:
            raise DataError(
                "bars are not whole seconds long",
                feed=table.feed, value=f"{sizes[commonest] / 1e9:g} s", mend="Build bars of at least one second",
            )  # fmt: skip
        given = int(sizes[commonest] // 10**9)
    given = int(given)
    shortest = given * 10**9 * 9 // 10 if given >= 86_400 else given * 10**9
    short = np.zeros(len(table), dtype=bool)
    short[1:] = steps < shortest
    if short.any():
        first = int(np.flatnonzero(short)[0])
        value = np.full(len(table), f"{steps[first - 1] / 1e9:g} s after the bar before")
        table.refuse(
            f"irregular bars: a bar starts before the last one of {given} s has ended", short,
            column="datetime", value=value, mend=mend,
        )  # fmt: skip
    return given


def fill_mark(table: Table) -> tuple[Table, int]:
    """Table whose bars without a complete mark price carry the last price instead, and how many there are."""
    if MARK[0] not in table.columns:
        return table, 0
    empty = np.any([np.isnan(table.columns[name]) for name in MARK], axis=0)
    if not empty.any():
        return table, 0
    filled = {
        mark: np.where(empty, table.columns[price], table.columns[mark])
        for mark, price in zip(MARK, PRICES, strict=True)
    }
    return table.with_columns(**filled), int(empty.sum())


def _refuse_non_finite(table: Table, name: str, *, mend: str) -> None:
    values = table.columns[name]
    table.refuse("missing value (NaN)", np.isnan(values), column=name, mend=mend)
    table.refuse("infinite value", np.isinf(values), column=name, mend=mend)
