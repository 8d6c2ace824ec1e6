"""Open a journal for reading, whatever state its writer left it in."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from asfitted.prediction_log.journal_file import FRAME_HEADER_BYTES, WAL_HEADER_BYTES
from asfitted.prediction_log.place import beside, size_of
from asfitted.prediction_log.record import RECORD_FORMAT
from asfitted.prediction_log.tables import COLUMNS_OF, TIME_OF

_BUSY_TIMEOUT_S = 5.0


class NotReadable(Exception):
    """A file that is called a journal and cannot be read as one; the text says why."""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Give a connection that sees every committed row of the journal at `path`.

    Its writer may be alive, gone, or killed in the middle of anything.

    Yields
    ------
    sqlite3.Connection or None
        None where the writer was killed before its first row.

    Raises
    ------
    NotReadable
        Not a journal, or of a format that this version does not know.
    sqlite3.Error
        Damaged.
    """
    with _connected(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if tables and not {"meta", "predictions", "refusals"} <= tables:
            raise NotReadable("is not a journal of predictions")
        # Not read from the file: closing it would drop the locks of a writer in this process.
        if _is_cut(path, *connection.execute("PRAGMA page_size").fetchone()):
            # SQLite would read the rest of the last page as zeros.
            raise NotReadable("is cut off in the middle of a page")
        if not tables:
            yield None
            return
        about = dict(connection.execute("SELECT name, value FROM meta"))
        number = about.get("record_format", "")
        if number != str(RECORD_FORMAT):
            raise NotReadable(f"holds record format {number or 'unknown'}, not {RECORD_FORMAT}")
        for table in COLUMNS_OF:
            if table not in tables:
                # Written before there was this table: it has none of its rows.
                connection.execute("PRAGMA temp_store = MEMORY")
                names, time = ", ".join(COLUMNS_OF[table]), TIME_OF[table]
                connection.execute(f"CREATE TEMP TABLE {table} ({names})")
                connection.execute(f"CREATE INDEX temp.{table}_{time} ON {table} ({time})")
        yield connection


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    # A rollback journal may be what a kill during `close` left: rolling it back
    # is writing. Otherwise reading must not write to another process's file.
    mode = "rw" if size_of(beside(path, "-journal")) else "ro"
    try:
        connection = _connect(path, f"mode={mode}")
    except sqlite3.OperationalError:
        # SQLite wants to create -shm for a WAL; in a read-only folder it cannot.
        if os.access(path.parent, os.W_OK) or not os.access(path, os.R_OK):
            raise
        if not size_of(beside(path, "-wal")) and mode == "ro":
            connection = _connect(path, "mode=ro&immutable=1")
        else:
            # `immutable` would leave out what only the WAL holds.
            with _copied(path) as copy, closing(_connect(copy, "mode=rw")) as connection:
                yield connection
            return
    with closing(connection):
        yield connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_TIMEOUT_S,
        # An iterator may be made in one thread and read in another.
        check_same_thread=False,
    )
    try:
        # Nothing is opened before the first statement.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_cut(path: Path, page_bytes: int) -> bool:
    """Whether a page is there in part, and its whole not in the write-ahead log either.

    There it is where power was cut while pages were moved from the log into the file:
    the log is kept until all of them are. https://sqlite.org/fileformat2.html#walformat
    """
    whole, rest = divmod(size_of(path), page_bytes)
    if not rest:
        return False
    try:
        wal = beside(path, "-wal").open("rb")
    except FileNotFoundError:
        return True
    with wal:
        salts = wal.read(WAL_HEADER_BYTES)[16:24]
        while frame := wal.read(FRAME_HEADER_BYTES + page_bytes):
            if frame[8:16] != salts:
                return True  # of the log's last round
            if int.from_bytes(frame[:4], "big") == whole + 1:
                return False
    return True


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="asfitted-log-") as folder:
        for ending in ("", "-wal", "-journal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(beside(path, ending), beside(Path(folder) / path.name, ending))
        yield Path(folder) / path.name
