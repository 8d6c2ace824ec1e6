"""Every value that the contract allows, pushed through the pipeline at save."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.utils import _safe_indexing

from asfitted.contract import Column, DataContract
from asfitted.errors import AsfittedError, ProbeFailed, ResourceNotShipped
from asfitted.scoring.blocks import in_blocks
from asfitted.scoring.scorer import Scorer, parts, quiet_and_single

# A value that no contract declares, to see what an encoder makes of a stranger.
_STRANGER = "\x00 no such category"

# An encoder that puts rare and unseen categories together does so on purpose.
_GROUPING = ("min_frequency", "max_categories")

MISSING = "missing"


def probe(scorer: Scorer, conformed: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Push each category, missing value and mapped unknown through the pipeline.

    Parameters
    ----------
    scorer : Scorer
    conformed : DataFrame of shape (n_rows, n_features)
        The training data: one of its rows is what is varied, and what it holds
        is what the pipeline has seen.

    Returns
    -------
    (probes, outputs) : (DataFrame, DataFrame)
        One row per value that was tried, and its answer.

    Raises
    ------
    ProbeFailed
        Names the column and the value that raise, or that are lost: encoded
        just as a value that is in no list.
    """
    # One row that lacks as little as possible, so that a failure is the probe's own.
    fullest = int(np.argmin(conformed.isna().to_numpy().sum(axis=1)))
    probes, names = _table(scorer.contract, conformed.iloc[[fullest]])
    outputs = _score(scorer, probes, names)
    if len(scorer.steps) > 1:
        _refuse_losses(scorer, conformed, probes, names)
    return probes, outputs


def _values(column: Column) -> list[Any]:
    """Return the values of a conformed column that a fitted step may never have met."""
    values: list[Any] = list(column.labels) if column.kind == "category" else []
    if column.kind == "text" and column.may_miss:
        return [column.missing.fill]  # type: ignore[union-attr]
    if column.missing == "pass":
        values.append(None)
    return values


def _table(
    contract: DataContract, base: pd.DataFrame
) -> tuple[pd.DataFrame, list[tuple[str, Any]]]:
    names = [(n, value) for n in contract.features for value in _values(contract.columns[n])]
    probes = pd.concat([base] * (len(names) + 1), ignore_index=True)
    for name in contract.features:
        rows = [i + 1 for i, (column, _) in enumerate(names) if column == name]
        if rows:
            probes[name] = _varied(probes[name], rows, [names[i - 1][1] for i in rows])
    return probes, [("", "a row of the reference"), *names]


def _varied(series: pd.Series[Any], rows: list[int], values: list[Any]) -> pd.Series[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().copy()
        codes[rows] = series.cat.categories.get_indexer(values)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=series.dtype))
    out = series.to_numpy().copy()
    missing = np.datetime64("NaT", "us") if out.dtype.kind == "M" else np.nan
    out[rows] = [missing if value is None else value for value in values]
    return pd.Series(out, dtype=series.dtype)


def _said(name: str, value: Any) -> str:
    if not name:
        return str(value)
    return f"{name} = {MISSING if value is None else repr(value)}"


def _score(scorer: Scorer, probes: pd.DataFrame, names: list[tuple[str, Any]]) -> pd.DataFrame:
    try:
        return scorer.answers(probes)
    except ResourceNotShipped:
        raise
    except Exception as error:
        failed = _failing(scorer, probes, list(range(len(probes))))
        if not failed:
            raise
        row, cause = failed[0]
        others = ", ".join(_said(*names[i]) for i, _ in failed[1:5])
        raise ProbeFailed(
            f"the contract allows {_said(*names[row])}, and the pipeline fails on it: "
            f"{type(cause).__name__}: {_first_line(cause)}",
            (f"column {names[row][0]}" if names[row][0] else "the reference")
            + (f"; so do {others}" if others else ""),
            "let a step take it (an imputer, contract.categories(columns) for an encoder), "
            "or let the contract refuse or fill it",
        ) from error


def _first_line(error: BaseException) -> str:
    text = error.what if isinstance(error, AsfittedError) else str(error)
    return text.strip().partition("\n")[0]


def _failing(scorer: Scorer, probes: pd.DataFrame, rows: list[int]) -> list[tuple[int, Exception]]:
    """Find the rows that fail by halving, at most five of them."""
    try:
        scorer.answers(probes.iloc[rows].reset_index(drop=True))
        return []
    except Exception as error:
        if len(rows) == 1:
            return [(rows[0], error)]
    half = len(rows) // 2
    found = _failing(scorer, probes, rows[:half])
    return found if len(found) >= 5 else found + _failing(scorer, probes, rows[half:])


def _target_encoded(steps: list[Any], names: list[str]) -> set[str]:
    """Return the columns whose unseen categories get the target's mean: a prior, not a loss."""
    found: set[str] = set()
    for step in steps:
        if (
            isinstance(step, ColumnTransformer)
            and list(getattr(step, "feature_names_in_", ())) == names
        ):
            for _, part, columns in step.transformers_:
                chosen = _safe_indexing(pd.DataFrame(columns=names), columns, axis=1)
                inner = [chosen.name] if isinstance(chosen, pd.Series) else list(chosen.columns)
                found |= _target_encoded([part], inner)
        elif any(type(part).__name__ == "TargetEncoder" for part in parts(step)):
            found |= set(names)
    return found


def _refuse_losses(
    scorer: Scorer, conformed: pd.DataFrame, probes: pd.DataFrame, names: list[tuple[str, Any]]
) -> None:
    features = _rows_of(_transform(scorer, probes))
    grouping = any(
        getattr(part, parameter, None) is not None
        for _, step in scorer.steps
        for part in parts(step)
        for parameter in _GROUPING
    )
    drops = any(
        getattr(part, "drop", None) is not None for _, step in scorer.steps for part in parts(step)
    )
    priors = _target_encoded([step for _, step in scorer.steps], list(scorer.contract.features))
    for name in scorer.contract.features:
        if scorer.contract.columns[name].kind != "category" or name in priors:
            continue
        stranger = _stranger(scorer, probes, name)
        if stranger is None:
            continue
        seen = set(conformed[name].dropna().unique())
        if conformed[name].isna().any():
            seen.add(None)
        lost: list[tuple[Any, bool]] = []
        known: list[tuple[Any, bool]] = []
        kept = False
        for (column, value), row in zip(names, features, strict=True):
            if column == name:
                same = row == stranger
                kept |= not same
                (known if value in seen else lost).append((value, same))
        if any(same for _, same in known):
            # Rare ones go together, or a step of the user's asks no more than "is it x?".
            # A dropped first category alone says nothing of the others.
            if grouping or not drops:
                continue
        elif drops and sum(same for _, same in lost) == 1:
            # It is the one that was dropped.
            continue
        missed = [_said(name, value) for value, same in lost if same]
        if kept and missed:
            raise ProbeFailed(
                f"the contract allows {', '.join(missed[:5])}, which training never saw and the "
                "pipeline encodes as a value that it does not know: it is lost in silence",
                f"column {name}",
                f"hand the list over: categories=contract.categories([{name!r}, …]), "
                "or use asfitted.Dummies",
            )


def _stranger(scorer: Scorer, probes: pd.DataFrame, name: str) -> bytes | None:
    """Return how a value of no list is encoded; None where that is an error."""
    row = probes.iloc[:1].copy()
    labels = row[name].cat.categories
    value = _STRANGER if labels.dtype == object else int(labels.max()) + 1
    row[name] = pd.Categorical([value], categories=pd.Index([*labels, value], dtype=labels.dtype))
    try:
        return _rows_of(_transform(scorer, row))[0]
    except Exception:
        return None


def _transform(scorer: Scorer, table: Any) -> Any:
    def through(block: Any) -> Any:
        for _, step in scorer.steps[:-1]:
            block = step.transform(block)
        return block

    with quiet_and_single():
        return in_blocks(through, table)


def _rows_of(table: Any) -> list[bytes]:
    """Return each row of features as bytes that are equal where the rows are."""
    if hasattr(table, "toarray"):
        table = table.toarray()
    if isinstance(table, pd.DataFrame):
        table = table.to_numpy(dtype=object)
    array = np.asarray(table)
    if array.dtype == object:
        return [repr(row.tolist()).encode() for row in array]
    return [row.tobytes() for row in np.ascontiguousarray(array)]
