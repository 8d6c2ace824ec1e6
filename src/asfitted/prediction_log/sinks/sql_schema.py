"""The tables of an SQL sink, and their way from one version to the next.

The columns are those of the record. On PostgreSQL times are ``timestamptz``, which
holds microseconds exactly; elsewhere whole microseconds since 1970 in UTC. JSON is
the text that the journal holds, not ``jsonb``: that would write 1e22 and -0.0 anew,
and refuses ``\\u0000``, which a caller may send.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from asfitted.errors import ConfigError
from asfitted.prediction_log.record import from_microseconds, to_microseconds
from asfitted.prediction_log.tables import (
    COLUMNS_OF,
    ID_OF,
    TIME_COLUMNS,
    TIME_OF,
    Table,
    is_integer,
    may_be_null,
)

VERSION_TABLE = "asfitted_alembic_version"
# The newest migration in `migrations/versions`; with the tables at this one Alembic
# is not even imported.
HEAD = "0002"
_MIGRATIONS = Path(__file__).parent / "migrations"
# Of this package alone, so that of many shippers that start at once one migrates.
_ADVISORY_LOCK = 0x617366697474

_metadata = sa.MetaData()


class Moment(sa.types.TypeDecorator[int]):
    """Microseconds since 1970, kept as ``timestamptz`` on PostgreSQL."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name != "postgresql":
            return value
        return from_microseconds(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> int | None:
        return to_microseconds(value, "a time") if isinstance(value, datetime) else value


def columns_of(table: Table) -> list[sa.Column[Any]]:
    """Return new columns as the record has them; the id is the primary key."""
    return [
        sa.Column(
            name,
            _type(name, kind),
            primary_key=name == ID_OF[table],
            nullable=may_be_null(kind),
            autoincrement=False,
        )
        for name, kind in COLUMNS_OF[table].items()
    ]


def _type(name: str, kind: str) -> sa.types.TypeEngine[Any]:
    if name in TIME_COLUMNS:
        return Moment()
    return sa.BigInteger() if is_integer(kind) else sa.Text()


TABLE_OF: Mapping[Table, sa.Table] = {
    table: sa.Table(
        table, _metadata, *columns_of(table), sa.Index(f"{table}_{TIME_OF[table]}", TIME_OF[table])
    )
    for table in TIME_OF
}


def is_current(connection: sa.Connection) -> bool:
    """Whether the tables are those of `HEAD`."""
    return _current(connection) == HEAD


def migrate(connection: sa.Connection, where: str) -> None:
    """Bring the tables to `HEAD`, in the transaction of `connection`.

    Raises
    ------
    ConfigError
        Where a newer Asfitted has moved them on, or they are not ours; where the
        database cannot hold every text.
    """
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise ConfigError(
                f"the sink's database is encoded in {encoding}, which has not every letter",
                where, "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )  # fmt: skip
    if is_current(connection):
        return
    if postgresql:
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    current = _current(connection)
    if current == HEAD:
        return
    if current is not None and current > HEAD:
        raise ConfigError(
            f"the sink's tables are at version {current}, and this Asfitted knows {HEAD}",
            where, "upgrade Asfitted",
        )  # fmt: skip
    taken = [table for table in TABLE_OF if sa.inspect(connection).has_table(table)]
    if current is None and taken:
        raise ConfigError(
            f"the sink's database has a table {taken[0]} that is not Asfitted's", where,
            "name another database"
            + ", or let its user have a schema of its own: "
            "CREATE SCHEMA asfitted; ALTER ROLE … SET search_path = asfitted" * postgresql,
        )  # fmt: skip
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _current(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(
        sa.text(f"SELECT version_num FROM {VERSION_TABLE}")
    ).scalar()
    return version
