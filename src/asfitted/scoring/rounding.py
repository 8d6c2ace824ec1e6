"""How far two answers may be apart: the same bits, rounding, or another answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from asfitted.scoring.outputs import DECISION, PREDICTION, PROBABILITY

# BLAS adds up in another order for another shape. Half of a type's digits is far above
# what that moves and far below what another model answers (sqrt(eps), as in `golden`).
# A sum whose terms cancel out keeps the rounding of its terms: a thousandth of the
# column's usual size times that.
_FLOOR = 1e-3
# Of the last digit, where the same is called twice.
_REPEATED = 1e4


def rounding(values: np.ndarray[Any, Any]) -> float:
    """Return the relative difference that counts as rounding in `values`; 0 for no floats."""
    if values.dtype.kind != "f":
        return 0.0
    return float(np.sqrt(np.finfo(values.dtype).eps))


def single_precision(table: Any) -> float:
    """Return what counts as rounding in what is computed from `table`, where it holds float32.

    An estimator that is given float32 computes in it, and may answer in float64.

    Returns
    -------
    float
        0 for a table of float64 alone.
    """
    dtypes = table.dtypes if isinstance(table, pd.DataFrame) else [getattr(table, "dtype", None)]
    found = [d for d in dtypes if isinstance(d, np.dtype) and d.kind == "f" and d.itemsize < 8]
    return max((rounding(np.empty(0, dtype)) for dtype in found), default=0.0)


def apart(
    was: np.ndarray[Any, Any], now: np.ndarray[Any, Any], relative: float = 0.0
) -> np.ndarray[Any, Any]:
    """Return how far each row's values are apart, in units of what counts as rounding.

    Parameters
    ----------
    was, now : ndarray of shape (n_rows,) or (n_rows, n_columns)
    relative : float, default 0.0
        Relative difference that counts as rounding, where it is more than the type's own.

    Returns
    -------
    ndarray of shape (n_rows,)
        0 for the same values, up to 1 for rounding, more for another answer.
    """
    was, now = (np.asarray(one).reshape(len(one), -1) for one in (was, now))
    if was.shape != now.shape:
        return np.full(len(was), np.inf)
    if was.dtype.kind == "f" and now.dtype.kind == "f":
        return _floats_apart(was, now, relative)
    same = (was == now) | (pd.isna(was) & pd.isna(now))
    return np.where(np.asarray(same, dtype=bool).all(axis=1), 0.0, np.inf)


def _floats_apart(
    was: np.ndarray[Any, Any], now: np.ndarray[Any, Any], relative: float
) -> np.ndarray[Any, Any]:
    if was.size == 0:
        return np.zeros(len(was))
    relative = max(rounding(was), rounding(now), relative)
    was, now = was.astype("float64"), now.astype("float64")
    size = np.where(np.isfinite(was), np.abs(was), 0.0)
    usual = np.quantile(size, 0.9, axis=0)
    allowed = relative * np.maximum(size, _FLOOR * usual)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(was - now) / np.where(allowed > 0, allowed, relative)
    off = np.where((was == now) | (np.isnan(was) & np.isnan(now)), 0.0, off)
    return np.where(np.isnan(off), np.inf, off).max(axis=1)


def repeated_apart(was: pd.DataFrame, now: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return how far each row's answers are apart where the same was called twice.

    Only what adds up in several threads may then move, and by a few of the last digits.

    Returns
    -------
    ndarray of shape (n_rows,)
        More than 1 for another answer.
    """
    off = np.zeros(len(was))
    for name in was.columns:
        first, second = was[name].to_numpy(), now[name].to_numpy()
        if first.dtype.kind == "f" and second.dtype.kind == "f":
            eps = float(np.finfo(first.dtype).eps)
            first, second = first.astype("float64"), second.astype("float64")
            size = np.where(np.isfinite(first), np.abs(first), 0.0)
            allowed = eps * np.maximum(_REPEATED * size, np.quantile(size, 0.9))
            apart_ = np.where(
                (first == second) | (np.isnan(first) & np.isnan(second)),
                0.0,
                np.abs(first - second) / np.maximum(allowed, np.finfo("float64").tiny),
            )
            off = np.maximum(off, np.where(np.isnan(apart_), np.inf, apart_))
        else:
            off = np.maximum(off, apart(first, second))
    return off


def answers_apart(
    estimator: Any, was: pd.DataFrame, now: pd.DataFrame, relative: float = 0.0
) -> tuple[Any, Any]:
    """Return (how far each row's answers are apart, mask of the ties).

    Parameters
    ----------
    estimator : fitted estimator
        That has given the answers.
    was, now : DataFrame of shape (n_rows, n_outputs)
        From `asfitted.scoring.outputs.name_outputs`.
    relative : float, default 0.0
        As in `apart`.

    Returns
    -------
    (off, tied) : (ndarray of float, ndarray of bool) of shape (n_rows,)
        As `apart`. A row whose scores agree and tie within rounding may have either
        label: it is tied, and its distance is that of its scores.
    """
    if list(was.columns) != list(now.columns) or len(was) != len(now):
        return np.full(len(was), np.inf), np.zeros(len(was), dtype=bool)
    off = np.zeros(len(was))
    labels_off = np.zeros(len(was))
    for name in was.columns:
        distance = apart(was[name].to_numpy(), now[name].to_numpy(), relative)
        ties = _ties(estimator, was, str(name), relative)
        if ties is None:
            off = np.maximum(off, distance)
        else:
            off = np.maximum(off, np.where(ties, 0.0, distance))
            labels_off = np.maximum(labels_off, np.where(ties, distance, 0.0))
    return off, (labels_off > 1) & (off <= 1)


def _ties(
    estimator: Any, answers: pd.DataFrame, name: str, relative: float
) -> np.ndarray[Any, Any] | None:
    """Return where the scores behind a label tie; None for what is no label with scores."""
    if not name.startswith(PREDICTION):
        return None
    target = name.removeprefix(PREDICTION).removeprefix("_")
    prefix = f"{PROBABILITY}{target}_" if target else PROBABILITY
    scores = answers.loc[:, [str(n).startswith((prefix, DECISION)) for n in answers.columns]]
    if scores.shape[1] == 0:
        return None
    values = scores.to_numpy(dtype="float64")
    size = np.maximum(np.abs(values).max(axis=1), np.finfo("float64").tiny)
    relative = max(rounding(scores.iloc[:, 0].to_numpy()), relative)
    least = relative * size
    if values.shape[1] == 1:
        # One decision between two classes, or the probability of the second of them.
        cut = 0.5 if str(scores.columns[0]).startswith(PROBABILITY) else 0.0
        gap = np.abs(values[:, 0] - cut)
        least = np.maximum(least, relative * np.quantile(np.abs(values), 0.9))
    else:
        ordered = np.sort(values, axis=1)
        gap = ordered[:, -1] - ordered[:, -2]
    threshold = getattr(estimator, "best_threshold_", getattr(estimator, "threshold", None))
    if isinstance(threshold, float):
        gap = np.minimum(gap, np.abs(values - threshold).min(axis=1))
    tied: np.ndarray[Any, Any] = gap <= least
    return tied
