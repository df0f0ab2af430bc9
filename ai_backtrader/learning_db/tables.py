"""The tables as values: their columns, what names a row, and what proves that it is whole.

Two figures stand in every row. ``row_key`` is a digest of the row's content: the same event recorded twice is one row.
``checksum`` covers every column, the key too: a byte that flips on the disk is noticed by
:meth:`~ai_backtrader.learning_db.LearningDatabase.verify`.

Columns that a clock or the run wrote (``run_id`` of events, ``started_at``, ``seconds``) are no content: two equal runs
leave equal keys behind.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ANSWERS", "EXPERIENCES", "NAMES", "OPENINGS", "RUNS", "TABLES", "TRIALS", "Table", "Value"]

Value = str | int | float | bytes | None

_KEY_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    Attributes
    ----------
    name
        Of the table.
    content
        Columns that make up the row's key.
    beside
        Columns that do not.
    unique
        Columns of which the last row written stands; empty where every content is a row of its own.
    time
        Column with the time at which the row was known, for as-of queries; None where there is no such time.
    payload
        Column with bulk bytes, hashed as they are; None without.
    """

    name: str
    content: tuple[str, ...]
    beside: tuple[str, ...] = ("run_id",)
    unique: tuple[str, ...] = ()
    time: str | None = None
    payload: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that a row is written with."""
        return (*self.content, *self.beside, "row_key", "checksum")

    def row(self, content: Sequence[Value], beside: Sequence[Value]) -> tuple[Value, ...]:
        """A whole row from its content and what stands beside it."""
        head, bulk = self._split(content)
        key = _key(head, bulk)
        return (*content, *beside, key, _checksum(head, bulk, beside, key))

    def sound(self, row: Sequence[Value]) -> bool:
        """Whether a stored row (``columns``, in order) is what was written."""
        return row[-2] == _key(*self._split(row[: len(self.content)])) and self.checksum_holds(row)

    def checksum_holds(self, row: Sequence[Value]) -> bool:
        """Whether the checksum alone holds: three times as fast as :meth:`sound` on bulk bytes."""
        content, beside = row[: len(self.content)], row[len(self.content) : -2]
        return row[-1] == _checksum(*self._split(content), beside, row[-2])

    def _split(self, content: Sequence[Value]) -> tuple[bytes, bytes]:
        # Text of the small columns, and the bulk bytes.
        if self.payload is None:
            return _text([self.name, *content]), b""
        place = self.content.index(self.payload)
        bulk = content[place]
        # A column that should hold bytes and does not is damage, and must give another figure rather than an error.
        whole = bulk if isinstance(bulk, bytes) else b""
        return _text([self.name, *content[:place], *content[place + 1 :]]), whole

    def insert(self, *, replace: bool = True) -> str:
        """SQL that writes a row: nothing happens where it stands already; of ``unique`` columns the new one stands.

        Parameters
        ----------
        replace
            False: of ``unique`` columns the old one stands.
        """
        names = ", ".join(f'"{name}"' for name in self.columns)
        marks = ", ".join("?" * len(self.columns))
        sql = f'INSERT INTO "{self.name}" ({names}) VALUES ({marks}) ON CONFLICT'  # noqa: S608  # our own names
        if not (replace and self.unique):
            return f"{sql} DO NOTHING"
        place = ", ".join(f'"{name}"' for name in self.unique)
        new = ", ".join(f'"{name}" = excluded."{name}"' for name in self.columns)
        return f"{sql} (row_key) DO NOTHING ON CONFLICT ({place}) DO UPDATE SET {new}"

    def select(self, *, where: str = "", order: str = "id") -> str:
        """SQL that reads rows as they were written."""
        names = ", ".join(f'"{name}"' for name in self.columns)
        return f'SELECT {names} FROM "{self.name}" {where} ORDER BY {order}'  # noqa: S608  # our own names


def _key(head: bytes, bulk: bytes) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(bulk)
    return digest.digest()[:_KEY_BYTES]


def _checksum(head: bytes, bulk: bytes, beside: Sequence[Value], key: Value) -> int:
    return zlib.crc32(_text([*beside, key]), zlib.crc32(bulk, zlib.crc32(head)))


def _text(values: Sequence[Value]) -> bytes:
    # The same on every machine and Python, and twice as fast as JSON. Lengths first: no text can look like two.
    parts = [
        value if type(value) is str else f"\0{value.hex()}" if type(value) is float else _plain(value)
        for value in values
    ]
    return f"{[*map(len, parts)]}{''.join(parts)}".encode()


def _plain(value: Value) -> str:
    # Marked by kind: None is not the text "None". Hexadecimal floats are exact, and faster than decimal ones.
    return f"\0{value.hex()}" if isinstance(value, bytes) else f"\0{value!r}"


RUNS = Table(
    name="runs",
    content=("run_id", "kind", "seed", "settings", "data", "code", "versions", "status", "figures"),
    beside=("started_at", "finished_at"),
    unique=("run_id",),
)
TRIALS = Table(
    name="trials",
    content=(
        "data_fingerprint", "family", "run_id", "batch", "content", "n_trials", "n_measured", "sharpe_mean", "squares",
    ),
    beside=(),
)  # fmt: skip
OPENINGS = Table(
    name="sealed_openings",
    content=("data_fingerprint", "family", "start", "end", "opened_by", "number", "first_opened_by"),
    beside=("opened_at",),
    unique=("data_fingerprint", "family", "start", "end", "opened_by"),
)
ANSWERS = Table(
    name="llm_answers",
    content=("key", "model", "model_digest", "request", "reply", "status"),
    beside=("seconds", "run_id"),
    unique=("key",),
)
EXPERIENCES = Table(
    name="rl_experiences",
    content=("agent", "feature_version", "symbol", "at", "n_rows", "n_features", "n_jumps", "payload"),
    time="at",
    payload="payload",
)
NAMES = Table(name="indicator_names", content=("names",), beside=())
TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            name="trades",
            content=(
                "symbol", "strategy_id", "direction", "opened_at", "closed_at", "entry_price", "exit_price", "size",
                "leverage", "pnl", "pnl_pct", "commission", "funding", "hold_bars", "hold_duration_mins", "regime",
                "liquidated", "paper", "indicators_at_entry",
            ),
            time="closed_at",
        ),
        Table(
            name="strategy_performance",
            content=("symbol", "strategy_id", "at", "regime", "sample", "figures"),
            time="at",
        ),
        Table(
            name="optimization_results",
            content=(
                "key", "symbol", "timeframe", "strategy", "regime", "parameters", "score", "n_trials", "seed",
                "result", "at",
            ),
            unique=("key",),
            time="at",
        ),
        Table(
            name="evolved_strategies",
            content=(
                "fingerprint", "chromosome", "symbol", "data_fingerprint", "fitness", "passed", "proven", "regime",
                "figures", "generation", "seed", "at",
            ),
            time="at",
        ),
        Table(name="regime_transitions", content=("symbol", "at", "before", "after", "high_volatility"), time="at"),
        EXPERIENCES, RUNS, TRIALS, OPENINGS, ANSWERS, NAMES,
    )
}  # fmt: skip
