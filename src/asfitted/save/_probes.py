"""Every value that the contract allows, pushed through the pipeline at save."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract import Column, DataContract, Fill
from asfitted.contract.column import EXACT
from asfitted.errors import (
    AsfittedError,
    OutputViolation,
    ProbeFailed,
    ResourceNotShipped,
    SaveRefused,
)
from asfitted.save._losses import hint_for_failure, refuse_losses, warn_of_unused
from asfitted.save._row_wise import refuse_row_change
from asfitted.scoring.scorer import Scorer

logger = logging.getLogger(__name__)

MISSING = "missing"
# A text that no training row holds.
_NEW_TEXT = "zq never seen"
# How far beyond what training saw a number is tried, in units of its range.
_BEYOND = 10
# Cells of all probes together: of wide frames several columns are varied in one row.
_CELLS = 4_000_000
_SHOWN = 5
# Values that fail, after which no more are looked for.
_FAILED = 20


@dataclass(frozen=True)
class Value:
    """One value of one column that is tried.

    Attributes
    ----------
    column : str
        "" for the row of the reference that the others are variations of.
    value : object
        None for a missing value.
    must : bool
        Whether the model may not be saved where the pipeline fails on it.
    """

    column: str
    value: Any
    must: bool = True

    def __str__(self) -> str:
        if not self.column:
            return str(self.value)
        return f"{self.column} = {MISSING if self.value is None else repr(self.value)}"


@dataclass(frozen=True)
class Probes:
    """Rows that hold what the contract allows.

    Attributes
    ----------
    frame : DataFrame of shape (n_rows, n_features)
        Conformed; the first row is one of the reference.
    values : list of list of Value
        What was varied in each row.
    """

    frame: pd.DataFrame
    values: list[list[Value]]

    def take(self, rows: Sequence[int]) -> Probes:
        """Return some of the rows."""
        frame = self.frame.iloc[list(rows)].reset_index(drop=True)
        return Probes(frame, [self.values[row] for row in rows])


def probe(scorer: Scorer, conformed: pd.DataFrame) -> Probes:
    """Push what the contract allows through the pipeline, and return what it answers.

    Each category, missing value and mapped unknown, the smallest and the largest value of
    training and one beyond it, or at the contract's bound.

    Parameters
    ----------
    scorer : Scorer
    conformed : DataFrame of shape (n_rows, n_features)
        The training data: one of its rows is what is varied, and what it holds
        is what the pipeline has seen.

    Returns
    -------
    Probes
        Those that the pipeline answers.

    Raises
    ------
    ProbeFailed
        Names the column and the value that raise, or that are lost: encoded
        just as a value that is in no list.
    """
    # One row that lacks as little as possible, so that a failure is the probe's own.
    fullest = conformed.iloc[[int(np.argmin(conformed.isna().to_numpy().sum(axis=1)))]]
    probes = _allowed(scorer.contract, _varied_rows(scorer.contract, conformed, fullest))
    probes = _answered(scorer, probes)
    if len(scorer.steps) > 1:
        refuse_losses(scorer, conformed, fullest)
        if all(len(varied) == 1 for varied in probes.values):
            names = [varied[0].column for varied in probes.values]
            warn_of_unused(scorer, probes.frame, names)
    return probes


def with_repeated(scorer: Scorer, conformed: pd.DataFrame, probes: Probes) -> Probes:
    """Return the probes, and each new text, and number beyond training, on another row too.

    What a step remembers of the first row that brought such a value shows on the second.
    """
    last = {}
    for varied in probes.values:
        for one in varied:
            if not one.must and scorer.contract.columns[one.column].kind in {"text", "integer"}:
                last[one.column] = one
    rows = [[one] for one in last.values()]
    if not rows:
        return probes
    more = _allowed(scorer.contract, Probes(_with_values(conformed.iloc[[-1]], rows), rows))
    more = _answered(scorer, more) if rows and len(more.frame) else more
    frame = pd.concat([probes.frame, more.frame], ignore_index=True)
    frame.attrs = dict(probes.frame.attrs)
    return Probes(frame, [*probes.values, *more.values])


def _values(name: str, column: Column, series: pd.Series[Any]) -> Iterator[Value]:
    """Yield the values of a conformed column that a fitted step may never have met."""
    if column.kind == "category":
        yield from (Value(name, label) for label in column.labels)
    if column.kind == "boolean":
        yield from (Value(name, value) for value in (True, False))
    if isinstance(column.missing, Fill) and column.kind == "text":
        yield Value(name, column.missing.fill)
    if column.missing == "pass":
        yield Value(name, None)
    if column.kind == "text":
        seen = [series.iloc[0], series.iloc[-1]]
        texts = [text for text in ("", _NEW_TEXT) if _is_allowed(column, text)]
        yield from (Value(name, text, must=False) for text in dict.fromkeys([*seen, *texts]))
    if column.kind in {"number", "integer", "datetime"}:
        yield from (Value(name, value, must=False) for value in _extremes(column, series))


def _is_allowed(column: Column, text: str) -> bool:
    return not any(any(wrong) for _, wrong in column.broken_by([text]))


def _extremes(column: Column, series: pd.Series[Any]) -> list[Any]:
    """Return the ends of what training saw, and a value beyond each or the contract's bound."""
    values = series.dropna().to_numpy()
    if len(values) == 0:
        return []
    low, high = values.min(), values.max()
    if column.kind == "datetime":
        year = np.timedelta64(365, "D")
        below, above = low - year, high + year
    else:
        low, high = float(low), float(high)
        spread = (high - low) or max(abs(high), 1.0)
        below, above = low - _BEYOND * spread, high + _BEYOND * spread
        if column.kind == "integer":
            below, above = max(below, -EXACT), min(above, EXACT)
    least, most = column.bounds("min"), column.bounds("max")
    below = below if least is None else least
    above = above if most is None else most
    ends = [low, high, below, above]
    if column.kind == "integer":
        ends = [int(end) for end in ends]
    return list(dict.fromkeys(end for end in ends if column.kind == "datetime" or np.isfinite(end)))


def _varied_rows(contract: DataContract, conformed: pd.DataFrame, base: pd.DataFrame) -> Probes:
    by_column = {
        name: list(_values(name, contract.columns[name], conformed[name]))
        for name in contract.features
    }
    rows: list[list[Value]] = [[Value("", "a row of the reference")]]
    n_values = sum(map(len, by_column.values()))
    at_once = -(-n_values * len(by_column) // _CELLS)
    names = list(by_column)
    for start in range(0, len(names), at_once):
        several = [by_column[name] for name in names[start : start + at_once] if by_column[name]]
        for turn in range(max(map(len, several), default=0)):
            rows.append([values[turn % len(values)] for values in several])
    return Probes(_with_values(base, rows), rows)


def _with_values(base: pd.DataFrame, rows: list[list[Value]]) -> pd.DataFrame:
    """Return the row `base` as often as there are `rows`, each with its values."""
    table = base.iloc[np.zeros(len(rows), dtype=int)].reset_index(drop=True)
    places: dict[str, tuple[list[int], list[Any]]] = {}
    for row, varied in enumerate(rows):
        for one in varied:
            if one.column:
                where, values = places.setdefault(one.column, ([], []))
                where.append(row)
                values.append(one.value)
    columns = {
        name: _varied(table[name], *places[name]) if name in places else table[name]
        for name in table.columns
    }
    varied_table = pd.DataFrame(columns)
    varied_table.attrs = dict(base.attrs)
    return varied_table


def _varied(series: pd.Series[Any], rows: list[int], values: list[Any]) -> pd.Series[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().copy()
        codes[rows] = series.cat.categories.get_indexer(values)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=series.dtype))
    out = series.to_numpy().copy()
    missing = np.datetime64("NaT", "us") if out.dtype.kind == "M" else np.nan
    out[rows] = [missing if value is None else value for value in values]
    return pd.Series(out, dtype=series.dtype)


def _allowed(contract: DataContract, probes: Probes) -> Probes:
    """Leave out what a row check refuses: a value that fits one row may not fit another."""
    mask = np.ones(len(probes.frame), dtype=bool)
    for check in contract.row_checks:
        mask &= check.allowed(probes.frame)
    return probes if mask.all() else probes.take(np.flatnonzero(mask).tolist())


def _answered(scorer: Scorer, probes: Probes) -> Probes:
    """Return the probes that the pipeline answers; refuse where one of those must be."""
    try:
        scorer.answers(probes.frame)
        return probes
    except ResourceNotShipped:
        raise
    except Exception:
        _refuse_base(scorer, probes)
        refuse_row_change(scorer.steps, probes.frame)
        failed: list[tuple[int, Exception]] = []
        _find_failing(scorer, probes.frame, list(range(len(probes.frame))), failed)
    must: list[tuple[Value, Exception]] = []
    others: list[tuple[Value, Exception]] = []
    for row, error in failed:
        values = probes.values[row]
        blamed = values if len(values) == 1 else _blamed(scorer, probes.frame.iloc[[0]], values)
        (must if any(one.must for one in blamed) else others).extend((one, error) for one in blamed)
    if must:
        _refuse(scorer, must)
    if others:
        names = ", ".join(str(one) for one, _ in others[:_SHOWN])
        logger.warning(
            "the contract allows %s, which training never saw, and the pipeline fails there "
            "(%s); give the contract a bound, or expect an error where it comes",
            names,
            _first_line(others[0][1]),
        )
    fine = sorted(set(range(len(probes.frame))) - {row for row, _ in failed})
    if len(failed) >= _FAILED:
        # Many more may fail, and each is found by halving.
        fine = [row for row in fine if all(one.must for one in probes.values[row])]
        return _answered(scorer, probes.take(fine))
    return probes.take(fine)


def _refuse_base(scorer: Scorer, probes: Probes) -> None:
    """Refuse where the row itself, that the others are variations of, has no answer to be sent."""
    try:
        scorer.answers(probes.frame.iloc[[0]])
    except OutputViolation as error:
        raise SaveRefused(
            f"the model may not send its answer for one of its own training rows: {error.what}",
            error.where,
            "predict must return what fit has put into classes_, predict_proba numbers in [0, 1] "
            "that add up to 1 in each row, and no number may be infinite or missing",
        ) from error
    except Exception:
        return


def _refuse(scorer: Scorer, failed: list[tuple[Value, Exception]]) -> None:
    value, cause = failed[0]
    others = ", ".join(str(one) for one, _ in failed[1:_SHOWN])
    raise ProbeFailed(
        f"the contract allows {value}, and the pipeline fails on it: "
        f"{type(cause).__name__}: {_first_line(cause)}",
        (f"column {value.column}" if value.column else "the reference")
        + (f"; so do {others}" if others else ""),
        hint_for_failure(scorer, value.column),
    ) from cause


def _first_line(error: BaseException) -> str:
    text = error.what if isinstance(error, AsfittedError) else str(error)
    return text.strip().partition("\n")[0]


def _find_failing(
    scorer: Scorer, frame: pd.DataFrame, rows: list[int], found: list[tuple[int, Exception]]
) -> None:
    """Add to `found` the rows that fail, and why, by halving; stop where they are many."""
    if len(found) >= _FAILED:
        return
    try:
        scorer.answers(frame.iloc[rows].reset_index(drop=True))
    except Exception as error:
        if len(rows) == 1:
            found.append((rows[0], error))
            return
        half = len(rows) // 2
        _find_failing(scorer, frame, rows[:half], found)
        _find_failing(scorer, frame, rows[half:], found)


def _blamed(scorer: Scorer, base: pd.DataFrame, values: list[Value]) -> list[Value]:
    """Return the values that fail on their own, of those that fail together."""
    found: list[tuple[int, Exception]] = []
    frame = _with_values(base, [[one] for one in values])
    _find_failing(scorer, frame, list(range(len(values))), found)
    return [values[row] for row, _ in found]
