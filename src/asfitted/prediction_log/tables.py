"""The tables of the log: what each is called, its columns and their kinds, here alone.

Journals, shipper, sinks and readers follow from this; a table or a column that is
added here is there everywhere but in the migrations of the SQL sinks, which are
written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Table = Literal["predictions", "refusals", "outcomes", "removals"]

# Times are whole microseconds since 1970 in UTC: exact, and they sort.
COLUMNS: Mapping[str, str] = {
    "prediction_id": "TEXT NOT NULL",  # UUIDv7, the idempotency key of every sink
    "request_id": "TEXT NOT NULL",
    "batch_id": "TEXT NOT NULL",
    "row": "INTEGER NOT NULL",  # position in the call, from 0
    "received_at": "INTEGER NOT NULL",
    "scored_at": "INTEGER NOT NULL",
    "model_name": "TEXT NOT NULL",
    "model_version": "TEXT NOT NULL",  # "" for a model outside the registry
    "model_digest": "TEXT NOT NULL",
    "contract_digest": "TEXT NOT NULL",
    "inputs": "TEXT NOT NULL",  # JSON, as all up to params
    "outputs": "TEXT NOT NULL",
    "findings": "TEXT NOT NULL",
    "keys": "TEXT NOT NULL",
    "params": "TEXT NOT NULL",
    "latency_us": "INTEGER NOT NULL",
    "writer": "TEXT NOT NULL",
    "sequence": "INTEGER PRIMARY KEY",  # per writer, from 1, no gaps
    "source": "TEXT NOT NULL",
}
REFUSAL_COLUMNS: Mapping[str, str] = {
    "refusal_id": "TEXT NOT NULL",
    "request_id": "TEXT NOT NULL",
    "received_at": "INTEGER NOT NULL",
    "model_name": "TEXT NOT NULL",
    "model_version": "TEXT NOT NULL",
    "model_digest": "TEXT NOT NULL",
    "code": "TEXT NOT NULL",  # stable error code
    "n_rows": "INTEGER",  # NULL where the body could not be read so far
    "violations": "TEXT NOT NULL",  # JSON
    "writer": "TEXT NOT NULL",
    "sequence": "INTEGER PRIMARY KEY",
    "source": "TEXT NOT NULL",
}
# What came true. It names its prediction by id, or the predictions by keys.
OUTCOME_COLUMNS: Mapping[str, str] = {
    "outcome_id": "TEXT NOT NULL",
    "prediction_id": "TEXT",
    "recorded_at": "INTEGER NOT NULL",
    "observed_at": "INTEGER",  # NULL where nobody says when
    "model_name": "TEXT NOT NULL",  # "" for any model that has the keys
    "model_version": "TEXT NOT NULL",  # that of the prediction where it was known, else ""
    "keys": "TEXT NOT NULL",  # JSON
    "outcome": "TEXT NOT NULL",  # JSON; null: erased
    "writer": "TEXT NOT NULL",
    "sequence": "INTEGER PRIMARY KEY",
    "source": "TEXT NOT NULL",  # where it came from, such as a file's name
}
# The trace that `prune` and `erase` leave, and answers given without a record.
REMOVAL_COLUMNS: Mapping[str, str] = {
    "removal_id": "TEXT NOT NULL",
    "removed_at": "INTEGER NOT NULL",
    "kind": "TEXT NOT NULL",  # prune, erase or gap
    "who": "TEXT NOT NULL",
    "model_name": "TEXT NOT NULL",  # "" for every model
    "model_version": "TEXT NOT NULL",
    "condition": "TEXT NOT NULL",  # JSON; a subject's key only as its keyed hash
    "counts": "TEXT NOT NULL",  # JSON: rows by table
    "gaps": "TEXT NOT NULL",  # JSON: by table and writer the sequence numbers that are gone
    "reason": "TEXT NOT NULL",
    "writer": "TEXT NOT NULL",
    "sequence": "INTEGER PRIMARY KEY",
}
COLUMNS_OF: Mapping[Table, Mapping[str, str]] = {
    "predictions": COLUMNS,
    "refusals": REFUSAL_COLUMNS,
    "outcomes": OUTCOME_COLUMNS,
    "removals": REMOVAL_COLUMNS,
}
# The column that a table is ordered by, and the one that names its rows.
TIME_OF: Mapping[Table, str] = {
    "predictions": "scored_at",
    "refusals": "received_at",
    "outcomes": "recorded_at",
    "removals": "removed_at",
}
ID_OF: Mapping[Table, str] = {table: next(iter(columns)) for table, columns in COLUMNS_OF.items()}
TABLES: Mapping[Table, tuple[str, ...]] = {
    table: tuple(columns) for table, columns in COLUMNS_OF.items()
}
TIME_COLUMNS = frozenset({"received_at", "scored_at", "recorded_at", "observed_at", "removed_at"})
JSON_COLUMNS = frozenset(
    {"inputs", "outputs", "findings", "keys", "params", "violations"}
    | {"outcome", "condition", "counts", "gaps"}
)
# What stands in `findings` of a prediction whose content was erased.
ERASED_FINDINGS = '[{"column":"","rule":"erased"}]'
# Known only when a row is written: rows leave `encode` without them, and get them last.
WRITERS_COLUMNS = ("writer", "sequence")

WRITTEN: Mapping[Table, tuple[str, ...]] = {
    table: (*(name for name in names if name not in WRITERS_COLUMNS), *WRITERS_COLUMNS)
    for table, names in TABLES.items()
}

assert tuple(COLUMNS_OF) == get_args(Table)


def is_integer(kind: str) -> bool:
    """Whether the kind of a column is a whole number; else it is a text."""
    return kind.startswith("INTEGER")


def may_be_null(kind: str) -> bool:
    """Whether a column of this kind may be null."""
    return kind in {"INTEGER", "TEXT"}
