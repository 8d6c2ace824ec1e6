"""One column, one kind: from whatever arrives to what the pipeline sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.moments import ClockChange, as_numpy, from_wall, parse_moment
from asfitted.contract.plain import Array, Plain, is_moment, is_number, plain
from asfitted.contract.schema import EXACT, Column, Fill

_TOO_LARGE = "values are beyond ±(2^53 − 1)"


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


def read_column(
    series: pd.Series[Any], column: Column, *, is_conformed: bool = False
) -> ReadColumn:
    """Return one column as the pipeline sees it, with what is wrong and what was mended.

    Parameters
    ----------
    series : Series of shape (n_rows,)
    column : Column
    is_conformed : bool, default False
        Naive moments are in UTC already, whatever the column's zone, and a
        boolean may be 0.0 or 1.0.
    """
    out = ReadColumn()
    if column.kind == "datetime":
        _datetime(plain(series), column, out, is_conformed)
    elif column.kind == "boolean":
        _boolean(plain(series), column, out, is_conformed)
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
                with contextlib.suppress(OverflowError, ValueError):
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
    out.refuse("type", "values are not whole numbers", present & ~numeric)
    out.refuse("whole", "values are not whole numbers", numeric & ~large & ~good)
    out.refuse("exact", _TOO_LARGE, large)
    return values, good


def _boolean(source: Plain, column: Column, out: ReadColumn, is_conformed: bool) -> None:
    _missing(source, column, out)
    present = ~source.missing
    values = np.zeros(len(present), dtype=bool)
    good = np.zeros(len(present), dtype=bool)
    if source.family == "bool":
        values, good = source.values.copy(), present
    elif source.family == "float" and is_conformed:
        # What this very function gives for a column that may miss. A 1.0 among
        # objects is another matter: a caller's number is not a boolean.
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
        codes = index.get_indexer(pd.Index(texts, dtype=object))
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
        if unknown.any() and isinstance(labels[0], str):
            broken = np.zeros(len(present), dtype=bool)
            broken[unknown] = [not _is_unicode(v) for v in received[unknown]]
            out.refuse("unicode", _NOT_UNICODE, broken)
        out.note("unknown_category", unknown, received)
    if isinstance(column.missing, Fill):
        codes = np.where(codes < 0, labels.index(column.missing.fill), codes)  # type: ignore[arg-type]
    dtype = object if isinstance(labels[0], str) else "int64"
    out.values = pd.Categorical.from_codes(codes, categories=pd.Index(labels, dtype=dtype))


def _are_text(source: Plain) -> Array:
    if source.family != "object":
        return np.zeros(len(source.missing), dtype=bool)
    return np.array([isinstance(v, str) for v in source.values], dtype=bool)


_NOT_UNICODE = "values hold half of a surrogate pair, which is no text"


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written anywhere: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(source: Plain, column: Column, out: ReadColumn) -> None:
    _missing(source, column, out)
    present = ~source.missing
    good = present & _are_text(source)
    out.refuse("type", "values are not text", present & ~good)
    fill = column.missing.fill if isinstance(column.missing, Fill) else None
    values = np.full(len(present), fill, dtype=object)
    values[good] = [str.__str__(v) for v in source.values[good]]
    broken = np.zeros(len(present), dtype=bool)
    if not _is_unicode("".join(values[good])):
        broken[good] = [not _is_unicode(v) for v in values[good]]
    out.refuse("unicode", _NOT_UNICODE, broken)
    long = np.zeros(len(present), dtype=bool)
    long[good] = [len(v) > column.max_length for v in values[good]]
    out.refuse("max_length", f"values are longer than {column.max_length} characters", long)
    out.values = values


def _datetime(source: Plain, column: Column, out: ReadColumn, is_conformed: bool) -> None:
    _missing(source, column, out)
    present = ~source.missing
    values = np.full(len(present), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    zone = "UTC" if is_conformed else column.zone
    if source.family in {"moment", "moment_utc"}:
        known = present & _in_calendar(source.values)
        values[known] = source.values[known].astype("datetime64[us]")
        finer = known & (values != source.values)
        out.refuse("finer", _FINER, finer)
        if source.family == "moment" and zone != "UTC":
            skipped = np.zeros(len(present), dtype=bool)
            values[known], skipped[known] = _from_walls(values[known], zone)
            out.refuse("zone", _SKIPPED.format(zone), skipped)
            present &= ~skipped
            known &= ~np.isnat(values)
        out.refuse("datetime", _NO_MOMENT, present & ~known)
        present = known & ~finer
    else:
        present = _moments(source, column, out, zone, values)
    if isinstance(column.missing, Fill):
        values[source.missing] = parse_moment(str(column.missing.fill), column.zone)
    _bounds(values, present, column, out)
    out.values = values


def _from_walls(walls: Array, zone: str) -> tuple[Array, Array]:
    """Return (moments, NaT where there is none, mask of those skipped or repeated)."""
    distinct, where = np.unique(walls, return_inverse=True)
    moments = np.full(len(distinct), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    skipped = np.zeros(len(distinct), dtype=bool)
    # Not pandas' tz_localize, whose releases differ far from the present.
    for i, wall in enumerate(distinct.tolist()):
        try:
            moments[i] = from_wall(wall, zone)
        except ClockChange:
            skipped[i] = True
        except OverflowError:
            continue
    return moments[where], skipped[where]


def _moments(source: Plain, column: Column, out: ReadColumn, zone: str, values: Array) -> Array:
    """Read objects one by one into `values`; return the mask of those read."""
    present = ~source.missing
    good, readable, skipped, finer = np.zeros((4, len(present)), dtype=bool)
    for i in np.flatnonzero(present) if source.family == "object" else ():
        value = source.values[i]
        readable[i] = isinstance(value, (str, date)) or is_moment(value)
        if not readable[i]:
            continue
        try:
            values[i], good[i] = _moment(value, zone), True
        except ClockChange:
            skipped[i] = True
        except _Finer:
            finer[i] = True
        except (ValueError, OverflowError):
            continue
    out.refuse("type", "values are not dates and times", present & ~readable)
    out.refuse("finer", _FINER, finer)
    out.refuse("zone", _SKIPPED.format(zone), skipped)
    out.refuse("datetime", _NO_MOMENT, readable & ~good & ~skipped & ~finer)
    return good


_NO_MOMENT = "values are not ISO 8601 (YYYY-MM-DDTHH:MM:SS, Z or an offset), or no such moment"
_SKIPPED = "times are skipped or repeated by clocks of {}"
_FINER = "times are finer than a microsecond"


class _Finer(ValueError):
    """A time that microseconds cannot hold."""


def _in_calendar(moments: Array) -> Array:
    """Whether the years are those that Python and ISO 8601 know, 1 to 9999."""
    years = moments.astype("datetime64[Y]").astype("int64") + 1970
    return (years >= 1) & (years <= 9999)


def _moment(value: Any, zone: str) -> np.datetime64:
    if isinstance(value, str):
        return parse_moment(value, zone)
    if isinstance(value, np.datetime64):
        if not _in_calendar(np.array([value])).all():
            raise ValueError("no such year")
        if value.astype("datetime64[us]") != value:
            raise _Finer
        value = value.astype("datetime64[us]").item()
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            raise _Finer
        value = value.to_pydatetime(warn=False)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        return from_wall(value, zone)
    return as_numpy(value.astimezone(timezone.utc).replace(tzinfo=None))


_READERS: dict[str, Callable[[Plain, Column, ReadColumn], None]] = {
    "number": _number,
    "integer": _integer,
    "category": _category,
    "text": _text,
}
