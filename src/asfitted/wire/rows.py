"""What every reader gives: columns of plain values, not yet held to the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract import Conformed, DataContract
from asfitted.contract.conform import conform_rows
from asfitted.errors import RequestRefused

# Columns that the contract does not know, and their cells. A few bytes name a
# column, and each column costs a cell in every row of the table.
MAX_STRANGERS = 1_000
MAX_STRANGE_CELLS = 5_000_000


@dataclass(frozen=True)
class Rows:
    """The rows of one request.

    Attributes
    ----------
    columns : dict of str to list
        In the order in which they came; each of `n_rows` values of JSON's
        types, None for missing.
    n_rows : int
    params : dict
        What the caller asks for beside the answer.
    typed : DataFrame, optional
        The rows of a format that has types of its own; `columns` is empty then.
    """

    columns: dict[str, list[Any]]
    n_rows: int
    params: Mapping[str, Any] = field(default_factory=dict)
    typed: pd.DataFrame | None = None

    def frame(self) -> pd.DataFrame:
        """Return the rows as they came: typed where their format has types, else objects."""
        if self.typed is not None:
            return self.typed
        arrays = {}
        for name, values in self.columns.items():
            # Filled, not converted: numpy would make a nested list a second dimension.
            arrays[name] = np.empty(self.n_rows, dtype=object)
            arrays[name][:] = values
        return pd.DataFrame(arrays, index=range(self.n_rows), dtype=object)

    def conform(self, contract: DataContract) -> Conformed:
        """Return the rows as the pipeline must see them, or refuse them whole.

        Raises
        ------
        ContractViolation, CheckFailed
        """
        if self.typed is not None:
            return contract.conform(self.typed)
        return conform_rows(contract, self.columns, self.n_rows)


def check_columns(names: Iterable[str], n_rows: int, contract: DataContract) -> None:
    """Refuse, before a table is made of them, columns beyond all reason.

    Raises
    ------
    RequestRefused
    """
    strangers = len(set(names) - contract.columns.keys())
    if strangers > MAX_STRANGERS or strangers * n_rows > MAX_STRANGE_CELLS:
        raise RequestRefused(
            "too_many_columns",
            "the body holds too many columns that the contract does not know",
            "send the columns of the contract",
            413,
        )


def check_rows(names: Iterable[str], n_rows: int, contract: DataContract) -> None:
    """Refuse a body of no rows and no columns, lest every column be called missing.

    Raises
    ------
    RequestRefused
    """
    needed = any(not contract.columns[name].may_miss for name in contract.features)
    if n_rows == 0 and needed and not any(True for _ in names):
        raise RequestRefused("no_rows", "the body holds no rows", "send at least one")


def merged(parts: list[Rows]) -> Rows:
    """Return the rows of several requests of the same columns as one."""
    columns = {name: [v for part in parts for v in part.columns[name]] for name in parts[0].columns}
    return Rows(columns, sum(part.n_rows for part in parts))
