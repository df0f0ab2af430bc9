"""Tables as files that other programs read: CSV, or Parquet with the extra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ai_backtrader.checks import Faults
from ai_backtrader.events import ExperiencesGathered
from ai_backtrader.learning_db.chunks import unpack
from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.frames import frame
from ai_backtrader.learning_db.indicators import name_lists
from ai_backtrader.learning_db.store import Store
from ai_backtrader.learning_db.tables import EXPERIENCES, NAMES, TABLES

__all__ = ["Format", "export_tables"]

Format = Literal["csv", "parquet"]


def export_tables(store: Store, folder: Path, *, format: Format, tables: Iterable[str] | None) -> dict[str, Path]:
    """Write one file a table into ``folder``; of experiences one an agent and feature version.

    Empty tables are left out. Mappings are JSON text; a CSV file writes floats so that they read back exactly.
    """
    # The names stand in the trades' own file.
    chosen = [name for name in TABLES if name != NAMES.name] if tables is None else list(tables)
    faults = Faults("export")
    faults.one_of("format", format, ("csv", "parquet"))
    for name in chosen:
        faults.one_of("tables", name, tuple(TABLES))
    faults.raise_if_any()
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for name in chosen:
        if name == EXPERIENCES.name:
            written |= _export_experiences(store, folder, format)
            continue
        table = TABLES[name]
        rows = store.rows(table.select())
        found = frame(table, rows, name_lists(store.rows(NAMES.select())), parse=False)
        if len(found):
            written[name] = folder / f"{name}.{format}"
            _write_file(written[name], format, [found])
    return written


def _export_experiences(store: Store, folder: Path, format: Format) -> dict[str, Path]:
    written = {}
    kinds = store.rows("SELECT DISTINCT agent, feature_version FROM rl_experiences ORDER BY 1, 2")
    for agent, version in kinds:
        safe = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in f"{agent}-{version}")
        name = f"{EXPERIENCES.name}-{safe}"
        written[name] = folder / f"{name}.{format}"
        _write_file(written[name], format, _chunk_frames(store, agent, version))
    return written


def _chunk_frames(store: Store, agent: str, version: str) -> Iterator[pd.DataFrame]:
    # One chunk at a time: a replay buffer of millions would not fit beside its frame.
    for (number,) in store.rows(
        "SELECT id FROM rl_experiences WHERE agent = ? AND feature_version = ? ORDER BY id", (agent, version)
    ):
        for row in store.rows(EXPERIENCES.select(where="WHERE id = ?"), (number,)):
            yield _flat(unpack([row[: len(EXPERIENCES.content)]], n=row[4]))


def _flat(batch: ExperiencesGathered) -> pd.DataFrame:
    width = batch.states.shape[1]
    columns: dict[str, object] = {"symbol": batch.symbol, "action": batch.actions, "reward": batch.rewards}
    columns |= {"terminated": batch.terminated}
    columns |= {f"state_{i}": np.ascontiguousarray(batch.states[:, i]) for i in range(width)}
    columns |= {f"next_state_{i}": np.ascontiguousarray(batch.next_states[:, i]) for i in range(width)}
    return pd.DataFrame(columns)


def _write_file(path: Path, format: Format, parts: Iterable[pd.DataFrame]) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    write: Callable[[Path, Iterable[pd.DataFrame]], None] = _write_csv if format == "csv" else _write_parquet
    try:
        write(unfinished, parts)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_csv(path: Path, parts: Iterable[pd.DataFrame]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        for number, part in enumerate(parts):
            part.to_csv(file, index=False, header=number == 0)


def _write_parquet(path: Path, parts: Iterable[pd.DataFrame]) -> None:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types
    except ImportError:
        raise LearningDatabaseError("Parquet needs pyarrow: pip install 'ai-backtrader[parquet]'") from None
    writer = None
    try:
        for part in parts:
            table = pa.Table.from_pandas(part, preserve_index=False)
            writer = pq.ParquetWriter(path, table.schema) if writer is None else writer
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
