"""Read all journals of a folder as one log."""

from __future__ import annotations

import heapq
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from asfitted.errors import ConfigError
from asfitted.prediction_log.opening import NotReadable, opened
from asfitted.prediction_log.place import default_folder, journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.record import from_microseconds
from asfitted.prediction_log.tables import JSON_COLUMNS, TABLES, TIME_COLUMNS, TIME_OF, Table

Record = dict[str, Any]
# Sequence numbers of a journal: after the first, up to the second.
Span = tuple[int, int | None]

_EVERYTHING: Span = (0, None)

_log = logging.getLogger("asfitted.prediction_log")


def warn(problem: str) -> None:
    """Log a problem of the log's files as a warning."""
    _log.warning("%s", problem)


def existing_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder to read, `default_folder` where none is given.

    Raises
    ------
    ConfigError
        Where there is no such folder: most likely a mistake, not an empty log.
    """
    chosen = Path(folder) if folder is not None else default_folder()
    if not chosen.is_dir():
        raise ConfigError(
            "there is no prediction log",
            str(chosen.absolute()),
            "name its folder, or set ASFITTED_LOG; the first prediction creates it",
        )
    return chosen


def records(
    folder: str | os.PathLike[str] | None = None,
    query: Query | None = None,
    *,
    on_problem: Callable[[str], None] = warn,
    spans: Mapping[str, Span] | None = None,
) -> Iterator[Record]:
    """Yield the records of `folder`, of all writers, by time, writer and sequence.

    Files are opened when their first row is due and closed after their last, so
    a log of a thousand short processes does not need a thousand open files.

    Parameters
    ----------
    folder : str or path, optional
    query : Query, optional
    on_problem : callable, default logs a warning
        Called with a sentence for each file that cannot be read, or not to its
        end. The other files are read all the same.
    spans : mapping of file name to (after, up to), optional
        Only these files, and of each only the sequence numbers in that span.

    Yields
    ------
    dict
        In the order of `COLUMNS`, JSON and times decoded.

    Raises
    ------
    ConfigError
        Where there is no such folder.
    """
    chosen, query = existing_folder(folder), query or Query()
    return _merged(journal_files(chosen), query, on_problem, spans)


def _merged(
    paths: list[Path],
    query: Query,
    on_problem: Callable[[str], None],
    spans: Mapping[str, Span] | None,
) -> Iterator[Record]:
    if spans is not None:
        paths = [path for path in paths if path.name in spans]
    starts = []
    for rank, path in enumerate(paths):
        start = _start(path, query, on_problem)
        if start is not None:
            starts.append((start, -rank if query.newest_first else rank, path))
    starts.sort(key=lambda entry: entry[:2], reverse=True)
    # The next row of every open file, by time, writer and sequence.
    heap: list[tuple[int, int, int, tuple[Any, ...], Iterator[tuple[Any, ...]]]] = []
    found = 0
    with ExitStack() as stack:

        def push(rank: int, rows: Iterator[tuple[Any, ...]]) -> None:
            for time, sequence, *row in rows:
                sign = -1 if query.newest_first else 1
                heapq.heappush(heap, (sign * time, rank, sign * sequence, tuple(row), rows))
                break

        while found != query.at_most:
            while starts and (not heap or starts[-1][0] <= heap[0][0]):
                _, rank, path = starts.pop()
                span = spans[path.name] if spans is not None else _EVERYTHING
                push(rank, stack.enter_context(closing(_rows(path, query, span, on_problem))))
            if not heap:
                return
            _, rank, _, row, rows = heapq.heappop(heap)
            push(rank, rows)
            record = selected(row, query, partial(_told, on_problem, paths[abs(rank)]))
            if record is not None:
                found += 1
                yield record


def _told(on_problem: Callable[[str], None], path: Path, problem: str) -> None:
    on_problem(f"{path}: {problem}")


def _start(path: Path, query: Query, on_problem: Callable[[str], None]) -> int | None:
    """Return the time of the first row of `path` in the order asked for, or None."""
    edge = "-max" if query.newest_first else "min"
    try:
        with opened(path) as connection:
            if connection is None:
                return None
            sql = f"SELECT {edge}({TIME_OF[query.table]}) FROM {query.table}"
            start: int | None = connection.execute(sql).fetchone()[0]
            return start
    except (NotReadable, sqlite3.Error, OSError) as error:
        on_problem(f"{path}: {in_words(error)}; its records are missing here")
        return None


def _rows(
    path: Path, query: Query, span: Span, on_problem: Callable[[str], None]
) -> Generator[tuple[Any, ...], None, None]:
    """Yield (time, sequence, the columns) of the rows of one file."""
    condition, parameters = query.where()
    time, order = TIME_OF[query.table], "DESC" if query.newest_first else "ASC"
    columns = ", ".join(TABLES[query.table])
    after, up_to = span
    # In the order of the index nothing has to be sorted, and the first rows come
    # at once. Only the few last rows of a file that is followed are found by number.
    index = f"INDEXED BY {query.table}_{time}" if not after else ""
    sql = (
        f"SELECT {time}, sequence, {columns} FROM {query.table} {index} "
        f"WHERE {condition} AND sequence > ? AND sequence <= ? "
        f"ORDER BY {time} {order}, sequence {order}"
    )
    last = up_to if up_to is not None else 2**63 - 1
    try:
        with opened(path) as connection:
            if connection is None:
                return
            for row in connection.execute(sql, [*parameters, after, last]):
                if type(row[0]) is not int:
                    raise NotReadable("has a damaged row")
                yield row
    except (NotReadable, sqlite3.Error, OSError) as error:
        on_problem(f"{path}: {in_words(error)}; records after the damage are missing here")


def selected(
    row: tuple[Any, ...], query: Query, on_problem: Callable[[str], None]
) -> Record | None:
    """Return a row as a record, or None where it is damaged, or none that is asked for."""
    # Mostly it is none: what decides that is decoded first.
    asked = [*["keys"] * bool(query.key), *["findings"] * (query.finding is not None)]
    try:
        names = TABLES[query.table]
        if asked and not query.selects({n: json.loads(row[names.index(n)]) for n in asked}):
            return None
    except (TypeError, ValueError, AttributeError):
        pass  # damaged, and said to be so below
    record = decoded(row, query.table, on_problem)
    return record if record is not None and query.selects(record) else None


def decoded(row: tuple[Any, ...], table: Table, on_problem: Callable[[str], None]) -> Record | None:
    """Return a row of `table` as a record, or None where a value of it is damaged."""
    record: Record = dict(zip(TABLES[table], row, strict=True))
    try:
        for name in record:
            if name in TIME_COLUMNS:
                if record[name] is not None:
                    record[name] = from_microseconds(record[name])
            elif name in JSON_COLUMNS:
                record[name] = json.loads(record[name])
    except (TypeError, ValueError, OverflowError):
        where = f"writer {record['writer']}, sequence {record['sequence']}"
        on_problem(f"{where}: the column {name} is damaged; the record is missing here")
        return None
    return record


def in_words(error: Exception) -> str:
    """Return why a journal cannot be read."""
    if isinstance(error, sqlite3.Error) and "not a database" in str(error):
        return "is not a SQLite file"
    return str(error)
