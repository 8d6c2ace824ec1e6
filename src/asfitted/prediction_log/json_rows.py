"""Rows as JSON objects, written column by column: a tenth of the time that row by row takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from json.encoder import encode_basestring_ascii as text_of
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
import orjson
import pandas as pd

Column: TypeAlias = Sequence[Any] | np.ndarray[Any, Any] | pd.Categorical

# What `json` writes for a value of exactly this type.
_WRITERS: Mapping[type, Callable[[Any], str]] = {
    str: text_of,
    float: float.__repr__,
    int: int.__repr__,
    bool: {True: "true", False: "false"}.__getitem__,
    NoneType: {None: "null"}.__getitem__,
}
# A column is written without letting another thread run: in pieces, a server answers.
_PIECE = 4096
_NO_JSON = frozenset({"nan", "inf", "-inf"})


def json_rows(columns: Mapping[str, Column], n_rows: int, other: Callable[[Any], str]) -> list[str]:
    """Return each row as the text of a JSON object, as compact and as exact as `json` writes it.

    Parameters
    ----------
    columns : mapping of str to sequence of length n_rows
        An array holds float64, NaN for missing, or int64; an exponent may be written
        otherwise than `json` writes it, and reads back as the same bits. Of a
        Categorical each label is written once.
    n_rows : int
    other : callable
        Writes a value that is no plain str, float, int, bool or None.

    Raises
    ------
    ValueError
        For a number that JSON has not: the infinities, and NaN outside an array.

    Examples
    --------
    >>> json_rows({"a": [1.0, None], "b%": ["x", True]}, 2, str)
    ['{"a":1.0,"b%":"x"}', '{"a":null,"b%":true}']
    >>> json_rows({"a": np.array([360, np.nan])}, 2, str)
    ['{"a":360.0}', '{"a":null}']
    """
    if not columns:
        return ["{}"] * n_rows
    rows: list[str] = []
    for start in range(0, n_rows, _PIECE):
        stop = start + _PIECE
        texts = [
            _written(values[start:stop], f"{',' if at else '{'}{text_of(name)}:", other)
            for at, (name, values) in enumerate(columns.items())
        ]
        # As many as a column has values: the pieces between them have no end.
        rows += map("".join, zip(*chain.from_iterable(texts), repeat("}")))
    return rows


def listed(values: Column) -> list[Any]:
    """Return the values of a column one by one, None for a missing one."""
    if isinstance(values, pd.Categorical):
        # The code of a missing value is -1: the last of the list.
        labels = [*values.categories.tolist(), None]
        return [labels[code] for code in values.codes.tolist()]
    if isinstance(values, np.ndarray):
        return [None if value != value else value for value in values.tolist()]
    return list(values)


def _written(values: Column, name: str, other: Callable[[Any], str]) -> list[Iterable[str]]:
    """Return what to put together: texts behind `name`, or `name` and then texts."""
    if isinstance(values, np.ndarray):
        return [_numbers(values, name)]
    if isinstance(values, pd.Categorical):
        if len(values) <= len(values.categories):
            return [repeat(name), _texts(listed(values), other)]
        table = [f"{name}{text}" for text in _texts([*values.categories.tolist(), None], other)]
        return [map(table.__getitem__, values.codes.tolist())]
    return [repeat(name), _texts(values, other)]


def _texts(values: Sequence[Any], other: Callable[[Any], str]) -> list[str]:
    types = set(map(type, values))
    if len(types) == 1:
        texts = list(map(_WRITERS.get(next(iter(types)), other), values))
    elif types == {str, NoneType}:
        texts = ["null" if value is None else text_of(value) for value in values]
    else:
        texts = [_WRITERS.get(type(value), other)(value) for value in values]
    if float in types and not _NO_JSON.isdisjoint(texts):
        raise ValueError("a number is not finite")
    return texts


def _numbers(values: np.ndarray[Any, Any], name: str) -> list[str]:
    """Return the numbers of an array as `orjson` writes them, NaN as null, behind `name`."""
    if np.isinf(values).any():
        raise ValueError("a number is not finite")
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    if not text:
        return []
    # JSON has no line end in a name.
    return (name + text.decode().replace(",", "\n" + name)).split("\n")
