"""The sink of Parquet files by model, version and day, in whatever store they lie."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks.parquet_files import (
    MERGED,
    Part,
    day_of,
    named,
    part_name,
    partition,
    parts_among,
)
from asfitted.prediction_log.sinks.parquet_rows import (
    as_arrow,
    changed,
    compact,
    from_bytes,
    ids_in,
    in_order,
    meeting,
    to_bytes,
)
from asfitted.prediction_log.sinks.protocol import Row, RowsRefused
from asfitted.prediction_log.sinks.store import Store
from asfitted.prediction_log.tables import TABLES, TIME_OF, Table

_DAY_US = 86_400_000_000
# How often files may vanish under a reader, merged by a compaction, until it gives up.
_ATTEMPTS = 20
# Partitions of which it is remembered what they hold: those of a day, and some late ones.
_FOLDERS_KNOWN = 256


class ParquetSink:
    """``<table>/model=…/version=…/date=…/<writer>.<first>-<last>.parquet``.

    Whatever reads Parquet in Hive's layout reads it: pyarrow, pandas, DuckDB, Spark.
    A row that is sent again is looked for in the files of its partition whose
    sequence numbers it may be among, and left out; mostly there are none. Where a
    kill or a late answer of the store leaves a row in two files all the same, `read`
    gives it once, and the next compaction drops one.

    Parameters
    ----------
    store : Store
    """

    # A file costs a request, or two fsyncs and a name, however few rows it holds.
    batch_rows = 10_000
    linger_s = 30.0

    def __init__(self, store: Store) -> None:
        self.store = store
        # By folder and writer the last number that was there: see `_is_new`.
        self._last: dict[str, dict[str, int]] = {}

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Sink.write`; of several files each is written whole or not at all."""
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        model, version, time, writer = (
            TABLES[table].index(name)
            for name in ("model_name", "model_version", TIME_OF[table], "writer")
        )
        try:
            for row in rows:
                groups[row[model], row[version], row[time] // _DAY_US, row[writer]].append(row)
            placed = [
                (partition(table, group[0]), quote(group[0][writer], safe=""), group)
                for group in groups.values()
            ]
        except (OverflowError, TypeError, UnicodeError) as error:
            raise RowsRefused(str(error)) from error
        if not placed:
            return
        try:
            with self.errors(), self.store.writing():
                for folder, by, group in placed:
                    self._add(table, folder, by, group)
        except BaseException:
            # What was put without an answer may be there.
            self._last.clear()
            raise

    def _is_new(self, folder: str, writer: str, first: int) -> bool:
        """Whether no file can hold a row of `writer` from the number `first` on.

        A folder is listed for that once, and not for each file that is added: a day has
        thousands. A writer's numbers come from one shipper, or from the writer itself;
        where two are at work all the same, a row may be in two files, which `read` and
        the next compaction know.
        """
        if folder not in self._last:
            if len(self._last) >= _FOLDERS_KNOWN:
                self._last.clear()
            last = self._last[folder] = {}
            for part in parts_among(self.store.files(folder)):
                last[part.writer] = max(part.last, last.get(part.writer, 0))
        last = self._last[folder]
        return first > max(last.get(writer, 0), last.get(MERGED, 0))

    def _add(self, table: Table, folder: str, writer: str, rows: list[Row]) -> None:
        """Write what no file holds of `rows`, which are of one writer and partition."""
        sequence_at = TABLES[table].index("sequence")
        is_new = self._is_new(folder, writer, min(row[sequence_at] for row in rows))
        for attempt in range(1, _ATTEMPTS):
            numbers = [row[sequence_at] for row in rows]
            near: list[Part] = []
            if not (is_new and attempt == 1):
                parts = parts_among(self.store.files(folder))
                near = [part for part in parts if part.may_hold(writer, min(numbers), max(numbers))]
            there = ids_in(self.store, table, near)
            if there is None:
                continue
            new = {row[0]: row for row in reversed(rows) if row[0] not in there}
            rows = list(reversed(new.values()))
            if not rows:
                return
            numbers = [row[sequence_at] for row in rows]
            # A name that is taken is that of a put whose answer was lost, or another
            # shipper's, or of a file that has lost rows since: all of them are looked into.
            mark = str(attempt) if attempt > 1 else ""
            name = part_name(writer, min(numbers), max(numbers), mark)
            if self.store.put(f"{folder}/{name}", to_bytes(as_arrow(table, rows))):
                last = self._last[folder]
                last[writer] = max(*numbers, last.get(writer, 0))
                return
        raise self._restless(folder)

    def read(self, query: Query) -> Iterator[Row]:
        """See `Sink.read`; what matches of a day is in memory together, as Arrow has it."""
        days: dict[str, list[str]] = defaultdict(list)
        for folder in self.partitions(query):
            days[folder.rpartition("/")[2]].append(folder)
        for day in sorted(days, reverse=query.newest_first):
            with self.errors():
                found = self._matching(query, days[day])
            yield from found

    def partitions(self, query: Query) -> Iterator[str]:
        """Yield the folders that rows of `query` may lie in; others are not even listed."""
        asked = {(name, operator): value for name, operator, value in query.conditions()}
        time = TIME_OF[query.table]
        since, until = asked.get((time, ">=")), asked.get((time, "<"))
        first, last = day_of(since) if since is not None else "", "date=~"
        if until is not None:
            last = day_of(until - 1)
        for model in self._named(query.table, "model", asked.get(("model_name", "="))):
            for version in self._named(model, "version", asked.get(("model_version", "="))):
                for day in self.store.folders(version):
                    if day.startswith("date=") and first <= day <= last:
                        yield f"{version}/{day}"

    def _named(self, folder: str, key: str, value: str | None) -> list[str]:
        names = self.store.folders(folder) if value is None else [named(key, value)]
        return [f"{folder}/{name}" for name in names if name.startswith(f"{key}=")]

    def _matching(self, query: Query, folders: list[str]) -> Iterator[Row]:
        """Return the rows of a day that match, each once, in order."""
        names = TABLES[query.table]
        for _ in range(_ATTEMPTS):
            found: list[pa.Table] = []
            for part in [p for f in folders for p in parts_among(self.store.files(f))]:
                content = self.store.read(part.entry.name)
                if content is None:
                    break  # it was merged meanwhile, and its rows are in another file
                found.append(compact(meeting(from_bytes(content, names), query)))
            else:
                return in_order(found, query)
        raise self._restless(folders[0])

    def rewrite(self, table: Table, query: Query, change: Callable[[Row], Row | None]) -> int:
        """See `Sink.rewrite`; only files that hold a changed row are written anew."""
        done: set[str] = set()
        with self.errors(), self.store.alone() as still_alone:
            for folder in self.partitions(query):
                for entry in self.store.files(folder):
                    content = self.store.read(entry.name)
                    if content is None or not parts_among([entry]):
                        continue
                    rows, ids = changed(from_bytes(content, TABLES[table]), query, change)
                    if not ids:
                        continue
                    still_alone()
                    if rows:
                        self.store.replace(entry, to_bytes(as_arrow(table, rows)))
                    else:
                        self.store.delete(entry)
                    done |= ids
        return len(done)

    def close(self) -> None:
        """See `Sink.close`."""
        self.store.close()

    def _restless(self, folder: str) -> StoreUnavailable:
        return StoreUnavailable(f"files of {folder} change again and again", self.store.where)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Say which store has a file that is none."""
        try:
            yield
        except pa.ArrowException as error:
            raise StoreUnavailable(
                f"a file of the sink cannot be read: {error}", self.store.where
            ) from error
