"""Records in a person's words, for one line of a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from asfitted.prediction_log.query import SHORT_ID


def short_id(prediction_id: str) -> str:
    """Return the end of an id, which is random and so tells records apart.

    Examples
    --------
    >>> short_id("01936f5e-4c1a-7f3a-9d52-7c2b1a90e4d1")
    '7c2b1a90e4d1'
    """
    return prediction_id[-SHORT_ID:]


def moment(value: datetime, timespec: str = "seconds") -> str:
    """Return a moment of the record (UTC) as a clock shows it."""
    return value.replace(tzinfo=None).isoformat(" ", timespec)


def scalar(value: Any) -> str:
    """Return a value of the record as text: missing is a dash, long fractions are cut.

    Examples
    --------
    >>> [scalar(v) for v in (None, True, "JFK", 0.1 + 0.2, 1e22, 7)]
    ['–', 'true', 'JFK', '0.3', '1e+22', '7']
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def model(record: Mapping[str, Any]) -> str:
    """Return ``name/version``, or the name and the digest's beginning where there is no version."""
    mark = record["model_version"] or record["model_digest"].removeprefix("sha256:")[:8]
    return f"{record['model_name']}/{mark}" if mark else str(record["model_name"])


def answer(outputs: Mapping[str, Any]) -> str:
    """Return the prediction, its probability where there is one, and whatever else there is.

    Examples
    --------
    >>> answer({"prediction": 1, "probability_0": 0.2, "probability_1": 0.8})
    '1 (p 0.800)'
    >>> answer({"prediction": 12.25})
    '12.25'
    """
    rest = dict(outputs)
    parts = []
    if "prediction" in rest:
        label = scalar(rest.pop("prediction"))
        scores = {n: v for n, v in rest.items() if n.startswith("probability_")}
        rest = {n: v for n, v in rest.items() if n not in scores}
        score = scores.get(f"probability_{label}")
        parts.append(label if score is None else f"{label} (p {score:.3f})")
    return " ".join([*parts, *(f"{name}={scalar(value)}" for name, value in rest.items())])


def pairs(values: Mapping[str, Any]) -> str:
    """Return ``name=value name=value``."""
    return " ".join(f"{name}={scalar(value)}" for name, value in values.items())


_FINDINGS = {
    "filled": "{column} missing, filled",
    "unknown_category": "{column} {received}not in the list",
    "outside_observed": "{column} {received}outside the range of training",
    "extra_column": "{column} not in the contract",
}


def finding(entry: Mapping[str, Any]) -> str:
    """Return a finding as a few words.

    Examples
    --------
    >>> finding({"column": "carrier", "rule": "unknown_category", "value": "ZZ"})
    'carrier "ZZ" not in the list'
    >>> finding({"column": "temp", "rule": "filled"})
    'temp missing, filled'
    """
    column, rule = str(entry.get("column", "")), str(entry.get("rule", ""))
    value = entry.get("value", entry.get("received"))
    if isinstance(value, str) and value.startswith("hmac-"):
        value = None  # 64 hex digits say nothing to a person
    received = "" if value is None else json.dumps(value, ensure_ascii=False) + " "
    form = _FINDINGS.get(rule, "{column} {received}" + rule.replace("_", " "))
    return form.format(column=column, received=received).strip()


def violation(entry: Mapping[str, Any]) -> str:
    """Return a violation of a refused request as a few words.

    Examples
    --------
    >>> violation({"column": "temp", "rule": "max", "rows": 3})
    'temp: max (3 rows)'
    """
    count = entry.get("rows", 0)
    rows = f" ({count} row{'s' if count != 1 else ''})" if count else ""
    subject = f"{entry['column']}: " if entry.get("column") else ""
    return f"{subject}{entry.get('rule', '')}{rows}"
