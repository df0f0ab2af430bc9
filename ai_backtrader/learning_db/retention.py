"""What is kept of the experiences: the newest, in whole chunks."""

from __future__ import annotations

import sqlite3

__all__ = ["prune_experiences", "surplus_chunks"]


def surplus_chunks(connection: sqlite3.Connection, keep: int) -> list[int]:
    """Ids of the chunks that may go so that at least ``keep`` newest transitions stay of each agent and version."""
    newer: dict[tuple[str, str], int] = {}
    surplus = []
    chunks = connection.execute("SELECT id, agent, feature_version, n_rows FROM rl_experiences ORDER BY id DESC")
    for number, agent, version, rows in chunks:
        have = newer.get((agent, version), 0)
        if have >= keep:
            surplus.append(number)
        newer[agent, version] = have + rows
    return surplus


def prune_experiences(connection: sqlite3.Connection, keep: int) -> int:
    """Delete the chunks beyond the newest ``keep`` transitions; returns how many. Inside the caller's transaction."""
    surplus = surplus_chunks(connection, keep)
    connection.executemany("DELETE FROM rl_experiences WHERE id = ?", ((number,) for number in surplus))
    return len(surplus)
