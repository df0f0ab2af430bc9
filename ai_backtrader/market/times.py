"""Reading the times of a source: text, epochs or timestamps, in any zone, to UTC."""

from __future__ import annotations

import datetime
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.errors import DataError
from ai_backtrader.market.table import and_more, show_time

__all__ = ["EPOCH_UNITS", "read_times"]

EPOCH_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

# Seconds since 1970 of 1980-01-01 and 2100-01-01. Within them the four units' numbers do not overlap, so the unit is
# certain; 20200101 or a row number lies outside all four.
_EPOCH_LOW, _EPOCH_HIGH = 315_532_800, 4_102_444_800
_OFFSET = re.compile(r"(?:[zZ]|[+-]\d{2}:?\d{2}|[+-]\d{2})$")
_DATE_ONLY = re.compile(r"^\d{4}-?\d{2}-?\d{2}$")


def read_times(
    source: pd.Series[Any] | pd.Index[Any],
    *,
    feed: str,
    column: str,
    time_zone: str | None,
    time_unit: str | None,
    time_format: str | None,
    keep_unreadable: bool = False,
) -> tuple[NDArray[np.datetime64], str | None]:
    """Bar starts in UTC and the zone that naive times were read in (None when the source said it).

    Parameters
    ----------
    source
        Timestamps, text (ISO 8601, or as ``time_format`` says) or epoch numbers, shape (n,).
    time_zone
        Zone of naive times; None makes them an error.
    time_unit
        Unit of epoch numbers; None accepts numbers whose unit is certain: between 1980 and 2100 in one unit.
    keep_unreadable
        Give NaT for text that is no time instead of raising.

    Returns
    -------
    times, assumed_zone
        ``datetime64`` of shape (n,) in the source's own resolution, so that dates beyond nanoseconds can be named.

    Raises
    ------
    DataError
        If a value is no time, zones are mixed or missing, or a local time is ambiguous or does not exist.
    """
    values: pd.Series[Any] = pd.Series(source).reset_index(drop=True)
    if values.dtype.kind == "M":
        values = pd.Series(pd.DatetimeIndex(values))  # Arrow's timestamps as NumPy's
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), None
    if values.dtype.kind == "M":
        return _from_naive(values, feed=feed, column=column, time_zone=time_zone)
    if values.dtype.kind in "iuf":
        return _from_epoch(values.to_numpy(), feed=feed, column=column, unit=time_unit), None
    if values.dtype.kind == "b":
        raise DataError(
            "the time column holds truth values", feed=feed, column=column, value=f"{values.iloc[0]}", mend=_NO_TIME
        )
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) != "string":
        values = _from_objects(values, feed=feed, column=column)
    return _from_text(
        values, feed=feed, column=column, time_zone=time_zone, time_format=time_format, keep=keep_unreadable
    )


_NO_TIME = "Give times as ISO 8601 text (2020-01-31 14:00), as timestamps, or say time_format= or time_unit="


def _from_objects(values: pd.Series[Any], *, feed: str, column: str) -> pd.Series[Any]:
    # datetime and Timestamp objects of a mixed column become ISO text, so that one path judges their zones.
    def text(position: int, value: object) -> str | None:
        if isinstance(value, str) or value is None or value is pd.NaT:
            return value if isinstance(value, str) else None
        if isinstance(value, datetime.date):
            return value.isoformat()
        if isinstance(value, np.datetime64):
            return None if np.isnat(value) else str(value)
        raise DataError(
            "another type where a time should be",
            feed=feed, row=str(position), column=column, value=f"{value!r}", mend=_NO_TIME,
        )  # fmt: skip

    return pd.Series([text(position, value) for position, value in enumerate(values)], dtype=object)


def _from_epoch(numbers: NDArray[np.number], *, feed: str, column: str, unit: str | None) -> NDArray[np.datetime64]:
    if numbers.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise DataError(
                "no time", feed=feed, row=str(bad[0]), column=column, value=f"{numbers[bad[0]]}", mend=_NO_TIME
            )
    if not len(numbers):
        return np.empty(0, "datetime64[ns]")
    if unit is None:
        smallest, largest = float(numbers.min()), float(numbers.max())
        certain = [
            name for name, scale in EPOCH_UNITS.items()
            if smallest >= _EPOCH_LOW * scale and largest <= _EPOCH_HIGH * scale
        ]  # fmt: skip
        if not certain:
            raise DataError(
                "numbers in the time column whose unit is not certain",
                feed=feed, row="0", column=column, value=f"{numbers[0]}",
                mend="Say time_unit='s', 'ms', 'us' or 'ns' for epochs since 1970, or give the times as ISO 8601 text",
            )  # fmt: skip
        unit = certain[0]
    limit = 250 * 365.25 * 86_400 * EPOCH_UNITS[unit]
    beyond = np.flatnonzero(np.abs(numbers.astype(np.float64)) > limit)
    if len(beyond):
        raise DataError(
            "date out of range",
            feed=feed, row=str(beyond[0]), column=column, value=f"{numbers[beyond[0]]} {unit}",
            mend="Check time_unit=: the number lies more than 250 years from 1970",
        )  # fmt: skip
    if numbers.dtype.kind == "f":
        # Fractions of the unit are kept to the microsecond, which is what a float epoch in seconds can hold.
        return np.round(numbers * (10**6 / EPOCH_UNITS[unit])).astype("int64").astype("datetime64[us]")
    return numbers.astype("int64").astype(f"datetime64[{unit}]")


def _from_naive(
    values: pd.Series[Any], *, feed: str, column: str, time_zone: str | None
) -> tuple[NDArray[np.datetime64], str | None]:
    if time_zone is None:
        first = values.iloc[0] if len(values) else "nothing"
        raise DataError(
            "times without a zone",
            feed=feed, row="0", column=column, value=f"{first}",
            mend="Say time_zone='UTC' (or the zone of the source), or give times with an offset",
        )  # fmt: skip
    if time_zone == "UTC":
        return values.to_numpy(), "UTC"
    rules: tuple[tuple[str, dict[str, Any]], ...] = (
        ("a local time that occurs twice (clock set back)", {"ambiguous": "NaT", "nonexistent": "shift_forward"}),
        (
            "a local time that does not exist (clock set forward)",
            {"ambiguous": np.zeros(len(values), bool), "nonexistent": "NaT"},
        ),
    )
    for problem, options in rules:
        localised = values.dt.tz_localize(time_zone, **options)
        bad = np.flatnonzero((localised.isna() & values.notna()).to_numpy())
        if len(bad):
            raise DataError(
                problem,
                feed=feed, row=f"{bad[0]}", column=column, value=f"{values.iloc[bad[0]]} in {time_zone}",
                mend="Give the times in UTC or with their offsets (2020-10-25T02:30+01:00)",
            )  # fmt: skip
    return localised.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), time_zone


def _from_text(
    values: pd.Series[Any], *, feed: str, column: str, time_zone: str | None, time_format: str | None, keep: bool
) -> tuple[NDArray[np.datetime64], str | None]:
    text = values.astype("string").str.strip()
    filled = text.fillna("")
    parsed = _parse(filled, time_format)
    if parsed is None or isinstance(parsed.dtype, pd.DatetimeTZDtype):
        parsed = _parse_one_zone(filled, feed=feed, column=column, time_format=time_format)
    unreadable = parsed.isna().to_numpy()
    if unreadable.any() and not keep:
        hits = np.flatnonzero(unreadable)
        raise DataError(
            "not a time",
            feed=feed, row=str(hits[0]), column=column, value=f"{filled.iloc[hits[0]]!r}" + and_more(hits),
            mend="Write times as ISO 8601 (2020-01-31 14:00) or say time_format='%d.%m.%Y %H:%M'; "
            "repair='drop_nan' drops the row",
        )  # fmt: skip
    if isinstance(parsed.dtype, pd.DatetimeTZDtype):
        return parsed.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), None
    return _from_naive(parsed, feed=feed, column=column, time_zone=time_zone)


def _parse(text: pd.Series[Any], time_format: str | None) -> pd.Series[Any] | None:
    # A column in which zones differ: pandas 3 refuses it, 2.2 warns and gives Python objects, or takes a naive time
    # after aware ones for UTC. So text with zones is always searched for the row that differs.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            parsed = pd.to_datetime(text, format=time_format or "ISO8601", errors="coerce")
    except ValueError:
        return None
    return parsed if parsed.dtype != object else None


def _parse_one_zone(text: pd.Series[Any], *, feed: str, column: str, time_format: str | None) -> pd.Series[Any]:
    offsets = text.str.extract(f"({_OFFSET.pattern})", expand=False).where(~text.str.match(_DATE_ONLY))
    offsets = offsets.replace({"z": "Z"}).fillna("")
    offsets = offsets.where(text != "", offsets.iloc[0])
    differing = np.flatnonzero((offsets != offsets.iloc[0]).to_numpy())
    if len(differing):
        first = int(differing[0])
        kind = "times with and without a zone" if "" in set(offsets) else "times with different offsets"
        raise DataError(
            f"{kind} in one column",
            feed=feed, row=str(first), column=column,
            value=f"{text.iloc[first]!r} after {text.iloc[0]!r}",
            mend="Write all times in UTC, or all with the same offset",
        )  # fmt: skip
    try:
        return pd.to_datetime(text, format=time_format or "ISO8601", errors="coerce", utc=True)
    except ValueError as error:
        raise DataError(
            "times cannot be read",
            feed=feed, column=column, value=f"time_format={time_format!r}: {error}", mend=_NO_TIME,
        ) from error  # fmt: skip


def nanoseconds(
    times: NDArray[np.datetime64], *, earliest: np.datetime64, latest: np.datetime64, feed: str, column: str
) -> NDArray[np.datetime64]:
    """Times as ``datetime64[ns]`` after a check that each lies in ``earliest <= time < latest`` (NaT passes)."""
    outside = ~np.isnat(times) & ((times < earliest) | (times >= latest))
    hits = np.flatnonzero(outside)
    if len(hits):
        raise DataError(
            "date out of range",
            feed=feed, row=str(hits[0]), column=column, value=show_time(times[hits[0]]) + and_more(hits),
            mend=f"Bars must start from {show_time(earliest)} to before {show_time(latest)}; "
            "check time_unit= and time_format=, or set earliest= and latest=",
        )  # fmt: skip
    return times.astype("datetime64[ns]")
