"""One plain form for every dtype in which pandas can hold the same values."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Plain:
    """A column as numpy holds it.

    Attributes
    ----------
    family : str
        ``bool``, ``int``, ``float``, ``moment`` (naive), ``moment_utc`` (a zone
        was there) or ``object``: each value is what Python calls it.
    values : ndarray of shape (n_rows,)
        Whatever it likes where `missing` is true.
    missing : ndarray of bool of shape (n_rows,)
    """

    family: str
    values: Array
    missing: Array


class Texts(Plain):
    """A column of the family ``object`` that Arrow holds: no subclass of str, no half surrogate.

    Attributes
    ----------
    arrow : pa.ChunkedArray of str, of shape (n_rows,)
    """

    arrow: pa.ChunkedArray

    def __init__(self, arrow: pa.ChunkedArray, missing: Array) -> None:
        # As if they were fields: what they are put into is frozen.
        vars(self).update(family="object", missing=missing, arrow=arrow)

    @cached_property
    def values(self) -> Array:
        """Made when somebody asks: most columns are read without."""
        return self.arrow.to_numpy()


def plain(series: pd.Series[Any]) -> Plain:
    """Return `series` in plain form.

    numpy, nullable, Arrow-backed, categorical and object dtypes that mean the
    same give the same: what a caller's DataFrame library chose is not a
    property of the row.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        # The categories keep their own dtype: Int64 codes stay integers beside a NaN.
        codes = series.cat.codes.to_numpy()
        missing = codes < 0
        kinds = plain(pd.Series(dtype.categories, dtype=dtype.categories.dtype))
        if len(kinds.values) == 0:
            return Plain("object", np.full(len(series), None, dtype=object), missing)
        return Plain(kinds.family, kinds.values[np.where(missing, 0, codes)], missing)
    missing = series.isna().to_numpy(dtype=bool)
    if isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow":
        arrow = pa.array(series.array)
        held = arrow if isinstance(arrow, pa.ChunkedArray) else pa.chunked_array([arrow])
        return Texts(held, missing)
    if isinstance(dtype, pd.DatetimeTZDtype):
        utc = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return Plain("moment_utc", utc.to_numpy(), missing)
    types = pd.api.types
    if types.is_bool_dtype(dtype) and not types.is_object_dtype(dtype):
        return Plain("bool", _numpy(series, "bool", False), missing)
    if types.is_unsigned_integer_dtype(dtype):
        return Plain("int", _numpy(series, "uint64", 0), missing)
    if types.is_integer_dtype(dtype):
        return Plain("int", _numpy(series, "int64", 0), missing)
    if types.is_float_dtype(dtype):
        values = _numpy(series, "float64", np.nan)
        # The nullable dtypes tell NaN from NA; to a pipeline both are missing.
        return Plain("float", values, missing | np.isnan(values))
    if types.is_datetime64_dtype(dtype):
        return Plain("moment", series.to_numpy(), missing)
    if isinstance(dtype, pd.ArrowDtype) and pa.types.is_timestamp(dtype.pyarrow_dtype):
        unit = f"datetime64[{dtype.pyarrow_dtype.unit}]"
        if dtype.pyarrow_dtype.tz:
            utc = series.dt.tz_convert("UTC").dt.tz_localize(None)
            return Plain("moment_utc", utc.to_numpy(dtype=unit), missing)
        return Plain("moment", series.to_numpy(dtype=unit), missing)
    return _objects(series.to_numpy(dtype=object), missing)


def plain_values(values: Sequence[Any]) -> Plain:
    """Return values of JSON's types, None for missing, in plain form.

    What `plain` gives for a Series of these objects, without the Series.
    """
    array = np.empty(len(values), dtype=object)
    # Assigned, not converted: numpy would make a nested list a second dimension.
    array[:] = values
    missing = np.fromiter((value is None for value in values), bool, len(values))
    return _objects(array, missing)


def _numpy(series: pd.Series[Any], dtype: str, filler: Any) -> Array:
    if isinstance(series.dtype, np.dtype):
        return series.to_numpy().astype(dtype, copy=False)
    return series.to_numpy(dtype=dtype, na_value=filler)


def _objects(values: Array, missing: Array) -> Plain:
    """Give objects that are all of one plain type that type's own array."""
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "boolean":
        return Plain("bool", np.where(missing, False, values).astype(bool), missing)
    if inferred == "integer":
        try:
            return Plain("int", np.where(missing, 0, values).astype("int64"), missing)
        except OverflowError:
            return Plain("object", values, missing)
    if inferred == "floating":
        # A missing value among floats may be None, NaN or pd.NA.
        floats = np.array(
            [np.nan if m else float(v) for v, m in zip(values, missing, strict=True)],
            dtype="float64",
        )
        return Plain("float", floats, missing | np.isnan(floats))
    # Integers among floats and decimals stay what they are: a float would round
    # them, and whether it does must not depend on the rows beside them.
    return Plain("object", values, missing)


def is_number(value: Any) -> bool:
    """Whether a single object is a real number; a bool is not."""
    return isinstance(value, (int, float, np.integer, np.floating, decimal.Decimal)) and not (
        isinstance(value, (bool, np.bool_))
    )


def is_moment(value: Any) -> bool:
    """Whether a single object is a date and time of Python's, numpy's or pandas'."""
    return isinstance(value, (dt.datetime, np.datetime64))
