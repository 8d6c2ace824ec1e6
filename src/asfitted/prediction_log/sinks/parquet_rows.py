"""The rows of a Parquet file: as a table, as a journal holds them, as bytes."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks.parquet_files import Part
from asfitted.prediction_log.sinks.protocol import Row, RowsRefused
from asfitted.prediction_log.sinks.store import Store
from asfitted.prediction_log.tables import (
    COLUMNS_OF,
    ID_OF,
    TABLES,
    TIME_COLUMNS,
    TIME_OF,
    Table,
    is_integer,
)

_TIME = pa.timestamp("us", tz="UTC")
# Texts that many rows share.
_SHARED = frozenset(
    {"request_id", "batch_id", "model_name", "model_version", "model_digest", "contract_digest"}
    | {"findings", "params", "writer", "source", "violations", "code"}
)
# Of each file of a day.
_PIECE_ROWS = 500


def schema(table: Table) -> pa.Schema:
    """Return the columns of the record, times as timestamps in UTC with microseconds."""

    def type_of(name: str, kind: str) -> pa.DataType:
        if name in TIME_COLUMNS:
            return _TIME
        return pa.int64() if is_integer(kind) else pa.string()

    kinds = COLUMNS_OF[table]
    return pa.schema([pa.field(name, type_of(name, kind)) for name, kind in kinds.items()])


def as_arrow(table: Table, rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table of the dataset.

    Raises
    ------
    RowsRefused
        Where a value is not of its column's kind.
    """
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


def as_rows(found: pa.Table) -> list[Row]:
    """Return the rows of a table as a journal holds them; the inverse of `as_arrow`."""
    columns = [
        # Not as Python's datetime, whose years end before the column's do.
        (column.cast(pa.int64()) if name in TIME_COLUMNS else column).to_pylist()
        for name, column in zip(found.column_names, found.columns, strict=True)
    ]
    return list(zip(*columns, strict=True))


def to_bytes(rows: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def from_bytes(content: bytes, columns: Sequence[str]) -> pa.Table:
    """Return columns of a Parquet file.

    Raises
    ------
    pyarrow.ArrowException
        Where it is damaged.
    """
    # Not as a dataset: its folders would add columns.
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        return file.read(columns=list(columns))


def meeting(rows: pa.Table, query: Query) -> pa.Table:
    """Return the rows that meet ``query.conditions()``."""
    return rows.filter(_mask(rows, query))


def compact(rows: pa.Table) -> pa.Table:
    """Return rows with each text once that many of them share, such as a digest."""
    for at, name in enumerate(rows.column_names):
        if name in _SHARED:
            rows = rows.set_column(at, name, rows.column(at).dictionary_encode())
    return rows


def in_order(tables: Sequence[pa.Table], query: Query) -> Iterator[Row]:
    """Yield the rows of several tables, each once, by time, writer and sequence.

    Of Python's objects only a piece of each table is in memory: they take five times as much.
    """
    names = TABLES[query.table]
    order = (TIME_OF[query.table], "writer", "sequence")
    at = [names.index(name) for name in order]
    way = "descending" if query.newest_first else "ascending"

    def pieces(table: pa.Table) -> Iterator[Row]:
        by = table.select(order).cast(pa.schema([schema(query.table).field(n) for n in order]))
        places = pc.sort_indices(by, [(name, way) for name in order])
        for start in range(0, table.num_rows, _PIECE_ROWS):
            piece = table.take(places.slice(start, _PIECE_ROWS))
            yield from as_rows(piece.cast(schema(query.table)))

    merged = heapq.merge(
        *map(pieces, tables),
        key=lambda row: [row[n] for n in at],
        reverse=query.newest_first,
    )
    before: Row | None = None
    for row in merged:
        # A row that is in two files stands behind itself.
        if before is not None and before[0] != row[0]:
            yield before
        before = row
    if before is not None:
        yield before


def changed(
    old: pa.Table, query: Query, change: Callable[[Row], Row | None]
) -> tuple[list[Row], set[str]]:
    """Return the rows of a file as they shall be, and the ids of those that change."""
    mask = _mask(old, query).to_pylist()
    if not any(mask):
        return [], set()
    rows: list[Row] = []
    ids: set[str] = set()
    for row, asked in zip(as_rows(old), mask, strict=True):
        now = change(row) if asked else row
        if now != row:
            ids.add(row[0])
        if now is not None:
            rows.append(now)
    return rows, ids


def ids_in(store: Store, table: Table, parts: Iterable[Part]) -> set[str] | None:
    """Return the ids of all rows of some files, None where one is there no more."""
    found: set[str] = set()
    for part in parts:
        content = store.read(part.entry.name)
        if content is None:
            return None
        found.update(from_bytes(content, [ID_OF[table]]).column(0).to_pylist())
    return found


def _mask(rows: pa.Table, query: Query) -> Any:
    """Return for each row whether it meets all conditions; a null meets none."""
    mask: Any = pa.array([True] * rows.num_rows, pa.bool_())
    for name, operator, value in query.conditions():
        column = rows.column(name)
        if operator == "ends":
            one = pc.ends_with(column, pattern=value)
        else:
            if isinstance(value, int):
                value = pa.scalar(value, pa.int64()).cast(column.type)
            compare = {"=": pc.equal, ">=": pc.greater_equal, "<": pc.less}[operator]
            one = compare(column, value)
        mask = pc.and_(mask, pc.fill_null(one, False))
    return mask
