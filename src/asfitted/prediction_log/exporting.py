"""The log as one file for others: streamed, with one column per feature where that is asked."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.csv_rows import write_csv
from asfitted.prediction_log.frame import flat, flat_names
from asfitted.prediction_log.joining import JOINED_COLUMNS, joined, read_outcomes
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, warn
from asfitted.prediction_log.sinks.reading import SinkDown
from asfitted.prediction_log.tables import COLUMNS_OF, TABLES, TIME_COLUMNS, is_integer
from asfitted.prediction_log.whole import Place, whole_records

Form = Literal["parquet", "csv", "jsonl"]

_CHUNK = 10_000
_TIMES = TIME_COLUMNS | {"outcome_observed_at", "outcome_recorded_at"}


def export(
    place: Place,
    query: Query,
    output: Path,
    form: Form,
    *,
    features: bool = False,
    outcomes: bool = False,
    overwrite: bool = False,
    on_problem: Callable[[str], None] = warn,
) -> int:
    """Write the records that match to a file, which is there whole or not at all.

    Parameters
    ----------
    place : Place
    query : Query
    output : Path
    form : {"parquet", "csv", "jsonl"}
        In CSV and Parquet what is nested is JSON text, and half of a surrogate pair is
        U+FFFD; JSON lines hold every value as it is.
    features : bool, default False
        One column per feature, key and output, as `read_log` has them. A feature whose
        values differ in kind between records is JSON text in Parquet, as are whole
        numbers beyond 64 bits, or beyond 2**53 beside fractions.
    outcomes : bool, default False
        Each prediction with its newest outcome; all outcomes are in memory then.
    overwrite : bool, default False
    on_problem : callable, default logs a warning

    Returns
    -------
    int
        How many records.

    Raises
    ------
    ConfigError
        Where there is such a file.
    StoreUnavailable
        Where the sink does not answer, or the disk does not take the file.
    """
    if output.exists() and not overwrite:
        raise ConfigError("the output is there already", str(output), "say --overwrite")

    def strict(problem: str) -> None:
        if isinstance(problem, SinkDown):
            raise StoreUnavailable(problem, str(place), "try again, or say --journals-only")
        on_problem(problem)

    found = whole_records(place, query, on_problem=strict)
    if outcomes:
        known = read_outcomes(place, None, on_problem=strict)
        found = (joined(record, known) for record in found)
    rows = (plain(flat(record) if features else record) for record in found)
    names = [*TABLES[query.table], *(JOINED_COLUMNS if outcomes else ())]
    partial = output.with_name(f".{output.name}.{secrets.token_hex(8)}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # What columns there are, and of what kind, is known behind the last record.
        with tempfile.TemporaryFile("w+", dir=output.parent, encoding="ascii") as spool:
            count, kinds = spooled(rows, spool)
            if features and count:
                names = flat_names([kinds])
            spool.seek(0)
            lines = map(json.loads, spool)
            if form == "parquet":
                _write_parquet(partial, lines, {n: kinds.get(n, set()) for n in names}, query)
            else:
                with partial.open("w", encoding="utf-8", newline="") as file:
                    (write_cells if form == "csv" else _write_jsonl)(file, lines, names)
        os.replace(partial, output)
    except OSError as error:
        raise StoreUnavailable(
            f"the export cannot be written: {error.strerror or error}", str(output)
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return count


def plain(row: Record) -> Record:
    """Return a record with its times as ISO 8601 with Z."""
    return {
        name: value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        if isinstance(value, datetime)
        else value
        for name, value in row.items()
    }


def spooled(rows: Iterable[Record], spool: IO[str]) -> tuple[int, dict[str, set[type]]]:
    """Write rows as lines; return how many, and the types of the values of each column."""
    count, kinds = 0, dict[str, set[type]]()
    for row in rows:
        count += 1
        spool.write(json.dumps(row) + "\n")
        for name, value in row.items():
            seen = kinds.setdefault(name, set())
            if value is not None:
                seen.add(_kind(value))
    return count, kinds


class _Large:
    """Kind of a whole number that no double holds exactly."""


class _Huge:
    """Kind of a whole number beyond 64 bits."""


def _kind(value: Any) -> type:
    if type(value) is not int or abs(value) <= 2**53:
        return type(value)
    return _Large if -(2**63) <= value < 2**63 else _Huge


def _write_jsonl(file: IO[str], rows: Iterator[Record], names: list[str]) -> None:
    file.writelines(json.dumps({name: row.get(name) for name in names}) + "\n" for row in rows)


def write_cells(file: IO[str], rows: Iterable[Record], names: list[str]) -> None:
    """Write rows as CSV with these columns; what is nested is JSON."""
    write_csv(file, names, ([_cell(row.get(name)) for name in names] for row in rows))


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return without_halves(value)
    return json.dumps(value) if isinstance(value, (bool, dict, list)) else value


def without_halves(text: str) -> str:
    """Return `text` with U+FFFD for half of a surrogate pair, which no file of text holds."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _type(kinds: set[type]) -> Any:
    """Return the type of a Parquet column whose values are of these kinds; text is JSON."""
    import pyarrow as pa

    if not kinds:
        return pa.string()
    for held, of_kinds in (
        (pa.bool_(), {bool}),
        (pa.int64(), {int, _Large}),
        (pa.float64(), {int, float}),
    ):
        if kinds <= of_kinds:
            return held
    return pa.string()


def _write_parquet(
    path: Path, rows: Iterator[Record], kinds: dict[str, set[type]], query: Query
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = COLUMNS_OF[query.table]
    types: dict[str, Any] = {}
    for name, seen in kinds.items():
        if name in _TIMES:
            types[name] = pa.timestamp("us", tz="UTC")
        elif name in own and is_integer(own[name]):
            types[name] = pa.int64()
        else:
            types[name] = _type(seen)
    schema = pa.schema(list(types.items()))

    def column(chunk: list[Record], name: str) -> Any:
        values = [row.get(name) for row in chunk]
        if name in _TIMES:
            moments = [value and datetime.fromisoformat(value.replace("Z", "+00:00"))
                       for value in values]  # fmt: skip
            return pa.array(moments, types[name])
        if types[name] == pa.string() and kinds[name] != {str}:
            values = [value if value is None else json.dumps(value) for value in values]
        elif types[name] == pa.string():
            values = [value if value is None else without_halves(value) for value in values]
        return pa.array(values, types[name], from_pandas=False)

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _CHUNK)):
            writer.write_table(pa.table([column(chunk, name) for name in types], schema=schema))
