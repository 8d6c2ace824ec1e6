"""A text that comes again is not read again: vectorizers are given each text of a batch once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer

from asfitted.scoring.blocks import BLOCK_ROWS, laid_out, same_bits, take


class Distinct:
    """Stands in for a fitted transformer of one column of text.

    Parameters
    ----------
    step : fitted transformer
        Proved to give each row the same bits in any company.
    """

    def __init__(self, step: Any) -> None:
        self.step = step

    def transform(self, column: pd.Series[Any]) -> Any:
        """Return what the transformer makes of a Series of n_rows texts."""
        # Finding out is not worth it for few, nor saving where most texts differ.
        if len(column) <= BLOCK_ROWS or column.dtype != object:
            return self.step.transform(column)
        codes, texts = pd.factorize(column.to_numpy(), use_na_sentinel=False)
        if 2 * len(texts) > len(column):
            return self.step.transform(column)
        distinct = pd.Series(texts, dtype=object, name=column.name)
        return take(laid_out(self.step.transform(distinct)), codes)

    def __getattr__(self, name: str) -> Any:
        if name == "step":  # while it is unpickled or copied
            raise AttributeError(name)
        return getattr(self.step, name)


def with_distinct(step: Any) -> Any:
    """Return a ColumnTransformer whose transformers of one column see each text once.

    Raises
    ------
    TypeError
        Where `step` is no such thing.
    """
    if type(step) is not ColumnTransformer:
        raise TypeError("no plain ColumnTransformer")
    twin = copy.copy(step)
    twin.transformers_ = [
        (
            name,
            Distinct(part) if np.isscalar(columns) and hasattr(part, "transform") else part,
            columns,
        )
        for name, part, columns in step.transformers_
    ]
    if not any(isinstance(part, Distinct) for _, part, _ in twin.transformers_):
        raise TypeError("no transformer of a single column")
    return twin


def agrees(step: Any, tables: Sequence[pd.DataFrame]) -> bool:
    """Whether `step`, which gives rows the same bits in any company, may see each text once.

    Parameters
    ----------
    step : fitted transformer
    tables : sequence of DataFrame of shape (n_rows, n_features)
        What it is given.
    """
    try:
        twin = with_distinct(step)
        for table in tables:
            # So often that each text comes more than once, and in more than one block.
            times = max(3, 2 * BLOCK_ROWS // len(table) + 1)
            again = table.iloc[np.tile(np.arange(len(table)), times)].reset_index(drop=True)
            whole = laid_out(step.transform(again.copy()))
            if not same_bits(whole, laid_out(twin.transform(again))):
                return False
    except Exception:
        # It is a short cut: whatever keeps it from being one, the long way stays.
        return False
    return True
