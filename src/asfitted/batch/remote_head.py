"""The first rows of a file in S3, without the rest of it: what a dry run looks at."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.batch.parts import write_lines
from asfitted.batch.source import BUFFER_BYTES, PIECEMEAL
from asfitted.errors import ConfigError

# Asks for the object from a byte on, and of so many bytes: all of them where nothing is said.
Get = Callable[..., Any]


def write_head(get: Get, named: str, target: Path, rows: int) -> None:
    """Write to `target` a file of the first rows of an object, by the ending of its name.

    Parameters
    ----------
    get : callable
    named : str
        The object, for who reads an error.
    target : Path
    rows : int

    Raises
    ------
    ConfigError
        Where it is not readable as Parquet. What is wrong with CSV is in its head, too.
    """
    found = get()
    with contextlib.closing(found["Body"]) as body:
        if target.suffix == ".csv":
            lines = body.iter_lines(BUFFER_BYTES, keepends=True)
            write_lines(target, lambda stream: stream.writelines(csv_head(lines, rows)))
            return
    try:
        ranges = _Ranges(get, found["ContentLength"])
        with pq.ParquetFile(ranges, **PIECEMEAL) as file:
            batches = list(islice(file.iter_batches(rows), 1))
            table = pa.Table.from_batches(batches, file.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"not readable as Parquet: {error}", named) from error
    write_lines(target, lambda stream: pq.write_table(table, stream))


def csv_head(lines: Iterator[bytes], rows: int) -> Iterator[bytes]:
    r"""Yield the lines of the header and of the first rows, which may be several for each.

    Examples
    --------
    >>> list(csv_head(iter([b"a\n", b'"x\n', b'y"\n', b"\n", b"2\n", b"3\n"]), 2))
    [b'a\n', b'"x\n', b'y"\n', b'\n', b'2\n']
    """
    taken: list[bytes] = []

    def passing() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line.decode(errors="replace")

    # Who reads the file says what is wrong with it.
    with contextlib.suppress(csv.Error):
        found = 0
        for fields in csv.reader(passing(), strict=True):
            yield from taken
            taken.clear()
            # Empty lines are no rows.
            found += bool(fields)
            if found > rows:
                return
    yield from taken


class _Ranges(io.RawIOBase):
    """An object as a file that is read where it is asked for."""

    def __init__(self, get: Get, size_bytes: int) -> None:
        self._get, self._size, self._at = get, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        n_bytes = min(len(buffer), self._size - self._at)
        if n_bytes <= 0:
            return 0
        with contextlib.closing(self._get(self._at, n_bytes)["Body"]) as body:
            buffer[:n_bytes] = body.read()
        self._at += n_bytes
        return n_bytes
