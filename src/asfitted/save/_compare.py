"""How far two results of a step are apart: the same bits, rounding, or another result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from asfitted.scoring.blocks import is_several, n_rows
from asfitted.scoring.rounding import rounding


def rows_apart(was: Any, now: Any, relative: float = 0.0) -> np.ndarray[Any, Any]:
    """Return how far two results of a step are apart, row by row.

    Parameters
    ----------
    was, now : DataFrame, Series, ndarray, sparse matrix or list of n_rows, or several of these
    relative : float, default 0.0
        Relative difference that counts as rounding, where it is more than the type's own.

    Returns
    -------
    ndarray of shape (n_rows,)
        0 for the same bits, up to 1 for rounding (half of the digits of the type, in
        units of the column's largest value), more for another answer.
    """
    if is_several(was):
        return np.max([rows_apart(a, b, relative) for a, b in zip(was, now, strict=True)], axis=0)
    total = n_rows(was)
    other = np.full(total, np.inf)
    are_sparse = scipy.sparse.issparse(was) and scipy.sparse.issparse(now)
    if not (are_sparse or type(now) is type(was)) or n_rows(now) != total:
        return other
    if isinstance(was, list):
        return np.array([0.0 if a == b else np.inf for a, b in zip(was, now, strict=True)])
    if was.shape != now.shape:
        return other
    if isinstance(was, pd.DataFrame):
        if list(was.columns) != list(now.columns):
            return other
        columns = [
            rows_apart(was.iloc[:, i], now.iloc[:, i], relative) for i in range(was.shape[1])
        ]
        return np.max(columns, axis=0) if columns else np.zeros(total)
    if isinstance(was, pd.Series):
        if isinstance(was.dtype, pd.CategoricalDtype) and was.dtype != now.dtype:
            # The next step may read the codes, which count within the list.
            return other
        was, now = was.to_numpy(), now.to_numpy()
    if scipy.sparse.issparse(was):
        return _sparse_apart(was.tocsr(), now.tocsr(), relative)
    was, now = np.asarray(was).reshape(total, -1), np.asarray(now).reshape(total, -1)
    scale = np.nanmax(np.abs(was), axis=0, initial=0.0) if was.dtype.kind == "f" else None
    off = _cells_apart(was, now, scale, relative)
    return off.max(axis=1, initial=0.0)


def deviation(was: Any, now: Any, relative: float = 0.0) -> float:
    """Return how far two results of a step are apart, in the row where they are furthest."""
    off = rows_apart(was, now, relative)
    if is_several(was) or n_rows(was):
        return float(off.max())
    return 0.0 if np.shape(was)[1:] == np.shape(now)[1:] else float("inf")


def _sparse_apart(was: Any, now: Any, relative: float) -> np.ndarray[Any, Any]:
    """Compare the values at every place where either matrix has one."""
    rows, columns = (abs(was) + abs(now)).nonzero()
    off = np.zeros(was.shape[0])
    if len(rows):
        scale = abs(was).max(axis=0).toarray().ravel()[columns]
        first, second = (np.asarray(one[rows, columns]).ravel() for one in (was, now))
        np.maximum.at(off, rows, _cells_apart(first, second, scale, relative))
    return off


def _cells_apart(
    was: np.ndarray[Any, Any], now: np.ndarray[Any, Any], scale: Any, relative: float
) -> np.ndarray[Any, Any]:
    if was.dtype.kind != "f" or now.dtype.kind != "f":
        same = (was == now) | (pd.isna(was) & pd.isna(now))
        return np.where(np.asarray(same, dtype=bool), 0.0, np.inf)
    if was.dtype != now.dtype:
        return np.full(was.shape, np.inf)
    allowed = max(rounding(was), relative) * np.where(scale > 0, scale, 1.0)
    with np.errstate(invalid="ignore"):
        off = np.abs(was - now) / allowed
    off = np.where((was == now) | (np.isnan(was) & np.isnan(now)), 0.0, off)
    return np.where(np.isnan(off), np.inf, off)
