"""Opening the file: ours or refused, whole or moved aside, migrated, with the settings that writing safely needs."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.migrations import APPLICATION_ID, MARK, MIGRATIONS, migrate
from ai_backtrader.learning_db.tables import TABLES

__all__ = ["BUSY_SECONDS", "open_reading", "open_writing"]

log = logging.getLogger("ai_backtrader")

BUSY_SECONDS = 60.0  # eight writers that each wait for their turn; a lock held longer is a fault worth an error

# Of new files. Chunks pass a tenth faster than by pages of 4096 bytes; larger pages gain little more, and a commit of a
# few rows writes whole pages.
_PAGE_BYTES = 8192
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def open_writing(path: Path, *, strict: bool) -> sqlite3.Connection:
    """Connection that reads and writes; the file is made, or migrated, or moved aside and made, as need be.

    Every commit is on the disk when it returns (``synchronous=FULL`` on the connection): writes come in batches, so
    that this costs one flush of the disk a batch, and no table is less safe than another.

    Raises
    ------
    LearningDatabaseError
        If the folder is missing, the file cannot be written, is not ours, or newer than this code; with ``strict`` also
        if it is damaged.
    """
    _check_place(path)
    try:
        return _connect(path)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if _code(error) not in _DAMAGED:
            raise _told(path, error) from error
        _refuse_unless_ours(path, error)
        if strict:
            raise LearningDatabaseError(
                f"{path}: damaged ({error}). Move it away, or open it without strict=True to have that done"
            ) from error
        aside = _move_aside(path)
        log.warning("%s is damaged (%s): moved to %s, a new database takes its place", path, error, aside.name)
        try:
            return _connect(path)
        except sqlite3.Error as again:
            raise _told(path, again) from again


def open_reading(path: Path) -> sqlite3.Connection:
    """Connection that only reads: it changes nothing, not even the schema.

    Raises
    ------
    LearningDatabaseError
        If the file is missing, damaged, not ours, or of another schema.
    """
    if not path.is_file():
        raise LearningDatabaseError(f"{path}: no such file. Reading makes no new database; check the path")
    try:
        connection = _connect_reading(path)
        try:
            if _is_new(connection):
                raise LearningDatabaseError(f"{path}: empty. Nothing was recorded in it")
            _check_ours(connection, path)
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version != len(MIGRATIONS):
                newer = version > len(MIGRATIONS)
                mend = "Update ai-backtrader" if newer else "Open it once for writing, and it is migrated"
                raise LearningDatabaseError(
                    f"{path}: written by {'a newer' if newer else 'an older'} ai-backtrader (schema {version}, here "
                    f"{len(MIGRATIONS)}). {mend}"
                )
        except BaseException:
            connection.close()
            raise
        return connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _told(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    # The switch to WAL answers "locked" at once where another process is making it: that one needs a loop.
    until = time.monotonic() + BUSY_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
            return connection
        except BaseException as error:
            connection.close()
            busy = isinstance(error, sqlite3.OperationalError) and _code(error) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    new = _is_new(connection)
    if not new:
        _check_ours(connection, path)
    else:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for version, backup in migrate(connection, path):
        if backup is not None:
            log.info("%s: schema brought to %d; the file as it was is %s", path, version, backup.name)
    # A file that cannot be written says so now, and not after hours of a run.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    if new:
        return
    for table in TABLES.values():
        for order in ("id", "id DESC"):
            connection.execute(table.select(order=f"{order} LIMIT 1")).fetchall()


def _connect_reading(path: Path) -> sqlite3.Connection:
    place = f"file:{quote(str(path.resolve()))}"
    with suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(
            f"{place}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except BaseException:
            connection.close()
            raise
    # In a folder that cannot be written WAL has no place for its index; without a log the file is all there is.
    if path.with_name(f"{path.name}-wal").exists():
        raise LearningDatabaseError(f"{path}: cannot be read here, its write-ahead log needs a folder to write to")
    return sqlite3.connect(f"{place}?immutable=1", uri=True, isolation_level=None, check_same_thread=False)


def _is_new(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        marked = connection.execute("SELECT 1 FROM sqlite_master WHERE instr(sql, ?)", (MARK,)).fetchone()
        if marked is None:
            raise LearningDatabaseError(f"{path}: an SQLite file of another program. Use another path")


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise LearningDatabaseError(f"{path}: a folder. Name a file in it")
    if not path.parent.is_dir():
        raise LearningDatabaseError(f"{path}: the folder {path.parent} does not exist. Make it first")


def _refuse_unless_ours(path: Path, error: Exception) -> None:
    # No connection of a healthy kind can be open on such a file, so reading it beside SQLite breaks no lock.
    with path.open("rb") as file:
        head = file.read(1 << 20)
    if MARK.encode() not in head and head[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        raise LearningDatabaseError(f"{path}: {error}, and not a learning database that broke. Use another path")


def _move_aside(path: Path) -> Path:
    for number in count(1):
        aside = path.with_name(f"{path.name}.corrupt-{number}")
        try:
            os.link(path, aside)  # unlike a rename, it never replaces what is there
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if aside.exists():
                continue
            path.rename(aside)
        else:
            path.unlink()
        for ending in ("-wal", "-shm"):
            companion = path.with_name(path.name + ending)
            if companion.exists():
                companion.rename(f"{aside}{ending}")
        return aside
    raise AssertionError("numbers do not end")


def _code(error: Exception) -> int:
    if isinstance(error, UnicodeDecodeError):  # the driver choked on a broken text while it told of the damage
        return sqlite3.SQLITE_CORRUPT
    # The low byte is the kind; the rest says where it was met.
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _told(path: Path, error: Exception) -> LearningDatabaseError:
    mends = {
        sqlite3.SQLITE_READONLY: "It cannot be written: check its rights and those of its folder, or open it with "
        "read_only=True",
        sqlite3.SQLITE_CANTOPEN: "Check the rights of the file and of its folder",
        sqlite3.SQLITE_FULL: "Make room on the disk",
        sqlite3.SQLITE_BUSY: f"Another process has held its lock for {BUSY_SECONDS:.0f} s",
        sqlite3.SQLITE_NOTADB: "It is no database; use another path",
        sqlite3.SQLITE_CORRUPT: "It is damaged; open it for writing to have it moved aside",
    }
    return LearningDatabaseError(f"{path}: {error}. {mends.get(_code(error), 'It cannot be used')}")
