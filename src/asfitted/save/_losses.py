"""Categories that an encoder loses in silence, and columns that no step uses."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import _safe_indexing

from asfitted.contract import Column
from asfitted.errors import ProbeFailed
from asfitted.preprocessing import Dummies
from asfitted.scoring.blocks import in_blocks, laid_out
from asfitted.scoring.scorer import Scorer, parts, quiet_and_single, through

logger = logging.getLogger(__name__)

# A value that no contract declares, to see what an encoder makes of a stranger.
_STRANGER = "\x01 no such category"
# An encoder that puts rare and unseen categories together does so on purpose.
_GROUPING = ("min_frequency", "max_categories")
# Cells of rows that are transformed at once.
_CELLS = 2_000_000
_SHOWN = 5

Encoders = dict[str, list[tuple[Any, int]]]


def encoders_of(steps: Sequence[tuple[str, Any]], names: Sequence[str]) -> Encoders:
    """Return, for each column, the transformers that it goes through and its place in each.

    Parameters
    ----------
    steps : list of (name, estimator)
    names : sequence of str
        The columns that the first step is given.
    """
    found: Encoders = {name: [] for name in names}
    for _, step in steps[:-1]:
        for name, encoder, place in _reached(step, list(names)):
            found[name].append((encoder, place))
    return found


def _reached(step: Any, names: list[str]) -> Iterator[tuple[str, Any, int]]:
    if (
        isinstance(step, ColumnTransformer)
        and list(getattr(step, "feature_names_in_", ())) == names
    ):
        for _, part, columns in step.transformers_:
            chosen = _safe_indexing(pd.DataFrame(columns=names), columns, axis=1)
            inner = [chosen.name] if isinstance(chosen, pd.Series) else list(chosen.columns)
            yield from _reached(part, inner)
    elif not isinstance(step, str):
        for part in parts(step):
            if hasattr(part, "transform"):
                yield from ((name, part, place) for place, name in enumerate(names))


def is_supervised(encoder: Any) -> bool:
    """Whether an encoder learns from the target: an unseen category gets its prior."""
    with suppress(Exception):
        # From scikit-learn 1.6 on.
        if encoder.__sklearn_tags__().target_tags.required:
            return True
    try:
        # Whoever does not tell scikit-learn, such as feature-engine, cannot be fitted without.
        target = inspect.signature(encoder.fit).parameters.get("y")
    except (AttributeError, TypeError, ValueError):
        return False
    return target is not None and target.default is inspect.Parameter.empty


def refuse_losses(scorer: Scorer, conformed: pd.DataFrame, base: pd.DataFrame) -> None:
    """Refuse a category of the contract that is encoded just as a value of no list.

    Each column is judged by itself, and by the encoders that it goes through.

    Parameters
    ----------
    scorer : Scorer
    conformed : DataFrame of shape (n_rows, n_features)
        What the pipeline has seen.
    base : DataFrame of shape (1, n_features)

    Raises
    ------
    ProbeFailed
    """
    contract = scorer.contract
    encoders = encoders_of(scorer.steps, contract.features)
    names = [
        name
        for name in contract.features
        if contract.columns[name].kind == "category" and _may_lose(encoders[name])
    ]
    # So many columns at once that a table of their values stays small.
    while names:
        some: list[str] = []
        cells = 0
        while names and (not some or cells < _CELLS):
            some.append(names.pop(0))
            cells += len(contract.columns[some[-1]].labels) * base.shape[1]
        strangers = _strangers(scorer, base, some)
        _judge(scorer, conformed, base, {n: s for n, s in strangers.items() if s}, encoders)


def _may_lose(encoders: list[tuple[Any, int]]) -> bool:
    """Whether a stranger can get through the encoders, and is then not told apart on purpose."""
    return not any(
        isinstance(encoder, Dummies)
        or getattr(encoder, "handle_unknown", "") == "error"
        or is_supervised(encoder)
        for encoder, _ in encoders
    )


def _strangers(scorer: Scorer, base: pd.DataFrame, names: list[str]) -> dict[str, bytes | None]:
    """Return how a value of no list is encoded in each column; None where that is an error."""
    table = base.iloc[np.zeros(len(names), dtype=int)].reset_index(drop=True)
    for row, name in enumerate(names):
        labels = table[name].cat.categories
        value = _STRANGER if labels.dtype == object else int(labels.max()) + 1
        codes = table[name].cat.codes.to_numpy().copy()
        codes[row] = len(labels)
        with_stranger = pd.Index([*labels, value], dtype=labels.dtype)
        table[name] = pd.Categorical.from_codes(codes, categories=with_stranger)
    try:
        return dict(zip(names, rows_as_bytes(transform(scorer, table)), strict=True))
    except Exception:
        if len(names) == 1:
            return {names[0]: None}
    half = len(names) // 2
    return _strangers(scorer, base, names[:half]) | _strangers(scorer, base, names[half:])


def _judge(
    scorer: Scorer,
    conformed: pd.DataFrame,
    base: pd.DataFrame,
    strangers: dict[str, bytes],
    encoders: Encoders,
) -> None:
    columns = scorer.contract.columns
    tried = [(name, value) for name in strangers for value in _labels(columns[name])]
    if not tried:
        return
    table = base.iloc[np.zeros(len(tried), dtype=int)].reset_index(drop=True)
    for name in strangers:
        codes = table[name].cat.codes.to_numpy().copy()
        rows = [row for row, (column, _) in enumerate(tried) if column == name]
        codes[rows] = table[name].cat.categories.get_indexer([tried[row][1] for row in rows])
        table[name] = pd.Categorical.from_codes(codes, dtype=table[name].dtype)
    features = rows_as_bytes(transform(scorer, table))
    same: dict[str, list[tuple[Any, bool]]] = {name: [] for name in strangers}
    for (name, value), row in zip(tried, features, strict=True):
        same[name].append((value, row == strangers[name]))
    for name, judged in same.items():
        lost = _lost(columns[name], conformed[name], judged, encoders[name])
        if lost:
            shown = ", ".join(f"{name} = {_said(value)}" for value in lost[:_SHOWN])
            raise ProbeFailed(
                f"the contract allows {shown}, which training never saw and the "
                "pipeline encodes as a value that it does not know: it is lost in silence",
                f"column {name}",
                _hint_for_loss(name, encoders[name]),
            )


def _said(value: Any) -> str:
    return "missing" if value is None else repr(value)


def _labels(column: Column) -> list[Any]:
    return [*column.labels, *([None] if column.missing == "pass" else [])]


def _lost(
    column: Column,
    series: pd.Series[Any],
    judged: list[tuple[Any, bool]],
    encoders: list[tuple[Any, int]],
) -> list[Any]:
    """Return the values of one column that are taken for a stranger and should not be.

    Parameters
    ----------
    judged : list of (value, bool)
        Whether each is encoded as a stranger is.
    """
    seen = set(series.dropna().unique()) | ({None} if series.isna().any() else set())
    dropped = {label for encoder, place in encoders for label in _dropped(encoder, place)}
    taken = [value for value, same in judged if same and value not in dropped]
    if len(taken) == len(judged) - len(dropped):
        # No step tells any category of the column from another.
        return []
    if len(taken) == 1 and any(_drops_unseen(encoder) for encoder, _ in encoders):
        return []
    if any(value in seen for value in taken):
        # Rare ones go together, or a step of the user's asks no more than "is it x?".
        grouped = any(
            getattr(encoder, rule, None) is not None
            for encoder, _ in encoders
            for rule in _GROUPING
        )
        if grouped or not dropped:
            return []
    # What is mapped to `other` is unknown by the contract's own word.
    excused = {column.other} if column.unknown == "other" else set()
    return [value for value in taken if value not in seen and value not in excused]


def _dropped(encoder: Any, place: int) -> list[Any]:
    """Return the category of the column at `place` that a one-hot encoder leaves out."""
    if not isinstance(encoder, OneHotEncoder) or getattr(encoder, "drop_idx_", None) is None:
        return []
    which = encoder.drop_idx_[place]
    if which is None:
        return []
    label = encoder.categories_[place][which]
    return [None if pd.isna(label) else label]


def _drops_unseen(encoder: Any) -> bool:
    """Whether an encoder that something else has fitted a copy of leaves one category out."""
    return getattr(encoder, "drop", None) is not None and not hasattr(encoder, "drop_idx_")


def _hint_for_loss(name: str, encoders: list[tuple[Any, int]]) -> str:
    if any("categories" in _parameters(encoder) for encoder, _ in encoders):
        return (
            f"hand the list over: categories=contract.categories([{name!r}, …]), "
            "or use asfitted.Dummies"
        )
    return (
        "leave what training never saw out of the contract's categories (unknown: other and "
        "unknown: missing map it), or use asfitted.Dummies"
    )


def hint_for_failure(scorer: Scorer, name: str) -> str:
    """Return what to do about a value that fails, in terms that the encoder has."""
    for encoder, _ in encoders_of(scorer.steps, scorer.contract.features).get(name, []):
        names = _parameters(encoder)
        if "categories" in names:
            return (
                "let a step take it (an imputer, contract.categories(columns) for an encoder), "
                "or let the contract refuse or fill it"
            )
        for parameter, value in (("handle_unknown", "value"), ("unseen", "encode")):
            if parameter in names:
                return (
                    f"let the encoder take it ({type(encoder).__name__}({parameter}={value!r})), "
                    "or let the contract refuse or fill it"
                )
    return (
        "let a step take it (an imputer, contract.categories(columns) for an encoder), "
        "or let the contract refuse or fill it"
    )


def _parameters(encoder: Any) -> set[str]:
    """Return the names of an estimator's parameters."""
    return set(encoder.get_params(deep=False)) if hasattr(encoder, "get_params") else set()


def warn_of_unused(scorer: Scorer, probes: pd.DataFrame, names: Sequence[str]) -> None:
    """Warn of columns of the contract whose values reach no estimator.

    Parameters
    ----------
    probes : DataFrame of shape (n_rows, n_features)
        The first row varied in one column in each further row.
    names : sequence of str
        That column of each row.
    """
    chunk = max(1, _CELLS // max(probes.shape[1], 1))
    features: list[bytes] = []
    for start in range(0, len(probes), chunk):
        features += rows_as_bytes(transform(scorer, probes.iloc[start : start + chunk]))
    used = {name for name, row in zip(names, features, strict=True) if row != features[0]}
    varied = {name for name in names if name}
    unused = [name for name in scorer.contract.features if name in varied - used]
    if unused:
        logger.warning(
            "no step uses %s: whatever these columns hold, the answer is the same; behind "
            "Conform a text column of few values is of dtype category, which a column selector "
            "of dtype object does not select",
            ", ".join(unused),
        )


def transform(scorer: Scorer, table: Any) -> Any:
    """Return what the estimator is given for conformed rows."""
    whole = scorer.steps[:-1][: scorer.whole_steps]
    rest = scorer.steps[len(whole) : -1]
    with quiet_and_single(scorer.transform_output):
        table = through(whole, laid_out(table) if whole else table)
        return in_blocks(lambda block: through(rest, block), table) if rest else table


def rows_as_bytes(table: Any) -> list[bytes]:
    """Return each row of features as bytes that are equal where the rows are."""
    if hasattr(table, "toarray"):
        table = table.toarray()
    if isinstance(table, pd.DataFrame):
        table = table.to_numpy(dtype=object)
    array = np.asarray(table)
    if array.dtype == object:
        return [repr(row.tolist()).encode() for row in array]
    return [row.tobytes() for row in np.ascontiguousarray(array)]
