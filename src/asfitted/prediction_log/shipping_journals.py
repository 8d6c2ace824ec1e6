"""The shipper's view of a journal: rows by sequence, and whether anyone may still write it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from asfitted.prediction_log.opening import NotReadable, opened
from asfitted.prediction_log.place import SUFFIX, beside, made_here
from asfitted.prediction_log.sinks.protocol import Row
from asfitted.prediction_log.tables import (
    COLUMNS_OF,
    JSON_COLUMNS,
    TABLES,
    Table,
    is_integer,
    may_be_null,
)

# Where SQLite locks a database file for readers; https://sqlite.org/fileformat2.html
# and os.h: they never change, since old and new versions share files.
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
_TICK_NS = 2_000_000_000
_MAX_SEQUENCE = 2**63 - 1

READ_ERRORS = (NotReadable, sqlite3.Error, OSError)


def writer_of(path: Path) -> str:
    """Return the writer that a journal's name names."""
    return path.name.removeprefix("journal-").removesuffix(SUFFIX)


def process_of(path: Path) -> str:
    """Return host and process id of a journal's writer, as its name says.

    Examples
    --------
    >>> process_of(Path("journal-20261128T061214578683-vm-1-11624-204bb28c.sqlite"))
    'vm-1-11624'
    """
    return writer_of(path).partition("-")[2].rpartition("-")[0]


def next_rows(
    path: Path, table: Table, after: int, max_rows: int, max_bytes: int, *, up_to: int | None = None
) -> tuple[list[Row], Exception | None]:
    """Return the rows of `table` after a sequence number, up to another, in order.

    The file is open only here, never while a sink is waited for: a reader that stays
    keeps the writer's WAL from being used again.

    Returns
    -------
    rows : list of tuple
        At most `max_rows`, and no more after `max_bytes` of text; at least one where
        there is one.
    error : Exception or None
        What kept the rows behind them from being read.
    """
    columns = ", ".join(TABLES[table])
    sql = (
        f"SELECT {columns} FROM {table} WHERE sequence > ? AND sequence <= ? "
        "ORDER BY sequence LIMIT ?"
    )
    last = up_to if up_to is not None else _MAX_SEQUENCE
    rows: list[Row] = []
    size = 0
    try:
        with opened(path) as connection:
            if connection is None:
                return [], None
            # A byte that is no UTF-8 is one row's damage, not the whole file's.
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            for row in connection.execute(sql, [after, last, max_rows]):
                rows.append(row)
                size += sum(len(value) for value in row if isinstance(value, str))
                if size >= max_bytes:
                    break
    except READ_ERRORS as error:
        return rows, error
    return rows, None


def damage(table: Table, row: Row) -> str | None:
    """Return why a row is none that a journal's writer wrote, or None."""
    for (name, kind), value in zip(COLUMNS_OF[table].items(), row, strict=True):
        wanted: Callable[[object], bool] = _is_integer if is_integer(kind) else _is_text
        if not wanted(value) and not (value is None and may_be_null(kind)):
            return f"the column {name} is damaged"
        if name in JSON_COLUMNS:
            try:
                json.loads(value)
            except ValueError:
                return f"the column {name} is damaged"
    return None


def _is_integer(value: object) -> bool:
    return type(value) is int


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def ends(path: Path) -> dict[Table, int] | None:
    """Return the last sequence number of each table; None where nothing was written yet.

    Raises
    ------
    NotReadable, sqlite3.Error, OSError
    """
    with opened(path) as connection:
        if connection is None:
            return None
        return {
            table: connection.execute(f"SELECT coalesce(max(sequence), 0) FROM {table}").fetchone()[
                0
            ]
            for table in TABLES
        }


def is_final(path: Path) -> bool:
    """Whether nobody will write this journal any more; False where that is not known.

    A closed journal has left WAL mode and is never opened again. One whose writer was
    killed is in WAL mode, and no process holds the lock that an open WAL database
    keeps. A process id would say less: containers that share a folder share those.

    Raises
    ------
    NotReadable, sqlite3.Error, OSError
    """
    with opened(path) as connection:
        if connection is None:
            return False
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        return True
    # Closing a file drops all locks that this process has on it, the journal's too.
    return not made_here(writer_of(path)) and not _is_locked(path)


def _is_locked(path: Path) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def look(path: Path) -> tuple[int, ...]:
    """Return what changes when a journal is written: inodes, sizes and times of its files.

    Nothing for a journal that was written a moment ago: the clock of a file system
    ticks in milliseconds, and the next write may look as this one.
    """
    found: tuple[int, ...] = ()
    for each in (path, beside(path, "-wal")):
        with contextlib.suppress(FileNotFoundError):
            stat = each.stat()
            if abs(time.time_ns() - stat.st_mtime_ns) < _TICK_NS:
                return ()
            found += (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def remove(path: Path) -> None:
    """Delete a journal and what SQLite keeps beside it; a second time does nothing.

    The file itself first: without its WAL it could look damaged, and its WAL alone
    is nothing that anyone reads.
    """
    for ending in ("", "-wal", "-shm", "-journal"):
        beside(path, ending).unlink(missing_ok=True)
