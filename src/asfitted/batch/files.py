"""Score a file: checked whole first, then streamed, every row on record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.contract import DataContract
from asfitted.errors import ConfigError, ContractViolation, Violation
from asfitted.scoring import FittedModel
from asfitted.wire.csv import read_csv

CHUNK_ROWS = 10_000
_FORMATS = (".csv", ".parquet")

Progress = Callable[[str, int], None]


def score_file(
    model: FittedModel,
    source: Path,
    target: Path,
    *,
    chunk_rows: int = CHUNK_ROWS,
    progress: Progress = lambda phase, rows: None,
) -> int:
    """Score the rows of `source` and write the answers to `target`.

    The file is checked whole before a row is scored: either all of it is
    answered or none. `target` appears when it is complete.

    Parameters
    ----------
    model : FittedModel
    source, target : Path
        CSV or Parquet, by their ending. The answers are ``prediction_id``, the
        keys, and all outputs of the model.
    chunk_rows : int
    progress : callable
        Told the phase ("checking", "scoring") and the rows of each chunk.

    Returns
    -------
    int
        Rows answered.

    Raises
    ------
    ConfigError
        Where a file is not there or its ending says no format.
    ContractViolation
        With the row numbers of the file, counted from 0 behind the header.
    RecordError
    """
    for file in (source, target):
        if file.suffix not in _FORMATS:
            raise ConfigError(
                f"no format is known by the ending {file.suffix!r}",
                str(file),
                f"name it {' or '.join(_FORMATS)}",
            )
    if not source.is_file():
        raise ConfigError("the input file is not there", str(source))
    total = 0
    for frame in _chunks(source, model.contract, chunk_rows):
        _check(frame, model.contract, source, total)
        total += len(frame)
        progress("checking", len(frame))
    with _Writer(target) as writer:
        for frame in _chunks(source, model.contract, chunk_rows):
            answered = model.answered(frame)
            parts = [answered.keys.reset_index(drop=True), answered.outputs]
            if answered.prediction_ids:
                parts.insert(0, pd.DataFrame({"prediction_id": answered.prediction_ids}))
            writer.write(pd.concat(parts, axis=1))
            progress("scoring", len(frame))
    return total


def _chunks(file: Path, contract: DataContract, rows: int) -> Iterator[pd.DataFrame]:
    if file.suffix == ".csv":
        yield from read_csv(file, contract, rows)
        return
    try:
        with pq.ParquetFile(file) as parquet:
            if parquet.metadata.num_rows == 0:
                # It has columns all the same, for conform to look at.
                yield parquet.read().to_pandas()
            for batch in parquet.iter_batches(rows):
                yield batch.to_pandas()
    except pa.ArrowException as error:
        raise ConfigError(f"not readable as Parquet: {error}", str(file)) from error


def _check(frame: pd.DataFrame, contract: DataContract, file: Path, start: int) -> None:
    try:
        contract.conform(frame)
    except ContractViolation as error:
        moved = [
            Violation(v.column, v.rule, v.what, tuple(start + r for r in v.rows), v.n_rows)
            for v in error.violations
        ]
        raise ContractViolation(moved, str(file), error.mend) from error


def _without_null(schema: pa.Schema) -> pa.Schema:
    """Call a key text that misses in all rows of the first chunk, and not in a later one."""
    for i, field in enumerate(schema):
        if pa.types.is_null(field.type):
            schema = schema.set(i, field.with_type(pa.string()))
    return schema


class _Writer:
    """Writes beside `target` and puts the whole file in its place at the end."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        self._parquet: pq.ParquetWriter | None = None
        self._rows = 0

    def __enter__(self) -> _Writer:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.partial.touch()
        return self

    def write(self, frame: pd.DataFrame) -> None:
        if self.target.suffix == ".csv":
            frame.to_csv(self.partial, mode="a", header=self._rows == 0, index=False)
        else:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if self._parquet is None:
                self._parquet = pq.ParquetWriter(self.partial, _without_null(table.schema))
            self._parquet.write_table(table.cast(self._parquet.schema))
        self._rows += len(frame)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._parquet is not None:
            self._parquet.close()
        if kind is not None:
            self.partial.unlink(missing_ok=True)
            return
        descriptor = os.open(self.partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.partial.replace(self.target)
