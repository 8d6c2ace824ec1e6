"""SQL over the whole log, with DuckDB: journals and sink as one, each record once."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.exporting import without_halves
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import warn
from asfitted.prediction_log.sinks.reading import SinkDown
from asfitted.prediction_log.tables import (
    COLUMNS_OF,
    ID_OF,
    TABLES,
    TIME_COLUMNS,
    Table,
    is_integer,
)
from asfitted.prediction_log.whole import Place, demand_sink, scan

_CHUNK = 10_000


def sql(place: Place, statement: str, *, on_problem: Callable[[str], None] = warn) -> Any:
    """Return the answer to one SELECT as a pyarrow Table, whose columns have distinct names.

    There are the tables `predictions`, `refusals`, `outcomes` and `removals` with the
    columns of the record, times with their zone and JSON as text: ``inputs->>'carrier'``.
    Those that the statement names are copied into a database in the folder for temporary
    files, which is opened read-only and sees nothing outside of it.

    Parameters
    ----------
    place : Place
    statement : str
        In DuckDB's dialect.
    on_problem : callable, default logs a warning

    Raises
    ------
    ConfigError
        Where DuckDB is not installed, or the statement is none that it takes.
    StoreUnavailable
        Where the sink does not answer and there are no journals, or there is no room.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError(
            "SQL over the log needs DuckDB", mend="pip install 'asfitted[duckdb]'"
        ) from error
    asked = [name for name in TABLES if re.search(rf"\b{name}\b", statement, re.IGNORECASE)]
    with tempfile.TemporaryDirectory(prefix="asfitted-sql-") as folder:
        path = str(Path(folder) / "log.duckdb")
        try:
            with duckdb.connect(path) as file:
                _copy(file, place, asked, on_problem)
        except duckdb.Error as error:
            raise StoreUnavailable(
                f"the log cannot be copied for DuckDB: {error}", tempfile.gettempdir(),
                "make room there, or name another folder in TMPDIR",
            ) from error  # fmt: skip
        safe: dict[str, Any] = {
            "enable_external_access": "false",
            "autoload_known_extensions": "false",
        }
        with duckdb.connect(path, read_only=True, config=safe) as file:
            try:
                file.execute("SET TimeZone = 'UTC'")
                file.execute("SET lock_configuration = true")
                statements = file.extract_statements(statement)
                if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
                    raise ConfigError("that is not one SELECT", mend="the log is only read here")
                answer = file.sql(statement).to_arrow_table()
                return answer.rename_columns(_distinct(answer.column_names))
            except duckdb.Error as error:
                raise ConfigError(f"DuckDB does not take that: {error}") from error


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of which those that came before have a number.

    Examples
    --------
    >>> _distinct(["a", "a", "a_1", "a"])
    ['a', 'a_2', 'a_1', 'a_3']
    """
    found: list[str] = []
    for name in names:
        others, n, own = {*names, *found}, 0, name
        while own in (found if own == name else others):
            n += 1
            own = f"{name}_{n}"
        found.append(own)
    return found


def _copy(
    file: Any, place: Place, asked: Sequence[Table], on_problem: Callable[[str], None]
) -> None:
    file.execute("SET TimeZone = 'UTC'")
    for table in TABLES:
        columns = ", ".join(f'"{n}" {_type(n, k)}' for n, k in COLUMNS_OF[table].items())
        file.execute(f"CREATE TABLE {table} ({columns})")
        if table in asked:
            _load(file, place, table, on_problem)


def _load(file: Any, place: Place, table: Table, on_problem: Callable[[str], None]) -> None:
    query, names = Query(table=table), TABLES[table]
    if place.folder is not None:
        rows = scan(Place(place.folder, None), query, names, on_problem=on_problem)
        _insert(file, table, rows, "")
    if place.sink is not None:
        name = ID_OF[table]
        file.execute(f"CREATE TEMP TABLE seen AS SELECT {name} FROM {table}")
        rows = scan(Place(None, place.sink), query, names)
        try:
            demand_sink(place)
            _insert(file, table, rows, f"WHERE {name} NOT IN (SELECT {name} FROM seen)")
        except StoreUnavailable as error:
            if place.folder is None:
                raise
            on_problem(SinkDown.of(place.sink, error))
        file.execute("DROP TABLE seen")


def _insert(file: Any, table: Table, rows: Iterable[tuple[Any, ...]], where: str) -> None:
    moments = [
        f"make_timestamptz({name}) AS {name}" if name in TIME_COLUMNS else f'"{name}"'
        for name in TABLES[table]
    ]
    for chunk in _chunks(table, iter(rows)):
        file.register("chunk", chunk)
        file.execute(f"INSERT INTO {table} SELECT {', '.join(moments)} FROM chunk {where}")
        file.unregister("chunk")


def _chunks(table: Table, rows: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
    import pyarrow as pa

    kinds = COLUMNS_OF[table]
    while chunk := list(islice(rows, _CHUNK)):
        yield pa.table(
            {
                name: pa.array(values, pa.int64())
                if is_integer(kind)
                else pa.array(map(_readable, values), pa.string())
                for (name, kind), values in zip(
                    kinds.items(), zip(*chunk, strict=True), strict=True
                )
            }
        )


def _readable(text: str | None) -> str | None:
    """Return text as DuckDB takes it: of half of a surrogate pair it would refuse the column."""
    if text is None or "\\ud" not in text:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return without_halves(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _type(name: str, kind: str) -> str:
    if name in TIME_COLUMNS:
        return "TIMESTAMPTZ"
    return "BIGINT" if is_integer(kind) else "VARCHAR"
