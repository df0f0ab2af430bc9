"""Rows that come in pages, kept in a file as they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

__all__ = ["Page", "PageFile", "turn_pages"]

Page = tuple[float, ...]  # time in milliseconds, then values


class PageFile:
    """Rows in the order of time, one a line; a line that a kill left torn is cut off.

    Parameters
    ----------
    path
        Where they are kept.
    width
        Numbers in a row.
    """

    def __init__(self, path: Path, *, width: int) -> None:
        self._path, self._width = path, width

    def read(self) -> list[Page]:
        """The rows kept so far."""
        if not self._path.exists():
            return []
        rows: list[Page] = []
        good = 0
        with self._path.open("rb") as file:
            for line in file:
                row = _row(line, self._width)
                if row is None or (rows and row[0] <= rows[-1][0]):
                    break
                rows.append(row)
                good += len(line)
        if good < self._path.stat().st_size:
            with self._path.open("r+b") as file:
                file.truncate(good)
        return rows

    def append(self, rows: list[Page]) -> None:
        """Keep further rows; they are in the file when it returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode("ascii"))


def turn_pages(
    kept: PageFile,
    fetch: Callable[[int], list[Page]],
    *,
    begin: int,
    end: int,
    step: int,
    span: int,
    progress: Callable[[int, int], None],
) -> list[Page]:
    """Rows from ``begin`` to before ``end``, those that are kept and those still to be fetched.

    Parameters
    ----------
    kept
        Where rows are kept.
    fetch
        Rows from a time on, in any order; may repeat rows, give earlier ones, or none.
    begin, end
        Milliseconds.
    step
        Least distance of two rows.
    span
        Time after which to ask again where a page was empty: the market may not have begun.
    progress
        Called with the time come to and the number of rows.
    """
    rows = kept.read()
    at = int(rows[-1][0]) + step if rows else begin
    while at < end:
        page = {row[0]: row for row in reversed(fetch(at)) if at <= row[0] < end and None not in row}
        new = [page[time] for time in sorted(page)]
        if new:
            kept.append(new)
            rows += new
            at = int(new[-1][0]) + step
        else:
            at += span
        progress(min(at, end), len(rows))
    return [row for row in rows if begin <= row[0] < end]


def _row(line: bytes, width: int) -> Page | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    numbers = isinstance(row, list) and len(row) == width and all(isinstance(cell, (int, float)) for cell in row)
    return tuple(row) if numbers else None
