"""From a table of what came true to values that may go on record, all of it or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.contract import Column, DataContract, check_target
from asfitted.contract.kinds import read_column
from asfitted.contract.plain import plain
from asfitted.errors import ConfigError, ContractViolation, Violation
from asfitted.prediction_log.exporting import without_halves
from asfitted.prediction_log.keys import spelled
from asfitted.wire.csv import ALL_TEXT, BOOLEANS, read_csv

_CHUNK = 50_000
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Given:
    """Outcomes as they were given: lists of length n_rows.

    Attributes
    ----------
    ids : list of str or None
        Prediction ids, where the rows have those.
    keys : list of dict
        Empty where they have ids.
    outcomes : list
        Values, or dicts where there are several targets.
    observed_at : list of datetime or None
    """

    ids: list[str] | None
    keys: list[dict[str, Any]]
    outcomes: list[Any]
    observed_at: list[datetime | None]


def read_table(path: Path, contract: DataContract | None) -> pd.DataFrame:
    """Read a CSV or Parquet file of outcomes.

    Raises
    ------
    ConfigError, ContractViolation
    """
    if path.suffix == ".csv":
        typed = ALL_TEXT
        if contract is not None:
            columns = {**contract.columns, **contract.target}
            typed = contract.model_copy(update={"columns": columns})
        return pd.concat(list(read_csv(path, typed, _CHUNK)))
    if path.suffix != ".parquet":
        raise ConfigError("the ending says no format", str(path), "name it .csv or .parquet")
    try:
        # Beside a missing value pandas would make integers floats, which end at 2**53.
        return pq.read_table(path).to_pandas(integer_object_nulls=True)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the file cannot be read: {reason}", str(path)) from error


def read_outcomes(
    frame: pd.DataFrame,
    *,
    contract: DataContract | None,
    outcome: Sequence[str],
    keys: Sequence[str],
    observed_at: str | None,
    is_text: bool,
    where: str,
) -> Given:
    """Return what `frame` says, or refuse it whole.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
    contract : DataContract or None
        With one, outcomes are held to its target and keys to their columns.
    outcome, keys : sequence of str
        Columns; without keys there is one called ``prediction_id``.
    observed_at : str or None
    is_text : bool
        Numbers may stand there as text, as in a CSV.
    where : str

    Raises
    ------
    ContractViolation
        Every failed check, with the rows.
    """
    frame = frame.reset_index(drop=True)
    violations: list[Violation] = []
    names = [*(keys or ["prediction_id"]), *outcome, *([observed_at] if observed_at else [])]
    for name in names:
        if name not in frame.columns:
            violations.append(Violation(name, "missing_column", "the column is not there"))
        elif isinstance(frame[name], pd.DataFrame):
            violations.append(Violation(name, "duplicate", "the column stands there twice"))
    if violations:
        there = ", ".join(map(str, frame.columns[:20])) or "no columns"
        raise ContractViolation(violations, where, f"there are {there}")

    def column(name: str, read: Callable[[Any], Any], rule: str, what: str) -> list[Any]:
        values, wrong = [], []
        for row, cell in enumerate(frame[name].tolist()):
            value = read(cell)
            values.append(value)
            if value is _WRONG:
                wrong.append(row)
        if wrong:
            violations.append(Violation(name, rule, what, tuple(wrong), len(frame)))
        return values

    ids = None
    if not keys:
        what = "values are no prediction ids, 36 characters of a UUID"
        ids = column("prediction_id", _prediction_id, "prediction_id", what)
    key_columns = {}
    for name in keys:
        own = contract.columns.get(name) if contract is not None else None
        if own is not None and own.kind in ("integer", "number", "text"):
            key_columns[name] = _typed(frame[name], name, own, violations)
        else:
            what = "values are missing, or none that JSON has"
            key_columns[name] = column(name, lambda cell: _present(_plain(cell)), "key", what)
    if contract is not None and contract.target:
        values = _by_contract(frame, contract, violations)
    else:
        what = "values are missing, not finite, or none that JSON has"

        def read(cell: Any) -> Any:
            return _present(_parsed(_plain(cell)) if is_text else _plain(cell))

        each = [column(name, read, "outcome", what) for name in outcome]
        values = each[0] if len(outcome) == 1 else _rows(dict(zip(outcome, each, strict=True)))
    moments: list[datetime | None] = [None] * len(frame)
    if observed_at:
        what = "values are no times: write 2026-11-24 or 2026-11-24T10:35:00Z, UTC without offset"
        moments = column(observed_at, _moment, "observed_at", what)
    given = Given(ids, _rows(key_columns) if keys else [], values, moments)
    conflicts = [] if violations else _conflicts(given)
    if conflicts:
        what = "values or times differ from another row's of the same prediction"
        violations.append(Violation(outcome[0], "conflict", what, tuple(conflicts), len(frame)))
    if violations:
        raise ContractViolation(violations, where, "nothing was written; mend these rows")
    return given


def same_value(a: Any, b: Any) -> bool:
    """Whether two outcomes are the same; true is not 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _conflicts(given: Given) -> list[int]:
    """Return the rows of one prediction, or of the same keys, that do not say the same."""
    subjects: Iterable[Any] = (
        given.ids
        if given.ids is not None
        else (tuple(map(spelled, keys.values())) for keys in given.keys)
    )
    rows_of: dict[Any, list[int]] = {}
    for row, subject in enumerate(subjects):
        rows_of.setdefault(subject, []).append(row)
    values, times = given.outcomes, given.observed_at
    return sorted(
        row
        for rows in rows_of.values()
        if not all(same_value(values[rows[0]], values[row]) for row in rows[1:])
        or len({times[row] for row in rows} - {None}) > 1
        for row in rows
    )


class _Wrong:
    """The mark of a cell that cannot be taken."""


_WRONG = _Wrong()


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it: None where it is missing, `_WRONG` for what JSON has not."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or cell is pd.NA or cell is pd.NaT or cell != cell:
        return None
    if isinstance(cell, float) and cell in (float("inf"), float("-inf")):
        return _WRONG
    if isinstance(cell, str) and without_halves(cell) != cell:
        return _WRONG  # no column of texts holds half of a surrogate pair
    return cell if isinstance(cell, (str, bool, int, float)) else _WRONG


def _present(value: Any) -> Any:
    return _WRONG if value is None or value == "" else value


def _parsed(text: Any) -> Any:
    """Return the number, true or false that a field of a CSV spells, else the text."""
    if isinstance(text, str) and text in BOOLEANS:
        return BOOLEANS[text]
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        value = json.loads(text)
        return value if abs(value) != float("inf") else _WRONG
    return text


def _prediction_id(cell: Any) -> Any:
    text = cell.strip().lower() if isinstance(cell, str) else ""
    return text if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) else _WRONG


def _moment(cell: Any) -> Any:
    if cell is None or cell is pd.NaT or cell is pd.NA or cell != cell or cell == "":
        return None
    try:
        moment = (
            datetime.fromisoformat(cell.strip().replace("Z", "+00:00"))
            if isinstance(cell, str)
            else cell.to_pydatetime(warn=False)
            if isinstance(cell, pd.Timestamp)
            else datetime(cell.year, cell.month, cell.day)
        )
        if moment.utcoffset() is None:
            return moment.replace(tzinfo=timezone.utc)
        # Beside an offset the first and the last day of the calendar are none in UTC.
        return moment.astimezone(timezone.utc)
    except (ValueError, AttributeError, OverflowError):
        return _WRONG


def _typed(
    series: pd.Series[Any], name: str, column: Column, violations: list[Violation]
) -> list[Any]:
    """Return a key as predictions have it: hashed, 17 and "17" are two values."""
    read = read_column(plain(series), column)
    problems = [*read.problems]
    missing = series.isna().to_numpy(dtype=bool)
    if missing.any() and not any(rule == "missing" for rule, _, _ in problems):
        problems.append(("missing", "values missing", missing))
    violations += [
        Violation(name, rule, what, tuple(np.flatnonzero(mask).tolist()), len(series))
        for rule, what, mask in problems
    ]
    return [_plain(value) for value in pd.Series(read.values).tolist()]


def _by_contract(
    frame: pd.DataFrame, contract: DataContract, violations: list[Violation]
) -> list[Any]:
    try:
        checked = check_target(frame[list(contract.target)], contract)
    except ContractViolation as error:
        violations += error.violations
        return []
    if isinstance(checked, pd.Series):
        return checked.tolist()
    return _rows({name: checked[name].tolist() for name in checked.columns})
