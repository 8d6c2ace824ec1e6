"""Take rows out of quarantine: `shipping.sqlite` holds there what sinks refused, whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipping_state import FILE_NAME, naming_the_file, now_us
from asfitted.prediction_log.sinks.protocol import Row
from asfitted.prediction_log.tables import TABLES, Table

_BUSY_TIMEOUT_S = 30.0


def meets(query: Query, row: Row) -> bool:
    """Whether a row, damaged as it may be, meets ``query.conditions()``."""
    value = dict(zip(TABLES[query.table], row, strict=True))
    return all(
        _meets(value[name], operator, wanted) for name, operator, wanted in query.conditions()
    )


def _meets(value: Any, operator: str, wanted: Any) -> bool:
    if type(value) is not type(wanted):
        return False
    if operator == "ends":
        return bool(value.endswith(wanted))
    if operator == "=":
        return bool(value == wanted)
    return bool(value >= wanted) if operator == ">=" else bool(value < wanted)


def quarantined_rows(folder: Path, table: Table) -> list[Row]:
    """Return the rows of `table` in quarantine, for whatever sink."""
    with _opened(folder) as file:
        if file is None:
            return []
        sql = "SELECT content FROM quarantine WHERE of_table = ?"
        return [tuple(json.loads(text)) for (text,) in file.execute(sql, [table])]


def rewrite_quarantine(
    folder: Path, table: Table, query: Query, change: Callable[[Row], Row | None]
) -> int:
    """Do in quarantine what `Sink.rewrite` does in a sink; return how many rows changed."""
    changed = 0
    with _opened(folder) as file:
        if file is None:
            return 0
        place = "sink = ? AND of_table = ? AND writer = ? AND sequence = ?"
        file.execute("BEGIN IMMEDIATE")
        found = file.execute(
            "SELECT content, sink, of_table, writer, sequence FROM quarantine WHERE of_table = ?",
            [table],
        ).fetchall()
        for text, *at in found:
            row = tuple(json.loads(text))
            new = change(row) if meets(query, row) else row
            if new is None:
                file.execute(f"DELETE FROM quarantine WHERE {place}", at)
            elif new != row:
                content = json.dumps(new, default=repr)
                file.execute(f"UPDATE quarantine SET content = ? WHERE {place}", [content, *at])
            changed += new != row
        file.execute("COMMIT")
        if changed:
            file.execute("VACUUM")
    return changed


def mark_removed(folder: Path, writer: str) -> None:
    """Note that a journal is deleted on purpose, for every sink that it was shipped to."""
    with _opened(folder) as file:
        if file is not None:
            sql = "UPDATE shipped SET removed_at = ? WHERE writer = ?"
            file.execute(sql, [now_us(), writer])


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection | None]:
    path = folder / FILE_NAME
    if not path.exists():
        yield None
        return
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
    with naming_the_file(), closing(connection) as file:
        file.execute("PRAGMA secure_delete = ON")
        yield file
