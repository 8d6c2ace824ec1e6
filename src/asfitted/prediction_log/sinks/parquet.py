"""The sink on disk: a dataset of Parquet files by model, version and day."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.query import ID_OF, TIME_OF, Query, Table
from asfitted.prediction_log.reader import TABLES
from asfitted.prediction_log.record import TIME_COLUMNS, to_microseconds
from asfitted.prediction_log.sinks.parquet_files import (
    ENDING,
    make_folder,
    named,
    part_name,
    partition,
    parts,
    remove_unfinished,
    schema,
    write_whole,
)
from asfitted.prediction_log.sinks.protocol import Row, RowsRefused

_LOCK = ".asfitted-lock"


class ParquetSink:
    """``folder/predictions/model=…/version=…/date=…/<writer>.<first>-<last>.parquet``.

    Whatever reads Parquet in Hive's layout reads it: pyarrow, pandas, DuckDB, Spark.
    A row that is sent again is looked for in the files of its writer and day whose
    sequence numbers it may be among, and left out; mostly there are none.

    Parameters
    ----------
    folder : Path
        Created with the first row. On one machine, or a file system with `flock`.
    """

    # A file costs two fsyncs and a name however few rows it holds.
    batch_rows = 10_000
    linger_s = 30.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Sink.write`; of several files each is written whole or not at all."""
        groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
        names = TABLES[table]
        writer_at, sequence_at = names.index("writer"), names.index("sequence")
        try:
            for row in rows:
                place = (*partition(table, row), row[writer_at])
                groups[place].append(row)
        except (OverflowError, TypeError, UnicodeError) as error:
            raise RowsRefused(str(error)) from error
        with self._errors(), self._alone():
            for (model, version, day, writer), group in groups.items():
                folder = self.folder.joinpath(table, model, version, day)
                remove_unfinished(folder)
                new = self._new(table, folder, writer, group, sequence_at)
                if new:
                    numbers = [row[sequence_at] for row in new]
                    name = part_name(writer, min(numbers), max(numbers))
                    write_whole(folder / name, _as_arrow(table, new))

    def _new(
        self, table: Table, folder: Path, writer: str, rows: list[Row], sequence_at: int
    ) -> list[Row]:
        """Return the rows that no file holds, each once."""
        first = min(row[sequence_at] for row in rows)
        last = max(row[sequence_at] for row in rows)
        there: set[str] = set()
        for part in parts(folder):
            if part.writer == quote(writer, safe="") and part.first <= last and first <= part.last:
                column = pq.read_table(part.path, columns=[ID_OF[table]], partitioning=None)
                there.update(column.column(0).to_pylist())
        new = {row[0]: row for row in reversed(rows) if row[0] not in there}
        return list(reversed(new.values()))

    def read(self, query: Query) -> Iterator[Row]:
        """See `Sink.read`; the rows of a day that match are in memory together."""
        days: dict[str, list[Path]] = defaultdict(list)
        conditions = query.conditions()
        asked = {name: value for name, operator, value in conditions if operator == "="}
        model = named("model", asked["model_name"]) if "model_name" in asked else "model=*"
        version = (
            named("version", asked["model_version"]) if "model_version" in asked else "version=*"
        )
        # What is quoted holds no character that a pattern would not take literally.
        pattern = "/".join((query.table, model, version, "date=*", f"[!.]*{ENDING}"))
        for path in self.folder.glob(pattern):
            days[path.parent.name].append(path)
        for day in sorted(days, reverse=query.newest_first):
            with self._errors():
                found = _matching(query, sorted(days[day]))
            yield from found

    def close(self) -> None:
        """Nothing stays open between two calls."""

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other shippers, of other journals, out while this one looks and writes."""
        make_folder(self.folder)
        descriptor = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreUnavailable(
                f"the sink does not take records: {reason}", str(self.folder)
            ) from error


def _as_arrow(table: Table, rows: list[Row]) -> pa.Table:
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    try:
        return pa.table(
            [
                pa.array(column, pa.int64()).cast(field.type)
                if field.name in TIME_COLUMNS
                else pa.array(column, field.type)
                for column, field in zip(columns, schema(table), strict=True)
            ],
            schema=schema(table),
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError) as error:
        raise RowsRefused(type(error).__name__) from error


def _matching(query: Query, paths: list[Path]) -> list[Row]:
    found = []
    for path in paths:
        # A file at a time, and not as a dataset: its folders would add columns.
        rows = pq.read_table(path, partitioning=None)
        for name, operator, value in query.conditions():
            rows = rows.filter(_mask(rows.column(name), operator, value))
        columns = [
            [to_microseconds(moment, name) for moment in column.to_pylist()]
            if name in TIME_COLUMNS
            else column.to_pylist()
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        ]
        found += list(zip(*columns, strict=True))
    names = TABLES[query.table]
    at = [names.index(name) for name in (TIME_OF[query.table], "writer", "sequence")]
    return sorted(found, key=lambda row: [row[n] for n in at], reverse=query.newest_first)


def _mask(column: Any, operator: str, value: Any) -> Any:
    if operator == "ends":
        return pc.ends_with(column, pattern=value)
    if isinstance(value, int):
        value = pa.scalar(value, pa.int64()).cast(column.type)
    compare = {"=": pc.equal, ">=": pc.greater_equal, "<": pc.less}[operator]
    return compare(column, value)
