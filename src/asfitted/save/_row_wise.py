"""The proof, at save, that a row's answer does not depend on the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from asfitted.errors import AsfittedError, BatchDependent
from asfitted.scoring import outputs
from asfitted.scoring.blocks import is_several, laid_out, n_rows, take
from asfitted.scoring.scorer import parts, quiet_and_single, results
from asfitted.scoring.shortcuts import Steps

SAMPLE_ROWS = 200
_ALONE = 16
_SIZES = (2, 3, 7, 16, 33, 64, 100)

# scikit-learn's modules whose transformers treat each cell or row by itself,
# without BLAS. Whatever else it has runs in blocks; so does what is measured to
# differ. Other people's transformers are taken at their measure.
_BY_ROW = (
    "sklearn.compose.",
    "sklearn.feature_extraction.",
    "sklearn.feature_selection.",
    "sklearn.impute._base",
    "sklearn.pipeline",
    "sklearn.preprocessing.",
)

# Estimators that walk trees, row by row, and add up what they find there.
_OF_TREES = (
    "sklearn.tree.",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting.",
    "lightgbm.",
    "xgboost.",
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
        Steps proved to give the same bits, the estimator among them; those after the
        first that differs by rounding run in blocks.

    Raises
    ------
    BatchDependent
        Names the step whose answer moves by more than rounding.
    """
    sample: Any = laid_out(conformed.iloc[:SAMPLE_ROWS].reset_index(drop=True))
    table = sample
    whole_steps, all_exact = 0, True
    with quiet_and_single():
        for name, step in steps[:-1]:
            exact, table = _prove(name, step, step.transform, table)
            all_exact &= exact and _is_by_row(step)
            whole_steps += all_exact
        name, estimator = steps[-1]
        # Where there are scores, a label is theirs: on a tie it may turn with the last bit.
        *labels, judged = outputs.methods(estimator)
        exact, _ = _prove(name, estimator, getattr(estimator, judged), table)
        if all_exact and exact and is_of_trees(estimator):
            calls = (getattr(estimator, method) for method in labels)
            whole_steps += all(_prove(name, estimator, call, table)[0] for call in calls)
        _prove_together(steps, whole_steps, sample)
    return whole_steps


def _prove(name: str, step: Any, call: Callable[[Any], Any], table: Any) -> tuple[bool, Any]:
    """Return whether each row gets the same bits in any company, and the whole result."""
    everyone = np.arange(n_rows(table))
    # Always on a copy: a step may write into what it is given.
    reference = call(_rows(table, everyone))
    exact = True
    for rows in [everyone, *companies(len(everyone))]:
        given = _tried(name, step, call, table, _rows(table, rows))
        off = deviation(_rows(reference, rows), given)
        if off > 1:
            raise _dependent(
                _culprit(name, step, table), "gives a row another answer in another company"
            )
        exact &= off == 0
    labelled = _relabelled(table)
    if labelled is not None:
        given = _tried(name, step, call, table, labelled)
        if deviation(reference, _rows(given, everyone)) > 1:
            raise BatchDependent(
                f"step {name} ({_called(step)}) gives a row another answer where the frame has "
                "another index: in production rows have no labels",
                name,
                "put columns together by position (to_numpy()), or keep the index of what came in",
            )
    return exact, laid_out(reference)


def _tried(name: str, step: Any, call: Callable[[Any], Any], table: Any, part: Any) -> Any:
    rows = n_rows(part)
    try:
        return call(part)
    except AsfittedError:
        raise
    except Exception as error:
        raise _dependent(
            _culprit(name, step, table),
            f"fails on {rows} rows and not on {n_rows(table)}: {error}",
        ) from error


def _relabelled(table: Any) -> Any:
    """Return the same rows under the labels that a shuffled training frame has."""
    if not isinstance(table, (pd.DataFrame, pd.Series)):
        return None
    labels = np.random.default_rng(1).permutation(len(table)) + len(table) // 2
    return table.copy().set_axis(labels, axis=0)


def _prove_together(steps: Steps, whole_steps: int, sample: pd.DataFrame) -> None:
    """Score as `Scorer` does; what each step alone hides, a dtype or an index, shows here."""
    estimator = steps[-1][1]

    def scored(table: Any) -> Any:
        return results(steps, whole_steps, laid_out(table) if whole_steps else table)

    reference = scored(_rows(sample, np.arange(len(sample))))
    for rows in companies(len(sample)):
        off = deviation(_rows(reference, rows), scored(_rows(sample, rows)))
        if off > 1:
            names = ", ".join(name for name, _ in steps)
            raise _dependent(names, "gives a row another answer in another company")
        if off != 0:
            name = steps[-1][0]
            raise BatchDependent(
                f"step {name} ({type(estimator).__name__}) gives a row other last bits in another "
                "position, even in blocks of a fixed size",
                name,
                "its answer is not reproducible; use another estimator, or one thread",
            )


def _dependent(name: str, what: str) -> BatchDependent:
    return BatchDependent(
        f"step {name} {what}: its answer for a row depends on the rows beside it", name, _MEND
    )


def companies(total: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield rows alone, in batches of several sizes, and all of them in another order."""
    shuffled = np.random.default_rng(0).permutation(total)
    yield from (np.array([row]) for row in shuffled[:_ALONE])
    yield from (shuffled[:size] for size in _SIZES if size <= total)
    yield shuffled
    yield np.arange(total)[::-1]


def _rows(result: Any, rows: np.ndarray[Any, Any]) -> Any:
    if is_several(result):
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
                for rows in companies(n_rows(sub))
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
                yield name, part, _safe_indexing(table, columns, axis=1)
    elif isinstance(step, FeatureUnion):
        for name, part in step.transformer_list:
            if hasattr(part, "transform"):
                yield name, part, table
    elif isinstance(step, Pipeline):
        for name, part in step.steps:
            if hasattr(part, "transform"):
                yield name, part, table
                table = part.transform(table)


def is_of_trees(estimator: Any) -> bool:
    """Whether an estimator never multiplies matrices, so that it may run on all rows.

    Nor may one that it is made of, such as the `init` of a GradientBoostingClassifier.
    """
    parts = [value for value in estimator.get_params().values() if hasattr(value, "predict")]
    return type(estimator).__module__.startswith(_OF_TREES) and all(map(is_of_trees, parts))


def _is_by_row(step: Any) -> bool:
    module = type(step).__module__
    if module.startswith("sklearn.") and not module.startswith(_BY_ROW):
        return False
    return all(_is_by_row(part) for part in parts(step)[1:] if hasattr(part, "transform"))


def deviation(was: Any, now: Any) -> float:
    """Return how far two results are apart.

    Returns
    -------
    float
        0 for the same bits, up to 1 for rounding (half of the digits of the
        type, in units of the column's largest value), more for another answer.
    """
    if is_several(was):
        return max((deviation(a, b) for a, b in zip(was, now, strict=True)), default=0.0)
    if isinstance(was, list):
        return 0.0 if isinstance(now, list) and was == now else float("inf")
    if n_rows(was) != n_rows(now) or was.shape[1:] != now.shape[1:]:
        return float("inf")
    if isinstance(was, pd.DataFrame):
        if list(was.columns) != list(now.columns):
            return float("inf")
        columns = range(was.shape[1])
        return max((_series_deviation(was.iloc[:, i], now.iloc[:, i]) for i in columns), default=0)
    if isinstance(was, pd.Series):
        return _series_deviation(was, now)
    if scipy.sparse.issparse(was):
        return _sparse_deviation(was, now) if scipy.sparse.issparse(now) else float("inf")
    return _array_deviation(np.asarray(was), np.asarray(now))


def _series_deviation(was: pd.Series[Any], now: pd.Series[Any]) -> float:
    if isinstance(was.dtype, pd.CategoricalDtype) and was.dtype != now.dtype:
        # The next step may read the codes, which count within the list.
        return float("inf")
    return _array_deviation(was.to_numpy(), now.to_numpy())


def _sparse_deviation(was: Any, now: Any) -> float:
    """Compare the values at every place where either matrix has one, column by column."""
    rows, columns = (abs(was) + abs(now)).nonzero()
    if len(rows) == 0:
        return 0.0
    scale = abs(was).max(axis=0).toarray().ravel()[columns]
    return _array_deviation(
        np.asarray(was.tocsr()[rows, columns]).ravel(),
        np.asarray(now.tocsr()[rows, columns]).ravel(),
        scale,
    )


def _array_deviation(
    was: np.ndarray[Any, Any], now: np.ndarray[Any, Any], scale: Any = None
) -> float:
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
    if scale is None:
        scale = np.nanmax(np.abs(was), axis=0, initial=0.0)
    allowed = np.sqrt(np.finfo(was.dtype).eps) * np.where(scale > 0, scale, 1.0)
    return float((apart / allowed).max())
