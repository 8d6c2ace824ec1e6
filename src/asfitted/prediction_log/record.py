"""What is put on record: one row per scored row, and what comes true of it."""

from __future__ import annotations

from collections.abc import Sequence
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
    inputs, outputs, keys : sequence of dict or str, of length n_rows
        JSON-able, one per row, with the field policy applied; a str is the object's JSON.
    findings : sequence of sequence of dict, or of str as before, of length n_rows
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
    inputs: Sequence[dict[str, Any] | str]
    outputs: Sequence[dict[str, Any] | str]
    findings: Sequence[Sequence[dict[str, Any]] | str]
    keys: Sequence[dict[str, Any] | str]
    params: dict[str, Any]
    latency_us: int
    source: Source


@dataclass(frozen=True)
class Outcome:
    """What came true of a prediction, or of all that have these keys.

    Attributes
    ----------
    recorded_at : aware datetime
    observed_at : aware datetime or None
    model_name, model_version : str
        With keys: of this model only, "" for any; the version is what was predicted with.
    prediction_id : str or None
    keys : dict
        JSON-able, with the field policy applied.
    outcome : Any
        JSON-able and not None.
    source : str
        Where it comes from, in the words of whoever says it.
    """

    recorded_at: datetime
    observed_at: datetime | None
    model_name: str
    model_version: str
    prediction_id: str | None
    keys: dict[str, Any]
    outcome: Any
    source: str


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
