"""What the commands print: JSON on stdout, bars of progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

__all__ = ["print_json", "progress_bar"]


@contextmanager
def progress_bar(title: str, total: int, *, show: bool) -> Iterator[Any]:
    """A bar on stderr in a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("bars"), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def print_json(value: object) -> None:
    """One JSON value; NaN and infinity are refused, not written."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
