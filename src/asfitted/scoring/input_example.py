"""The input example of MLflow's own pages and commands: rows as a caller would send them."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asfitted.artifact import layout
from asfitted.contract import Column, Conformed, DataContract, Fill
from asfitted.contract.moments import written
from asfitted.prediction_log.json_rows import listed
from asfitted.scoring.recording import received

logger = logging.getLogger(__name__)

ROWS = 5
# What MLmodel says of it, under MLflow's key ``saved_input_example_info``.
INFO = {
    "artifact_path": layout.INPUT_EXAMPLE,
    "serving_input_path": layout.SERVING_EXAMPLE,
    "type": "dataframe",
    "pandas_orient": "split",
}
_MOMENT = np.datetime64("2000-01-01", "us")
# Of the lengths and letters that keys are made of; a UUID of nothing but zeros.
_LONGEST, _LETTERS, _UUID = 64, "0aA", "00000000-0000-0000-0000-000000000000"


def write(root: Path, contract: DataContract, examples: pd.DataFrame) -> bool:
    """Write the first golden examples in MLflow's two forms.

    Not MLflow's own function: it writes NaN, which is not JSON, and knows nothing of moments
    in UTC. Keys are of no training row, but neutral values.

    Parameters
    ----------
    root : Path
    contract : DataContract
    examples : DataFrame of shape (n_rows, n_features)
        Conformed, without what is never written in clear.

    Returns
    -------
    bool
        False where the rules of a key leave no neutral value; nothing is written then.
    """
    rows = examples.iloc[: min(ROWS, contract.limits.rows)]
    columns, _ = received(contract, Conformed(rows, pd.DataFrame(index=rows.index), ()))
    values = {name: listed(column) for name, column in columns.items()}
    for name in contract.keys:
        try:
            values[name] = [_neutral(contract.columns[name])] * len(rows)
        except ValueError:
            logger.info(
                "MLflow gets no input example: the rules of the key %s leave no neutral value, "
                "such as a declared default would be (missing: {fill: …})",
                name,
            )
            return False
    names = list(contract.columns)
    split = {
        "columns": names,
        "data": [list(row) for row in zip(*(values[name] for name in names), strict=True)],
    }
    # MLflow reads them in whatever encoding the machine has: so ASCII.
    (root / layout.INPUT_EXAMPLE).write_text(json.dumps(split, allow_nan=False), "ascii")
    serving = json.dumps({"dataframe_split": split}, allow_nan=False, indent=2)
    (root / layout.SERVING_EXAMPLE).write_text(serving, "ascii")
    return True


def _neutral(column: Column) -> Any:
    """Return a value, as JSON has it, that a key may have and that says nothing.

    Raises
    ------
    ValueError
        Where there is none.
    """
    if isinstance(column.missing, Fill):
        return column.missing.fill
    if column.may_miss:
        return None
    if column.kind == "boolean":
        return False
    if column.kind == "category":
        return column.labels[0]
    if column.kind == "text":
        return _text(column)
    low, high = column.bounds("min"), column.bounds("max")
    value: Any = _MOMENT if column.kind == "datetime" else 0
    if low is not None and value < low:
        value = math.ceil(low) if column.kind == "integer" else low
    if high is not None and value > high:
        value = math.floor(high) if column.kind == "integer" else high
    if low is not None and value < low:
        raise ValueError("no whole number lies between the bounds")
    return written(np.array([value]))[0] if column.kind == "datetime" else value


def _text(column: Column) -> str:
    lengths = range(column.min_length, min(column.max_length, _LONGEST) + 1)
    longest = [letter * column.min_length for letter in _LETTERS]
    for text in (*(letter * n for n in lengths for letter in _LETTERS), *longest, _UUID):
        if not any(any(wrong) for _, wrong in column.broken_by([text])):
            return text
    raise ValueError("no such text keeps the rules")
