"""The whole log: the journals of a folder, and the sink that they are shipped to."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asfitted.config import load_config
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.opening import opened
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, existing_folder, in_words, records, warn
from asfitted.prediction_log.shipping_journals import READ_ERRORS
from asfitted.prediction_log.shipping_state import FILE_NAME, state_of
from asfitted.prediction_log.sinks.reading import SinkDown, log_records
from asfitted.prediction_log.sinks.urls import local_path, open_sink, public_name
from asfitted.prediction_log.tables import TABLES


@dataclass(frozen=True)
class Place:
    """Where a log lies.

    Attributes
    ----------
    folder : Path or None
        Of the journals.
    sink : str or None
        Its URL.
    waits_for_sink : bool, default False
        What is written goes there at once, and not into the folder.
    """

    folder: Path | None
    sink: str | None
    waits_for_sink: bool = False

    def __str__(self) -> str:
        parts = [str(self.folder)] if self.folder is not None else []
        return " and ".join(parts + ([public_name(self.sink)] if self.sink else []))


def place_of(
    folder: str | os.PathLike[str] | None = None,
    sink: str | None = None,
    *,
    journals_only: bool = False,
) -> Place:
    """Return the log that is meant.

    Parameters
    ----------
    folder : str or path, optional
        Alone: its journals, and no sink.
    sink : str, optional
        Alone: what is in it, and no journals. Without either, the folder and the
        sink of the configuration.
    journals_only : bool, default False
        Leave out the sink of the configuration.

    Raises
    ------
    ConfigError
        Where there is no such folder, and no sink either.
    """
    if sink is not None and journals_only:
        raise ConfigError("a sink is named, and only journals are asked for")
    if sink is not None and folder is None:
        return Place(None, existing_sink(sink))
    if folder is not None:
        return Place(existing_folder(folder), sink)
    config = load_config()
    home, sink = config.log_folder(), None if journals_only else config.log_sink()
    waits = config.log.durability == "sink"
    if sink is not None and not home.is_dir():
        return Place(None, existing_sink(sink))
    return Place(existing_folder(home), sink, waits)


def existing_sink(url: str) -> str:
    """Return `url`, of a sink that is read without journals.

    Raises
    ------
    ConfigError
        Where its folder or file is not there: most likely a mistake, not an empty log.
    """
    path = local_path(url)
    if path is not None and _is_gone(path):
        raise ConfigError(
            "there is no such sink", public_name(url),
            "mount it, or name another; the first record that is shipped creates it",
        )  # fmt: skip
    return url


def demand_sink(place: Place) -> None:
    """Refuse a sink whose folder or file is gone; its next writer would make an empty one.

    Unmounted or moved away it still is what holds the records that were shipped to it.

    Raises
    ------
    StoreUnavailable
    """
    if place.folder is None or place.sink is None:
        return
    path = local_path(place.sink)
    if path is None or not (_is_gone(path) or _is_empty(path)):
        return
    if place.waits_for_sink:
        raise StoreUnavailable(
            "the sink is not there", str(path),
            "mount it, or move it back; the first record creates it",
        )  # fmt: skip
    try:
        progress, _, quarantined = state_of(place.folder, public_name(place.sink))
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"the sink is not there, and what was shipped to it is not known: {error}", str(path)
        ) from error
    shipped = sum(sum(known.rows.values()) for known in progress.values())
    shipped -= sum(quarantined.values())
    if shipped > 0:
        raise StoreUnavailable(
            f"the sink is not there, and {shipped:,} rows were shipped to it", str(path),
            f"mount it, or move it back; to begin anew, delete {FILE_NAME} beside the journals",
        )  # fmt: skip


def _is_gone(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # the sink itself says what is wrong
    return False


def _is_empty(path: Path) -> bool:
    """Whether nothing is in it, as in the folder that a file system is to be mounted on."""
    with contextlib.suppress(OSError):
        return not any(path.iterdir()) if path.is_dir() else not path.stat().st_size
    return False


def whole_records(
    place: Place, query: Query, *, on_problem: Callable[[str], None] = warn
) -> Iterator[Record]:
    """Yield the records of a log, each once, in the order of `query`.

    Where its sink does not answer, the journals' are given all the same, and
    `on_problem` is called with a `SinkDown`.

    Raises
    ------
    StoreUnavailable
        Where there are no journals to fall back on.
    """
    if place.sink is None:
        return records(place.folder, query, on_problem=on_problem)
    try:
        demand_sink(place)
    except StoreUnavailable as error:
        on_problem(SinkDown.of(place.sink, error))
        return records(place.folder, query, on_problem=on_problem)
    return log_records(place.folder, place.sink, query, on_problem=on_problem)


def scan(
    place: Place,
    query: Query,
    columns: Sequence[str],
    *,
    on_problem: Callable[[str], None] = warn,
    strict: bool = False,
) -> Iterator[tuple[Any, ...]]:
    """Yield some columns of all rows that meet `query`'s conditions, as they are stored.

    For who looks at a whole log: in no order, a row once for each place that it is in,
    JSON and times not decoded; conditions on keys and the limit are the caller's.

    Parameters
    ----------
    place : Place
    query : Query
    columns : sequence of str
    on_problem : callable, default logs a warning
    strict : bool, default False
        That the sink does not answer is an error, also where there are journals.

    Raises
    ------
    StoreUnavailable
        The journals' rows have been given by then.
    """
    # The journals first: what is shipped and deleted meanwhile is in the sink by then.
    if place.folder is not None:
        for path in journal_files(place.folder):
            yield from journal_rows(path, query, columns, on_problem=on_problem)
    if place.sink is not None:
        at = [TABLES[query.table].index(name) for name in columns]
        try:
            demand_sink(place)
            with closing(open_sink(place.sink)) as sink:
                for row in sink.read(query):
                    yield tuple([row[n] for n in at])
        except StoreUnavailable as error:
            if strict or place.folder is None:
                raise
            on_problem(SinkDown.of(place.sink, error))


def journal_rows(
    path: Path,
    query: Query,
    columns: Sequence[str],
    *,
    on_problem: Callable[[str], None] = warn,
) -> Iterator[tuple[Any, ...]]:
    """Yield what `scan` does of one journal."""
    condition, parameters = query.where()
    sql = f"SELECT {', '.join(columns)} FROM {query.table} WHERE {condition}"
    try:
        with opened(path) as connection:
            if connection is not None:
                yield from connection.execute(sql, parameters)
    except READ_ERRORS as error:
        on_problem(f"{path}: {in_words(error)}; records after the damage are missing here")
