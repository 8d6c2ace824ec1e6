"""Follow a log while it is written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from asfitted.prediction_log.opening import NotReadable, opened
from asfitted.prediction_log.place import beside, journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, Span, existing_folder, records, warn


class Follower:
    """First the newest records, then with each `poll` those that came since, each once.

    Parameters
    ----------
    folder : str or path, optional
    query : Query
        Its ``limit`` counts the records to begin with.
    on_problem : callable, default logs a warning
        See `reader.records`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        query: Query,
        on_problem: Callable[[str], None] = warn,
    ) -> None:
        self._folder = existing_folder(folder)
        self._query = query
        self._on_problem = on_problem
        self._read_to: dict[str, int] = {}
        self._looks: dict[str, tuple[int, ...]] = {}

    def newest(self) -> list[Record]:
        """Return the newest records, the newest last."""
        spans = self._advance()
        query = replace(self._query, newest_first=True)
        # From the first row on, not from where a poll would go on.
        from_start: dict[str, Span] = {name: (0, up_to) for name, (_, up_to) in spans.items()}
        return list(self._read(query, from_start))[::-1]

    def skip(self) -> None:
        """Take what is there now as read."""
        self._advance()

    def poll(self) -> list[Record]:
        """Return what was written since the last call, oldest first."""
        spans = self._advance()
        query = replace(self._query, newest_first=False, limit=None)
        return list(self._read(query, spans)) if spans else []

    def _read(self, query: Query, spans: dict[str, Span]) -> Iterator[Record]:
        return records(self._folder, query, on_problem=self._on_problem, spans=spans)

    def _advance(self) -> dict[str, Span]:
        """Return what is new in each file, and remember to go on from there."""
        spans: dict[str, Span] = {}
        for path in journal_files(self._folder):
            # A file that looks as it did is not opened again, nor reported again.
            look = (*_look(path), *_look(beside(path, "-wal")))
            if self._looks.get(path.name) == look:
                continue
            self._looks[path.name] = look
            after, up_to = self._read_to.get(path.name, 0), self._end(path)
            if up_to > after:
                spans[path.name] = (after, up_to)
                self._read_to[path.name] = up_to
        return spans

    def _end(self, path: Path) -> int:
        try:
            with opened(path) as connection:
                if connection is None:
                    return 0
                sql = f"SELECT coalesce(max(sequence), 0) FROM {self._query.table}"
                end: int = connection.execute(sql).fetchone()[0]
                return end
        except (NotReadable, sqlite3.Error, OSError) as error:
            self._on_problem(f"{path}: {error}; its records are missing here")
            return 0


def _look(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ()
    return stat.st_size, stat.st_mtime_ns
