"""MarketData: one feed as validated, immutable arrays; the only source of both Backtrader feeds and engine arrays."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market.loading import read_csv, read_frame, read_parquet, symbol_of
from ai_backtrader.market.repair import repair_table
from ai_backtrader.market.report import DataReport, describe
from ai_backtrader.market.settings import LoadOptions, LoadSettings
from ai_backtrader.market.table import OPTIONAL, REQUIRED, Table
from ai_backtrader.market.validation import check_table, fill_mark, infer_bar_seconds

__all__ = ["MarketData"]

_YEAR_SECONDS = 365.25 * 86_400


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MarketData:
    """Bars of one market: validated once, never changed, shared by Cerebro, search and training.

    Made by :meth:`from_frame`, :meth:`from_csv` or :meth:`from_parquet`, which validate and, when asked, repair; made
    from arrays directly, it validates the same, with every default. All arrays have shape (bars,), are float64 in the
    market's own units, and cannot be written to. Pickles, also to worker processes.

    Attributes
    ----------
    symbol
        Name of the market.
    times
        Bar **starts**, ``datetime64[ns]``, UTC, strictly increasing.
    bar_seconds
        Nominal bar length in seconds.
    open, high, low, close, volume
        The bars; volume in units of the asset, 0 where the source has none.
    mark_open, mark_high, mark_low, mark_close
        Mark price (what exchanges liquidate on), or None. Bars in which the source has none carry the last price.
    funding_rate
        Rate settled at the start of the bar, as a fraction (the sum of the rates since the start of the bar before,
        where bars are longer than the interval), 0 or NaN where none; longs pay a positive rate. None when absent.
    open_interest, long_short_ratio, taker_buy_volume
        As the source gives them, NaN where it has none at that bar; None when absent.
    report
        What is worth knowing and is no fault: gaps, zero volume, assumptions, repairs.

    Examples
    --------
    >>> import pandas as pd
    >>> index = pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC")
    >>> frame = pd.DataFrame({"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0}, index=index)
    >>> data = MarketData.from_frame(frame, symbol="TOY")
    >>> len(data), data.bar_seconds, data.has_mark
    (3, 3600, False)
    """

    symbol: str
    times: NDArray[np.datetime64]
    bar_seconds: int
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    mark_open: NDArray[np.float64] | None = None
    mark_high: NDArray[np.float64] | None = None
    mark_low: NDArray[np.float64] | None = None
    mark_close: NDArray[np.float64] | None = None
    funding_rate: NDArray[np.float64] | None = None
    open_interest: NDArray[np.float64] | None = None
    long_short_ratio: NDArray[np.float64] | None = None
    taker_buy_volume: NDArray[np.float64] | None = None
    report: DataReport = field(init=False)

    def __post_init__(self) -> None:
        # Made by hand from arrays: the same checks as a file's.
        settings = LoadSettings(min_bars=1, bar_seconds=self.bar_seconds)
        given = {name: getattr(self, name) for name in (*REQUIRED, *OPTIONAL)}
        columns = {
            name: _as_array(values, np.dtype(np.float64), feed=self.symbol, column=name)
            for name, values in given.items()
            if values is not None
        }
        times = _as_array(self.times, np.dtype("datetime64[ns]"), feed=self.symbol, column="times")
        rows = np.arange(len(times))
        self._fill(Table(feed=self.symbol, times=times, columns=columns, rows=rows, rows_read=len(rows)), settings)

    def _fill(self, table: Table, settings: LoadSettings) -> None:
        # Repair, check, describe, freeze: the one way by which content gets in.
        symbol: object = self.symbol
        if not isinstance(symbol, str) or not symbol.strip():
            raise SettingsError("MarketData", [f"symbol must be a text that is not empty, got {symbol!r}"])
        table, repairs = repair_table(table, settings)
        check_table(table, settings)
        seconds = infer_bar_seconds(table, settings.bar_seconds)
        table, filled = fill_mark(table)
        report = describe(table, symbol=symbol, bar_seconds=seconds, mark_filled=filled, repairs=repairs)
        self._set(
            times=_frozen(table.times), bar_seconds=seconds, report=report,
            **{name: _frozen(values) for name, values in table.columns.items()},
        )  # fmt: skip

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, symbol: str, **options: Unpack[LoadOptions]) -> Self:
        """Market data of a pandas frame.

        Parameters
        ----------
        frame
            Columns open, high, low, close, volume, and optionally mark_open, mark_high, mark_low, mark_close,
            funding_rate, open_interest, long_short_ratio, taker_buy_volume, in any case and order; other columns are
            ignored and listed in the report. The time is a DatetimeIndex or a column datetime, timestamp, open_time,
            date (and time) or time: timestamps, ISO 8601 text or epochs.
        symbol
            Name of the market.
        **options
            See :class:`~ai_backtrader.market.settings.LoadSettings`: ``columns``, ``time_zone``, ``time_unit``,
            ``time_format``, ``bar_seconds``, ``repair``, ``min_bars``, ``max_funding_rate``, ``spike_factor``,
            ``jump_factor``, ``earliest``, ``latest``.

        Raises
        ------
        DataError
            At the first fault, naming feed, row, column, value and mend.
        SettingsError
            If an option is wrong.
        """
        settings = LoadSettings(**options)
        return cls._from_table(read_frame(frame, feed=str(symbol), settings=settings), symbol, settings)

    @classmethod
    def from_csv(cls, path: str | Path, *, symbol: str | None = None, **options: Unpack[LoadOptions]) -> Self:
        """Market data of a CSV file (UTF-8, header, also gzip); columns, options and errors as in :meth:`from_frame`.

        Without ``symbol`` the file name says it: ``BTCUSDT-perp-1h-2020-2023.csv.gz`` is ``BTCUSDT-perp``.
        """
        settings = LoadSettings(**options)
        table = read_csv(path, settings=settings)
        return cls._from_table(table, symbol_of(path) if symbol is None else symbol, settings)

    @classmethod
    def from_parquet(cls, path: str | Path, *, symbol: str | None = None, **options: Unpack[LoadOptions]) -> Self:
        """Market data of a Parquet file (extra ``[parquet]``); columns, options and errors as in :meth:`from_csv`."""
        settings = LoadSettings(**options)
        table = read_parquet(path, settings=settings)
        return cls._from_table(table, symbol_of(path) if symbol is None else symbol, settings)

    @classmethod
    def _from_table(cls, table: Table, symbol: str, settings: LoadSettings) -> Self:
        made = object.__new__(cls)
        made._set(symbol=symbol, **dict.fromkeys(OPTIONAL))
        made._fill(table, settings)
        return made

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        bars = f"{len(self)} bars of {self.bar_seconds} s"
        return f"MarketData({self.symbol!r}, {bars}, {self.report.first} to {self.report.last})"

    @property
    def has_mark(self) -> bool:
        """True where the feed has a mark price."""
        return self.mark_close is not None

    @property
    def bars_per_year(self) -> float:
        """Bars in a year of 365.25 days as this feed has them, sessions and gaps included.

        Steps between bars over the time from the first start to the last: 8766 for hourly bars round the clock, about
        252 for daily stocks. A feed of one bar gives the nominal figure.
        """
        if len(self) < 2:
            return _YEAR_SECONDS / self.bar_seconds
        span = float((self.times[-1] - self.times[0]).astype(np.int64)) / 1e9
        return (len(self) - 1) / (span / _YEAR_SECONDS)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of symbol, bar length, times and every array: equal when, and only when, the content is."""
        digest = hashlib.sha256(f"{self.symbol}\n{self.bar_seconds}\n{len(self)}\n".encode())
        digest.update(self.times.astype("<M8[ns]").tobytes())
        for name, values in self.columns().items():
            digest.update(name.encode())
            digest.update(values.astype("<f8").tobytes())
        return digest.hexdigest()

    def same_content(self, other: object) -> bool:
        """Whether the other is market data with the same symbol, bar length, times and arrays, bit for bit."""
        return isinstance(other, MarketData) and self.fingerprint == other.fingerprint

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """The arrays that this feed has, by name: the five of every feed, then the optional ones."""
        named = ((name, getattr(self, name)) for name in (*REQUIRED, *OPTIONAL))
        return {name: values for name, values in named if values is not None}

    def head(self, n: int) -> MarketData:
        """The first ``n`` bars (all, if there are fewer); the same as loading the first ``n`` rows."""
        if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1:
            raise SettingsError("MarketData.head", [f"n must be a whole number from 1, got {n!r}"])
        return self._part(slice(0, int(n)))

    def between(self, start: Any, end: Any) -> MarketData:
        """The bars that start from ``start`` (inclusive) to before ``end``.

        Both are anything that ``pandas.Timestamp`` reads, or None for no limit; without a zone they mean UTC.

        Raises
        ------
        DataError
            If no bar lies between.
        """
        first = 0 if start is None else int(np.searchsorted(self.times, _utc("start", start), side="left"))
        last = len(self) if end is None else int(np.searchsorted(self.times, _utc("end", end), side="left"))
        if first >= last:
            raise DataError(
                "no bar in the range asked for",
                feed=self.symbol, value=f"{start} to {end}",
                mend=f"The feed runs from {self.report.first} to {self.report.last} UTC; end is exclusive",
            )  # fmt: skip
        return self._part(slice(first, last))

    def to_frame(self) -> pd.DataFrame:
        """Frame with the columns that this feed has and a UTC DatetimeIndex; :meth:`from_frame` gives the same data."""
        index = pd.DatetimeIndex(self.times, tz="UTC", name="datetime")
        return pd.DataFrame({name: values.copy() for name, values in self.columns().items()}, index=index)

    def _part(self, chosen: slice) -> MarketData:
        # Bars of data that have been checked: views of read-only arrays, nothing to check again.
        rows = np.arange(len(self))
        whole = Table(feed=self.symbol, times=self.times, columns=self.columns(), rows=rows, rows_read=len(self))
        part = whole.take(chosen)
        report = replace(
            describe(part, symbol=self.symbol, bar_seconds=self.bar_seconds),
            feed=self.report.feed, rows_read=self.report.rows_read, assumed_zone=self.report.assumed_zone,
            ignored_columns=self.report.ignored_columns, repairs=self.report.repairs,
        )  # fmt: skip
        made = object.__new__(type(self))
        made._set(symbol=self.symbol, bar_seconds=self.bar_seconds, report=report, **dict.fromkeys(OPTIONAL))
        made._set(times=part.times, **part.columns)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # NumPy forgets on unpickling (and on deepcopy) that an array was read-only.
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        self._set(**state)


def _as_array(values: ArrayLike, dtype: np.dtype[Any], *, feed: str, column: str) -> NDArray[Any]:
    try:
        array = np.asarray(values, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"not an array of {dtype}", feed=feed, column=column, value=str(error), mend="Give one value for each bar"
        ) from error
    if array.ndim != 1:
        raise DataError(
            "not an array of one dimension",
            feed=feed, column=column, value=f"shape {array.shape}", mend="Give one value for each bar",
        )  # fmt: skip
    return array


def _frozen(values: NDArray[Any]) -> NDArray[Any]:
    # A copy of our own, so that nobody else holds a writeable view of it.
    copy = np.array(values, order="C")
    copy.setflags(write=False)
    return copy


def _utc(name: str, moment: Any) -> np.datetime64:
    try:
        stamp: Any = pd.Timestamp(moment)
    except (ValueError, TypeError) as error:
        raise SettingsError("MarketData.between", [f"{name} must be a time, got {moment!r}"]) from error
    if stamp is pd.NaT:
        raise SettingsError("MarketData.between", [f"{name} must be a time, got {moment!r}"])
    naive = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
    return np.datetime64(naive.to_datetime64(), "ns")
