"""The sink in an SQL database: SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from asfitted.errors import StoreUnavailable, without_secrets
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks.protocol import Row, RowsRefused
from asfitted.prediction_log.sinks.sql_engine import engine_of, is_sqlite, reading
from asfitted.prediction_log.sinks.sql_schema import TABLE_OF, is_current, migrate
from asfitted.prediction_log.sinks.urls import public_name
from asfitted.prediction_log.tables import (
    COLUMNS_OF,
    ID_OF,
    TABLES,
    TIME_COLUMNS,
    TIME_OF,
    Table,
    is_integer,
)

_FETCH_ROWS = 1_000
_NOT_NULL = "23502"
# By PostgreSQL's code of the error.
_MENDS = {
    "42501": "grant its user INSERT and SELECT on the four tables, SELECT on "
    "asfitted_alembic_version, and TEMPORARY on the database; see docs/prediction_log.md",
    _NOT_NULL: "give the column, which is not Asfitted's, a default",
}
_OUR_COLUMNS = frozenset(name for names in TABLES.values() for name in names)


class SqlSink:
    """The log as tables of a database.

    The tables are made, and moved on, with the first call.

    Parameters
    ----------
    url : str
        ``sqlite:///path`` or ``postgresql+psycopg://…``.

    Raises
    ------
    ConfigError
        Where the URL is none, or its driver is not installed.
    """

    batch_rows = 1_000
    linger_s = 1.0

    def __init__(self, url: str) -> None:
        self.name = public_name(url)
        self._engine = engine_of(url)
        self._reading = reading(self._engine)
        self._sqlite = is_sqlite(self._engine)
        self._file = Path(str(self._engine.url.database)) if self._sqlite else None
        self._ready = False

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Sink.write`; all rows in one transaction."""
        if not rows:
            return
        with self._errors(), self._engine.begin() as connection:
            self._migrated(connection)
            if self._sqlite:
                # The driver's own statement: rows are what its columns hold already.
                marks = ", ".join("?" * len(TABLES[table]))
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({_names(table)}) VALUES ({marks}) "
                    f"ON CONFLICT ({ID_OF[table]}) DO NOTHING",
                    list(rows),
                )
            else:
                _copy(connection, table, rows)

    def read(self, query: Query) -> Iterator[Row]:
        """See `Sink.read`; rows are fetched a thousand at a time.

        Nobody waits for whoever reads, however long that is: PostgreSQL keeps old rows, and
        of SQLite, whose readers keep writers out, each thousand is a question of its own.
        """
        if self._file is not None and not self._file.exists():
            # Looking makes no database.
            if not self._file.parent.is_dir():
                raise StoreUnavailable("the sink's folder is not there", self.name)
            return
        target = TABLE_OF[query.table]
        order = [target.c[name] for name in (TIME_OF[query.table], "writer", "sequence")]
        # The last tells apart what has one number twice, so that no page ends between equals.
        order.append(target.c[ID_OF[query.table]])
        select = sa.select(target).order_by(
            *(column.desc() if query.newest_first else column.asc() for column in order)
        )
        for name, operator, value in query.conditions():
            select = select.where(_condition(target.c[name], operator, value))
        with self._errors("cannot be read", writing=False):
            self._demand_tables()
            yield from (
                self._pages(select, order, query.newest_first)
                if self._sqlite
                else self._streamed(select)
            )

    def _streamed(self, select: sa.Select[Any]) -> Iterator[Row]:
        with self._reading.begin() as connection:
            for row in connection.execution_options(yield_per=_FETCH_ROWS).execute(select):
                yield tuple(row)

    def _pages(
        self, select: sa.Select[Any], order: Sequence[sa.Column[Any]], newest_first: bool
    ) -> Iterator[Row]:
        places = [list(select.selected_columns.keys()).index(column.name) for column in order]
        page = select.limit(_FETCH_ROWS)
        while True:
            with self._reading.begin() as connection:
                rows = [tuple(row) for row in connection.execute(page)]
            yield from rows
            if len(rows) < _FETCH_ROWS:
                return
            last = [rows[-1][place] for place in places]
            here, there = sa.tuple_(*order), sa.tuple_(*map(sa.literal, last))
            after = here < there if newest_first else here > there
            # Said of the time alone too, which has an index.
            edge = order[0] <= last[0] if newest_first else order[0] >= last[0]
            page = select.where(edge, after).limit(_FETCH_ROWS)

    def rewrite(self, table: Table, query: Query, change: Callable[[Row], Row | None]) -> int:
        """See `Sink.rewrite`; a thousand rows in each transaction, in the order of the ids.

        SQLite overwrites what was there. On PostgreSQL old rows stay in the files until
        a VACUUM, and in backups and WAL archives for as long as those are kept.
        """
        target, changed, after = TABLE_OF[table], 0, ""
        name = target.c[ID_OF[table]]
        values: dict[str, Any] = {
            c.name: sa.bindparam(f"new_{c.name}") for c in target.columns if c is not name
        }
        update = target.update().where(name == sa.bindparam("old_id")).values(values)
        delete = target.delete().where(name == sa.bindparam("old_id"))
        select = sa.select(target).order_by(name).limit(_FETCH_ROWS)
        for column, operator, value in query.conditions():
            select = select.where(_condition(target.c[column], operator, value))
        while True:
            with self._errors(), self._engine.begin() as connection:
                self._migrated(connection)
                rows = [tuple(row) for row in connection.execute(select.where(name > after))]
                updates, deletes = [], []
                for row in rows:
                    new = change(row)
                    if new is None:
                        deletes.append({"old_id": row[0]})
                    elif new != row:
                        named = zip(target.columns.keys(), new, strict=True)
                        updates.append({"old_id": row[0], **{f"new_{n}": v for n, v in named}})
                if updates:
                    connection.execute(update, updates)
                if deletes:
                    connection.execute(delete, deletes)
            changed += len(updates) + len(deletes)
            if len(rows) < _FETCH_ROWS:
                return changed
            after = rows[-1][0]

    def close(self) -> None:
        """Close the connections; a later call would open new ones."""
        self._engine.dispose()

    def _demand_tables(self) -> None:
        """Make the tables before a read, which shall hold no lock and may have no right to."""
        if not self._ready:
            with self._reading.begin() as connection:
                self._ready = is_current(connection)
        if not self._ready:
            with self._engine.begin() as connection:
                self._migrated(connection)

    def _migrated(self, connection: sa.Connection) -> None:
        if not self._ready:
            migrate(connection, self.name)
            # Should this transaction fail, the next call looks again.
            sa.event.listen(connection, "commit", self._is_ready, once=True)

    def _is_ready(self, _connection: sa.Connection) -> None:
        self._ready = True

    @contextlib.contextmanager
    def _errors(
        self, what: str = "does not take records", *, writing: bool = True
    ) -> Iterator[None]:
        """Tell what a row is to blame for from what the database is."""
        driver: Any = self._engine.dialect.loaded_dbapi
        of_rows = (
            driver.DataError, driver.IntegrityError, sa.exc.DataError, sa.exc.IntegrityError,
            OverflowError, UnicodeError,
        )  # fmt: skip
        try:
            yield
        except (sa.exc.SQLAlchemyError, driver.Error, OSError, *of_rows) as error:
            cause: Any = getattr(error, "orig", None) or error
            if writing and isinstance(error, of_rows) and not _is_of_their_column(cause):
                raise RowsRefused(_first_line(cause)) from error
            # The connection may be in any state: the next call begins with a new one.
            self._engine.dispose()
            self._ready = False
            mend = _MENDS.get(getattr(cause, "sqlstate", ""), "")
            raise StoreUnavailable(
                f"the sink {what}: {_first_line(cause)}", self.name, mend
            ) from error


def _is_of_their_column(cause: Any) -> bool:
    """Whether a column that somebody has added wants a value: no row will ever have one."""
    column = getattr(getattr(cause, "diag", None), "column_name", None)
    return getattr(cause, "sqlstate", "") == _NOT_NULL and column not in _OUR_COLUMNS


def _copy(connection: sa.Connection, table: Table, rows: Sequence[Row]) -> None:
    """COPY into a table of this session, and from there what is not there yet."""
    incoming = f"asfitted_incoming_{table}"
    kinds = COLUMNS_OF[table].items()
    held = ", ".join(f'"{name}" {"bigint" if is_integer(kind) else "text"}' for name, kind in kinds)
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE IF NOT EXISTS {incoming} ({held}) ON COMMIT DELETE ROWS"
    )
    cursor: Any = connection.connection.cursor()
    with contextlib.closing(cursor), cursor.copy(f"COPY {incoming} FROM STDIN") as copy:
        # In the order of the ids, the first column, lest two sessions wait for each other's.
        # A table of the session is read as it was written, and to sort it takes a file.
        for row in sorted(rows, key=lambda row: str(row[0])):
            copy.write_row(row)
    # The server makes moments of microseconds. It multiplies in doubles, which are exact
    # for the seconds of our calendar and for the rest, and not for both in one.
    chosen = ", ".join(
        f"timestamptz 'epoch' + {name} / 1000000 * interval '1 second' "
        f"+ mod({name}, 1000000) * interval '1 microsecond'"
        if name in TIME_COLUMNS
        else f'"{name}"'
        for name, _ in kinds
    )
    connection.exec_driver_sql(
        f"INSERT INTO {table} ({_names(table)}) SELECT {chosen} FROM {incoming} "
        f"ON CONFLICT ({ID_OF[table]}) DO NOTHING"
    )


def _names(table: Table) -> str:
    # "row" is a word of SQL's.
    return ", ".join(f'"{name}"' for name in TABLES[table])


def _condition(column: sa.Column[Any], operator: str, value: Any) -> sa.ColumnElement[bool]:
    if operator == "ends":
        ended: sa.ColumnElement[bool] = (
            sa.func.substr(column, sa.func.length(column) - len(value) + 1) == value
        )
        # A whole id is found by the index.
        return sa.and_(ended, column == value) if len(value) == 36 else ended
    if operator == ">=":
        return column >= value
    return column < value if operator == "<" else column == value


def _first_line(error: BaseException) -> str:
    # What follows may quote the row.
    return without_secrets((str(error) or type(error).__name__).partition("\n")[0])
