"""One SQLite file, written by one process: the durable end of the journal."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import struct
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from asfitted.prediction_log.encode import Call
from asfitted.prediction_log.place import (
    beside,
    closed_here,
    journal_path,
    make_folder,
    new_writer,
    rotation_mark,
    sync_folder,
)
from asfitted.prediction_log.record import RECORD_FORMAT
from asfitted.prediction_log.tables import COLUMNS_OF, TABLES, TIME_OF, WRITTEN, Table

Row = tuple[Any, ...]
Rows = Call | Sequence[Row]

# A row alone pays for the whole page that it is written in; thousands of rows pay for
# each page that they fill.
PAGE_BYTES, LARGE_PAGE_BYTES, _MANY_ROWS = 4096, 32768, 1000
_STATEMENTS = 8
# Of six values each, and a dozen in common; SQLite before 3.32 takes 999 in a statement.
_ROWS_AT_ONCE = 1000 if sqlite3.sqlite_version_info >= (3, 32) else 150
FRAME_HEADER_BYTES = 24
WAL_HEADER_BYTES = 32
_WAL_INDEX_VERSION = 3007000
# The write-ahead log is made longer by so much at a time, until SQLite moves it into the
# file, after a thousand pages, and begins it anew.
_WAL_STEP_BYTES, _WAL_ROOM_BYTES = 2**18, 1000 * (PAGE_BYTES + FRAME_HEADER_BYTES)
_BUSY_TIMEOUT_S = 5.0
MAX_BYTES = 256 * 2**20
MAX_AGE_S = 86_400.0
# A reader that stays long makes the WAL grow; when it is gone, the file shrinks again.
_WAL_LIMIT_BYTES = 64 * 2**20

_log = logging.getLogger("asfitted.prediction_log")


def _create(table: Table) -> tuple[str, str]:
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS_OF[table].items())
    time = TIME_OF[table]
    return (
        f"CREATE TABLE {table} ({columns})",
        # For the newest rows and for spans of time; the one index that a write pays for.
        f"CREATE INDEX {table}_{time} ON {table} ({time})",
    )


def insert_into(table: Table, writer: str, common: Sequence[str] = (), n_rows: int = 1) -> str:
    """Return the statement for rows of one writer; SQLite counts them.

    It takes the values of the columns that all rows have in `common`, then the others
    row by row.
    """
    *names, _ = WRITTEN[table]
    given = [name for name in names if name not in (*common, "writer")]
    place = {
        **{name: f"?{number}" for number, name in enumerate(common, 1)},
        **{name: f"column{number}" for number, name in enumerate(given, 1)},
        "writer": f"'{writer}'",
    }
    values = ", ".join(place[name] for name in names)
    rows = ", ".join([f"({', '.join('?' * len(given))})"] * n_rows)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM (VALUES {rows})"


_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    *(statement for table in TABLES for statement in _create(table)),
)


class JournalFile:
    """A new journal in `folder`.

    WAL with ``synchronous=FULL``: a commit that returned is on the disk, and
    readers never wait for the writer. There is one writer per file because
    SQLite before 3.51.3 can lose frames when several restart one WAL.

    Parameters
    ----------
    folder : Path
        Created, for this user only, where it does not exist.
    synced : bool, default True
        Without it a commit is the operating system's when it returns: it survives
        the process, and not a power cut, which may take the newest commits.
    bounded : bool, default False
        Whether the file is due for another at a size or an age: only whole files
        are deleted once they are shipped.
    first_rows : int, default 1
        How many rows the first commit has; large pages suit many.

    Raises
    ------
    OSError, sqlite3.Error
        Nothing is left behind.
    """

    def __init__(
        self, folder: Path, *, synced: bool = True, bounded: bool = False, first_rows: int = 1
    ) -> None:
        make_folder(folder)
        self._page_bytes = LARGE_PAGE_BYTES if first_rows >= _MANY_ROWS else PAGE_BYTES
        self._synced, self._bounded = synced, bounded
        self._opened, self._mark = time.monotonic(), rotation_mark(folder)
        self.writer = new_writer()
        self._one = {table: insert_into(table, self.writer) for table in TABLES}
        self.path = journal_path(folder, self.writer)
        # As a text, and made once: it is looked at before every commit.
        self._wal = str(beside(self.path, "-wal"))
        self.written: dict[Table, int] = dict.fromkeys(TABLES, 0)
        self._inode: int | None = None
        self._room_bytes = 0
        # SQLite would create it for everyone; -wal and -shm take over its mode.
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self.connection: sqlite3.Connection | None = None
        try:
            # The lock is `Journal`'s: whichever thread writes, it is the only one.
            self.connection = sqlite3.connect(
                self.path,
                isolation_level=None,
                check_same_thread=False,
                timeout=_BUSY_TIMEOUT_S,
                # Those of many rows take a megabyte.
                cached_statements=_STATEMENTS,
            )
            self._prepare(self.connection)
            sync_folder(folder)
            self._inode = self._named_inode()
        except BaseException:
            self.abandon()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size = {self._page_bytes}")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError("this file system cannot hold a write-ahead log")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._synced else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        about = {
            "record_format": str(RECORD_FORMAT),
            "writer": self.writer,
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "created_at": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        }
        connection.executemany("INSERT INTO meta VALUES (?, ?)", about.items())
        connection.execute("COMMIT")

    def _named_inode(self) -> int | None:
        try:
            return os.stat(self.path).st_ino
        except OSError:
            return None

    def is_gone(self) -> bool:
        """Whether the file no longer has its name: deleted, moved or replaced."""
        return self._named_inode() != self._inode

    def is_due(self) -> bool:
        """Whether another file should be begun: by size, by age, or because someone asked."""
        if rotation_mark(self.path.parent) != self._mark:
            return True
        if not self._bounded:
            return False
        if time.monotonic() - self._opened > MAX_AGE_S:
            return True
        with contextlib.suppress(OSError):
            return os.stat(self.path).st_size > MAX_BYTES
        return False

    def write(self, calls: Mapping[Table, Sequence[Rows]]) -> None:
        """Make the rows of all calls durable, all or none.

        After an error the file must be given up with `abandon`.

        Raises
        ------
        sqlite3.Error
        """
        connection = self.connection
        assert connection is not None, "a closed journal is not written"
        if self._synced and any(self.written.values()):
            self._make_room()
        connection.execute("BEGIN IMMEDIATE")
        for table, new in calls.items():
            for call in new:
                self._insert(connection, table, call)
        connection.execute("COMMIT")
        for table, new in calls.items():
            self.written[table] += sum(map(len, new))

    def _insert(self, connection: sqlite3.Connection, table: Table, call: Rows) -> None:
        if not (isinstance(call, Call) and len(call) >= _MANY_ROWS):
            connection.executemany(self._one[table], call)
            return
        # What all rows have in common is bound once; and while SQLite is at work on several
        # rows, another thread may be.
        for start in range(0, len(call), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            columns = [values[rows] for values in call.columns.values()]
            statement = insert_into(table, self.writer, list(call.common), len(columns[0]))
            values = chain(call.common.values(), chain.from_iterable(zip(*columns, strict=True)))
            connection.execute(statement, list(values))

    def _make_room(self) -> None:
        """Make the write-ahead log longer before SQLite has to, by zeros.

        A sync that makes a file longer as well takes twice as long as one that does not.
        SQLite passes over what it did not write: no zeros are a frame with its checksum.
        """
        # Where there is no room on the disk, the log grows as it can.
        with contextlib.suppress(OSError):
            size = os.stat(self._wal).st_size
            if not self._room_bytes <= size < _WAL_ROOM_BYTES:
                return
            wal = os.open(self._wal, os.O_WRONLY | os.O_APPEND)
            try:
                # Longer than this, it was SQLite that made it so.
                self._room_bytes = size + _WAL_STEP_BYTES + 1
                if os.write(wal, bytes(_WAL_STEP_BYTES)) == _WAL_STEP_BYTES:
                    os.fsync(wal)
                else:
                    os.ftruncate(wal, size)
            finally:
                os.close(wal)

    def abandon(self) -> None:
        """Close after a failed write, leaving only what was acknowledged.

        Never raises: the write's own error is the one to report.
        """
        connection, self.connection = self.connection, None
        index = None
        try:
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.rollback()
                index = self._cut_wal()
        except (OSError, struct.error):
            _log.exception("%s: rows that nobody was told of may be readable", self.path)
        finally:
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
            if index is not None:
                os.close(index)
            closed_here(self.writer)
            if not any(self.written.values()):
                self._remove()

    def _cut_wal(self) -> int | None:
        """Cut off what a failed commit left behind the last commit that succeeded.

        When the fsync of a commit fails, its frames are in the WAL already: SQLite
        does not count them, but whoever opens the file after a crash would. The
        header of the WAL index (https://sqlite.org/walformat.html, 2.1) says how
        many frames count.

        Returns
        -------
        int or None
            The open descriptor of the index, to be closed after the connection:
            closing it releases this process's POSIX locks on that file.
        """
        try:
            index = os.open(beside(self.path, "-shm"), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            version, frames = struct.unpack("=I12xI", os.read(index, 20))
            if version != _WAL_INDEX_VERSION:
                raise OSError(f"a WAL index of the unknown version {version}")
            end = WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + self._page_bytes)
            wal = os.open(self._wal, os.O_RDWR)
            try:
                if os.fstat(wal).st_size > end:
                    os.ftruncate(wal, end)
                    os.fsync(wal)
            finally:
                os.close(wal)
        except BaseException:
            os.close(index)
            raise
        return index

    def close(self) -> None:
        """Move everything into the one file and close it; a second time does nothing."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            connection.execute("PRAGMA busy_timeout = 200")
            # Out of WAL mode the file needs no other beside it and can be read from
            # a folder or a disk that is read-only.
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            pass  # a reader is there or the disk is full: the WAL keeps the rows as well
        finally:
            connection.close()
            closed_here(self.writer)

    def _remove(self) -> None:
        for ending in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                beside(self.path, ending).unlink()
