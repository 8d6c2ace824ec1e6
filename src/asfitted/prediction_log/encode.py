"""From a scoring call to the rows of the record, checked before they meet other callers' rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from json import encoder as json_encoder
from typing import Any, Literal, get_args

from asfitted.errors import RecordError, Violation
from asfitted.prediction_log.ids import uuid7, uuid7s
from asfitted.prediction_log.json_rows import Column, json_rows
from asfitted.prediction_log.record import Batch, Outcome, Source, to_microseconds
from asfitted.prediction_log.tables import WRITERS_COLUMNS, WRITTEN

_LARGEST = 2**63 - 1
# ASCII, so that a lone surrogate, which JSON may carry and UTF-8 may not, survives.
# Floats as repr writes them: the shortest text that reads back as the same bits.
_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _json_writer() -> Callable[[Any], str]:
    """Return what `_encoder.encode` does, with its C object made once.

    It makes that anew for each value, which takes longer than writing a row does. No
    markers: what holds itself ends in a RecursionError, which is caught as well.
    """
    make = getattr(json_encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    text = json_encoder.encode_basestring_ascii  # type: ignore[attr-defined]
    write = make(None, _encoder.default, text, None, ":", ",", False, False, False)
    return lambda value: "".join(write(value, 0))


_to_json = _json_writer()


@dataclass(frozen=True)
class Call:
    """The rows of one call, which have most of their values in common.

    Iterating gives each in the order of `WRITTEN`, without the writer's columns.

    Attributes
    ----------
    common : mapping of str to str or int
        The columns that are the same in every row.
    columns : mapping of str to sequence of length n_rows
        The others, in that order.
    """

    common: Mapping[str, str | int]
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.columns["prediction_id"])

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        names = WRITTEN["predictions"][: -len(WRITERS_COLUMNS)]
        # Column by column: a third of the time that row by row takes.
        values = [self.columns[n] if n in self.columns else repeat(self.common[n]) for n in names]
        return zip(*values, strict=False)


def encode(batch: Batch) -> Call:
    """Return the rows of `batch`; each gets its prediction id.

    Everything that one caller can get wrong is found here, before its rows are
    written together with those of others.

    Raises
    ------
    RecordError
    """
    per_row = {
        "inputs": batch.inputs,
        "outputs": batch.outputs,
        "findings": batch.findings,
        "keys": batch.keys,
    }
    lengths = [len(part) for part in per_row.values()]
    if len(set(lengths)) > 1:
        raise RecordError(
            "a batch has {} inputs, {} outputs, {} findings and {} keys".format(*lengths),
            mend="give one of each per row",
        )
    texts = (
        "request_id",
        "batch_id",
        "model_name",
        "model_version",
        "model_digest",
        "contract_digest",
    )
    common: dict[str, str | int] = {
        **{name: _text(getattr(batch, name), name) for name in texts},
        "received_at": to_microseconds(batch.received_at, "received_at"),
        "scored_at": to_microseconds(batch.scored_at, "scored_at"),
        "params": _json(batch.params, "params"),
        "latency_us": _integer(batch.latency_us, "latency_us"),
        "source": _source(batch.source),
    }
    columns = {
        "prediction_id": uuid7s(lengths[0]),
        "row": range(lengths[0]),
        **{name: _texts(values, name) for name, values in per_row.items()},
    }
    return Call(common, columns)


def _texts(values: Sequence[Any], name: str) -> Sequence[str]:
    """Return a column as JSON; what is a text is JSON already."""
    if set(map(type, values)) <= {str}:
        return values
    return [
        value if type(value) is str else _json(value, name, row) for row, value in enumerate(values)
    ]


def encode_refusal(
    *,
    request_id: str,
    received_at: datetime,
    model_name: str,
    model_version: str,
    model_digest: str,
    code: str,
    n_rows: int | None,
    violations: Sequence[Violation],
    source: Source,
    refusal_id: str = "",
) -> tuple[Any, ...]:
    """Return a refused request in the order of `REFUSAL_COLUMNS`; see `encode`."""
    # Of a violation its column, rule and count: a refused cell was never agreed
    # to be kept, so no value goes on record.
    shown = [{"column": v.column, "rule": v.rule, "rows": len(v.rows)} for v in violations]
    return (
        refusal_id or uuid7(),
        _text(request_id, "request_id"),
        to_microseconds(received_at, "received_at"),
        _text(model_name, "model_name"),
        _text(model_version, "model_version"),
        _text(model_digest, "model_digest"),
        _text(code, "code"),
        None if n_rows is None else _integer(n_rows, "n_rows"),
        _json(shown, "violations"),
        _source(source),
    )


def encode_outcome(outcome: Outcome) -> tuple[Any, ...]:
    """Return `outcome` in the order of `OUTCOME_COLUMNS`, with a new id; see `encode`."""
    if outcome.prediction_id is None and not outcome.keys:
        raise RecordError("an outcome names neither a prediction nor keys")
    if outcome.outcome is None:
        raise RecordError("an outcome is null", mend="leave out what is not known yet")
    observed_at = outcome.observed_at
    return (
        uuid7(),
        None if outcome.prediction_id is None else _text(outcome.prediction_id, "prediction_id"),
        to_microseconds(outcome.recorded_at, "recorded_at"),
        None if observed_at is None else to_microseconds(observed_at, "observed_at"),
        _text(outcome.model_name, "model_name"),
        _text(outcome.model_version, "model_version"),
        _json(outcome.keys, "keys"),
        _json(outcome.outcome, "outcome"),
        _text(outcome.source, "source"),
    )


def encode_removal(
    *,
    removed_at: datetime,
    kind: Literal["prune", "erase", "gap"],
    who: str,
    model_name: str,
    model_version: str,
    condition: Mapping[str, Any],
    counts: Mapping[str, Any],
    gaps: Mapping[str, Any],
    reason: str,
) -> tuple[Any, ...]:
    """Return a removal in the order of `REMOVAL_COLUMNS`, with a new id; see `encode`."""
    if kind not in ("prune", "erase", "gap"):
        raise RecordError(f"a removal is no {kind!r}", mend="prune, erase or gap")
    return (
        uuid7(),
        to_microseconds(removed_at, "removed_at"),
        kind,
        _text(who, "who"),
        _text(model_name, "model_name"),
        _text(model_version, "model_version"),
        _json(condition, "condition"),
        _json(counts, "counts"),
        _json(gaps, "gaps"),
        _text(reason, "reason"),
    )


def encode_columns(columns: Mapping[str, Column], n_rows: int, name: str) -> list[str]:
    """Return the rows of a table as `Batch` takes them; see `json_rows`.

    Raises
    ------
    RecordError
        Names `name`.
    """
    try:
        return json_rows(columns, n_rows, _to_json)
    except _NO_JSON as error:
        raise _not_json(name, error) from error


_NO_JSON = (TypeError, ValueError, RecursionError)


def _json(value: Any, name: str, row: int | None = None) -> str:
    try:
        return _to_json(value)
    except _NO_JSON as error:
        raise _not_json(name if row is None else f"{name} of row {row}", error) from error


def _not_json(what: str, error: Exception) -> RecordError:
    # json's own message may quote a value of the caller's: only its cause has it.
    return RecordError(
        f"{what} cannot be written as JSON ({type(error).__name__})",
        mend="give str, int, finite float, bool, None, and lists and dicts of them",
    )


def _text(value: str, name: str) -> str:
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise RecordError(f"{name} is not a text that UTF-8 can write") from error
    return value


def _integer(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise RecordError(f"{name} is not an integer from 0 to 2**63 - 1")
    return value


def _source(value: str) -> str:
    if value not in get_args(Source):
        raise RecordError(f"source is none of {', '.join(get_args(Source))}")
    return value
