"""What goes back over HTTP: small, stable, and never a value, a path or a trace."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asfitted.errors import (
    SHOWN_VIOLATIONS,
    CheckFailed,
    ContractViolation,
    ModelFailed,
    OutputViolation,
    RecordError,
    RequestRefused,
    Violation,
    refusal_code,
)

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: status, body, further headers, and the code of a refusal."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str = ""


# Encoded in pieces: one call of the encoder lets no other thread run before it ends.
_PIECE = 4096


def success(predictions: list[Any], ids: list[str] | None) -> Reply:
    """Return answers in the shape that MLflow's server gives them.

    Parameters
    ----------
    predictions : list of length n_rows
    ids : list of str, optional
        The prediction ids, where the caller wants them.
    """
    body = b'{"predictions": ' + _listed(predictions)
    if ids is not None:
        body += b', "prediction_ids": ' + _listed(ids)
    return Reply(200, body + b"}")


def _listed(values: list[Any]) -> bytes:
    # Valid JSON or none: an answer that is not finite was refused before.
    pieces = [
        json.dumps(values[i : i + _PIECE], allow_nan=False, default=_plain)[1:-1]
        for i in range(0, len(values), _PIECE)
    ]
    return f"[{', '.join(pieces)}]".encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"not JSON: {type(value).__name__}")


_HEADERS = {
    401: {"www-authenticate": "Bearer"},
    405: {"allow": "POST"},
    503: {"retry-after": "1"},
}


def refusal(error: BaseException, request_id: str) -> Reply:
    """Return what the caller is told: a code, a sentence, at most five violations."""
    headers: dict[str, str] = {}
    content: dict[str, Any] = {"request_id": request_id, "code": refusal_code(error)}
    if isinstance(error, RequestRefused):
        status = error.status
        headers = _HEADERS.get(status, {})
        content |= {"message": _sentence(error.what, error.mend)}
    elif isinstance(error, ContractViolation):
        status = 422
        message = "the rows are not what the contract allows; GET /contract shows it"
        content |= {"message": message, **_violations(error.violations)}
    elif isinstance(error, OutputViolation):
        status = 500
        message = "the model's answer may not be sent"
        content |= {"message": message, **_violations(error.violations)}
    elif isinstance(error, RecordError):
        status, headers = 503, {"retry-after": "5"}
        message = "the answer could not be recorded, so it is not given; try again later"
        content |= {"message": message}
    elif isinstance(error, CheckFailed):
        status = 500
        content |= {"message": "a check of the contract failed on these rows, and not the rows"}
        kind = type(error.__cause__).__name__
        logger.error("request %s: the check %s failed (%s)", request_id, error.where, kind)
    elif isinstance(error, ModelFailed):
        status = 500
        content |= {"message": "the model failed on these rows"}
        logger.error("request %s: %s", request_id, error.what)
    else:
        status = 500
        content |= {"message": "the model failed on these rows"}
        # The types say where to look; the message may hold a value.
        kind, cause = type(error).__name__, type(error.__cause__).__name__
        logger.error("request %s: %s in the model (%s)", request_id, kind, cause)
    return Reply(status, json.dumps(content).encode(), headers, content["code"])


def _sentence(what: str, mend: str) -> str:
    return f"{what}: {mend}" if mend else what


def _violations(violations: Sequence[Violation]) -> dict[str, Any]:
    shown = [_violation(v) for v in violations[:SHOWN_VIOLATIONS]]
    return {"violations": shown, "n_violations": len(violations)}


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "column": violation.known_column,
        "rule": violation.rule,
        "what": violation.what,
        "rows": list(violation.rows[:SHOWN_VIOLATIONS]),
        "n_rows": len(violation.rows),
    }
