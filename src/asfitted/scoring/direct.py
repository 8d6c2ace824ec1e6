"""A fitted ColumnTransformer, its own transformers called one by one.

Most of what scikit-learn spends on a single row is not arithmetic: it selects
columns by label, asks for tags and checks frames again at each level. Here the same
fitted objects are called with the same values. Nothing is computed anew, and at save
the result must be the same, bit for bit, on the training data and on every probe;
otherwise the transformer is called as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import _safe_indexing

from asfitted.contract import DataContract
from asfitted.scoring.blocks import laid_out, same_bits

_Select = Callable[[pd.DataFrame], Any]

# Those that make an array of a frame before they do anything else.
_NUMBERS = (SimpleImputer, StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)
_LABELS = (OneHotEncoder, OrdinalEncoder)


class DirectColumns:
    """Stands in for a fitted ColumnTransformer that gets conformed frames.

    Parameters
    ----------
    whole : ColumnTransformer
        Fitted on a frame of the contract's columns.
    contract : DataContract

    Raises
    ------
    TypeError
        Where `whole` is something that is better called as it is.
    """

    def __init__(self, whole: Any, contract: DataContract) -> None:
        if (
            type(whole) is not ColumnTransformer
            or whole.transformer_weights
            or hasattr(whole, "_sklearn_output_config")
            or list(getattr(whole, "feature_names_in_", ())) != list(contract.features)
        ):
            raise TypeError("not a plain ColumnTransformer over the contract's columns")
        self.whole = whole
        self._parts = [
            part
            for _, transformer, columns in whole.transformers_
            for part in _part(transformer, columns, contract)
        ]
        if not self._parts:
            raise TypeError("no transformer is left")

    def transform(self, frame: pd.DataFrame) -> Any:
        """Return what the ColumnTransformer returns for a conformed frame."""
        results = []
        for select, steps in self._parts:
            table = select(frame)
            for step in steps:
                table = step.transform(table)
            results.append(table)
        if self.whole.sparse_output_:
            # All in one format: that is what scipy puts together without a detour.
            return scipy.sparse.hstack([scipy.sparse.csr_matrix(part) for part in results]).tocsr()
        dense = (part.toarray() if scipy.sparse.issparse(part) else part for part in results)
        return np.hstack(list(dense))


def _part(
    transformer: Any, columns: Any, contract: DataContract
) -> Iterator[tuple[_Select, list[Any]]]:
    if isinstance(transformer, str):
        if transformer == "drop":
            return
        raise TypeError(f"{transformer} is no fitted transformer")
    steps = [transformer]
    if type(transformer) is Pipeline:
        steps = [step for _, step in transformer.steps if step not in (None, "passthrough")]
    features = list(contract.features)
    chosen = _safe_indexing(pd.DataFrame(columns=features), columns, axis=1)
    if isinstance(chosen, pd.Series):
        name = chosen.name
        yield (lambda frame: frame[name]), steps
        return
    names = list(chosen.columns)
    if not names:
        return
    kinds = {contract.columns[name].kind for name in names}
    if type(steps[0]) in _NUMBERS and kinds <= {"number", "integer"}:
        yield (lambda frame: _numbers(frame, names)), [_nameless(steps[0]), *steps[1:]]
    elif type(steps[0]) in _LABELS and all(_is_label(contract, name) for name in names):
        lists = [np.array([*contract.columns[name].labels, np.nan], dtype=object) for name in names]
        yield (lambda frame: _labels(frame, names, lists)), [_nameless(steps[0]), *steps[1:]]
    else:
        places = [features.index(name) for name in names]
        yield (lambda frame: laid_out(frame.take(places, axis=1))), steps


def _is_label(contract: DataContract, name: str) -> bool:
    column = contract.columns[name]
    return column.kind == "category" and isinstance(column.labels[0], str)


def _numbers(frame: pd.DataFrame, names: Sequence[str]) -> Any:
    return np.column_stack([frame[name].to_numpy() for name in names])


def _labels(frame: pd.DataFrame, names: Sequence[str], lists: Sequence[Any]) -> Any:
    table = np.empty((len(frame), len(names)), dtype=object)
    for i, (name, labels) in enumerate(zip(names, lists, strict=True)):
        # The code of a missing value is -1: the last of the list.
        table[:, i] = labels[frame[name].array.codes]
    return table


def _nameless(step: Any) -> Any:
    """Return the fitted step as one that was fitted on an array; it would warn of one."""
    if not hasattr(step, "feature_names_in_"):
        return step
    twin = copy.copy(step)
    del twin.feature_names_in_
    return twin


def agrees(step: Any, contract: DataContract, tables: Sequence[pd.DataFrame]) -> bool:
    """Whether `step`, the first after `Conform`, can be called directly with the same bits.

    Parameters
    ----------
    step : fitted transformer
    contract : DataContract
    tables : sequence of DataFrame of shape (n_rows, n_features)
        Conformed.
    """
    try:
        direct = DirectColumns(step, contract)
        return all(
            same_bits(laid_out(step.transform(part)), laid_out(direct.transform(part)))
            for table in tables
            for part in (table, table.iloc[:1])
        )
    except Exception:
        # It is a short cut: whatever keeps it from being one, the long way stays.
        return False
