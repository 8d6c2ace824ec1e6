"""The answers of a chunk as a file, and the files of all chunks as the output."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asfitted.contract import DataContract
from asfitted.contract.moments import written
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.place import sync_folder

_ABOUT = b"asfitted"
# A row group of the output, unless one chunk is larger.
_GROUP_ROWS = 100_000
_TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "datetime": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True)
class About:
    """What a part says of its chunk.

    Attributes
    ----------
    answered, refused : int
        Rows; together those of the chunk.
    received_us : int
        When the chunk was taken up, microseconds since 1970 in UTC.
    """

    answered: int
    refused: int
    received_us: int


def table(
    contract: DataContract, ids: Sequence[str] | None, keys: pd.DataFrame, outputs: pd.DataFrame
) -> pa.Table:
    """Return the answers as they are written: ids where recorded, keys, outputs.

    Parameters
    ----------
    contract : DataContract
        Says the types of the keys, so that every chunk has the same.
    ids : sequence of str, of length n_rows, or None where nothing is recorded
    keys : DataFrame of shape (n_rows, n_keys)
        Conformed.
    outputs : DataFrame of shape (n_rows, n_outputs)

    Raises
    ------
    ConfigError
        Where a key and an output are of one name.
    """
    columns: dict[str, Any] = {}
    if ids is not None:
        columns["prediction_id"] = pa.array(ids, pa.string())
    for name in keys.columns:
        column = contract.columns[name]
        kind = _TYPES.get(column.kind)
        values = keys[name]
        if kind is None:
            kind = pa.string() if isinstance(column.labels[0], str) else pa.int64()
            values = values.astype(object)
        values = values.to_numpy()
        if column.kind == "datetime":
            # Conformed moments are naive and in UTC.
            columns[name] = pa.array(values.astype("datetime64[us]")).cast(kind)
        else:
            columns[name] = pa.array(values, from_pandas=True).cast(kind)
    for name in outputs.columns:
        if str(name) in columns:
            # Save refuses it; a model that is not saved comes as far as here.
            raise ConfigError(
                f"the key {name} is called as an output of the model",
                mend="rename it, in the data and in the contract",
            )
        values = pa.array(outputs[name].to_numpy())
        # Without a row labels of text are objects, of which Arrow knows no type.
        columns[str(name)] = values.cast(pa.string()) if pa.types.is_null(values.type) else values
    return pa.table(columns)


def write_part(file: Path, answers: pa.Table, about: About) -> None:
    """Write a part durably: it is there as a whole or not at all.

    Raises
    ------
    StoreUnavailable
    """
    meta = {_ABOUT: json.dumps(asdict(about)).encode()}
    with placing(file) as partial:
        marked = answers.replace_schema_metadata(meta)
        # Ids and probabilities do not repeat.
        pq.write_table(marked, partial, compression="lz4", use_dictionary=False)


def read_about(file: Path) -> About:
    """Return what a part says of its chunk."""
    return About(**json.loads(pq.read_metadata(file).metadata[_ABOUT]))


def write_output(target: Path, parts: Sequence[Path]) -> None:
    """Put the answers of all parts, in their order, into one Parquet or CSV file.

    Raises
    ------
    StoreUnavailable
        `target` is as it was before then.
    """
    with placing(target) as partial:
        (_write_csv if target.suffix == ".csv" else _write_parquet)(partial, parts)


def _read_ahead(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield what `_tables` does; the next is read while the caller is at work on one."""
    tables = _tables(parts)
    with ThreadPoolExecutor(1) as reading:
        following = reading.submit(next, tables, None)
        while (table := following.result()) is not None:
            following = reading.submit(next, tables, None)
            yield table


def _tables(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the answers, some parts at a time; at least one table."""
    held: list[pa.Table] = []
    empty = None
    for part in parts:
        # Not read_table, which takes "a=1" in a folder's name for a column.
        with pq.ParquetFile(part) as file:
            read = file.read().replace_schema_metadata()
        if read.num_rows == 0:
            empty = read
            continue
        if held and sum(t.num_rows for t in held) + read.num_rows > _GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
        held.append(read)
    if held:
        yield pa.concat_tables(held)
    elif empty is not None and not any(pq.read_metadata(p).num_rows for p in parts):
        yield empty


def _write_parquet(file: Path, parts: Sequence[Path]) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for part in _read_ahead(parts):
            writer = writer or pq.ParquetWriter(
                # Ids and probabilities do not repeat, as keys and labels may.
                file,
                part.schema,
                use_dictionary=[
                    field.name
                    for field in part.schema
                    if pa.types.is_string(field.type) and field.name != "prediction_id"
                ],
            )
            writer.write_table(part)
    finally:
        if writer is not None:
            writer.close()


def _write_csv(file: Path, parts: Sequence[Path]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        for i, part in enumerate(_read_ahead(parts)):
            columns = {n: _texts(part[n]) for n in part.column_names}
            # Of itself it quotes a carriage return only where lines end in one.
            quoting = csv.QUOTE_NONNUMERIC if _has_return(part) else csv.QUOTE_MINIMAL
            pd.DataFrame(columns).to_csv(
                stream, header=i == 0, index=False, lineterminator="\n", quoting=quoting
            )


def _has_return(part: pa.Table) -> bool:
    texts = [column for column in part.columns if pa.types.is_string(column.type)]
    return any("\r" in name for name in part.column_names) or any(
        pc.any(pc.match_substring(column, "\r")).as_py() for column in texts
    )


def _texts(column: pa.ChunkedArray) -> Any:
    """Return a column as `wire.csv` reads it back: true and false, ISO 8601, empty for missing."""
    values = column.combine_chunks()
    if pa.types.is_boolean(values.type):
        return np.array([None if v is None else str(v).lower() for v in values.to_pylist()], object)
    if pa.types.is_timestamp(values.type):
        return np.array(written(values.to_numpy(zero_copy_only=False)), object)
    if pa.types.is_integer(values.type) and values.null_count:
        return np.array(values.to_pylist(), object)
    if pa.types.is_floating(values.type):
        # Of fewer bits it would be written as what it is in those, and read as another number.
        return values.to_numpy(zero_copy_only=False).astype("float64")
    return values.to_pandas()


def write_lines(target: Path, write: Callable[[Any], None]) -> None:
    """Write a file durably, whole or not at all, by ``write(binary stream)``.

    Raises
    ------
    StoreUnavailable
    """
    with placing(target) as partial, partial.open("wb") as stream:
        write(stream)


@contextmanager
def placing(target: Path) -> Iterator[Path]:
    """Give a name beside `target`; what is written there takes its place when it is durable.

    Raises
    ------
    StoreUnavailable
        Where the disk does not take it; nothing is left behind.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreUnavailable(
            f"the answers cannot be written: {error.strerror or error}",
            str(target),
            "free space there and run the same command again: it goes on where it was",
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
