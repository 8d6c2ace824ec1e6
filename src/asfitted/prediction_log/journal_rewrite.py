"""Take rows out of a journal that nobody writes any more, so that SQLite forgets them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.opening import opened
from asfitted.prediction_log.place import request_rotation
from asfitted.prediction_log.shipping_journals import is_final
from asfitted.prediction_log.sinks.protocol import Row
from asfitted.prediction_log.tables import TABLES, Table

Change = Callable[[Row], Row | None]

_POLL_S = 0.1
_BUSY_TIMEOUT_S = 30.0


def rewrite_journal(path: Path, changes: Iterable[tuple[Table, str, list[Any], Change]]) -> int:
    """Replace rows by what a change makes of them, as `Sink.rewrite` does; return how many.

    Nothing of what was there is in the file, or beside it, afterwards.

    Parameters
    ----------
    path : Path
        Of a journal that is final: its writer was the only one, and now this is.
    changes : iterable of (table, condition, parameters, change)

    Raises
    ------
    sqlite3.Error
        Each table is as it was or as it shall be.
    """
    changed = 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)) as file:
        file.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        file.execute("PRAGMA secure_delete = ON")
        file.execute("PRAGMA synchronous = FULL")
        there = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
        for table, condition, parameters, change in changes:
            if table in there:
                changed += _rewrite(file, table, condition, parameters, change)
        # Also where a run before this one was killed: its WAL may hold what was changed.
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.execute("PRAGMA journal_mode = DELETE")
        if changed:
            file.execute("VACUUM")
    return changed


def _rewrite(
    file: sqlite3.Connection, table: Table, condition: str, parameters: list[Any], change: Change
) -> int:
    names = TABLES[table]
    at = names.index("sequence")
    updates, deletes = [], []
    file.execute("BEGIN IMMEDIATE")
    for row in file.execute(
        f"SELECT {', '.join(names)} FROM {table} WHERE {condition}", parameters
    ):
        new = change(row)
        if new is None:
            deletes.append((row[at],))
        elif new != row:
            updates.append((*new, row[at]))
    file.executemany(
        f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in names)} WHERE sequence = ?",
        updates,
    )
    file.executemany(f"DELETE FROM {table} WHERE sequence = ?", deletes)
    file.execute("COMMIT")
    return len(updates) + len(deletes)


def wait_until_final(folder: Path, paths: Iterable[Path], wait_s: float) -> None:
    """Let the writers of these journals begin others, and return when they have.

    Raises
    ------
    StoreUnavailable
        Where a writer does not within `wait_s`; it is named.
    """
    live = [path for path in paths if not is_final(path)]
    if live:
        request_rotation(folder)
    end = time.monotonic() + wait_s
    while live and time.monotonic() < end:
        time.sleep(_POLL_S)
        live = [path for path in live if path.exists() and not is_final(path)]
    if live:
        writers = ", ".join(map(_writer, live))
        raise StoreUnavailable(
            f"a journal that holds such rows is being written by {writers}",
            str(live[0]),
            "nothing was removed; let that process make one more record or end, and try again",
        )


def _writer(path: Path) -> str:
    with opened(path) as connection:
        if connection is None:
            return "a process that has just begun"
        about = dict(connection.execute("SELECT name, value FROM meta"))
    return f"process {about.get('pid', '?')} on {about.get('host', '?')}"
