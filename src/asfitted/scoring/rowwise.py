"""The proof, at save, that a row's answer does not depend on the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from asfitted.errors import AsfittedError, BatchDependent
from asfitted.scoring import outputs
from asfitted.scoring.blocks import in_blocks, n_rows, take
from asfitted.scoring.scorer import Steps, quiet_and_single

SAMPLE_ROWS = 200
_ALONE = 16
_SIZES = (2, 3, 7, 16, 33, 64, 100)

# scikit-learn's modules whose transformers treat each cell or row by itself,
# without BLAS. Whatever else it has runs in blocks; so does what is measured to
# differ. Other people's steps are taken at their measure.
_BY_ROW = (
    "sklearn.compose.",
    "sklearn.feature_extraction.",
    "sklearn.feature_selection.",
    "sklearn.impute._base",
    "sklearn.pipeline",
    "sklearn.preprocessing.",
)

_MEND = (
    "learn in fit what transform needs from other rows (the mean, the categories, the ranks) "
    "and use only that in transform; asfitted.Dummies is the step for get_dummies"
)


def plan(steps: Steps, conformed: pd.DataFrame) -> int:
    """Return how many leading steps may run on all rows at once.

    Each step is given its rows alone, in batches of several sizes and in
    shuffled company, and must give each the answer that it has in the whole
    sample.

    Parameters
    ----------
    steps : list of (name, estimator)
        Those after `Conform`.
    conformed : DataFrame of shape (n_rows, n_features)
        A sample of the training data.

    Returns
    -------
    int
        Steps proved to give the same bits; those after the first that differs
        by rounding run in blocks.

    Raises
    ------
    BatchDependent
        Names the step whose answer moves by more than rounding.
    """
    table: Any = conformed.iloc[:SAMPLE_ROWS].reset_index(drop=True)
    whole_steps, all_exact = 0, True
    with quiet_and_single():
        for name, step in steps[:-1]:
            exact = _prove(name, step, step.transform, table)
            all_exact &= exact and _is_by_row(step)
            whole_steps += all_exact
            table = step.transform(table)
        name, estimator = steps[-1]
        called = outputs.methods(estimator)
        # Where there are scores, a label is theirs: on a tie it may turn with the last bit.
        judged = called[-1]
        _prove(name, estimator, getattr(estimator, judged), table)
        for method in called:
            _prove_blocks(name, estimator, getattr(estimator, method), table)
    return whole_steps


def _prove(name: str, step: Any, call: Callable[[Any], Any], table: Any) -> bool:
    reference = call(table)
    exact = True
    for rows in [np.arange(n_rows(table)), *_companies(n_rows(table))]:
        try:
            given = call(_rows(table, rows))
        except AsfittedError:
            raise
        except Exception as error:
            raise _dependent(
                _culprit(name, step, table),
                f"fails on {len(rows)} rows and not on {n_rows(table)}: {error}",
            ) from error
        off = deviation(_rows(reference, rows), given)
        if off > 1:
            raise _dependent(
                _culprit(name, step, table), "gives a row another answer in another company"
            )
        exact &= off == 0
    return exact


def _prove_blocks(name: str, step: Any, call: Callable[[Any], Any], table: Any) -> None:
    reference = in_blocks(call, table)
    for rows in _companies(n_rows(table)):
        if deviation(_rows(reference, rows), in_blocks(call, _rows(table, rows))) != 0:
            raise BatchDependent(
                f"step {name} ({type(step).__name__}) gives a row other last bits in another "
                "position, even in blocks of a fixed size",
                mend="its answer is not reproducible; use another estimator, or one thread",
            )


def _dependent(name: str, what: str) -> BatchDependent:
    return BatchDependent(
        f"step {name} {what}: its answer for a row depends on the rows beside it", name, _MEND
    )


def _companies(total: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield rows alone, in batches of several sizes, and all of them in another order."""
    shuffled = np.random.default_rng(0).permutation(total)
    yield from (np.array([row]) for row in shuffled[:_ALONE])
    yield from (shuffled[:size] for size in _SIZES if size <= total)
    yield shuffled
    yield np.arange(total)[::-1]


def _rows(result: Any, rows: np.ndarray[Any, Any]) -> Any:
    if isinstance(result, list):
        return [_rows(part, rows) for part in result]
    part = take(result, rows)
    return part.reset_index(drop=True) if isinstance(part, (pd.DataFrame, pd.Series)) else part


def _culprit(name: str, step: Any, table: Any) -> str:
    """Return the name of the innermost step that moves, e.g. ``prep.num.center``."""
    for inner, part, sub in _parts(step, table):
        try:
            reference = part.transform(sub)
            moved = any(
                deviation(_rows(reference, rows), part.transform(_rows(sub, rows))) > 1
                for rows in _companies(n_rows(sub))
            )
        except Exception:
            moved = True
        if moved:
            return _culprit(f"{name}.{inner}", part, sub)
    return f"{name} ({_called(step)})"


def _called(step: Any) -> str:
    function = getattr(getattr(step, "func", None), "__name__", "")
    return f"{type(step).__name__} of {function}" if function else type(step).__name__


def _parts(step: Any, table: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(step, ColumnTransformer):
        for name, part, columns in step.transformers_:
            if hasattr(part, "transform"):
                if isinstance(table, pd.DataFrame):
                    labels = isinstance(columns, str) or (
                        len(columns) > 0 and isinstance(columns[0], str)
                    )
                    yield name, part, table[columns] if labels else table.iloc[:, columns]
                else:
                    yield name, part, table[:, columns]
    elif isinstance(step, FeatureUnion):
        for name, part in step.transformer_list:
            if hasattr(part, "transform"):
                yield name, part, table
    elif isinstance(step, Pipeline):
        for name, part in step.steps:
            if hasattr(part, "transform"):
                yield name, part, table
                table = part.transform(table)


def _is_by_row(step: Any) -> bool:
    module = type(step).__module__
    if module.startswith("sklearn.") and not module.startswith(_BY_ROW):
        return False
    params = step.get_params(deep=True) if hasattr(step, "get_params") else {}
    return all(_is_by_row(value) for value in params.values() if hasattr(value, "transform"))


def deviation(was: Any, now: Any) -> float:
    """Return how far two results are apart.

    Returns
    -------
    float
        0 for the same bits, up to 1 for rounding (half of the digits of the
        type, in units of the column's largest value), more for another answer.
    """
    if isinstance(was, list):
        return max((deviation(a, b) for a, b in zip(was, now, strict=True)), default=0.0)
    if n_rows(was) != n_rows(now) or was.shape[1:] != now.shape[1:]:
        return float("inf")
    if isinstance(was, pd.DataFrame):
        if list(was.columns) != list(now.columns):
            return float("inf")
        pairs = [(was[c].to_numpy(), now[c].to_numpy()) for c in was.columns]
    elif scipy.sparse.issparse(was):
        if not scipy.sparse.issparse(now):
            return float("inf")
        pairs = [_sparse_pair(was, now)]
    else:
        pairs = [(np.asarray(was), np.asarray(now))]
    return max((_array_deviation(a, b) for a, b in pairs), default=0.0)


def _sparse_pair(was: Any, now: Any) -> tuple[Any, Any]:
    """Return the values at every place where either matrix has one."""
    rows, columns = (abs(was) + abs(now)).nonzero()
    return np.asarray(was.tocsr()[rows, columns]).ravel(), np.asarray(
        now.tocsr()[rows, columns]
    ).ravel()


def _array_deviation(was: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> float:
    if was.size == 0:
        return 0.0
    if was.dtype.kind != "f" or now.dtype.kind != "f":
        same = (was == now) | (pd.isna(was) & pd.isna(now))
        return 0.0 if np.all(same) else float("inf")
    if was.dtype != now.dtype or (np.isnan(was) != np.isnan(now)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.where(was == now, 0.0, np.abs(was - now))
    apart = np.nan_to_num(apart, nan=0.0, posinf=np.inf)
    scale = np.nanmax(np.abs(was), axis=0, initial=0.0)
    allowed = np.sqrt(np.finfo(was.dtype).eps) * np.where(scale > 0, scale, 1.0)
    return float((apart / allowed).max())
