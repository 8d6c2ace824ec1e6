"""The files of a job and their rows in chunks: the same chunks whenever they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.contract import Conformed, DataContract
from asfitted.errors import ConfigError, ContractViolation, Violation
from asfitted.wire.csv import names_nothing, read_csv
from asfitted.wire.parquet import nameless_index

FORMATS = (".csv", ".parquet")
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zip", ".zst"})
# Else Arrow takes a whole row group, or a whole column of it, into memory at once.
BUFFER_BYTES = 1 << 20
PIECEMEAL: Mapping[str, Any] = {"buffer_size": BUFFER_BYTES, "pre_buffer": False}


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one file.

    Attributes
    ----------
    number : int
        From 0, over all files of the job.
    file : Path
    start : int
        The first row's number in `file`, from 0; a header is no row.
    n_rows : int
    load : callable
        Returns the rows: a DataFrame of shape (n_rows, n_columns). Can be pickled.
    conformed : Conformed or None
        What the contract made of all of them, where that is known already.
    """

    number: int
    file: Path
    start: int
    n_rows: int
    load: Callable[[], pd.DataFrame]
    conformed: Conformed | None = None


@dataclass(frozen=True)
class Source:
    """A CSV or Parquet file, or the files of a folder, in the order of their paths.

    Attributes
    ----------
    root : Path
        What the caller named.
    files : tuple of Path
    """

    root: Path
    files: tuple[Path, ...]

    def name(self, file: Path) -> str:
        """Return what `file` is called in a refusal: its path below `root`."""
        return file.name if file == self.root else file.relative_to(self.root).as_posix()

    def state(self) -> list[list[Any]]:
        """Return path, size and time of change of each file: other content, other state.

        Raises
        ------
        ConfigError
            Where a file is gone.
        """
        found = []
        for file in self.files:
            try:
                about = file.stat()
            except OSError as error:
                raise ConfigError(f"an input is gone: {error.strerror}", str(file)) from error
            found.append([os.path.abspath(file), about.st_size, about.st_mtime_ns])
        return found

    def known_rows(self) -> int | None:
        """Return the rows of all files where their footers say so, None with CSV among them."""
        if any(file.suffix != ".parquet" for file in self.files):
            return None
        return sum(_footer(file).num_rows for file in self.files)

    def chunks(self, contract: DataContract, rows: int) -> Iterator[Chunk]:
        """Yield all rows, at most `rows` at a time; of a file without rows one chunk of none.

        Raises
        ------
        ConfigError
            Where a file is gone or cannot be read as Parquet.
        ContractViolation
            Where it cannot be read as CSV, or a line has more or fewer fields than
            the header: what the lines after it mean is not known then.
        """
        number = 0
        for file in self.files:
            read = _csv if file.suffix == ".csv" else _parquet
            start = 0
            for n_rows, load in read(file, contract, rows):
                yield Chunk(number, file, start, n_rows, load)
                number, start = number + 1, start + n_rows


def find(root: Path) -> Source:
    """Return the source that `root` names.

    Names that begin with a dot or an underscore are passed over in a folder, as
    Spark's own files are; any other file there has to be an input.

    Raises
    ------
    ConfigError
        Where there is nothing, a folder cannot be looked into, or something in it is
        no file, or one whose ending says no format.
    """
    if os.path.isfile(root):
        files = [root]
    elif os.path.isdir(root):
        files = sorted(_below(root))
    else:
        what = "is neither a file nor a folder" if os.path.exists(root) else "is not there"
        raise ConfigError(f"the input {what}", str(root))
    if not files:
        raise ConfigError("the input folder holds no file", str(root))
    for file in files:
        demand_format(file)
    return Source(root, tuple(files))


def _below(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, each once: so links to folders are not followed."""

    def fail(error: OSError) -> None:
        what = f"a folder of the input cannot be read: {error.strerror}"
        raise ConfigError(what, str(error.filename)) from error

    for folder, folders, names in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if name[0] not in "._"]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*links, *(name for name in names if name[0] not in "._")):
            path = Path(folder, name)
            if not os.path.isfile(path):
                raise ConfigError(
                    "neither a file nor a folder that is looked into",
                    str(path),
                    "links to folders are not followed: name their folders as inputs of their own",
                )
            yield path


def demand_format(file: Path, formats: Sequence[str] = FORMATS, named: str = "") -> None:
    """Refuse a file whose ending is none of `formats`, or whose name is no text.

    `named` is what the caller calls it.

    Raises
    ------
    ConfigError
    """
    if file.suffix not in formats:
        mend = f"name it {' or '.join(formats)}"
        if file.suffix in _PACKED:
            mend = f"nothing is packed or unpacked: {mend}; Parquet is packed inside"
        # Of a URL's slashes a path has one.
        raise ConfigError(
            f"no format is known by the ending {file.suffix!r}", str(named or file), mend
        )
    if os.fsencode(file).decode(errors="replace") != str(file):
        # Arrow takes none, and nor does JSON.
        raise ConfigError("a path that is not UTF-8", ascii(str(file)), "rename it")


_Loads = Iterator[tuple[int, Callable[[], pd.DataFrame]]]


def _csv(file: Path, contract: DataContract, rows: int) -> _Loads:
    for frame in read_csv(file, contract, rows):
        # Where other columns are not ignored, conform says more.
        if contract.extra_columns == "ignore" and names_nothing(list(frame.columns), contract):
            raise ContractViolation(
                [Violation("", "extra_column", "no name is that of a contract's column")],
                str(file),
                f"the first line names them, comma separated: {', '.join(contract.columns)}",
            )
        yield len(frame), partial(_itself, frame)


def _itself(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def _parquet(file: Path, contract: DataContract, rows: int) -> _Loads:
    try:
        with pq.ParquetFile(file, **PIECEMEAL) as parquet:
            if parquet.metadata.num_rows == 0:
                # It has columns all the same, for conform to look at.
                yield 0, partial(_frame, parquet.read(), file, contract)
            for table in _even(parquet.iter_batches(rows), rows):
                yield table.num_rows, partial(_frame, table, file, contract)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def _even(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield tables of exactly `rows` rows and a last one, however Arrow cuts its batches."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, rows - sum(b.num_rows for b in held))
            held.append(part)
            batch = batch.slice(part.num_rows)
            if sum(b.num_rows for b in held) == rows:
                yield pa.Table.from_batches(held)
                held = []
    if held:
        yield pa.Table.from_batches(held)


def _frame(table: pa.Table, file: Path, contract: DataContract) -> pd.DataFrame:
    try:
        table.validate(full=True)
        # What pandas noted in the file is not the contract's: indices, dtypes, attributes.
        columns = table.drop_columns(nameless_index(table.schema, contract))
        # Arrow's threads take longer to begin than the columns of a chunk do.
        return columns.to_pandas(ignore_metadata=True, use_threads=False)
    except (pa.ArrowException, ValueError) as error:
        raise _unreadable(file, error) from error


def _footer(file: Path) -> Any:
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: BaseException) -> ConfigError:
    return ConfigError(f"not readable as Parquet: {error}", str(file))
