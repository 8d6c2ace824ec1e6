"""Merge the small files of past days into few big ones, so that readers open few.

In any partition: the merged file first, then the files that it replaces go. Killed in
between, rows are in two files for a while: `ParquetSink.read` gives each once, and the
next compaction finds them and drops one. Nothing is ever in no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pyarrow as pa

from asfitted.prediction_log.sinks.parquet import ParquetSink
from asfitted.prediction_log.sinks.parquet_files import MERGED, Part, part_name, parts_among
from asfitted.prediction_log.sinks.parquet_rows import from_bytes, ids_in, to_bytes
from asfitted.prediction_log.sinks.store import Store
from asfitted.prediction_log.tables import ID_OF, TABLES, Table

# What is merged is held in memory, several times as large as the files are.
TARGET_BYTES = 16 * 2**20
SMALL_BYTES = 4 * 2**20


class MergingParquetSink(ParquetSink):
    """A sink of Parquet files whose store lets one process at a time merge them.

    Parameters
    ----------
    store : Store
    merges_unasked : bool, default True
        Whether a follower may do so by itself; not where a store's `alone` is of one
        machine only.
    """

    def __init__(self, store: Store, *, merges_unasked: bool = True) -> None:
        super().__init__(store)
        self.merges_unasked = merges_unasked

    def compact(self, *, since: str = "", before: str, min_files: int = 2) -> Iterator[int]:
        """Merge small files; see `compact`."""
        with self.errors():
            yield from compact(self.store, since=since, before=before, min_files=min_files)


def compact(store: Store, *, since: str, before: str, min_files: int) -> Iterator[int]:
    """Merge small files; yield of each partition how many files it has less.

    Nothing is held between two of them: whoever has no time left goes away.

    Parameters
    ----------
    store : Store
    since, before : str
        Days as ``date=2026-11-24``: from the one on, before the other. The rows of a
        day that is not over still come, and its files would be merged again and again.
    min_files : int
        Partitions with fewer small files are left as they are.

    Raises
    ------
    Busy
        Where another process is at work; what was merged until then stays so.
    """
    for table in TABLES:
        for folder in _partitions(store, table, since, before):
            fewer = 0
            # Looked at without the lock first: mostly there is nothing to do.
            if len(_small(_parts(store, folder))) >= min_files:
                with store.alone() as still_alone:
                    fewer = _compact(store, table, folder, still_alone)
            yield fewer


def _partitions(store: Store, table: Table, since: str, before: str) -> Iterator[str]:
    for model in store.folders(table):
        for version in store.folders(f"{table}/{model}"):
            for day in store.folders(f"{table}/{model}/{version}"):
                if day.startswith("date=") and since <= day < before:
                    yield f"{table}/{model}/{version}/{day}"


def _parts(store: Store, folder: str) -> list[Part]:
    return parts_among(store.files(folder))


def _small(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.entry.size_bytes < SMALL_BYTES]


def _compact(store: Store, table: Table, folder: str, still_alone: Callable[[], None]) -> int:
    parts = _parts(store, folder)
    return sum(
        _merge(store, table, folder, group, [p for p in parts if p not in group], still_alone)
        for group in _groups(_small(parts))
    )


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    """Put parts together, those of one writer beside each other, up to the size aimed at."""
    group: list[Part] = []
    for part in sorted(parts, key=lambda part: (part.writer, part.first)):
        if group and sum(p.entry.size_bytes for p in [*group, part]) > TARGET_BYTES:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _merge(
    store: Store,
    table: Table,
    folder: str,
    group: list[Part],
    others: list[Part],
    still_alone: Callable[[], None],
) -> int:
    """Put one file in the place of a group; return how many files are less."""
    writers = {part.writer for part in group}
    writer = writers.pop() if len(writers) == 1 else MERGED
    first, last = min(part.first for part in group), max(part.last for part in group)
    # What a killed compaction, or a shipper's late answer, has put in a big file too.
    near = [part for part in others if part.may_hold(writer, first, last)]
    there, contents = ids_in(store, table, near), [store.read(p.entry.name) for p in group]
    if there is None or None in contents:
        return 0
    found = pa.concat_tables([from_bytes(c, TABLES[table]) for c in contents if c is not None])
    keep = []
    for row_id in found.column(ID_OF[table]).to_pylist():
        keep.append(row_id not in there)
        there.add(row_id)
    if len(group) == 1 and all(keep):
        return 0
    rows = found.filter(pa.array(keep, pa.bool_()))
    still_alone()
    if rows.num_rows:
        # The same files make the same name: one whose put was lost finds it there.
        of = "".join(f"{part.entry.name}\n{part.entry.tag}\n" for part in group)
        mark = hashlib.sha256(of.encode()).hexdigest()[:12]
        store.put(f"{folder}/{part_name(writer, first, last, mark)}", to_bytes(rows))
    for part in group:
        still_alone()
        store.delete(part.entry)
    return len(group) - (rows.num_rows > 0)
