"""`check_target`: what is predicted, held to its own part of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.kinds import read_column
from asfitted.contract.plain import plain
from asfitted.contract.schema import DataContract
from asfitted.errors import ContractInvalid, ContractViolation, Violation


def check_target(y: Any, contract: DataContract) -> Any:
    """Return the target as the contract has it, or refuse it whole.

    `Conform` asks it in ``fit``; ask it yourself where `y` is prepared apart from
    the pipeline, and for outcomes that arrive later.

    Parameters
    ----------
    y : Series or array-like of shape (n_rows,), or DataFrame or array of shape (n_rows, n_targets)
        A DataFrame's columns are found by name, an array's by position.
    contract : DataContract
        With a ``target``.

    Returns
    -------
    Series of shape (n_rows,), or DataFrame of shape (n_rows, n_targets)
        With the index that came in: float64, int64, bool, or the labels as objects.

    Raises
    ------
    ContractViolation
        Every failed check, not only the first.
    ContractInvalid
        Where the contract says nothing of a target.

    Examples
    --------
    >>> contract = DataContract.from_yaml(
    ...     "schema_version: 1\\ncolumns: {size: {kind: number}}\\n"
    ...     "target: {late: {kind: integer, min: 0, max: 1}}")
    >>> check_target([0, 1, 1], contract).tolist()
    [0, 1, 1]
    """
    if not contract.target:
        raise ContractInvalid(
            "the contract says nothing of the target",
            mend="add `target: {<its name>: {kind: …}}` to contract.yaml",
        )
    given = named(y, list(contract.target))
    violations, columns = [], {}
    for name, column in contract.target.items():
        read = read_column(plain(given[name]), column)
        violations += [
            Violation(name, rule, what, tuple(np.flatnonzero(mask).tolist()), len(given))
            for rule, what, mask in read.problems
        ]
        values = np.asarray(read.values)
        # What pandas infers for text differs between its releases.
        columns[name] = pd.Series(values, dtype=values.dtype, index=given.index)
    if violations:
        raise ContractViolation(violations, "the target")
    checked = pd.DataFrame(columns, index=given.index)
    return checked if len(columns) > 1 else checked.iloc[:, 0]


def named(y: Any, names: list[str]) -> pd.DataFrame:
    """Return `y` as a frame of one column for each of `names`."""
    if isinstance(y, pd.DataFrame):
        lacking = [name for name in names if name not in y.columns]
        if lacking:
            raise ContractViolation(
                [Violation(name, "missing_column", "the column is not there") for name in lacking],
                "the target",
                f"there are {', '.join(map(str, y.columns[:20])) or 'no columns'}",
            )
        twice = [name for name in names if isinstance(y[name], pd.DataFrame)]
        if twice:
            what = "the column stands there twice"
            raise ContractViolation(
                [Violation(name, "duplicate", what) for name in twice], "the target"
            )
        return y
    if isinstance(y, pd.Series):
        frame = y.to_frame()
    else:
        try:
            values = np.asarray(y)
            if values.dtype.kind == "U" and not isinstance(y, np.ndarray):
                # Of numbers beside texts numpy makes texts.
                values = np.asarray(y, dtype=object)
            frame = pd.DataFrame(values)
        except ValueError as error:
            what = "neither one value a row nor the same number of values in each"
            raise ContractViolation([Violation("", "shape", what)], "the target") from error
    if frame.shape[1] != len(names):
        what = f"{frame.shape[1]} columns, the contract has {len(names)}: {', '.join(names)}"
        raise ContractViolation([Violation("", "shape", what)], "the target")
    return frame.set_axis(names, axis=1)
