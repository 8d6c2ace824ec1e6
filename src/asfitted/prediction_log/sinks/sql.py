"""The sink in an SQL database: SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from asfitted.errors import ConfigError, StoreUnavailable, without_secrets
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks.protocol import Row, RowsRefused
from asfitted.prediction_log.sinks.sql_schema import TABLE_OF, migrate
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
_SQLITE_BUSY_S = 30
# A server that is gone without a word, by a cut cable, is given up after half a minute.
_POSTGRESQL = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "application_name": "asfitted"}
# A table that somebody has locked is given up after that time, and a statement that a
# server works on without an end: sorting and indexing a big table take minutes.
_LOCK_TIMEOUT, _STATEMENT_TIMEOUT = "30s", "15min"


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
        try:
            given = sa.make_url(url)
            if given.drivername == "postgresql":
                given = given.set(drivername="postgresql+psycopg")
            self._sqlite = given.get_backend_name() == "sqlite"
            in_memory = given.database in (None, "", ":memory:")
            self._file = Path(str(given.database)) if self._sqlite and not in_memory else None
            if self._sqlite:
                options: dict[str, Any] = {
                    "timeout": _SQLITE_BUSY_S,
                    "isolation_level": None,
                    "check_same_thread": False,
                }
            else:
                options = {n: v for n, v in _POSTGRESQL.items() if n not in given.query}
            # One connection: the shipper is one thread, and a server's are few.
            self._engine = sa.create_engine(
                given, connect_args=options, pool_size=1, max_overflow=1, poolclass=sa.QueuePool
            )
        except sa.exc.ArgumentError as error:
            raise ConfigError("the sink's URL is none", self.name) from error
        except ModuleNotFoundError as error:
            mend = "pip install 'asfitted[postgres]'" if error.name == "psycopg" else ""
            raise ConfigError(f"the sink needs {error.name}", self.name, mend) from error
        if self._sqlite:
            _transactions_of_sqlite(self._engine)
        elif "options" not in given.query:
            _transactions_of_postgresql(self._engine)
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
        """See `Sink.read`; rows are fetched a thousand at a time."""
        if self._file is not None and not self._file.exists():
            # Looking makes no database.
            if not self._file.parent.is_dir():
                raise StoreUnavailable("the sink's folder is not there", self.name)
            return
        target = TABLE_OF[query.table]
        order = [target.c[name] for name in (TIME_OF[query.table], "writer", "sequence")]
        select = sa.select(target).order_by(
            *(column.desc() if query.newest_first else column.asc() for column in order)
        )
        for name, operator, value in query.conditions():
            select = select.where(_condition(target.c[name], operator, value))
        with self._errors("cannot be read"), self._engine.begin() as connection:
            self._migrated(connection)
            streamed = connection.execution_options(yield_per=_FETCH_ROWS)
            for row in streamed.execute(select):
                yield tuple(row)

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

    def _migrated(self, connection: sa.Connection) -> None:
        if not self._ready:
            migrate(connection)
            # Should this transaction fail, the next call looks again.
            sa.event.listen(connection, "commit", self._is_ready, once=True)

    def _is_ready(self, _connection: sa.Connection) -> None:
        self._ready = True

    @contextlib.contextmanager
    def _errors(self, what: str = "does not take records") -> Iterator[None]:
        """Tell what a row is to blame for from what the database is."""
        driver: Any = self._engine.dialect.loaded_dbapi
        try:
            yield
        except (driver.DataError, driver.IntegrityError, OverflowError, UnicodeError) as error:
            raise RowsRefused(_first_line(error)) from error
        except (sa.exc.DataError, sa.exc.IntegrityError) as error:
            raise RowsRefused(_first_line(error.orig or error)) from error
        except (sa.exc.SQLAlchemyError, driver.Error, OSError) as error:
            # The connection may be in any state: the next call begins with a new one.
            self._engine.dispose()
            self._ready = False
            cause = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"the sink {what}: {_first_line(cause)}", self.name) from error


def _transactions_of_sqlite(engine: sa.Engine) -> None:
    """Let a transaction hold its DDL too, and keep two writers from deadlock.

    The driver's own BEGIN comes late and not before DDL. Without WAL, since one
    file may have several writers here: SQLite before 3.51.3 can lose frames then.
    """

    def connected(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous = EXTRA")
        # What is erased is overwritten, not only unlinked.
        connection.execute("PRAGMA secure_delete = ON")

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)


def _transactions_of_postgresql(engine: sa.Engine) -> None:
    """Let no transaction wait without an end for a lock that somebody else holds.

    By transaction: a pooler takes no options, and would give a session's to others.
    """

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "SELECT set_config('lock_timeout', %s, true), "
            "set_config('statement_timeout', %s, true)",
            (_LOCK_TIMEOUT, _STATEMENT_TIMEOUT),
        )

    sa.event.listen(engine, "begin", begun)


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
        for row in rows:
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
    # In the order of the ids, lest two sessions wait for each other's.
    connection.exec_driver_sql(
        f"INSERT INTO {table} ({_names(table)}) SELECT {chosen} FROM {incoming} "
        f"ORDER BY {ID_OF[table]} ON CONFLICT ({ID_OF[table]}) DO NOTHING"
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
