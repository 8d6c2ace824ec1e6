"""The proof, at save, that a row's answer does not depend on the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion
from sklearn.utils import _safe_indexing

from asfitted.errors import AsfittedError, BatchDependent, RowsChanged
from asfitted.save._compare import deviation
from asfitted.save._rows import companies, in_time
from asfitted.scoring import outputs
from asfitted.scoring.blocks import call_by_rows, is_several, laid_out, n_rows, take
from asfitted.scoring.rounding import single_precision
from asfitted.scoring.scorer import is_plain, parts, quiet_and_single, results
from asfitted.scoring.shortcuts import Steps

SAMPLE_ROWS = 200
# Companies in which each step is tried: the least, and the time for further ones.
_LEAST, _WITHIN_S = 10, 1.0

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

LEARN_IN_FIT = (
    "learn in fit what transform needs from other rows (the mean, the categories, the ranks) "
    "and use only that in transform; asfitted.Dummies is the step for get_dummies"
)


def plan(steps: Steps, conformed: pd.DataFrame, transform_output: str = "default") -> int:
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
    transform_output : "default" or "pandas"
        See `asfitted.scoring.Scorer`.

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
    with quiet_and_single(transform_output):
        for name, step in steps[:-1]:
            exact, table = _prove(name, step, step.transform, table)
            all_exact &= exact and _is_by_row(step)
            whole_steps += all_exact
        name, estimator = steps[-1]
        # Where there are scores, a label is theirs: on a tie it may turn with the last bit.
        *labels, judged = outputs.methods(estimator)
        relative = single_precision(table)
        exact, _ = _prove(name, estimator, outputs.caller(estimator, judged), table, relative)
        if all_exact and exact and is_of_trees(estimator):
            calls = (outputs.caller(estimator, method) for method in labels)
            whole_steps += all(_prove(name, estimator, call, table)[0] for call in calls)
        _prove_together(steps, whole_steps, sample, relative)
    return whole_steps


def _prove(
    name: str, step: Any, call: Callable[[Any], Any], table: Any, relative: float = 0.0
) -> tuple[bool, Any]:
    """Return whether each row gets the same bits in any company, and the whole result."""
    everyone = np.arange(n_rows(table))
    # Always on a copy: a step may write into what it is given.
    reference = _kept(name, step, call, table, rows_of(table, everyone))
    exact = True
    for rows in in_time([everyone, *companies(len(everyone))], _LEAST, _WITHIN_S):
        given = _tried(name, step, call, table, rows_of(table, rows))
        off = deviation(rows_of(reference, rows), given, relative)
        if off > 1:
            culprit = _culprit(name, step, table)
            if culprit is not None:
                raise _dependent(culprit, "gives a row another answer in another company")
            # Within it, a bin or a branch follows from rounding: it runs in blocks.
            return False, laid_out(reference)
        exact &= off == 0
    labelled = _relabelled(table)
    if labelled is not None:
        given = _tried(name, step, call, table, labelled)
        if deviation(reference, rows_of(given, everyone), relative) > 1:
            raise BatchDependent(
                f"step {name} ({called(step)}) gives a row another answer where the frame has "
                "another index: in production rows have no labels",
                name,
                "put columns together by position (to_numpy()), or keep the index of what came in",
            )
    return exact, laid_out(reference)


def _tried(name: str, step: Any, call: Callable[[Any], Any], table: Any, part: Any) -> Any:
    rows = n_rows(part)
    try:
        return _kept(name, step, call, table, part)
    except AsfittedError:
        raise
    except Exception as error:
        raise _dependent(
            _culprit(name, step, table) or name,
            f"fails on {rows} rows and not on {n_rows(table)}: {error}",
        ) from error


def _kept(name: str, step: Any, call: Callable[[Any], Any], table: Any, part: Any) -> Any:
    """Return what `call` makes of `part`, with a row for each of its rows."""
    try:
        return call_by_rows(call, part, name)
    except RowsChanged:
        refuse_row_change([(name, step)], part)
        raise


def _relabelled(table: Any) -> Any:
    """Return the same rows under the labels that a shuffled training frame has."""
    if not isinstance(table, (pd.DataFrame, pd.Series)):
        return None
    labels = np.random.default_rng(1).permutation(len(table)) + len(table) // 2
    return table.copy().set_axis(labels, axis=0)


def _prove_together(steps: Steps, whole_steps: int, sample: pd.DataFrame, relative: float) -> None:
    """Score as `Scorer` does; what each step alone hides, a dtype or an index, shows here."""

    def scored(table: Any) -> Any:
        return results(steps, whole_steps, laid_out(table) if whole_steps else table)

    reference = scored(rows_of(sample, np.arange(len(sample))))
    for rows in in_time(companies(len(sample)), _LEAST, _WITHIN_S):
        off = deviation(rows_of(reference, rows), scored(rows_of(sample, rows)), relative)
        if off > 1:
            names = ", ".join(name for name, _ in steps)
            raise _dependent(names, "gives a row another answer in another company")
        if off != 0:
            raise not_reproducible(steps, sample)


def not_reproducible(steps: Steps, table: Any) -> BatchDependent:
    """Return the refusal of a model whose last bits follow no row.

    It names the first step that gives the same table another result when it is asked again,
    a clock or chance in it, or else the last.
    """
    for name, step in steps[:-1]:
        try:
            first, again = (
                step.transform(rows_of(table, np.arange(n_rows(table)))) for _ in range(2)
            )
            if deviation(first, again) != 0:
                return BatchDependent(
                    f"step {name} ({called(step)}) gives the same rows another result when it is "
                    "asked again",
                    name,
                    "let it read no clock and draw nothing by chance: what it needs is a column, "
                    "or was learnt in fit",
                )
            table = first
        except Exception:
            break
    name, estimator = steps[-1]
    return BatchDependent(
        f"step {name} ({called(estimator)}) gives a row other last bits in another "
        "position, even in blocks of a fixed size",
        name,
        "its answer is not reproducible; use another estimator, or one thread",
    )


def _dependent(name: str, what: str) -> BatchDependent:
    return BatchDependent(
        f"step {name} {what}: its answer for a row depends on the rows beside it",
        name,
        LEARN_IN_FIT,
    )


def rows_of(result: Any, rows: np.ndarray[Any, Any]) -> Any:
    if is_several(result):
        return [rows_of(part, rows) for part in result]
    part = take(result, rows)
    return part.reset_index(drop=True) if isinstance(part, (pd.DataFrame, pd.Series)) else part


def _culprit(name: str, step: Any, table: Any) -> str | None:
    """Return the name of the innermost step that moves, e.g. ``prep.num.center``.

    None where a step is made of others, and none of those moves by more than rounding.
    """
    is_leaf = True
    for inner, part, sub in parts_of(step, table):
        is_leaf = False
        try:
            reference = part.transform(rows_of(sub, np.arange(n_rows(sub))))
            moved = any(
                deviation(rows_of(reference, rows), part.transform(rows_of(sub, rows))) > 1
                for rows in companies(n_rows(sub))
            )
        except Exception:
            moved = True
        if moved:
            culprit = _culprit(f"{name}.{inner}", part, sub)
            if culprit is not None:
                return culprit
    return f"{name} ({called(step)})" if is_leaf else None


def row_changer(steps: Steps, table: Any) -> str | None:
    """Return the innermost step that does not give a row for each row of `table`; else None."""
    for name, step in steps:
        found = _row_changer(name, step, table)
        if found is not None:
            return found
        try:
            table = step.transform(rows_of(table, np.arange(n_rows(table))))
        except Exception:
            return None
    return None


def _row_changer(name: str, step: Any, table: Any) -> str | None:
    try:
        for inner, part, sub in parts_of(step, table):
            found = _row_changer(f"{name}.{inner}", part, sub)
            if found is not None:
                return found
    except Exception:
        # It is made of others, one of which fails by itself.
        return None
    method = "transform" if hasattr(step, "transform") else "predict"
    try:
        call_by_rows(getattr(step, method), rows_of(table, np.arange(n_rows(table))), name)
    except RowsChanged:
        return f"{name} ({called(step)})"
    except Exception:
        return None
    return None


def refuse_row_change(steps: Steps, table: Any) -> None:
    """Refuse a step that does not give a row for each row of `table`.

    Raises
    ------
    BatchDependent
    """
    name = row_changer(steps, table)
    if name is not None:
        raise BatchDependent(
            f"step {name} changes the number of rows: which answer belongs to which row is not "
            "known then",
            name,
            "leave rows out before fit, or let the contract refuse them; a step must give one "
            "row for each row that it is given",
        )


def called(step: Any) -> str:
    function = getattr(getattr(step, "func", None), "__name__", "")
    return f"{type(step).__name__} of {function}" if function else type(step).__name__


def parts_of(step: Any, table: Any) -> Iterator[tuple[str, Any, Any]]:
    if type(step) is ColumnTransformer:
        for name, part, columns in step.transformers_:
            if hasattr(part, "transform"):
                yield name, part, _safe_indexing(table, columns, axis=1)
    elif type(step) is FeatureUnion:
        for name, part in step.transformer_list:
            if hasattr(part, "transform"):
                yield name, part, table
    elif is_plain(step):
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
