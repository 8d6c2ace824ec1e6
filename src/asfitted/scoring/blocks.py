"""Blocks of a fixed number of rows, so that BLAS takes the same path for every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from asfitted.errors import RowsChanged

# BLAS picks its kernel by the shape of the matrix, and another kernel gives
# other last bits. With the shape fixed, none of 31 estimators gave a row other
# bits in another position or company; 16, 64 and 256 were tried.
BLOCK_ROWS = 64


def n_rows(table: Any) -> int:
    """Return the rows of a frame, an array or a sparse matrix."""
    return int(table.shape[0]) if getattr(table, "shape", ()) else len(table)


def call_by_rows(function: Callable[[Any], Any], table: Any, name: str) -> Any:
    """Return ``function(table)``, which must give one row for each row that it is given.

    Every call of a step or an estimator goes through here: where one drops rows, the
    answers that follow would move up to other rows, and other callers.

    Parameters
    ----------
    function : callable
        A method of the step or estimator.
    table : DataFrame, ndarray, sparse matrix or list of n_rows
    name : str
        Of the step, for the error.

    Raises
    ------
    RowsChanged
    """
    given = n_rows(table)
    result = function(table)
    for part in _tables(result):
        try:
            returned: int | None = n_rows(part)
        except TypeError:
            returned = None
        if returned != given:
            raise RowsChanged(
                f"step {name} gives {'no table' if returned is None else f'{returned} rows'} "
                f"for {given} rows",
                name,
                "a step must give one row for each row that it is given; leave out rows "
                "before fit, or refuse them in the contract",
            )
    return result


def _tables(result: Any) -> Iterator[Any]:
    if is_several(result):
        for part in result:
            yield from _tables(part)
    else:
        yield result


def take(table: Any, rows: Any) -> Any:
    """Return some rows of a frame, an array, a sparse matrix or a list of rows."""
    if isinstance(table, (pd.DataFrame, pd.Series)):
        return table.iloc[rows]
    if scipy.sparse.issparse(table):
        return table.tocsr()[rows]
    if isinstance(table, list):
        return table[rows] if isinstance(rows, slice) else [table[row] for row in rows]
    return table[rows]


def laid_out(table: Any) -> Any:
    """Return the same rows, lying in memory in one order whatever they came from.

    BLAS takes another path for C order than for Fortran order. pandas and numpy keep
    the order in which rows were taken, put together or computed: it would follow the
    company of a row, and whether the step before ran on all rows or on a block.
    """
    if isinstance(table, pd.DataFrame):
        columns = {i: column for i, (_, column) in enumerate(table.items())}
        frame = pd.DataFrame(columns, index=table.index, copy=True)
        frame.columns, frame.attrs = table.columns, table.attrs
        return frame
    if scipy.sparse.issparse(table):
        rows = table.tocsr()
        return rows if rows.has_sorted_indices else rows.sorted_indices()
    return np.ascontiguousarray(table) if isinstance(table, np.ndarray) else table


def same_bits(was: Any, now: Any) -> bool:
    """Whether two arrays or sparse matrices of numbers are the same in type and bits."""
    if type(was) is not type(now) or was.shape != now.shape:
        return False
    if scipy.sparse.issparse(was):
        pairs = [(was.data, now.data), (was.indices, now.indices), (was.indptr, now.indptr)]
    else:
        pairs = [(was, now)]
    return all(
        a.dtype == b.dtype and a.dtype != object and a.tobytes() == b.tobytes() for a, b in pairs
    )


def is_several(result: Any) -> bool:
    """Whether `result` is a list of tables, one per target, and not a list of rows."""
    return (
        isinstance(result, list)
        and len(result) > 0
        and all(hasattr(part, "shape") or is_several(part) for part in result)
    )


def _stack(parts: list[Any]) -> Any:
    """Put results for consecutive rows under each other; several results one by one."""
    first = parts[0]
    if is_several(first):
        return [_stack([part[i] for part in parts]) for i in range(len(first))]
    if len(parts) == 1:
        return first
    if isinstance(first, list):
        return [row for part in parts for row in part]
    if isinstance(first, (pd.DataFrame, pd.Series)):
        return pd.concat(parts, ignore_index=True)
    if scipy.sparse.issparse(first):
        return scipy.sparse.vstack(parts, format="csr")
    return np.concatenate(parts)


def in_blocks(function: Callable[[Any], Any], table: Any, size: int = BLOCK_ROWS) -> Any:
    """Return ``function(table)``, called on blocks of exactly `size` rows.

    The last block is filled up with its last row, whose further answers are
    dropped.

    Parameters
    ----------
    function : callable
        From n rows to n rows, or to a list of such results, or of such lists (the
        targets of a multi-output classifier).
    table : DataFrame, ndarray or sparse matrix of shape (n_rows, n_columns)
        With at least one row.
    size : int
    """
    total = n_rows(table)
    results = []
    if isinstance(table, pd.DataFrame):
        # What is taken from one row alone would lie in the other order.
        table = laid_out(take(table, [0, 0]) if total == 1 else table)
    for start in range(0, total, size):
        stop = min(start + size, total)
        rows = np.arange(start, start + size)
        block = take(table, np.minimum(rows, stop - 1))
        if isinstance(block, (pd.DataFrame, pd.Series)):
            # A repeated row repeats its label too, on which a step may join.
            block = block.reset_index(drop=True)
        else:
            block = laid_out(block)
        results.append(_head(function(block), stop - start))
    return _stack(results)


def _head(result: Any, rows: int) -> Any:
    if is_several(result):
        return [_head(part, rows) for part in result]
    return take(result, slice(0, rows))
