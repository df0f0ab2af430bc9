"""What is worth knowing about a feed and is no fault: gaps, empty volume, repairs, assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market.table import OPTIONAL, Table, show_time

__all__ = ["DataReport", "Gap", "Repair", "describe"]

_GAPS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A hole between two bars: the bar before, the bar after, seconds from the one's start to the other's."""

    last_before: str
    first_after: str
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What one repair did: how many bars (or cells) it changed, and the first as row in the source and time."""

    name: str
    count: int
    first: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """Facts about one feed that a user should know before trading it.

    Attributes
    ----------
    feed, symbol
        Source (file or symbol) and symbol.
    rows_read, bars
        Rows of the source and bars that came of them.
    first, last
        First and last bar start, UTC.
    bar_seconds
        Nominal bar length.
    assumed_zone
        Zone that naive times were read in; None when the source named its zone.
    gaps, longest_gap_seconds, first_gaps
        Steps longer than 1.5 bars: how many, the longest, the first five.
    off_grid_steps
        Steps longer than a bar that are no whole number of bars (bars shorter than a day only).
    zero_volume_bars
        Bars without volume.
    flat_bars, longest_flat
        Bars that did not move at all (high equals low equals the close before), and most of them in a row.
    missing
        NaN cells by optional column; the mark price's are counted in ``mark_filled``.
    mark_filled
        Bars without a mark price; the last price stands in.
    ignored_columns
        Columns of the source that were not read.
    repairs
        What the repairs that were asked for changed.
    """

    feed: str
    symbol: str
    rows_read: int
    bars: int
    first: str
    last: str
    bar_seconds: int
    assumed_zone: str | None = None
    gaps: int = 0
    longest_gap_seconds: int = 0
    first_gaps: tuple[Gap, ...] = ()
    off_grid_steps: int = 0
    zero_volume_bars: int = 0
    flat_bars: int = 0
    longest_flat: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    mark_filled: int = 0
    ignored_columns: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", MappingProxyType(dict(self.missing)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not pickle; the plain fields do.
        return (_rebuild, ({**self.__dict__, "missing": dict(self.missing)},))

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain Python (str, int, None, list, dict), ready for JSON."""
        plain = dict(self.__dict__, missing=dict(self.missing))
        for name, value in plain.items():
            if isinstance(value, tuple):
                plain[name] = [item if isinstance(item, str) else asdict(item) for item in value]
        return plain

    def __str__(self) -> str:
        lines = [f"{self.symbol}: {self.bars:,} bars of {_duration(self.bar_seconds)}, {self.first} to {self.last} UTC"]
        if self.rows_read != self.bars:
            lines.append(f"  {self.rows_read:,} rows read")
        if self.assumed_zone is not None:
            lines.append(f"  times without a zone were read as {self.assumed_zone}")
        if self.gaps:
            gap = self.first_gaps[0]
            lines.append(
                f"  {self.gaps:,} gap{'' if self.gaps == 1 else 's'}, longest {_duration(self.longest_gap_seconds)}; "
                f"first from {gap.last_before} to {gap.first_after}"
            )
        counts = (
            (self.off_grid_steps, "steps are no whole number of bars"),
            (self.zero_volume_bars, "bars without volume"),
            (self.flat_bars, f"bars without any move, at most {self.longest_flat:,} in a row"),
            (self.mark_filled, "bars without a mark price: the last price stands in"),
        )
        lines += [f"  {count:,} {text}" for count, text in counts if count]
        lines += [f"  {name} is missing in {count:,} bars" for name, count in self.missing.items()]
        if self.ignored_columns:
            lines.append("  columns not read: " + ", ".join(self.ignored_columns))
        lines += [
            f"  repaired by {repair.name}: {repair.detail}, {repair.count:,} times, first at row {repair.first}"
            for repair in self.repairs
        ]
        return "\n".join(lines)


def _rebuild(fields: dict[str, Any]) -> DataReport:
    return DataReport(**fields)


def describe(
    table: Table,
    *,
    symbol: str,
    bar_seconds: int,
    mark_filled: int = 0,
    repairs: tuple[Repair, ...] = (),
) -> DataReport:
    """Report of a table that has passed its checks (at least one bar)."""
    times = table.times
    nanos = times.astype(np.int64)
    steps = nanos[1:] - nanos[:-1]
    bar = bar_seconds * 10**9
    gap_at = np.flatnonzero(steps > 1.5 * bar)
    off_grid = int(((steps > bar) & (steps % bar != 0)).sum()) if bar_seconds < 86_400 else 0
    close = table.columns["close"]
    flat = (table.columns["high"] == table.columns["low"]) & (close == np.concatenate((close[:1], close[:-1])))
    flat[0] = False
    missing = {
        name: int(np.isnan(table.columns[name]).sum())
        for name in OPTIONAL
        if name in table.columns and np.isnan(table.columns[name]).any()
    }
    return DataReport(
        feed=table.feed,
        symbol=symbol,
        rows_read=table.rows_read,
        bars=len(table),
        first=show_time(times[0]),
        last=show_time(times[-1]),
        bar_seconds=bar_seconds,
        assumed_zone=table.assumed_zone,
        gaps=len(gap_at),
        longest_gap_seconds=int(steps[gap_at].max() // 10**9) if len(gap_at) else 0,
        first_gaps=tuple(
            Gap(
                last_before=show_time(times[at]),
                first_after=show_time(times[at + 1]),
                seconds=int(steps[at] // 10**9),
            )
            for at in gap_at[:_GAPS_SHOWN]
        ),
        off_grid_steps=off_grid,
        zero_volume_bars=int((table.columns["volume"] == 0).sum()),
        flat_bars=int(flat.sum()),
        longest_flat=_longest_run(flat),
        missing=missing,
        mark_filled=mark_filled,
        ignored_columns=table.ignored,
        repairs=repairs,
    )


def _longest_run(mask: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _duration(seconds: int) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = f"{seconds / size:.4g}"
            return f"{count} {unit}" + ("" if count == "1" else "s")
    return f"{seconds} s"
