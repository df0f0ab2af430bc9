"""Reading a source (frame, CSV, Parquet) into a :class:`~ai_backtrader.market.table.Table`."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.errors import DataError
from ai_backtrader.market.settings import LoadSettings
from ai_backtrader.market.table import OPTIONAL, REQUIRED, Table
from ai_backtrader.market.times import nanoseconds, read_times

__all__ = ["read_csv", "read_frame", "read_parquet", "symbol_of"]

# In this order: the first that the source has is its time.
_TIME_NAMES = ("datetime", "timestamp", "open_time", "date", "time")
# The nearest float to each number's text is pandas' default from 3.1 on; before, it is an option (deprecated since).
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
_NEAREST_FLOAT: Any = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
_BAR_LENGTH_OR_YEAR = re.compile(r"^(?:\d+(?:s|m|min|h|d|w|mo)|(?:19|20)\d{2})$", re.IGNORECASE)


def symbol_of(path: str | Path) -> str:
    """Symbol that a file name says: what stands before the bar length or the year.

    >>> symbol_of("data/BTCUSDT-perp-1h-2020-2023.csv.gz")
    'BTCUSDT-perp'
    >>> symbol_of("AAPL.csv")
    'AAPL'
    """
    stem = Path(path).name.split(".")[0]
    words: list[str] = []
    for word in re.split(r"[-_ ]", stem):
        if _BAR_LENGTH_OR_YEAR.match(word):
            break
        words.append(word)
    return "-".join(words) or stem


def read_csv(path: str | Path, *, settings: LoadSettings) -> Table:
    """Table of a CSV file, plain or gzip, UTF-8, with a header."""
    raw = _read_bytes(path)
    feed = str(path)
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                "gzip file cut short or damaged", feed=feed, value=str(error), mend="Fetch or write the file again"
            ) from error
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start)
        raise DataError(
            "not UTF-8 text",
            feed=feed, row=f"line {line + 1} of the file", value=f"byte 0x{raw[error.start]:02x}",
            mend="Save the file as UTF-8 CSV (a Parquet file is read by from_parquet)",
        ) from error  # fmt: skip
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0"))
        raise DataError(
            "binary data where text should be",
            feed=feed, row=f"line {line + 1} of the file", value="byte 0x00", mend="Save the file as UTF-8 CSV",
        )  # fmt: skip
    if not text.strip():
        raise DataError("file is empty", feed=feed, value=f"{len(raw)} bytes", mend="Fetch or write the file again")
    text = text.lstrip("\r\n")
    try:
        names = next(csv.reader(io.StringIO(text), delimiter=settings.separator))
        with warnings.catch_warnings():
            # Rows longer than the header: pandas warns and drops the surplus, which would shift a column unseen.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text), sep=settings.separator, header=None, skiprows=1, names=range(len(names)),
                index_col=False, low_memory=False, skip_blank_lines=True, **_NEAREST_FLOAT,
            )  # fmt: skip
    except (csv.Error, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            "rows do not fit the header",
            feed=feed, value=" ".join(str(error).split()),
            mend=f"Every row must have as many fields as the header, separated by {settings.separator!r} (separator=)",
        ) from error  # fmt: skip
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=range(len(names)))
    frame.columns = pd.Index(names)
    return read_frame(frame, feed=feed, settings=settings)


def read_parquet(path: str | Path, *, settings: LoadSettings) -> Table:
    """Table of a Parquet file."""
    raw = _read_bytes(path)
    try:
        frame = pd.read_parquet(io.BytesIO(raw), engine="pyarrow")
    except ImportError as error:
        raise DataError(
            "reading Parquet needs pyarrow",
            feed=str(path), mend='Install it with: pip install "ai-backtrader[parquet]"',
        ) from error  # fmt: skip
    except (OSError, ValueError) as error:
        raise DataError(
            "not a readable Parquet file",
            feed=str(path), value=" ".join(str(error).split())[:200], mend="Fetch or write the file again",
        ) from error  # fmt: skip
    return read_frame(frame, feed=str(path), settings=settings)


def read_frame(frame: object, *, feed: str, settings: LoadSettings) -> Table:
    """Table of a pandas frame: columns by name in any case, time from a column or the index."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "market data must be a pandas DataFrame",
            feed=feed, value=type(frame).__name__,
            mend="Pass a DataFrame with columns open, high, low, close, volume; "
            "files go through from_csv or from_parquet",
        )  # fmt: skip
    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError(
            "columns have several levels",
            feed=feed, value=f"{frame.columns[0]}", mend="Pick one symbol: frame.xs('SYMBOL', axis=1, level=…)",
        )  # fmt: skip
    position_of = _positions(frame, feed=feed, columns=settings.columns)
    missing = [name for name in REQUIRED if name not in position_of]
    if missing:
        raise DataError(
            "missing column" if len(missing) == 1 else "missing columns",
            feed=feed, column=", ".join(missing), value="columns " + ", ".join(map(str, frame.columns)),
            mend=f"Rename it, or name it with columns={{{missing[0]!r}: 'name in the source'}}"
            + ("; a source without volume gets a column of zeros" if missing == ["volume"] else ""),
        )  # fmt: skip
    times, zone, used = _read_time(frame, position_of, feed=feed, settings=settings)
    columns: dict[str, NDArray[np.float64]] = {}
    had_text = np.zeros(len(frame), bool)
    for name in (*REQUIRED, *OPTIONAL):
        if name in position_of:
            columns[name], wrong = _numbers(frame.iloc[:, position_of[name]])
            if "text_to_nan" in settings.repairs:
                had_text |= wrong
            else:
                _refuse_text(frame.iloc[:, position_of[name]], wrong, times, feed=feed, column=name)
    used |= {position_of[name] for name in columns}
    ignored = tuple(str(name) for position, name in enumerate(frame.columns) if position not in used)
    return Table(
        feed=feed, times=times, columns=columns, rows=np.arange(len(frame)), rows_read=len(frame),
        assumed_zone=zone, ignored=ignored, had_text=had_text if "text_to_nan" in settings.repairs else None,
    )  # fmt: skip


def _positions(frame: pd.DataFrame, *, feed: str, columns: Mapping[str, str]) -> dict[str, int]:
    # Where each canonical name stands in the frame; mapped names win over columns that carry the canonical name.
    names = [str(name).strip().lower() for name in frame.columns]
    found: dict[str, int] = {}
    for canonical, source in columns.items():
        hits = [position for position, name in enumerate(frame.columns) if str(name) == source]
        if len(hits) != 1:
            raise DataError(
                "missing column" if not hits else "duplicated column",
                feed=feed, column=canonical, value="columns " + ", ".join(map(str, frame.columns)),
                mend=f"columns={{{canonical!r}: {source!r}}} must name exactly one column of the source",
            )  # fmt: skip
        found[canonical] = hits[0]
    counts = Counter(names)
    for position, name in enumerate(names):
        if name not in (*REQUIRED, *OPTIONAL, *_TIME_NAMES) or name in columns:
            continue
        if counts[name] > 1:
            raise DataError(
                "duplicated column",
                feed=feed, column=name, value=f"{counts[name]} columns of that name",
                mend=f"Drop or rename all but one, or pick one with columns={{{name!r}: …}}",
            )  # fmt: skip
        found[name] = position
    return found


def _read_time(
    frame: pd.DataFrame, position_of: Mapping[str, int], *, feed: str, settings: LoadSettings
) -> tuple[NDArray[np.datetime64], str | None, set[int]]:
    named = [name for name in _TIME_NAMES if name in position_of]
    source: pd.Series[Any] | pd.Index[Any]
    used: set[int] = set()
    column = "datetime"
    if "datetime" not in settings.columns and not isinstance(frame.index, pd.RangeIndex) and (
        isinstance(frame.index, pd.DatetimeIndex) or str(frame.index.name).lower() in _TIME_NAMES or not named
    ):  # fmt: skip
        source, column = frame.index, str(frame.index.name or "index")
    elif named:
        column = named[0]
        source, used = frame.iloc[:, position_of[column]], {position_of[column]}
        clock = position_of.get("time")
        if column == "date" and clock is not None:
            source = source.astype(str).str.cat(frame.iloc[:, clock].astype(str), sep=" ")
            column, used = "date and time", used | {clock}
    else:
        raise DataError(
            "missing time column",
            feed=feed, column="datetime", value="columns " + ", ".join(map(str, frame.columns)),
            mend="Give a DatetimeIndex, a column datetime, timestamp, date or time, "
            "or columns={'datetime': 'name in the source'}",
        )  # fmt: skip
    if not len(frame):
        raise DataError(
            "no rows",
            feed=feed,
            value="a header only",
            mend="Fetch or write the data again; at least one bar is needed",
        )
    times, zone = read_times(
        source, feed=feed, column=column, time_zone=settings.time_zone, time_unit=settings.time_unit,
        time_format=settings.time_format, keep_unreadable="drop_nan" in settings.repairs,
    )  # fmt: skip
    earliest, latest = np.datetime64(settings.earliest), np.datetime64(settings.latest)
    return nanoseconds(times, earliest=earliest, latest=latest, feed=feed, column=column), zone, used


def _numbers(source: pd.Series[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    # float64 copy of a column, NaN where a cell is empty or no number, and the mask of the cells that are no number.
    if source.dtype.kind in "iuf":
        return np.array(source.to_numpy(dtype=np.float64, na_value=np.nan)), np.zeros(len(source), bool)
    if source.dtype.kind in "bmMc":
        return np.full(len(source), np.nan), np.ones(len(source), bool)
    text = source.astype("string").str.strip()
    numbers = np.array(pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
    filled = (text.notna() & ~text.str.lower().isin(["", "nan"])).to_numpy(dtype=bool, na_value=False)
    return numbers, np.isnan(numbers) & filled


def _refuse_text(
    source: pd.Series[Any], wrong: NDArray[np.bool_], times: NDArray[np.datetime64], *, feed: str, column: str
) -> None:
    if wrong.any():
        table = Table(feed=feed, times=times, columns={}, rows=np.arange(len(source)), rows_read=len(source))
        table.refuse(
            "text where a number should be",
            wrong, column=column, value=source.astype(str).map(repr).to_numpy(dtype=object),
            mend="Write numbers with a point and no thousands marks; repair='text_to_nan' empties such cells",
        )  # fmt: skip


def _read_bytes(path: str | Path) -> bytes:
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(
            "path must be text or a Path",
            feed="market data", value=type(path).__name__,
            mend="Pass a file's path; a DataFrame goes through from_frame",
        )  # fmt: skip
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError("file not found", feed=str(path), mend="Check the path and the working folder") from error
    except IsADirectoryError as error:
        raise DataError("a folder where a file should be", feed=str(path), mend="Name one file in it") from error
    except OSError as error:
        raise DataError(
            "file cannot be read", feed=str(path), value=str(error), mend="Check its permissions"
        ) from error
