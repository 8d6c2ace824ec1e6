"""Numbers and whole numbers: from whatever arrives to what the pipeline sees."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import numpy as np

from asfitted.contract.column import EXACT, Column, Fill
from asfitted.contract.plain import Array, Plain, is_number
from asfitted.contract.reading import ReadColumn, check_bounds, note_missing, refuse_type

_TOO_LARGE = "values are beyond ±(2^53 − 1)"
_MAYBE_ROUNDED = "whole numbers are beyond ±(2^53 − 1), and a float may be another number"


def _floats(source: Plain, out: ReadColumn, what: str) -> tuple[Array, Array]:
    """Return (float64 values with NaN for missing, mask of those present and numeric)."""
    present = ~source.missing
    if source.family in {"int", "float"}:
        values = source.values.astype("float64")
        values[source.missing] = np.nan
        return values, present
    values = np.full(len(present), np.nan)
    good = np.zeros(len(present), dtype=bool)
    if source.family == "object":
        for i in np.flatnonzero(present):
            if is_number(source.values[i]):
                # An integer too large for a float is no number of ours.
                with contextlib.suppress(OverflowError, ValueError):
                    values[i], good[i] = float(source.values[i]), True
    refuse_type(f"values are not {what}", source, present & ~good, out)
    return values, good


def read_number(source: Plain, column: Column, out: ReadColumn) -> None:
    note_missing(source, column, out)
    values, present = _floats(source, out, "numbers")
    large = _beyond(source, values, present)
    out.refuse("exact", _MAYBE_ROUNDED, large)
    present = present & ~large
    infinite = present & ~np.isfinite(values)
    out.refuse("finite", "values are not finite", infinite)
    if isinstance(column.missing, Fill):
        values[source.missing] = column.missing.fill
    check_bounds(values, present & ~infinite, column, out)
    out.values = values


def _beyond(source: Plain, values: Array, present: Array) -> Array:
    """Return a mask of what is written as a whole number and may be another one as a float."""
    beyond: Array = present & (np.abs(values) > EXACT)
    if source.family == "float":
        return np.zeros_like(beyond)
    if source.family == "object":
        for i in np.flatnonzero(beyond):
            beyond[i] = may_be_rounded(source.values[i])
    return beyond


def may_be_rounded(value: Any) -> bool:
    """Whether a number is written as a whole one, and may be another one as a float."""
    if -EXACT <= value <= EXACT:
        return False
    if isinstance(value, Decimal):
        return value == value.to_integral_value() and float(value) != value
    # Also those that a float holds: whoever sends them may have meant a neighbour.
    return isinstance(value, (int, np.integer))


def read_integer(source: Plain, column: Column, out: ReadColumn) -> None:
    note_missing(source, column, out)
    values, present = whole_numbers(source, out)
    if isinstance(column.missing, Fill):
        values[source.missing] = column.missing.fill
    check_bounds(values, present, column, out)
    if column.missing == "pass":
        values = values.astype("float64")
        values[source.missing] = np.nan
    out.values = values


def whole_numbers(source: Plain, out: ReadColumn) -> tuple[Array, Array]:
    """Return (int64 values with 0 for missing, mask of those present and whole)."""
    present = ~source.missing
    if source.family == "object":
        return _whole_objects(source, out)
    if source.family == "int":
        values, good = source.values, present
        large = present & (values > EXACT)
        if values.dtype.kind == "i":
            large |= present & (values < -EXACT)
    else:
        values, good = _floats(source, out, "whole numbers")
        large = good & (np.abs(values) > EXACT)
        broken = good & ~large & (np.floor(values) != values)
        out.refuse("whole", "values are not whole numbers", broken)
        good = good & ~broken
    out.refuse("exact", _TOO_LARGE, large)
    good = good & ~large
    return np.where(good, values, 0).astype("int64"), good


def _whole_objects(source: Plain, out: ReadColumn) -> tuple[Array, Array]:
    present = ~source.missing
    values = np.zeros(len(present), dtype="int64")
    good, numeric, large = np.zeros((3, len(present)), dtype=bool)
    for i in np.flatnonzero(present):
        value = source.values[i]
        numeric[i] = is_number(value)
        if not numeric[i]:
            continue
        # Compared as what it is: a float of it might be another number.
        large[i] = not -EXACT <= value <= EXACT
        if not large[i] and int(value) == value:
            values[i], good[i] = int(value), True
    refuse_type("values are not whole numbers", source, present & ~numeric, out)
    out.refuse("whole", "values are not whole numbers", numeric & ~large & ~good)
    out.refuse("exact", _TOO_LARGE, large)
    return values, good
