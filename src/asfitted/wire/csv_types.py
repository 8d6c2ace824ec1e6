"""A CSV file, each column as what all its fields are read as: for a proposal, never to score."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from asfitted.contract import Column
from asfitted.contract.column import Kind
from asfitted.contract.kinds import read_column
from asfitted.contract.plain import plain
from asfitted.wire.csv import ALL_TEXT, read_csv, typed

_KINDS: tuple[Kind, ...] = ("boolean", "integer", "number", "datetime")
# A number has none of them; a ZIP code has.
_LEADING_ZERO = re.compile(r"[+-]?0\d", re.ASCII)
_CHUNK_ROWS = 50_000


def read_csv_types(file: Path) -> pd.DataFrame:
    """Return a whole CSV file, each column of the narrowest kind that all its fields are.

    They are read as `read_csv` reads them by a contract: an empty field is missing, and "NA"
    is text. Numbers with a leading zero are text.

    Raises
    ------
    ConfigError, ContractViolation
        As `read_csv`.
    """
    frame = pd.concat(list(read_csv(file, ALL_TEXT, _CHUNK_ROWS)))
    columns = [_guessed(frame.iloc[:, at]) for at in range(frame.shape[1])]
    found = pd.concat(columns, axis=1)
    found.columns = frame.columns
    return found


def _guessed(texts: pd.Series[Any]) -> pd.Series[Any]:
    present = texts.dropna()
    if present.empty or any(map(_LEADING_ZERO.match, present)):
        return texts
    for kind in _KINDS:
        column = Column(kind=kind, missing="pass")
        values = pd.Series(typed(tuple(texts.fillna("")), column), texts.index, dtype=object)
        read = read_column(plain(values), column)
        if not read.problems:
            return pd.Series(read.values, texts.index) if kind == "datetime" else values
    return texts
