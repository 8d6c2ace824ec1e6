"""From a scoring call to the rows of the record, checked before they meet other callers' rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from json import encoder as json_encoder
from typing import Any, get_args

from asfitted.errors import RecordError, Violation
from asfitted.prediction_log.ids import uuid7, uuid7s
from asfitted.prediction_log.record import Batch, Source, to_microseconds

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


def encode(batch: Batch) -> list[tuple[Any, ...]]:
    """Return the rows of `batch` in the order of `COLUMNS`, without the writer's columns.

    Each row gets its prediction id. Everything that one caller can get wrong is
    found here, before its rows are written together with those of others.

    Raises
    ------
    RecordError
    """
    per_row = (batch.inputs, batch.outputs, batch.findings, batch.keys)
    lengths = [len(part) for part in per_row]
    if len(set(lengths)) > 1:
        raise RecordError(
            "a batch has {} inputs, {} outputs, {} findings and {} keys".format(*lengths),
            mend="give one of each per row",
        )
    head = (
        _text(batch.request_id, "request_id"),
        _text(batch.batch_id, "batch_id"),
    )
    middle = (
        to_microseconds(batch.received_at, "received_at"),
        to_microseconds(batch.scored_at, "scored_at"),
        _text(batch.model_name, "model_name"),
        _text(batch.model_version, "model_version"),
        _text(batch.model_digest, "model_digest"),
        _text(batch.contract_digest, "contract_digest"),
    )
    tail = (
        _json(batch.params, "params"),
        _integer(batch.latency_us, "latency_us"),
        _source(batch.source),
    )
    return [
        (
            prediction_id,
            *head,
            row,
            *middle,
            _json(inputs, "inputs", row),
            _json(outputs, "outputs", row),
            _json(findings, "findings", row) if findings != [] else "[]",
            _json(keys, "keys", row) if keys != {} else "{}",
            *tail,
        )
        for row, (prediction_id, inputs, outputs, findings, keys) in enumerate(
            zip(uuid7s(lengths[0]), *per_row, strict=True)
        )
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
) -> tuple[Any, ...]:
    """Return a refused request in the order of `REFUSAL_COLUMNS`; see `encode`."""
    # Of a violation its column, rule and count: a refused cell was never agreed
    # to be kept, so no value goes on record.
    shown = [{"column": v.column, "rule": v.rule, "rows": len(v.rows)} for v in violations]
    return (
        uuid7(),
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


def _json(value: Any, name: str, row: int | None = None) -> str:
    try:
        return _to_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        # json's own message may quote a value of the caller's: only its cause has it.
        of_row = "" if row is None else f" of row {row}"
        raise RecordError(
            f"{name}{of_row} cannot be written as JSON ({type(error).__name__})",
            mend="give str, int, finite float, bool, None, and lists and dicts of them",
        ) from error


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
