"""What has been shipped of a folder, kept durably beside its journals.

Losing it is harmless: everything is sent again, and the sink keeps each row once.
What must not happen is that it says more than the sink has, so it is written after
the sink has answered. One process writes it, the one that holds the folder's lock.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asfitted.prediction_log.sinks.protocol import Row
from asfitted.prediction_log.tables import TABLES, Table

FILE_NAME = "shipping.sqlite"

_FORMAT = 0
_BUSY_TIMEOUT_S = 30.0
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS shipped (
    sink TEXT NOT NULL, writer TEXT NOT NULL,
    {", ".join(f"{table} INTEGER NOT NULL DEFAULT 0" for table in TABLES)},
    completed_at INTEGER,  -- when all of a journal that nobody writes was found shipped
    removed_at INTEGER,  -- when the journal was about to be deleted
    PRIMARY KEY (sink, writer)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    sink TEXT NOT NULL, of_table TEXT NOT NULL, writer TEXT NOT NULL, sequence INTEGER NOT NULL,
    reason TEXT NOT NULL, at INTEGER NOT NULL,
    content TEXT NOT NULL,  -- the whole row, a JSON list
    PRIMARY KEY (sink, of_table, writer, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS status (
    sink TEXT PRIMARY KEY, shipped_at INTEGER, failed_at INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,  -- in a row
    error TEXT) WITHOUT ROWID;
PRAGMA user_version = {_FORMAT};
COMMIT;
"""


def now_us() -> int:
    """Return the time as microseconds since 1970 in UTC."""
    return time.time_ns() // 1_000


@contextmanager
def naming_the_file() -> Iterator[None]:
    """Say of an error of SQLite's which file it is about, and what mends one that is damaged."""
    try:
        yield
    except sqlite3.Error as error:
        # What the disk or a lock is to blame for has a type of its own.
        is_damaged = type(error) is sqlite3.DatabaseError
        mend = "; move it away, and what is still in the journals is sent again" * is_damaged
        raise type(error)(f"{FILE_NAME}: {error}{mend}") from error


@dataclass(frozen=True)
class Progress:
    """Of one journal in one sink, and what became of it.

    Attributes
    ----------
    completed_at, removed_at : int or None
    rows : mapping of table to int
        The last sequence number that the sink has.
    """

    completed_at: int | None = None
    removed_at: int | None = None
    rows: Mapping[Table, int] = field(default_factory=dict)

    def last(self, table: Table) -> int:
        """Return the last sequence number of `table` that the sink has."""
        return self.rows.get(table, 0)


@dataclass(frozen=True)
class Status:
    """How the last calls of a sink went; times in microseconds since 1970."""

    shipped_at: int | None = None
    failed_at: int | None = None
    failures: int = 0
    error: str | None = None


class ShippingState:
    """The file `shipping.sqlite` of a folder, as far as it is about one sink.

    Parameters
    ----------
    folder : Path
    sink : str
        Its `public_name`. Another sink begins from the start.
    read_only : bool, default False
        For those who only look; the file must be there.

    Raises
    ------
    sqlite3.Error
    """

    def __init__(self, folder: Path, sink: str, *, read_only: bool = False) -> None:
        self.sink = sink
        path = (folder / FILE_NAME).absolute()
        uri = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S, check_same_thread=False
        )
        try:
            if not read_only:
                path.chmod(0o600)  # quarantined rows hold what callers sent
                with naming_the_file():
                    self._connection.execute("PRAGMA synchronous = FULL")
                    self._connection.execute("PRAGMA secure_delete = ON")
                    # It keeps its room: on a disk that is full of what was not shipped,
                    # progress is noted all the same, and what is shipped then goes.
                    self._connection.execute("PRAGMA journal_mode = PERSIST")
                    self._connection.executescript(_SCHEMA)
                    for table in set(TABLES) - set(self._tables()):
                        # Of an older version, which knew nothing of this table.
                        sql = f"ALTER TABLE shipped ADD COLUMN {table} INTEGER NOT NULL DEFAULT 0"
                        self._connection.execute(sql)
            self._kept = self._tables()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connection.close()

    def progress(self) -> dict[str, Progress]:
        """Return the progress of every journal by its writer."""
        return dict(self._selected("sink = ?", self.sink))

    def progress_of(self, writer: str) -> Progress:
        """Return the progress of one journal."""
        return dict(self._selected("sink = ? AND writer = ?", self.sink, writer)).get(
            writer, Progress()
        )

    def _selected(self, condition: str, *values: str) -> Iterator[tuple[str, Progress]]:
        columns = ", ".join(("writer", "completed_at", "removed_at", *self._kept))
        sql = f"SELECT {columns} FROM shipped WHERE {condition}"
        for writer, completed_at, removed_at, *rows in self._connection.execute(sql, values):
            yield (
                writer,
                Progress(completed_at, removed_at, dict(zip(self._kept, rows, strict=True))),
            )

    def _tables(self) -> list[Table]:
        """Return the tables whose progress the file keeps."""
        names = {row[1] for row in self._connection.execute("PRAGMA table_info(shipped)")}
        return [table for table in TABLES if table in names]

    def save(self, writer: str, table: Table, last: int) -> None:
        """Note that the sink has `table` of `writer` up to `last`."""
        with self._transaction():
            self._connection.execute(
                f"INSERT INTO shipped (sink, writer, {table}) VALUES (?, ?, ?) "
                f"ON CONFLICT DO UPDATE SET {table} = max({table}, excluded.{table}), "
                "completed_at = NULL",
                [self.sink, writer, last],
            )
            self._connection.execute(
                "INSERT INTO status (sink, shipped_at) VALUES (?, ?) ON CONFLICT DO UPDATE "
                "SET shipped_at = excluded.shipped_at, failures = 0, error = NULL",
                [self.sink, now_us()],
            )

    def mark(self, writer: str, what: str, at: int) -> None:
        """Note a journal's ``completed_at`` or ``removed_at``."""
        assert what in {"completed_at", "removed_at"}
        self._connection.execute(
            f"INSERT INTO shipped (sink, writer, {what}) VALUES (?, ?, ?) "
            f"ON CONFLICT DO UPDATE SET {what} = excluded.{what}",
            [self.sink, writer, at],
        )

    def failed(self, error: str) -> None:
        """Note that the sink did not take what it was sent."""
        self._connection.execute(
            "INSERT INTO status (sink, failed_at, failures, error) VALUES (?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET failed_at = excluded.failed_at, "
            "failures = failures + 1, error = excluded.error",
            [self.sink, now_us(), error],
        )

    def status(self) -> Status:
        """Return how the last calls went."""
        sql = "SELECT shipped_at, failed_at, failures, error FROM status WHERE sink = ?"
        row = self._connection.execute(sql, [self.sink]).fetchone()
        return Status(*row) if row else Status()

    def quarantine(self, table: Table, writer: str, sequence: int, row: Row, reason: str) -> None:
        """Keep a row that the sink will never take; the same row again changes nothing."""
        self._connection.execute(
            "INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?)",
            [self.sink, table, writer, sequence, reason, now_us(), json.dumps(row, default=repr)],
        )

    def quarantined(self) -> dict[str, int]:
        """Return how many rows of each writer are in quarantine."""
        sql = "SELECT writer, count(*) FROM quarantine WHERE sink = ? GROUP BY writer"
        return dict(self._connection.execute(sql, [self.sink]))

    def quarantined_rows(self) -> list[tuple[Table, str, int, Row]]:
        """Return the rows in quarantine as (table, writer, sequence, row)."""
        sql = "SELECT of_table, writer, sequence, content FROM quarantine WHERE sink = ?"
        found = self._connection.execute(sql, [self.sink])
        return [(table, w, n, tuple(json.loads(text))) for table, w, n, text in found]

    def release(self, table: Table, writer: str, sequence: int) -> None:
        """Take a row out of quarantine, its bytes too: the sink has it now."""
        # With a journal that is kept, they would stay there.
        self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.execute(
            "DELETE FROM quarantine "
            "WHERE sink = ? AND of_table = ? AND writer = ? AND sequence = ?",
            [self.sink, table, writer, sequence],
        )
        self._connection.execute("PRAGMA journal_mode = PERSIST")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def state_of(folder: Path, sink: str) -> tuple[dict[str, Progress], Status, dict[str, int]]:
    """Return progress, status and quarantined rows by writer, without writing anything."""
    if not (folder / FILE_NAME).exists():
        return {}, Status(), {}
    with naming_the_file(), closing(ShippingState(folder, sink, read_only=True)) as state:
        return state.progress(), state.status(), state.quarantined()
