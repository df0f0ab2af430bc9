"""The trial ledger's two tables: batches of trials, and openings of sealed windows."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from ai_backtrader.evidence import SealedOpening, TrialCount, TrialKey
from ai_backtrader.evidence.ledger import next_opening, trials_digest
from ai_backtrader.learning_db.rows import timestamp, whole
from ai_backtrader.learning_db.store import Store
from ai_backtrader.learning_db.tables import OPENINGS, TRIALS, Value

__all__ = ["open_window", "stored_opening", "stored_trials", "total", "trials_content"]


def trials_content(key: TrialKey, sharpes: ArrayLike, run_id: str, batch: int) -> tuple[Value, ...]:
    """A batch as a row's content."""
    count = TrialCount.of(sharpes)
    mean = None if math.isnan(count.sharpe_mean) else count.sharpe_mean + 0.0
    return (
        key.data_fingerprint, key.family, run_id, whole("batch", batch), trials_digest(sharpes), count.n_trials,
        count.n_measured, mean, count.squares + 0.0,
    )  # fmt: skip


def stored_trials(store: Store, key: TrialKey) -> list[tuple[Any, ...]]:
    """Rows of a key's batches."""
    where = "WHERE data_fingerprint = ? AND family = ?"
    return store.rows(TRIALS.select(where=where), (key.data_fingerprint, key.family))


def total(key: TrialKey, rows: Iterable[tuple[Any, ...]]) -> TrialCount:
    """Count of a key's batches among rows, each batch once."""
    batches = {row[-2]: row for row in rows if row[:2] == (key.data_fingerprint, key.family)}
    return TrialCount.total(
        TrialCount(
            n_trials=row[5], n_measured=row[6], sharpe_mean=math.nan if row[7] is None else row[7], squares=row[8]
        )
        for row in batches.values()
    )


def open_window(connection: sqlite3.Connection, wanted: SealedOpening) -> tuple[SealedOpening, bool]:
    """Record an opening after a look at those before it, inside the caller's transaction; True beside a new one."""
    key = wanted.key
    start, end = timestamp("start", wanted.start), timestamp("end", wanted.end)
    where = 'WHERE data_fingerprint = ? AND family = ? AND start <= ? AND "end" >= ?'
    rows = connection.execute(OPENINGS.select(where=where), (key.data_fingerprint, key.family, end, start))
    earlier = [stored_opening(row) for row in rows]
    opening = next_opening(key, wanted.start, wanted.end, wanted.by, earlier)
    if opening in earlier:
        return opening, False
    content = (key.data_fingerprint, key.family, start, end, opening.by, opening.number, opening.first_opened_by)
    now = timestamp("now", dt.datetime.now(dt.UTC))
    connection.execute(OPENINGS.insert(), OPENINGS.row(content, (now,)))
    return opening, True


def stored_opening(row: tuple[Any, ...]) -> SealedOpening:
    """The opening of a row."""
    return SealedOpening(
        key=TrialKey(row[0], row[1]),
        start=dt.datetime.fromisoformat(row[2]),
        end=dt.datetime.fromisoformat(row[3]),
        by=row[4],
        number=row[5],
        first_opened_by=row[6],
    )
