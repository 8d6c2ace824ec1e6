"""One column, one kind: from whatever arrives to what the pipeline sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.moments import from_wall, parse_moment
from asfitted.contract.plain import Array, Plain, is_moment, is_number, plain
from asfitted.contract.schema import Column, Fill

# The largest whole number below which every whole number is a float: 2**53.
EXACT = 2**53


@dataclass
class ReadColumn:
    """One column after reading.

    Attributes
    ----------
    values : ndarray or Categorical of shape (n_rows,)
        As the pipeline sees them.
    problems : list of (rule, sentence, mask)
        Violations.
    notes : list of (rule, mask, received)
        Findings; `received` holds what arrived, None for a missing value.
    """

    values: Any = None
    problems: list[tuple[str, str, Array]] = field(default_factory=list)
    notes: list[tuple[str, Array, Array | None]] = field(default_factory=list)

    def refuse(self, rule: str, sentence: str, mask: Array) -> None:
        if mask.any():
            self.problems.append((rule, sentence, mask))

    def note(self, rule: str, mask: Array, received: Array | None = None) -> None:
        if mask.any():
            self.notes.append((rule, mask, received))


def read_column(series: pd.Series[Any], column: Column, *, is_utc: bool = False) -> ReadColumn:
    """Return one column as the pipeline sees it, with what is wrong and what was mended.

    Parameters
    ----------
    series : Series of shape (n_rows,)
    column : Column
    is_utc : bool, default False
        Naive moments are in UTC already, whatever the column's zone.
    """
    out = ReadColumn()
    if column.kind == "datetime":
        _datetime(plain(series), column, out, is_utc)
    else:
        _READERS[column.kind](plain(series), column, out)
    return out


def _missing(source: Plain, column: Column, out: ReadColumn) -> None:
    if column.missing == "refuse":
        out.refuse("missing", "values missing", source.missing)
    elif isinstance(column.missing, Fill):
        out.note("filled", source.missing)


def _bounds(values: Array, present: Array, column: Column, out: ReadColumn) -> None:
    unit = f" {column.unit}" if column.unit else ""
    low, high = column.bounds("min"), column.bounds("max")
    inside = present.copy()
    # NaN and NaT compare false with everything; `present` leaves them out already.
    if low is not None:
        out.refuse("min", f"values below {column.min}{unit}", present & (values < low))
        inside &= values >= low
    if high is not None:
        out.refuse("max", f"values above {column.max}{unit}", present & (values > high))
        inside &= values <= high
    observed = column.bounds("observed")
    if observed is not None:
        out.note("outside_observed", inside & ((values < observed[0]) | (values > observed[1])))


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
                with contextlib.suppress(OverflowError):
                    values[i], good[i] = float(source.values[i]), True
    out.refuse("type", f"values are not {what}", present & ~good)
    return values, good


def _number(source: Plain, column: Column, out: ReadColumn) -> None:
    _missing(source, column, out)
    values, present = _floats(source, out, "numbers")
    infinite = present & ~np.isfinite(values)
    out.refuse("finite", "values are not finite", infinite)
    if isinstance(column.missing, Fill):
        values[source.missing] = column.missing.fill
    _bounds(values, present & ~infinite, column, out)
    out.values = values


def _integer(source: Plain, column: Column, out: ReadColumn) -> None:
    _missing(source, column, out)
    values, present = _whole(source, out)
    if isinstance(column.missing, Fill):
        values[source.missing] = column.missing.fill
    _bounds(values, present, column, out)
    if column.missing == "pass":
        values = values.astype("float64")
        values[source.missing] = np.nan
    out.values = values


def _whole(source: Plain, out: ReadColumn) -> tuple[Array, Array]:
    """Return (int64 values with 0 for missing, mask of those present and whole)."""
    present = ~source.missing
    if source.family == "int":
        large = present & (
            (source.values > EXACT) | (source.values.astype("float64") < -float(EXACT))
        )
        out.refuse("exact", "values are beyond ±2^53", large)
        good = present & ~large
        return np.where(good, source.values, 0).astype("int64"), good
    floats, good = _floats(source, out, "whole numbers")
    large = good & (np.abs(floats) > EXACT)
    out.refuse("exact", "values are beyond ±2^53", large)
    good &= ~large
    broken = good & (np.floor(floats) != floats)
    out.refuse("whole", "values are not whole numbers", broken)
    good &= ~broken
    return np.where(good, floats, 0).astype("int64"), good


def _boolean(source: Plain, column: Column, out: ReadColumn) -> None:
    _missing(source, column, out)
    present = ~source.missing
    values = np.zeros(len(present), dtype=bool)
    good = np.zeros(len(present), dtype=bool)
    if source.family == "bool":
        values, good = source.values.copy(), present
    elif source.family == "float":
        # What this very function gives for a column that may miss.
        good = present & ((source.values == 0) | (source.values == 1))
        values = good & (source.values == 1)
    elif source.family == "object":
        for i in np.flatnonzero(present):
            if isinstance(source.values[i], (bool, np.bool_)):
                values[i], good[i] = bool(source.values[i]), True
    out.refuse("type", "values are not true or false", present & ~good)
    if isinstance(column.missing, Fill):
        values[source.missing] = column.missing.fill
    if column.missing == "pass":
        out.values = np.where(source.missing, np.nan, values.astype("float64"))
    else:
        out.values = values


def _category(source: Plain, column: Column, out: ReadColumn) -> None:
    _missing(source, column, out)
    labels = column.labels
    present = ~source.missing
    received: Array = source.values
    if isinstance(labels[0], str):
        good = present & _are_text(source)
        out.refuse("type", "values are not text", present & ~good)
        index = pd.Index(labels, dtype=object)
        texts = source.values.astype(object)
        texts[~good] = None
        codes = index.get_indexer(texts)
    else:
        received, good = _whole(source, out)
        codes = pd.Index(labels, dtype="int64").get_indexer(received)
    codes = np.where(good, codes, -1)
    unknown = good & (codes < 0)
    if column.unknown == "refuse":
        out.refuse("category", "values are not among the categories", unknown)
    elif column.unknown == "other":
        codes = np.where(unknown, labels.index(column.other), codes)  # type: ignore[arg-type]
    if column.unknown != "refuse":
        out.note("unknown_category", unknown, received)
    if isinstance(column.missing, Fill):
        codes = np.where(codes < 0, labels.index(column.missing.fill), codes)  # type: ignore[arg-type]
    dtype = object if isinstance(labels[0], str) else "int64"
    out.values = pd.Categorical.from_codes(codes, categories=pd.Index(labels, dtype=dtype))


def _are_text(source: Plain) -> Array:
    if source.family != "object":
        return np.zeros(len(source.missing), dtype=bool)
    if pd.api.types.infer_dtype(source.values, skipna=True) in {"string", "empty"}:
        return np.ones(len(source.missing), dtype=bool)
    return np.array([isinstance(v, str) for v in source.values], dtype=bool)


def _text(source: Plain, column: Column, out: ReadColumn) -> None:
    _missing(source, column, out)
    present = ~source.missing
    good = present & _are_text(source)
    out.refuse("type", "values are not text", present & ~good)
    fill = column.missing.fill if isinstance(column.missing, Fill) else None
    values = np.full(len(present), fill, dtype=object)
    values[good] = source.values[good]
    long = np.zeros(len(present), dtype=bool)
    long[good] = [len(v) > column.max_length for v in values[good]]
    out.refuse("max_length", f"values are longer than {column.max_length} characters", long)
    out.values = values


def _datetime(source: Plain, column: Column, out: ReadColumn, is_utc: bool) -> None:
    _missing(source, column, out)
    present = ~source.missing
    values = np.full(len(present), np.datetime64("NaT"), dtype="datetime64[us]")
    zone = "UTC" if is_utc else column.zone
    if source.family == "moment_utc" or (source.family == "moment" and zone == "UTC"):
        values = source.values.astype("datetime64[us]")
    elif source.family == "moment":
        wall = pd.Series(source.values.astype("datetime64[us]")).dt
        local = wall.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt
        values = local.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        skipped = present & np.isnat(values)
        out.refuse("zone", f"times are skipped or repeated by clocks of {zone}", skipped)
        present &= ~skipped
    else:
        present = _moments(source, column, out, zone, values)
    if isinstance(column.missing, Fill):
        values[source.missing] = parse_moment(str(column.missing.fill), column.zone)
    _bounds(values, present, column, out)
    out.values = values


def _moments(source: Plain, column: Column, out: ReadColumn, zone: str, values: Array) -> Array:
    """Read objects one by one into `values`; return the mask of those read."""
    present = ~source.missing
    good, readable = np.zeros((2, len(present)), dtype=bool)
    for i in np.flatnonzero(present) if source.family == "object" else ():
        value = source.values[i]
        readable[i] = isinstance(value, (str, date)) or is_moment(value)
        if not readable[i]:
            continue
        with contextlib.suppress(ValueError, OverflowError):
            values[i], good[i] = _moment(value, zone), True
    out.refuse("type", "values are not dates and times", present & ~readable)
    out.refuse(
        "datetime",
        "values are not ISO 8601 (YYYY-MM-DDTHH:MM:SS, Z or an offset), or no such moment",
        readable & ~good,
    )
    return good


def _moment(value: Any, zone: str) -> np.datetime64:
    if isinstance(value, str):
        return parse_moment(value, zone)
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime(warn=False)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        return from_wall(value, zone)
    return parse_moment(value.astimezone(_UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"))


_UTC = pd.Timestamp(0, tz="UTC").to_pydatetime().tzinfo
_READERS: dict[str, Callable[[Plain, Column, ReadColumn], None]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "category": _category,
    "text": _text,
}
