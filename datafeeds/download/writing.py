"""The file of bars: the same bytes for the same bars, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from pathlib import Path

import pandas as pd

__all__ = ["packed_csv", "write_whole"]


def packed_csv(bars: pd.DataFrame) -> bytes:
    """Gzip CSV of bars: no clock and no file name in it, numbers by the shortest text that reads back the same."""
    text = bars.to_csv(index_label="datetime", lineterminator="\n")
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0, compresslevel=6) as file:
        file.write(text.encode("ascii"))
    return out.getvalue()


def write_whole(path: Path, content: bytes) -> str:
    """Write beside the place, then move there in one step; gives the SHA-256 of the content.

    A reader, and whoever comes after a crash, finds the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return hashlib.sha256(content).hexdigest()
