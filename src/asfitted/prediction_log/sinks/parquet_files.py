"""What the files of a Parquet dataset are called, and how one gets there whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.prediction_log.place import sync_folder
from asfitted.prediction_log.query import TIME_OF, Table
from asfitted.prediction_log.reader import TABLES
from asfitted.prediction_log.record import COLUMNS, REFUSAL_COLUMNS, TIME_COLUMNS, from_microseconds

ENDING = ".parquet"
_TEMPORARY = ".writing-"
# What readers of Hive's layout take for null, such as the version outside the registry.
_EMPTY = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_NAME = 180
_TIME = pa.timestamp("us", tz="UTC")


class Part(NamedTuple):
    """A file, and the sequence numbers that it may hold."""

    path: Path
    writer: str
    first: int
    last: int


def schema(table: Table) -> pa.Schema:
    """Return the columns of the record, times as timestamps in UTC with microseconds."""
    kinds = COLUMNS if table == "predictions" else REFUSAL_COLUMNS

    def type_of(name: str, kind: str) -> pa.DataType:
        if name in TIME_COLUMNS:
            return _TIME
        return pa.int64() if kind.startswith("INTEGER") else pa.string()

    return pa.schema([pa.field(name, type_of(name, kind)) for name, kind in kinds.items()])


def partition(table: Table, row: tuple[Any, ...]) -> tuple[str, str, str]:
    """Return the folders of a row: model, version and the day in UTC.

    They are not called as columns are, which the files hold all the same: whoever
    reads them would have two of one name.

    Raises
    ------
    OverflowError
        Where the time is not of our calendar.
    """
    value = dict(zip(TABLES[table], row, strict=True))
    day = from_microseconds(value[TIME_OF[table]]).astimezone(timezone.utc).date()
    return (
        named("model", value["model_name"]),
        named("version", value["model_version"]),
        f"date={day}",
    )


def named(key: str, value: str) -> str:
    """Return a folder's name; of a value too long for one, its beginning and its hash.

    Examples
    --------
    >>> named("model", "a/b"), named("version", "")
    ('model=a%2Fb', 'version=__HIVE_DEFAULT_PARTITION__')
    """
    text = quote(value, safe="") or _EMPTY
    if len(text) > _LONGEST_NAME:
        digest = hashlib.sha256(value.encode()).hexdigest()[:32]
        text = f"{re.sub(r'%.?$', '', text[:120])}-{digest}"
    return f"{key}={text}"


def part_name(writer: str, first: int, last: int) -> str:
    """Return a file's name: sent again, the same rows make the same name."""
    return f"{quote(writer, safe='')}.{first:012d}-{last:012d}{ENDING}"


def parts(folder: Path) -> Iterator[Part]:
    """Yield the finished files of a partition."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            found = re.fullmatch(rf"(.+)\.(\d+)-(\d+){re.escape(ENDING)}", path.name)
            if found and not path.name.startswith("."):
                writer, first, last = found.groups()
                yield Part(path, writer, int(first), int(last))


def write_whole(path: Path, rows: pa.Table) -> None:
    """Write a file so that it is there whole, after a power cut too, or not at all.

    Raises
    ------
    OSError
        Nothing is left behind.
    """
    make_folder(path.parent)
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        with temporary.open("wb") as file:
            pq.write_table(rows, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed writer left in a partition; nobody may be writing there."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder of the dataset so that a power cut cannot undo it.

    With the user's own mask: unlike journals, a dataset is there for others to read.
    """
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
