"""Moments: from whatever arrives to datetime64[us] in UTC."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.column import Column, Fill
from asfitted.contract.moments import (
    ClockChange,
    as_numpy,
    from_wall,
    parse_moment,
    parse_moments,
)
from asfitted.contract.plain import Array, Plain, is_moment, is_number
from asfitted.contract.reading import ReadColumn, check_bounds, note_missing, refuse_type


def read_datetime(source: Plain, column: Column, out: ReadColumn, is_conformed: bool) -> None:
    note_missing(source, column, out)
    present = ~source.missing
    values = np.full(len(present), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    zone = "UTC" if is_conformed else column.zone
    if source.family in {"moment", "moment_utc"}:
        known = present & _in_calendar(source.values)
        values[known] = source.values[known].astype("datetime64[us]")
        # Compared only where both calendars reach: elsewhere the units overflow.
        finer = np.zeros(len(present), dtype=bool)
        finer[known] = values[known] != source.values[known]
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
    check_bounds(values, present, column, out)
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
    if source.family == "object" and np.count_nonzero(present) > _FEW:
        at_once = parse_moments(source.values[present], zone)
        if at_once is not None:
            values[present] = at_once
            return present
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
    _refuse_type(source, present & ~readable, out)
    out.refuse("finer", _FINER, finer)
    out.refuse("zone", _SKIPPED.format(zone), skipped)
    out.refuse("datetime", _NO_MOMENT, readable & ~good & ~skipped & ~finer)
    return good


def _refuse_type(source: Plain, wrong: Array, out: ReadColumn) -> None:
    numbers = source.family in {"int", "float"} or all(map(is_number, source.values[wrong]))
    if wrong.any() and numbers:
        out.refuse("type", _NUMBERS, wrong)
    else:
        refuse_type("values are not dates and times", source, wrong, out)


# Fewer texts are read one by one as fast.
_FEW = 16
_NO_MOMENT = "values are not ISO 8601 (YYYY-MM-DDTHH:MM:SS, Z or an offset), or no such moment"
_NUMBERS = (
    "values are not dates and times but numbers; pandas counts milliseconds unless it is "
    'asked for texts: to_json(date_format="iso", date_unit="us")'
)
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
