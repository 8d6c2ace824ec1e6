"""Connections to the database of an SQL sink, and how their transactions begin."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from asfitted.errors import ConfigError
from asfitted.prediction_log.sinks.urls import public_name

_SQLITE_BUSY_S = 30
_POSTGRESQL = {
    # A server that is gone without a word, by a cut cable, is given up after half a minute.
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "application_name": "asfitted",
    # Whatever the database is encoded in: some would have us read bytes.
    "client_encoding": "utf8",
    # The next transaction may be in another session of a pooler, which knows of no statement.
    "prepare_threshold": None,
}
# A table that somebody has locked is given up after that time, and a statement that a
# server works on without an end: sorting and indexing a big table take minutes.
_LOCK_TIMEOUT, _STATEMENT_TIMEOUT = "30s", "15min"
_DRIVERS = frozenset({"sqlite", "sqlite+pysqlite", "postgresql+psycopg"})
_READS = "asfitted_reads"


def engine_of(url: str) -> sa.Engine:
    """Return what connects to the database that `url` names, not connected yet.

    Raises
    ------
    ConfigError
        Where the URL is none, its driver is not installed or not one of ours, or the
        database would be gone with the process.
    """
    name = public_name(url)
    try:
        given = sa.make_url(url)
        if given.drivername == "postgresql":
            given = given.set(drivername="postgresql+psycopg")
        if given.drivername not in _DRIVERS:
            raise ConfigError(
                f"the sink does not know the driver {given.drivername}", name,
                "sqlite:///path or postgresql+psycopg://host/database",
            )  # fmt: skip
        sqlite = given.get_backend_name() == "sqlite"
        if sqlite:
            _demand_file(given, name)
            options: dict[str, Any] = {
                "timeout": _SQLITE_BUSY_S,
                "isolation_level": None,
                "check_same_thread": False,
            }
        else:
            options = {n: v for n, v in _POSTGRESQL.items() if n not in given.query}
        # One connection: the shipper is one thread, and a server's are few. A server or a
        # pooler may have closed it since it was last used, which no row is to blame for.
        engine = sa.create_engine(
            given, connect_args=options, pool_size=1, max_overflow=1, poolclass=sa.QueuePool,
            pool_pre_ping=not sqlite,
        )  # fmt: skip
    except sa.exc.ArgumentError as error:
        raise ConfigError("the sink's URL is none", name) from error
    except ModuleNotFoundError as error:
        mend = "pip install 'asfitted[postgres]'" if error.name == "psycopg" else ""
        raise ConfigError(f"the sink needs {error.name}", name, mend) from error
    if sqlite:
        _transactions_of_sqlite(engine)
    else:
        _transactions_of_postgresql(engine, with_limits="options" not in given.query)
    return engine


def is_sqlite(engine: sa.Engine) -> bool:
    """Whether it is a file of SQLite; else it is PostgreSQL."""
    return engine.dialect.name == "sqlite"


def reading(engine: sa.Engine) -> sa.Engine:
    """Return the same engine for transactions that only read: they keep no reader out."""
    return engine.execution_options(**{_READS: True})


def _demand_file(given: sa.URL, name: str) -> None:
    path = given.database or ""
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise ConfigError(
            "a sink of SQLite is a file, and this URL names none", name,
            "sqlite:///log.sqlite, or with an absolute path sqlite:////srv/log.sqlite",
        )  # fmt: skip


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
        reads = connection.get_execution_options().get(_READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)


def _transactions_of_postgresql(engine: sa.Engine, *, with_limits: bool) -> None:
    """Let moments be read as they were written, and no lock be waited for without an end.

    By transaction: a pooler takes no options, and would give a session's to others.
    """
    settings = {"datestyle": "ISO", "timezone": "UTC"}

    def begun(connection: sa.Connection) -> None:
        limits = {"lock_timeout": _LOCK_TIMEOUT, "statement_timeout": _STATEMENT_TIMEOUT}
        chosen = settings | (limits if with_limits else {})
        calls = ", ".join(
            f"set_config('{name}', '{value}', true)" for name, value in chosen.items()
        )
        connection.exec_driver_sql(f"SELECT {calls}")

    sa.event.listen(engine, "begin", begun)
