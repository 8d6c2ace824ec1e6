"""What is put on record: one row per scored row, the same columns everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from asfitted.errors import RecordError

# The format of the record, kept in every journal's table `meta`.
#
# It stays 0, free to change, until a release freezes it as 1. From then on, to
# change a column, its type or its meaning: add 1 here; teach `opening` to read
# the old number as well, for ever; put a log written by the last release under
# tests/golden/; write the change into the changelog.
RECORD_FORMAT = 0

Source = Literal["serve", "batch", "spark", "inprocess"]

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
TIME_COLUMNS = frozenset({"received_at", "scored_at"})
JSON_COLUMNS = frozenset({"inputs", "outputs", "findings", "keys", "params", "violations"})
# Known only when a row is written; rows leave `encode` without them.
WRITERS_COLUMNS = ("writer", "sequence")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Batch:
    """What one scoring call puts on record.

    Attributes
    ----------
    request_id, batch_id : str
        The caller's request; the call of the model, which may serve several.
    received_at, scored_at : aware datetime
    model_name, model_version : str
        The version is "" for a model outside the registry.
    model_digest, contract_digest : str
    inputs, outputs, keys : sequence of dict, of length n_rows
        JSON-able, one per row, with the field policy applied.
    findings : sequence of sequence of dict, of length n_rows
    params : dict
    latency_us : int
        Of the call, on every one of its rows.
    source : {"serve", "batch", "spark", "inprocess"}
    """

    request_id: str
    batch_id: str
    received_at: datetime
    scored_at: datetime
    model_name: str
    model_version: str
    model_digest: str
    contract_digest: str
    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[dict[str, Any]]
    findings: Sequence[Sequence[dict[str, Any]]]
    keys: Sequence[dict[str, Any]]
    params: dict[str, Any]
    latency_us: int
    source: Source


def to_microseconds(moment: datetime, name: str) -> int:
    """Return `moment` as whole microseconds since 1970 in UTC.

    Raises
    ------
    RecordError
        Where `moment` has no zone.
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise RecordError(
            f"{name} is not a datetime with a zone", mend="datetime.now(timezone.utc)"
        )
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the moment in UTC; the inverse of `to_microseconds`."""
    return _EPOCH + microseconds * _MICROSECOND
