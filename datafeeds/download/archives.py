"""What an archive holds: one CSV in a ZIP, read without ever writing it, as a frame in the units of MarketData.

The archives are not of one mould. Futures files have a header since 2022 and none before; spot files have none, and
their times are in microseconds since 2025, else in milliseconds; metrics give their times as text, and leave cells
empty.
"""

from __future__ import annotations

import datetime as dt
import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.datafeeds.download.errors import DownloadError
from ai_backtrader.datafeeds.download.plan import FUNDING, KLINES, MARK, METRICS, Archive

__all__ = ["read_archive"]

_CANDLE = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
    "taker_buy_quote_volume", "ignore",
)  # fmt: skip
_COLUMNS = {
    KLINES: _CANDLE,
    MARK: _CANDLE,
    FUNDING: ("calc_time", "funding_interval_hours", "last_funding_rate"),
    METRICS: (
        "create_time", "symbol", "sum_open_interest", "sum_open_interest_value", "count_toptrader_long_short_ratio",
        "sum_toptrader_long_short_ratio", "count_long_short_ratio", "sum_taker_long_short_vol_ratio",
    ),
}  # fmt: skip
# What is taken from each, under our names, beside the time, which is its first column.
_TAKEN = {
    KLINES: {
        "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume",
        "taker_buy_volume": "taker_buy_volume", "close_time": "close_time",
    },
    MARK: {"open": "mark_open", "high": "mark_high", "low": "mark_low", "close": "mark_close"},
    FUNDING: {"last_funding_rate": "funding_rate"},
    METRICS: {"sum_open_interest": "open_interest", "count_long_short_ratio": "long_short_ratio"},
}  # fmt: skip
# The nearest float to each number's text is pandas' default from 3.1 on; before, it is an option (deprecated since).
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
_NEAREST_FLOAT: Any = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
_MILLISECONDS_END = 10**14  # the year 5138 in milliseconds; in microseconds the year 1973
_LATEST = 4_102_444_800 * 10**6  # the year 2100 in microseconds
_MEND = (
    "Its checksum is right, so it is published like this: --refresh asks whether it was mended, --skip {} leaves it out"
)


def read_archive(path: Path, archive: Archive, *, max_unpacked: int) -> tuple[pd.DataFrame, int]:
    """Rows of an archive, and how many rows were left out because they are of another time than the archive's name.

    Returns
    -------
    frame, left_out
        Indexed by time (``datetime64[ns]``, UTC, as published: open time, time of funding, time of the metrics row), in
        the order of the file, columns float64. Candles carry ``close_time`` in nanoseconds.

    Raises
    ------
    DownloadError
        If the ZIP is damaged, holds more or less than one file, unpacks to more than ``max_unpacked`` bytes, or has
        other columns than its kind.
    """
    mend = _MEND.format(archive.name)
    text = _unpack(path, archive, max_unpacked, mend)
    expected = _COLUMNS[archive.kind]
    if not text.strip():
        raise DownloadError(f"{archive.name}: the file in it is empty", mend)
    first = text.lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").strip().split(",")
    has_header = not _is_number(first[0]) and first[0].strip('"').replace("_", "").isalpha()
    names = [name.strip('" ').lower() for name in first] if has_header else list(expected)
    missing = [name for name in (expected[0], *_TAKEN[archive.kind]) if name not in names]
    if missing or (not has_header and len(first) != len(expected)):
        raise DownloadError(
            f"{archive.name}: wrong columns: expected {', '.join(expected)}, found {', '.join(first[:16])}", mend
        )
    try:
        with warnings.catch_warnings():
            # Longer rows than the header: pandas warns and drops the surplus, which would shift a column unseen.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(text), header=None, names=names, skiprows=int(has_header), index_col=False, low_memory=False,
                **_NEAREST_FLOAT,
            )  # fmt: skip
        if not len(frame):
            raise ValueError("a header only")
        times = _times(frame[expected[0]])
        columns: dict[str, Any] = {
            ours: pd.to_numeric(frame[theirs]).to_numpy(np.float64)
            for theirs, ours in _TAKEN[archive.kind].items()
            if theirs != "close_time"
        }
        if archive.kind == KLINES:
            columns["close_time"] = _times(frame["close_time"]).astype(np.int64)
    except (ValueError, TypeError, OverflowError, pd.errors.ParserWarning) as error:
        raise DownloadError(f"{archive.name}: unreadable rows: {' '.join(str(error).split())[:200]}", mend) from error
    rows = pd.DataFrame(columns, index=pd.DatetimeIndex(times, name="datetime"))
    inside = (times >= np.datetime64(archive.first)) & (times < np.datetime64(archive.last + dt.timedelta(days=1)))
    if archive.kind == METRICS:
        # A day's rows were stamped 00:05 to 00:00 of the next day until June 2026, and 00:00 to 23:55 since.
        inside |= times == np.datetime64(archive.last + dt.timedelta(days=1))
    if not inside.any():
        raise DownloadError(
            f"{archive.name}: all {len(rows)} rows are of another time, the first of {rows.index[0]}", mend
        )
    return rows[inside], int((~inside).sum())


def _unpack(path: Path, archive: Archive, max_unpacked: int, mend: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise DownloadError(f"{archive.name}: holds {len(members)} files, expected one CSV", mend)
            # Read, never extracted: the name inside says nothing about where anything goes. The size it declares may be
            # a lie as well, so what comes out is counted.
            with packed.open(members[0]) as file:
                text = file.read(max_unpacked + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise DownloadError(f"{archive.name}: no readable ZIP: {error}", mend) from error
    if len(text) > max_unpacked:
        raise DownloadError(
            f"{archive.name}: unpacks to more than {max_unpacked} bytes", "Raise max_unpacked if it is right"
        )
    return text


def _times(column: pd.Series[Any]) -> NDArray[np.datetime64]:
    """UTC times of epochs in milliseconds or microseconds, or of ISO text."""
    if column.dtype.kind in "iuf":
        if not np.isfinite(column).all():
            raise ValueError("a row without a time")
        if (column.abs() > _LATEST).any():
            raise ValueError(f"a time that is none: {column[column.abs() > _LATEST].iloc[0]}")
        epochs = column.to_numpy(np.int64)
        micro = np.where(epochs < _MILLISECONDS_END, epochs * 1_000, epochs)
        return micro.astype("datetime64[us]").astype("datetime64[ns]")
    stamps = pd.to_datetime(column.astype("string"), utc=True, format="ISO8601")
    if stamps.isna().any():
        raise ValueError("a row without a time")
    return stamps.dt.tz_localize(None).to_numpy("datetime64[ns]")


def _is_number(text: str) -> bool:
    try:
        float(text.strip('" '))
    except ValueError:
        return False
    return True
