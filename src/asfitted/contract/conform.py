"""From a raw frame to what the pipeline sees; the same code in training and in serving."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.checks import broken
from asfitted.contract.column import Column
from asfitted.contract.kinds import read_column
from asfitted.contract.reading import ReadColumn
from asfitted.contract.schema import DataContract
from asfitted.errors import ContractViolation, Violation

# Marks a conformed frame, so that conforming it again neither shifts its moments
# a second time nor refuses the 0.0 and 1.0 of a boolean that may miss.
CONFORMED = "asfitted_conformed"


@dataclass(frozen=True)
class Finding:
    """Something that was mended or that is out of the ordinary, and allowed.

    Attributes
    ----------
    column : str
    rule : str
        ``filled``, ``unknown_category``, ``outside_observed`` or ``extra_column``.
    rows : ndarray of int
        Positions of the rows.
    received : ndarray or None
        What arrived in those rows, where it is not what the pipeline sees.
    """

    column: str
    rule: str
    rows: np.ndarray[Any, Any]
    received: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Conformed:
    """A frame that the contract allows.

    Attributes
    ----------
    frame : DataFrame of shape (n_rows, n_features)
        In contract order, with the index that came in.
    keys : DataFrame of shape (n_rows, n_keys)
    findings : tuple of Finding
    """

    frame: pd.DataFrame
    keys: pd.DataFrame
    findings: tuple[Finding, ...]


def conform(
    contract: DataContract, frame: pd.DataFrame, *, keys: bool = True, checks: bool = True
) -> Conformed:
    """Return `frame` as the pipeline must see it, or refuse it whole.

    Training calls this before ``fit`` and serving before ``predict``; nothing
    else may prepare columns.

    Parameters
    ----------
    contract : DataContract
    frame : DataFrame of shape (n_rows, n_columns)
        One row per prediction, each column in its contract unit. `n_rows` may
        be 0. A column that may miss may be absent.
    keys : bool, default True
        Whether key columns are held to their rules. A step of a pipeline does
        not ask for them: they are no business of the model's.
    checks : bool, default True
        Whether the row checks are asked; they are, once every column keeps its rules.

    Returns
    -------
    Conformed

    Raises
    ------
    ContractViolation
        Every failed check, not only the first; see ``violations``.
    CheckFailed
        Where a row check is broken itself.
    """
    violations = _frame_problems(contract, frame)
    # Nothing can be read from what is no frame, or of a column that is two.
    if any(v.rule in {"frame", "duplicate"} for v in violations):
        raise ContractViolation(violations, mend=_frame_mend(contract, frame))
    absent = {v.column for v in violations if v.rule == "missing_column"}
    mend = _frame_mend(contract, frame) if violations else ""
    n_rows = len(frame)
    is_conformed = bool(frame.attrs.get(CONFORMED))
    columns: dict[str, Any] = {}
    findings: list[Finding] = []
    for name, column in contract.columns.items():
        if name in absent or (name in contract.keys and not keys):
            continue
        read = _read(frame, name, column, is_conformed)
        violations += [
            Violation(name, rule, what, tuple(np.flatnonzero(mask).tolist()), n_rows)
            for rule, what, mask in read.problems
        ]
        for rule, mask, received in read.notes:
            rows = np.flatnonzero(mask)
            findings.append(Finding(name, rule, rows, None if received is None else received[rows]))
        columns[name] = read.values
    if violations:
        raise ContractViolation(violations, mend=mend)
    if contract.extra_columns == "ignore":
        findings += [
            Finding(str(extra), "extra_column", np.arange(n_rows))
            for extra in frame.columns
            if extra not in contract.columns
        ]
    features = _table({n: columns[n] for n in contract.features}, frame.index)
    key_columns = {n: columns[n] for n in contract.keys if n in columns}
    features.attrs[CONFORMED] = True
    if checks:
        refused = broken(contract.row_checks, features.reset_index(drop=True))
        if refused:
            raise ContractViolation(refused)
    return Conformed(features, _table(key_columns, frame.index), tuple(findings))


def _table(columns: dict[str, Any], index: pd.Index[Any]) -> pd.DataFrame:
    # Text stays objects: what pandas infers for it differs between its releases and
    # between columns with and without rows.
    held = {
        name: pd.Series(values, dtype=object) if values.dtype == object else values
        for name, values in columns.items()
    }
    table = pd.DataFrame(held, index=pd.RangeIndex(len(index)))
    table.index = index
    return table


def _read(frame: pd.DataFrame, name: str, column: Column, is_conformed: bool) -> ReadColumn:
    if name in frame.columns:
        return read_column(frame[name], column, is_conformed=is_conformed)
    return read_column(pd.Series([None] * len(frame), dtype=object), column)


def _frame_problems(contract: DataContract, frame: pd.DataFrame) -> list[Violation]:
    if not isinstance(frame, pd.DataFrame):
        kind = type(frame).__name__
        return [Violation("", "frame", f"a DataFrame with named columns is needed, not {kind}")]
    problems = [
        Violation(str(name), "duplicate", "the column stands there twice")
        for name in frame.columns[frame.columns.duplicated()].unique()
    ]
    if contract.extra_columns == "refuse":
        for name in frame.columns:
            if name not in contract.columns:
                near = difflib.get_close_matches(str(name), list(contract.columns), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                problems.append(
                    Violation(str(name), "extra_column", f"not a column of the contract{hint}")
                )
    problems += [
        Violation(name, "missing_column", "the column is not there and may not miss")
        for name, column in contract.columns.items()
        if name not in frame.columns and not column.may_miss and name not in contract.keys
    ]
    return problems


def _frame_mend(contract: DataContract, frame: pd.DataFrame) -> str:
    if not isinstance(frame, pd.DataFrame):
        return "pass a pandas DataFrame, one row per prediction"
    there = ", ".join(map(str, frame.columns[:20])) or "none"
    return f"the contract's columns are {', '.join(contract.columns)}; there are {there}"
