"""Parquet bytes: the types are the file's, what they mean is the contract's."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.errors import RequestRefused
from asfitted.wire.json_body import too_many
from asfitted.wire.rows import Rows


def read_parquet(body: bytes, max_rows: int) -> Rows:
    """Return the rows of a Parquet body.

    Raises
    ------
    RequestRefused
    """
    try:
        with pq.ParquetFile(io.BytesIO(body)) as file:
            # The footer tells the rows before any of them is unpacked.
            if file.metadata.num_rows > max_rows:
                raise too_many(file.metadata.num_rows, max_rows)
            names = file.schema_arrow.names
            if len(set(names)) != len(names):
                raise RequestRefused("duplicate_column", "the Parquet body holds a column twice")
            frame = file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RequestRefused("not_parquet", "the body is not Parquet") from error
    return Rows({}, len(frame), typed=frame)
