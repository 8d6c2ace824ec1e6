"""From a raw frame to what the pipeline sees; the same code in training and in serving."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.checks import broken
from asfitted.contract.kinds import read_column
from asfitted.contract.plain import Plain, plain, plain_values
from asfitted.contract.schema import DataContract
from asfitted.errors import ContractViolation, Violation

# Marks a conformed frame, so that conforming it again neither shifts its moments
# a second time nor refuses the 0.0 and 1.0 of a boolean that may miss.
CONFORMED = "asfitted_conformed"
_IGNORE = "; extra_columns: ignore in the contract lets it pass"
# Looking for the column that was meant takes time for each one that is not.
_HINTS = 20


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
    if not isinstance(frame, pd.DataFrame):
        what = f"a DataFrame with named columns is needed, not {type(frame).__name__}"
        raise ContractViolation(
            [Violation("", "frame", what)], mend="pass a pandas DataFrame, one row per prediction"
        )
    twice = frame.columns[frame.columns.duplicated()].unique()
    if len(twice):
        # Nothing can be read of a column that is two.
        shown = twice if _names_known(contract, list(frame.columns)) else [""]
        problems = [Violation(str(n), "duplicate", "the column stands there twice") for n in shown]
        problems += _name_problems(contract, list(frame.columns))
        raise ContractViolation(problems, mend=_name_mend(contract, list(frame.columns)))
    table = _Table(
        list(frame.columns),
        frame.index,
        lambda name: plain(frame[name]),
        bool(frame.attrs.get(CONFORMED)),
    )
    return _conform(contract, table, keys, checks)


def conform_rows(
    contract: DataContract, columns: Mapping[str, Sequence[Any]], n_rows: int
) -> Conformed:
    """Return what `conform` gives for the frame of these columns, without that frame.

    Parameters
    ----------
    contract : DataContract
    columns : mapping of str to sequence of length n_rows
        Of JSON's types, None for missing.
    n_rows : int

    Raises
    ------
    ContractViolation, CheckFailed
        As `conform`.
    """
    index = pd.RangeIndex(n_rows)
    table = _Table(list(columns), index, lambda name: plain_values(columns[name]), False)
    return _conform(contract, table, True, True)


@dataclass(frozen=True)
class _Table:
    """What is conformed: its columns' names, and each in plain form when asked for."""

    names: list[Any]
    index: pd.Index[Any]
    plain: Callable[[str], Plain]
    is_conformed: bool


def _conform(contract: DataContract, table: _Table, keys: bool, checks: bool) -> Conformed:
    violations = _name_problems(contract, table.names)
    absent = {v.column for v in violations if v.rule == "missing_column"}
    mend = _name_mend(contract, table.names) if violations else ""
    n_rows = len(table.index)
    there = set(table.names)
    violations += _index_problems(contract, table, keys)
    columns: dict[str, Any] = {}
    findings: list[Finding] = []
    for name, column in contract.columns.items():
        if name in absent or (name in contract.keys and not keys):
            continue
        source = table.plain(name) if name in there else plain_values([None] * n_rows)
        read = read_column(source, column, is_conformed=table.is_conformed)
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
            for extra in table.names
            if extra not in contract.columns
        ]
    features = _frame({n: columns[n] for n in contract.features}, table.index)
    key_columns = {n: columns[n] for n in contract.keys if n in columns}
    features.attrs[CONFORMED] = True
    if checks and contract.row_checks:
        refused = broken(contract.row_checks, features.reset_index(drop=True))
        if refused:
            raise ContractViolation(refused)
    return Conformed(features, _frame(key_columns, table.index), tuple(findings))


def _index_problems(contract: DataContract, table: _Table, keys: bool) -> list[Violation]:
    there, index = set(table.names), table.index
    lacking = {
        name: column
        for name, column in contract.columns.items()
        if name not in there and (keys or name not in contract.keys)
    }
    problems = [
        Violation(name, "index", "the column is the frame's index; call reset_index()")
        for name in index.names
        if name in lacking
    ]
    moments = [name for name, column in lacking.items() if column.kind == "datetime"]
    if isinstance(index, pd.DatetimeIndex) and index.name not in contract.columns and moments:
        # Only where the column has to be there: an index of moments may be anything.
        problems += [
            Violation(
                name, "index", f"the frame's index holds moments: reset_index(names={name!r})?"
            )
            for name in moments
            if not lacking[name].may_miss
        ]
    return problems


def _frame(columns: dict[str, Any], index: pd.Index[Any]) -> pd.DataFrame:
    # Text stays objects: what pandas infers for it differs between its releases and
    # between columns with and without rows.
    held = {
        name: pd.Series(values, dtype=object) if values.dtype == object else values
        for name, values in columns.items()
    }
    frame = pd.DataFrame(held, index=pd.RangeIndex(len(index)))
    frame.index = index
    return frame


def _name_problems(contract: DataContract, names: list[Any]) -> list[Violation]:
    problems: list[Violation] = []
    if contract.extra_columns == "refuse" and not _names_known(contract, names):
        problems.append(Violation("", "extra_column", "no name is that of a contract's column"))
    elif contract.extra_columns == "refuse":
        for name in dict.fromkeys(names):
            if name not in contract.columns:
                near = _near(str(name), contract) if len(problems) < _HINTS else ""
                hint = f"; did you mean {near}?" if near else _IGNORE
                if name == "":
                    hint = "; it has no name: did pandas write its index? to_csv(index=False)"
                problems.append(
                    Violation(str(name), "extra_column", f"not a column of the contract{hint}")
                )
    elif any("\0" in str(name) for name in names if name not in contract.columns):
        # An ignored column's name stands on record.
        problems.append(Violation("", "nul", "the name of a column holds a NUL"))
    there = set(names)
    problems += [
        Violation(name, "missing_column", "the column is not there and may not miss")
        for name, column in contract.columns.items()
        if name not in there and not column.may_miss and name not in contract.keys
    ]
    return problems


def _names_known(contract: DataContract, names: list[Any]) -> bool:
    """Whether `names` can be shown: a CSV file's are cells where it has no header."""
    if not names or any(name in contract.columns for name in names):
        return True
    return any(_near(str(name), contract) for name in names[:_HINTS])


def _near(name: str, contract: DataContract) -> str:
    """Return the column that `name` may be a misspelling of, or ""."""
    if len(name) > 2 * max(map(len, contract.columns)):
        return ""
    return next(iter(difflib.get_close_matches(name, list(contract.columns), n=1)), "")


def _name_mend(contract: DataContract, names: list[Any]) -> str:
    there = f"there are {', '.join(map(str, names[:20])) or 'none'}"
    if not _names_known(contract, names):
        there = "a CSV file names them in its first line, with commas in between"
    return f"the contract's columns are {', '.join(contract.columns)}; {there}"
