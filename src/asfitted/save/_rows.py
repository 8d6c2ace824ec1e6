"""The rows that a model is proved on: those where a dependence on the others would show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

Rows = np.ndarray[Any, Any]

# Of one value that several rows share.
_SHARED_VALUES, _SHARED_ROWS = 3, 6
_RUN = 32
# Values of one column that come least often.
_RAREST = 64
# Of categories of one column; of rows that are looked at for shared values.
_LABELS, _LOOKED_AT = 50, 100_000
_ALONE = 16
_SIZES = (2, 3, 7, 16, 33, 64, 100, 500)
# Pieces of consecutive rows, and of shuffled ones.
PIECES = (1024, 1, 2000, 65, 2000, 7, 2000, 500)
SHUFFLED_PIECES = (2048,)


def spread(frame: pd.DataFrame, limit: int) -> Rows:
    """Return the positions of at most `limit` rows, in order.

    A quarter each: rows that hold what is rare (a missing value, each category, the
    smallest and the largest value of each column), rows that share a value of a column,
    runs of consecutive rows, and rows at even distances.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_features)
        Conformed.
    limit : int
    """
    total = len(frame)
    if total <= limit:
        return np.arange(total)
    quarter = limit // 4
    chosen: set[int] = set()
    for source in (_rare(frame), _sharing(frame), _runs(total)):
        wanted = len(chosen) + quarter
        for row in source:
            if len(chosen) >= wanted:
                break
            chosen.add(int(row))
    rest = np.setdiff1d(np.arange(total), list(chosen))
    even = rest[np.linspace(0, len(rest) - 1, limit - len(chosen)).round().astype(int)]
    return np.array(sorted(chosen | set(even.tolist())))


def _rare(frame: pd.DataFrame) -> Iterator[int]:
    """Yield rows with rare cells, of every column in turn."""
    return _in_turn([_rare_of(frame.iloc[:, i]) for i in range(frame.shape[1])])


def _in_turn(columns: list[list[int]]) -> Iterator[int]:
    for rows in zip_longest(*columns):
        yield from (row for row in rows if row is not None)


def _rare_of(series: pd.Series[Any]) -> list[int]:
    missing = np.flatnonzero(series.isna().to_numpy())
    rows = missing[[0, -1, len(missing) // 2]].tolist() if len(missing) else []
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy()
        labels, first = np.unique(codes, return_index=True)
        return rows + first[labels >= 0][:_LABELS].tolist()
    if series.dtype != object and len(missing) < len(series):
        values = series.to_numpy()
        present = np.flatnonzero(~pd.isna(values))
        order = present[[values[present].argmin(), values[present].argmax()]]
        rows += order.tolist()
    return rows + _rarest(series)


def _rarest(series: pd.Series[Any]) -> list[int]:
    """Return rows with the values that come least often, where most come more than once."""
    codes, values = pd.factorize(series)
    if len(values) > len(series) / 2:
        return []
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    rarest = np.argsort(counts, kind="stable")[:_RAREST]
    _, first = np.unique(codes, return_index=True)
    return first[int(codes.min() < 0) :][rarest].tolist()


def shared(frame: pd.DataFrame) -> Iterator[Rows]:
    """Yield groups of rows that share a value of a column, some of each column in turn."""
    # Whoever looks at neighbours looks within such a group: a customer, a day, a shop.
    some = frame.iloc[:_LOOKED_AT]
    groups = [_shared_of(some.iloc[:, i]) for i in range(frame.shape[1])]
    for several in zip_longest(*groups):
        yield from (group for group in several if group is not None)


def _shared_of(series: pd.Series[Any]) -> list[Rows]:
    codes, values = pd.factorize(series)
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    repeated = np.flatnonzero(counts > 1)
    if len(repeated) == 0:
        return []
    by_count = repeated[np.argsort(counts[repeated], kind="stable")]
    picked = dict.fromkeys([by_count[-1], by_count[0], by_count[len(by_count) // 2]])
    return [np.flatnonzero(codes == code)[:_SHARED_ROWS] for code in list(picked)[:_SHARED_VALUES]]


def _sharing(frame: pd.DataFrame) -> Iterator[int]:
    for group in shared(frame):
        yield from group.tolist()


def _runs(total: int) -> Iterator[int]:
    for start in np.random.default_rng(0).permutation(np.arange(0, total, _RUN)):
        yield from range(start, min(start + _RUN, total))


def companies(total: int) -> Iterator[Rows]:
    """Yield all rows in another order, rows in batches of several sizes, and rows alone."""
    shuffled = np.random.default_rng(0).permutation(total)
    yield shuffled
    yield np.arange(total)[::-1]
    yield from (shuffled[:size] for size in _SIZES if size <= total)
    yield from (np.array([row]) for row in shuffled[:_ALONE])


def in_time(batches: Iterable[Rows], least: int, within_s: float) -> Iterator[Rows]:
    """Yield the first `least` of `batches`, and further ones while there is time."""
    begun = monotonic()
    for done, rows in enumerate(batches):
        if done >= least and monotonic() - begun > within_s:
            return
        yield rows


def further_companies(frame: pd.DataFrame) -> Iterator[Rows]:
    """Yield what `companies` lacks: neighbours, rows that share a value, and duplicates.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_features)
        The conformed rows that the positions are of.
    """
    total = len(frame)
    rng = np.random.default_rng(2)
    for size in _SIZES:
        if size < total:
            start = int(rng.integers(0, total - size))
            yield np.arange(start, start + size)
    for _, group in zip(range(40), shared(frame), strict=False):
        yield group
        # One of the group among strangers, and twice in a row.
        yield np.concatenate([group[:1], rng.integers(0, total, 3)])
    for row in rng.permutation(total)[:6]:
        strangers = rng.integers(0, total, 5)
        yield np.repeat(row, 5)
        yield np.concatenate([[row, row], strangers, [row]])
    for size in rng.integers(2, 200, 10):
        yield rng.integers(0, total, size)


def pieces(total: int, sizes: Sequence[int] = PIECES) -> Iterator[Rows]:
    """Yield all rows in order, in pieces of these sizes in turn."""
    start, turn = 0, 0
    while start < total:
        stop = min(start + sizes[turn % len(sizes)], total)
        yield np.arange(start, stop)
        start, turn = stop, turn + 1
