"""What the folders and files of a Parquet dataset are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import timezone
from typing import NamedTuple
from urllib.parse import quote

from asfitted.prediction_log.record import from_microseconds
from asfitted.prediction_log.sinks.protocol import Row
from asfitted.prediction_log.sinks.store import Entry
from asfitted.prediction_log.tables import (
    TABLES,
    TIME_OF,
    Table,
)

ENDING = ".parquet"
# In a file's name in the place of the writer, where it holds rows of several: no
# writer is quoted so.
MERGED = "@merged"
# What readers of Hive's layout take for null, such as the version outside the registry.
_EMPTY = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_NAME = 180


class Part(NamedTuple):
    """A file, and the sequence numbers of the writer that it may hold."""

    entry: Entry
    writer: str  # quoted, or MERGED
    first: int
    last: int

    def may_hold(self, writer: str, first: int, last: int) -> bool:
        """Whether rows of `writer` (quoted) with these sequence numbers may be in it."""
        mine = MERGED in {self.writer, writer} or self.writer == writer
        return mine and self.first <= last and first <= self.last


def partition(table: Table, row: Row) -> str:
    """Return the folder of a row: table, model, version and the day in UTC.

    The parts are not called as columns are, which the files hold all the same:
    whoever reads them would have two of one name.

    Raises
    ------
    OverflowError
        Where the time is not of our calendar.
    """
    value = dict(zip(TABLES[table], row, strict=True))
    model, version = named("model", value["model_name"]), named("version", value["model_version"])
    return f"{table}/{model}/{version}/{day_of(value[TIME_OF[table]])}"


def day_of(microseconds: int) -> str:
    """Return the folder of a day in UTC; such names sort as the days do.

    Examples
    --------
    >>> day_of(0), day_of(-1)
    ('date=1970-01-01', 'date=1969-12-31')
    """
    return f"date={from_microseconds(microseconds).astimezone(timezone.utc).date()}"


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


def part_name(writer: str, first: int, last: int, mark: str = "") -> str:
    """Return a file's name: sent again, the same rows make the same name.

    Parameters
    ----------
    writer : str
        Quoted, or `MERGED`.
    first, last : int
        Sequence numbers.
    mark : str, default ""
        What tells it from another file of the same range.

    Examples
    --------
    >>> part_name("w", 1, 30), part_name("w", 1, 30, "2")
    ('w.000000000001-000000000030.parquet', 'w.000000000001-000000000030.2.parquet')
    """
    return f"{writer}.{first:012d}-{last:012d}{f'.{mark}' if mark else ''}{ENDING}"


def parts_among(entries: Sequence[Entry]) -> list[Part]:
    """Return the parts among the files of a partition."""
    found = []
    for entry in entries:
        name = entry.name.rpartition("/")[2]
        match = re.fullmatch(rf"(.+)\.(\d+)-(\d+)(\.\w+)*{re.escape(ENDING)}", name)
        if match and name[0] not in "._":
            found.append(Part(entry, match[1], int(match[2]), int(match[3])))
    return found
