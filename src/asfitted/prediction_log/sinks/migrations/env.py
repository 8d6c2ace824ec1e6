"""Run by Alembic: migrate on the connection, and in the transaction, of `sql_schema.migrate`."""

from __future__ import annotations

from alembic import context

from asfitted.prediction_log.sinks.sql_schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
