"""Parquet bytes: the types are the file's, what they mean is the contract's."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asfitted.contract import DataContract
from asfitted.errors import RequestRefused
from asfitted.wire import parquet_pages as pages
from asfitted.wire.json_body import too_many
from asfitted.wire.parquet_pages import PagesBroken
from asfitted.wire.rows import Rows, check_columns, check_rows

_NAMELESS = re.compile(r"__index_level_\d+__", re.ASCII)
# What broken files were seen to raise, beside Arrow's own.
_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError)


def read_parquet(body: bytes, contract: DataContract, max_rows: int) -> Rows:
    """Return the rows of a Parquet body.

    Only the contract's columns are unpacked, and of those only types that hold one
    plain value per row: of a nested column a few bytes are any number of values.

    Parameters
    ----------
    body : bytes
    contract : DataContract
        Whose ``limits.bytes`` hold for what is unpacked, too.
    max_rows : int

    Raises
    ------
    RequestRefused
    """
    try:
        with pq.ParquetFile(io.BytesIO(body)) as file:
            frame = _read(file, body, contract, max_rows)
    except RequestRefused:
        raise
    except PagesBroken as error:
        raise RequestRefused("not_parquet", f"the Parquet body holds {error}") from None
    except _BROKEN as error:
        raise RequestRefused("not_parquet", "the body is not Parquet") from error
    return Rows({}, len(frame), typed=frame)


def _read(file: pq.ParquetFile, body: bytes, contract: DataContract, max_rows: int) -> pd.DataFrame:
    # The footer tells the rows before any of them is unpacked.
    groups = {i: group for i, group in enumerate(pages.row_groups(body)) if pages.n_rows(group)}
    n_rows = max(file.metadata.num_rows, sum(map(pages.n_rows, groups.values())))
    if n_rows > max_rows:
        raise too_many(n_rows, max_rows)
    schema = file.schema_arrow
    if len(set(schema.names)) != len(schema.names):
        raise RequestRefused("duplicate_column", "the Parquet body holds a column twice")
    passed_over = nameless_index(schema, contract)
    names = [name for name in schema.names if name not in passed_over]
    check_columns(names, n_rows, contract)
    check_rows(names, n_rows, contract)
    limit = contract.limits.bytes
    if pages.unpacked_bytes(body, list(groups.values()), limit) > limit:
        raise _too_large(contract)
    wanted = [f.name for f in schema if f.name in contract.columns and _is_plain(f.type)]
    paths = [file.schema.column(i).path for i in range(len(file.schema))]
    # Arrow takes a name for the beginning of a path, too.
    if any(p not in wanted and p.startswith(tuple(f"{name}." for name in wanted)) for p in paths):
        raise PagesBroken("columns whose names cannot be told apart")
    # Texts as indices into the distinct ones: unpacked, one long text in every row
    # may be more than there is memory.
    texts = [f.name for f in schema if f.name in wanted and _is_text(f.type)]
    with pq.ParquetFile(io.BytesIO(body), metadata=file.metadata, read_dictionary=texts) as again:
        table = again.read_row_groups(list(groups), columns=wanted).select(wanted)
    if sum(_text_bytes(table[name]) for name in texts) > limit:
        raise _too_large(contract)
    for name in texts:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.large_string()))
    table.validate(full=True)
    frame = table.to_pandas(ignore_metadata=True, use_threads=False)
    for name in names:
        if name not in wanted:
            frame[name] = _unread(len(frame), name in contract.columns)
    return frame


def nameless_index(schema: pa.Schema, contract: DataContract) -> list[str]:
    """Return the columns in which pandas wrote an index that has no name.

    One that has a name is a column as any other: the contract may ask for it.
    """
    return [n for n in schema.names if _NAMELESS.fullmatch(n) and n not in contract.columns]


def _too_large(contract: DataContract) -> RequestRefused:
    return RequestRefused(
        "body_too_large",
        f"the body unpacks to more than {contract.limits.bytes} bytes",
        "send fewer rows",
        413,
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a column holds one number, text or moment per row."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return (
        _is_text(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
        or types.is_null(kind)
    )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return how much the texts of a column come to when each row has its own."""
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(lengths.take(chunk.indices).cast(pa.int64())).as_py() or 0
    return total


def _unread(n_rows: int, is_known: bool) -> np.ndarray[Any, Any]:
    """Return a column that was not unpacked: of no kind where the contract has one for it."""
    column = np.empty(n_rows, dtype=object)
    if is_known:
        column[:] = [()] * n_rows
    return column
