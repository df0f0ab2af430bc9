"""A seal on the whole file: what every byte was when the last writer left it.

Checksums of rows and SQLite's own check pass over room that nothing uses, where a flipped byte does no harm: with the
seal it is noticed too, as the sign of a failing disk that it is. The seal lies in a field of fixed length, written in
place, and covers the file as it is with that field empty. Triggers break it, whoever writes a row.
"""

from __future__ import annotations

import sqlite3
import zlib

__all__ = ["break_seal", "guard", "make_seal", "put_seal", "seal_problem"]

_NONE = bytes(16)
_MARK = b"sealed: "
_MOST_BYTES = 64 << 20  # sealing takes the file through memory; row checksums cover nearly all of a larger one

# In the file's header: a counter of the writes to its first page, and its copy.
_COUNTER, _COPY = slice(24, 28), slice(92, 96)


def make_seal(connection: sqlite3.Connection) -> None:
    """The field, empty, and what empties it when a row of any table there is is written."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    connection.execute("CREATE TABLE seal (id INTEGER PRIMARY KEY, state BLOB NOT NULL)")
    connection.execute("INSERT INTO seal (id, state) VALUES (1, ?)", (_NONE,))
    for (table,) in tables:
        guard(connection, table)


def guard(connection: sqlite3.Connection, table: str) -> None:
    """What empties the field when a row of a table is written."""
    none = f"x'{_NONE.hex()}'"
    for change in ("insert", "update", "delete"):
        connection.execute(
            f'CREATE TRIGGER "{table}_{change}" AFTER {change} ON "{table}" '  # noqa: S608  # our own names
            f"WHEN (SELECT state FROM seal) <> {none} BEGIN UPDATE seal SET state = {none}; END"
        )


def break_seal(connection: sqlite3.Connection) -> None:
    """Empty the field; inside a transaction."""
    connection.execute("UPDATE seal SET state = ?", (_NONE,))


def put_seal(connection: sqlite3.Connection) -> None:
    """Seal the file as it is, unless it is sealed or large; inside a transaction that holds the write lock."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    (state,) = connection.execute("SELECT state FROM seal").fetchone()
    if state != _NONE or pages * size > _MOST_BYTES:
        return
    image = connection.serialize()
    with connection.blobopen("seal", "state", 1) as field:  # in place: nothing else of the file changes
        field.write(_MARK + zlib.crc32(image).to_bytes(4, "big") + image[_COUNTER])


def seal_problem(connection: sqlite3.Connection) -> str | None:
    """What the seal tells of the file; None where all is well, or there is no seal, or another program wrote."""
    (state,) = connection.execute("SELECT state FROM seal").fetchone()
    if state == _NONE:
        return None
    image = bytearray(connection.serialize())
    if image[_COUNTER] != state[12:] and image[_COUNTER] == image[_COPY]:
        return None
    place = image.rfind(state)  # the field itself lies highest
    if state.startswith(_MARK) and place >= 0:
        image[place : place + len(_NONE)] = _NONE
        if zlib.crc32(image).to_bytes(4, "big") == state[8:12] and image[_COUNTER] == image[_COPY]:
            return None
    return "a byte outside the rows is not what it was when the file was last closed"
