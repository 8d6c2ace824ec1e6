"""One logical column in every dtype in which a caller may hold it."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

from asfitted.contract import Column, DataContract, Fill

Values = list[Any]
EXACT = 2**53 - 1

PASS: dict[str, Column] = {
    "number": Column(kind="number", missing="pass"),
    "integer": Column(kind="integer", missing="pass"),
    "boolean": Column(kind="boolean", missing="pass"),
    "category": Column(kind="category", missing="pass", categories=("b", "a", "NO", "")),
    "codes": Column(kind="category", missing="pass", categories=(3, 1, 2)),
    "text": Column(kind="text", missing=Fill(fill=""), allow_nul=True),
    "datetime": Column(kind="datetime", missing="pass"),
    "datetime_ny": Column(kind="datetime", missing="pass", zone="America/New_York"),
}

# Microseconds of these years are what nanoseconds can hold too.
_NAIVE = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-EXACT, EXACT),
    "boolean": st.booleans(),
    "category": st.sampled_from(PASS["category"].categories),
    "codes": st.sampled_from(PASS["codes"].categories),
    "text": st.text(st.characters(codec="utf-8"), max_size=8),
    "datetime": _NAIVE,
    # Midday: no clock of New York skips or repeats it.
    "datetime_ny": _NAIVE.map(lambda moment: moment.replace(hour=12)),
}


def columns(kind: str, min_size: int = 0, max_size: int = 8) -> st.SearchStrategy[Values]:
    """Return lists of values of `kind`, None for missing."""
    return st.lists(st.none() | VALUES[kind], min_size=min_size, max_size=max_size)


def contract(kind: str) -> DataContract:
    return DataContract(columns={"c": PASS[kind]})


def _with(missing: Any, values: Values, make: Callable[[Any], Any] = lambda v: v) -> pd.Series:
    return pd.Series([missing if v is None else make(v) for v in values], dtype=object)


def _objects(values: Values) -> Iterator[tuple[str, pd.Series]]:
    yield "object None", _with(None, values)
    yield "object nan", _with(float("nan"), values)
    yield "object NA", _with(pd.NA, values)
    if len({math.copysign(1, v) for v in values if v == 0 and isinstance(v, float)}) > 1:
        # To pandas both zeros are one category: the sign is lost before we see it.
        return
    labels = list(dict.fromkeys(v for v in values if v is not None))
    index = pd.Index(labels, dtype=object)
    with warnings.catch_warnings():
        # pandas 2.2 announces that it will no longer do what it does for moments.
        warnings.simplefilter("ignore", FutureWarning)
        series = pd.Series(pd.Categorical(_with(None, values), categories=index))
    yield "category", series


def _arrow(values: Values, kind: pa.DataType) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(values, kind)])))


def families(kind: str, values: Values) -> Iterator[tuple[str, pd.Series]]:
    """Yield (name, the same column) for each way of holding it."""
    yield from _objects(values)
    yield from _TYPED[kind.partition("_")[0]](values)


def _numbers(values: Values) -> Iterator[tuple[str, pd.Series]]:
    yield "float64", pd.Series(values, dtype="float64")
    yield "Float64", pd.Series(values, dtype="Float64")
    yield "arrow", _arrow(values, pa.float64())
    yield "numpy objects", _with(None, values, np.float64)
    yield "decimals", _with(None, values, decimal.Decimal)
    yield "sparse", pd.Series(pd.arrays.SparseArray(pd.Series(values, dtype="float64")))


def _integers(values: Values) -> Iterator[tuple[str, pd.Series]]:
    yield "Int64", pd.Series(values, dtype="Int64")
    yield "float64", pd.Series(values, dtype="float64")
    yield "arrow", _arrow(values, pa.int64())
    yield "numpy objects", _with(None, values, np.int64)
    yield "floats", _with(None, values, float)
    yield "decimals", _with(None, values, decimal.Decimal)
    yield (
        "arrow decimals",
        _arrow([None if v is None else decimal.Decimal(v) for v in values], pa.decimal128(20, 0)),
    )
    if None not in values:
        yield "int64", pd.Series(values, dtype="int64")
        if all(v >= 0 for v in values):
            yield "uint64", pd.Series(values, dtype="uint64")
            yield "UInt64", pd.Series(values, dtype="UInt64")


def _booleans(values: Values) -> Iterator[tuple[str, pd.Series]]:
    yield "boolean", pd.Series(values, dtype="boolean")
    yield "arrow", _arrow(values, pa.bool_())
    yield "numpy objects", _with(None, values, np.bool_)
    if None not in values:
        yield "bool", pd.Series(values, dtype="bool")


def _texts(values: Values) -> Iterator[tuple[str, pd.Series]]:
    yield "string", pd.Series(values, dtype="string")
    yield "string pyarrow", pd.Series(values, dtype="string[pyarrow]")
    yield "arrow", _arrow(values, pa.string())
    yield "arrow large", _arrow(values, pa.large_string())
    yield "numpy objects", _with(None, values, np.str_)
    yield "inferred", pd.Series(values) if any(values) else _with(None, values)


def _codes(values: Values) -> Iterator[tuple[str, pd.Series]]:
    yield from _integers(values)
    yield "int categories", pd.Series(pd.Categorical(values, categories=[1, 2, 3]))
    yield "int8", _arrow(values, pa.int8())


def _moments(values: Values) -> Iterator[tuple[str, pd.Series]]:
    naive = pd.Series(
        [pd.NaT if v is None else np.datetime64(v, "us") for v in values], dtype="datetime64[us]"
    )
    yield "datetime64[us]", naive
    yield "datetime64[ns]", naive.astype("datetime64[ns]")
    yield "arrow", _arrow(values, pa.timestamp("us"))
    yield "arrow ns", naive.astype(pd.ArrowDtype(pa.timestamp("ns")))
    yield "Timestamps", _with(pd.NaT, values, pd.Timestamp)
    yield "numpy objects", _with(None, values, lambda v: np.datetime64(v, "us"))
    yield "text", _with(None, values, dt.datetime.isoformat)
    yield "text with a space", _with(None, values, lambda v: v.isoformat(" ", "microseconds"))
    yield "string", pd.Series([v and v.isoformat() for v in values], dtype="string")


_TYPED: dict[str, Callable[[Values], Iterator[tuple[str, pd.Series]]]] = {
    "number": _numbers,
    "integer": _integers,
    "boolean": _booleans,
    "category": _texts,
    "codes": _codes,
    "text": _texts,
    "datetime": _moments,
}


def assert_same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Fail where two conformed frames differ in a dtype, a bit or a list of categories."""
    pd.testing.assert_index_equal(left.columns, right.columns)
    for name in left.columns:
        was, now = left[name], right[name]
        assert was.dtype == now.dtype, name
        if isinstance(was.dtype, pd.CategoricalDtype):
            assert was.cat.categories.dtype == now.cat.categories.dtype
            was, now = was.cat.codes, now.cat.codes
        if was.dtype == object:
            assert [(type(v), v) for v in was] == [(type(v), v) for v in now]
        else:
            assert was.to_numpy().tobytes() == now.to_numpy().tobytes(), (was, now)
