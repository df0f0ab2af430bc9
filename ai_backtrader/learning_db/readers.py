"""What was recorded, as frames, events and batches."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_backtrader.checks import Faults
from ai_backtrader.events import ExperiencesGathered, ParametersOptimized, TradeClosed
from ai_backtrader.learning_db.chunks import unpack
from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.handle import Handle
from ai_backtrader.learning_db.indicators import NameLists, name_lists
from ai_backtrader.learning_db.rows import decode, timestamp
from ai_backtrader.learning_db.tables import ANSWERS, EXPERIENCES, NAMES, TABLES, Value
from ai_backtrader.learning_db.writer import FAILURES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Readers", "RecordedAnswer"]


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """An answer of a model server, as it was recorded.

    Attributes
    ----------
    key
        Hash of all that the answer depends on.
    model, model_digest
        Which model, and the digest of its weights.
    request, reply
        As they were sent, JSON text.
    status
        Of HTTP.
    seconds
        That the answer took.
    """

    key: str
    model: str
    model_digest: str
    request: str
    reply: str
    status: int
    seconds: float


def _where(
    time: str | None, as_of: dt.datetime | np.datetime64 | None, **equal: str | None
) -> tuple[str, tuple[Value, ...]]:
    conditions = {f'"{name}" = ?': value for name, value in equal.items() if value is not None}
    if as_of is not None:
        conditions[f'"{time}" <= ?'] = str(timestamp("as_of", as_of))
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", tuple(conditions.values())


class Readers(Handle):
    """The readers of a learning database; each reads also what is not written yet."""

    def trades(
        self,
        as_of: dt.datetime | np.datetime64 | None = None,
        symbol: str | None = None,
        strategy_id: str | None = None,
    ) -> pd.DataFrame:
        """Closed trades, by closing time.

        Parameters
        ----------
        as_of
            Only those closed at this time or before, which is what a backtest may know at that bar; those without a
            closing time are then left out. None for all.
        symbol, strategy_id
            Only theirs.

        Raises
        ------
        LearningDatabaseError
            If the file cannot be read.
        """
        return self._frame("trades", as_of, symbol=symbol, strategy_id=strategy_id)

    def trade_events(
        self,
        as_of: dt.datetime | np.datetime64 | None = None,
        symbol: str | None = None,
        strategy_id: str | None = None,
    ) -> list[TradeClosed]:
        """Closed trades as they were recorded: what a system that is started again learns from. See :meth:`trades`."""
        table = TABLES["trades"]
        rows = self._rows("trades", as_of, symbol=symbol, strategy_id=strategy_id)
        names = self._name_lists()
        try:
            return [decode("trades", row[: len(table.content)], names) for row in rows]
        except LearningDatabaseError as error:
            raise LearningDatabaseError(f"{self.path}: {error}") from error

    def strategy_performance(
        self, as_of: dt.datetime | np.datetime64 | None = None, strategy_id: str | None = None
    ) -> pd.DataFrame:
        """Measurements of strategies, by time."""
        return self._frame("strategy_performance", as_of, strategy_id=strategy_id)

    def optimization_results(
        self, as_of: dt.datetime | np.datetime64 | None = None, symbol: str | None = None
    ) -> pd.DataFrame:
        """Parameter searches, by the time of the last bar they saw."""
        return self._frame("optimization_results", as_of, symbol=symbol)

    def evolved_strategies(
        self, as_of: dt.datetime | np.datetime64 | None = None, symbol: str | None = None
    ) -> pd.DataFrame:
        """Champions of evolutions, by the time of the last bar they saw."""
        return self._frame("evolved_strategies", as_of, symbol=symbol)

    def regime_transitions(
        self, as_of: dt.datetime | np.datetime64 | None = None, symbol: str | None = None
    ) -> pd.DataFrame:
        """Changes of regime, by time."""
        return self._frame("regime_transitions", as_of, symbol=symbol)

    def runs(self) -> pd.DataFrame:
        """Runs, in the order in which they were first started."""
        return self._frame("runs", None)

    def experiences(
        self,
        *,
        agent: str,
        feature_version: str,
        limit: int | None = None,
        as_of: dt.datetime | np.datetime64 | None = None,
        symbol: str | None = None,
    ) -> ExperiencesGathered | None:
        """Transitions of an agent, oldest first, in one batch; None without any.

        Parameters
        ----------
        agent, feature_version
            Whose; states of another feature version are never mixed in.
        limit
            The newest so many; None for all.
        as_of
            Only batches whose last transition was at this time or before; those without a time are then left out.
        symbol
            Only of this one. Otherwise the batch names all its symbols, with commas.

        Raises
        ------
        LearningDatabaseError
            If the file cannot be read, or a chunk is not what was written.
        """
        faults = Faults("experiences")
        if limit is not None:
            faults.whole("limit", limit, low=1)
        faults.raise_if_any()
        where, values = _where(EXPERIENCES.time, as_of, agent=agent, feature_version=feature_version, symbol=symbol)
        self._read_first()
        try:
            with self._store.snapshot() as connection:
                return self._unpacked(connection, where, values, limit)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def optimization(self, key: str) -> ParametersOptimized | None:
        """The search with exactly this key, if it was ever made; None also where the file fails."""
        row = self._one("optimization_results", key)
        found: ParametersOptimized | None = None if row is None else decode("optimization_results", row[:-3], {})
        return found

    def answer(self, key: str) -> RecordedAnswer | None:
        """The answer that was recorded under this key; None also where the file fails."""
        row = self._one(ANSWERS.name, key)
        if row is None:
            return None
        names = (*ANSWERS.content, ANSWERS.beside[0])
        fields = dict(zip(names, row[: len(names)], strict=True))
        fields["seconds"] = math.nan if fields["seconds"] is None else fields["seconds"]
        return RecordedAnswer(**fields)

    def _rows(self, name: str, as_of: dt.datetime | np.datetime64 | None, **equal: str | None) -> list[tuple[Any, ...]]:
        table = TABLES[name]
        where, values = _where(table.time, as_of, **equal)
        order = "id" if table.time is None else f'"{table.time}", id'
        self._read_first()
        return self._query(table.select(where=where, order=order), values)

    def _frame(self, name: str, as_of: dt.datetime | np.datetime64 | None, **equal: str | None) -> pd.DataFrame:
        from ai_backtrader.learning_db.frames import frame  # pandas: writers never open it

        rows = self._rows(name, as_of, **equal)
        names = self._name_lists() if name == "trades" else {}
        try:
            return frame(TABLES[name], rows, names)
        except LearningDatabaseError as error:
            raise LearningDatabaseError(f"{self.path}: {error}") from error

    def _name_lists(self) -> NameLists:
        # Read after the trades: no list ever goes, so none of theirs can be missing.
        return name_lists(self._query(NAMES.select()))

    def _unpacked(
        self, connection: sqlite3.Connection, where: str, values: tuple[Value, ...], limit: int | None
    ) -> ExperiencesGathered | None:
        sizes = connection.execute(f"SELECT id, n_rows FROM rl_experiences {where} ORDER BY id DESC", values)  # noqa: S608  # our own names
        n, first = 0, None
        for number, rows in sizes:
            n, first = n + rows, number
            if limit is not None and n >= limit:
                break
        if first is None:
            return None

        def chunks() -> Iterator[tuple[Any, ...]]:
            wanted = f"{where} AND id >= ?"
            for row in connection.execute(EXPERIENCES.select(where=wanted), (*values, first)):
                if not EXPERIENCES.checksum_holds(row):
                    raise LearningDatabaseError(
                        f"{self.path}: a chunk of experiences is damaged. Run `ai-backtrader db verify`"
                    )
                yield row[: len(EXPERIENCES.content)]

        return unpack(chunks(), n=n, limit=limit)

    def _one(self, name: str, key: str) -> tuple[Any, ...] | None:
        self._check_open(writing=False)
        pending = self._writer.pending(name).get(key)
        if pending is not None:
            return pending
        sql = TABLES[name].select(where="WHERE key = ?")
        rows: list[tuple[Any, ...]] = self._writer.guarded(lambda: self._store.rows(sql, (key,)), [])
        sound = [row for row in rows if TABLES[name].sound(row)]
        return sound[0] if sound else None
