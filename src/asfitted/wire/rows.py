"""What every reader gives: columns of plain values, not yet held to the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


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
        """Return the rows as a frame of objects, for the contract to read."""
        if self.typed is not None:
            return self.typed
        # Filled one by one: numpy would make a nested list a second dimension.
        arrays = {}
        for name, values in self.columns.items():
            array = np.empty(self.n_rows, dtype=object)
            array[:] = values
            arrays[name] = array
        return pd.DataFrame(arrays, index=range(self.n_rows), dtype=object)


def merged(parts: list[Rows]) -> Rows | None:
    """Return the rows of several requests as one, or None where their columns differ."""
    names = list(parts[0].columns)
    if any(p.typed is not None or p.columns.keys() != parts[0].columns.keys() for p in parts):
        return None
    columns = {name: [v for part in parts for v in part.columns[name]] for name in names}
    return Rows(columns, sum(part.n_rows for part in parts))
