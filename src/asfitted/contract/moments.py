"""Points in time: strict ISO 8601 to datetime64[us] in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?"
    r"(?:(Z)|([+-])(\d{2}):(\d{2}))?)?",
    re.ASCII,
)
# Of those, what Arrow reads in the same way; for RE2, whose \d is ASCII's.
_WHOLE = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?"
_WITH_OFFSET, _WITHOUT = _WHOLE + r"(Z|[+-]\d{2}:\d{2})$", _WHOLE + "$"
# Near its ends the calendar is `parse_moment`'s affair: an offset may lead out of it.
_FROM, _TO = np.datetime64("0002-01-01", "us"), np.datetime64("9999-01-01", "us")
_EPOCH = datetime(1970, 1, 1)


def written(moments: np.ndarray[Any, Any]) -> list[str | None]:
    """Return moments as ISO 8601 in UTC, to the microsecond; None for a missing one.

    Examples
    --------
    >>> written(np.array(["2013-01-01T05:15", "NaT"], "datetime64[us]"))
    ['2013-01-01T05:15:00.000000Z', None]
    """
    # In half of the time that numpy takes.
    texts = pa.array(moments.astype("datetime64[us]")).cast(pa.string())
    said: list[str | None] = pc.binary_join_element_wise(
        pc.replace_substring(texts, " ", "T"), "Z", ""
    ).to_pylist()
    return said


def is_zone(name: str) -> bool:
    """Whether `name` is an IANA time zone."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


class ClockChange(ValueError):
    """A time that clocks of the zone never show, or show twice."""


@lru_cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


# The moments of a table come again and again: days, hours, flights that leave together.
@lru_cache(maxsize=8192)
def parse_moment(text: str, zone: str = "UTC") -> np.datetime64:
    """Return the moment that `text` names.

    Parameters
    ----------
    text : str
        ``YYYY-MM-DD``, or with ``THH:MM``, seconds, up to six decimals, and
        ``Z`` or an offset. Nothing else: no guess is made.
    zone : str
        IANA zone of a text that names no offset.

    Returns
    -------
    numpy.datetime64
        In microseconds, UTC.

    Raises
    ------
    ValueError
        Where it is no such text or no such moment: the 30th of February, an
        hour that a clock change skips, or one that it repeats.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError("not ISO 8601 (YYYY-MM-DDTHH:MM:SS with Z or an offset)")
    year, month, day, hour, minute, second, fraction, utc, sign, off_h, off_m = match.groups()
    wall = datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "0").ljust(6, "0")),
    )
    if utc:
        return as_numpy(wall)
    if sign:
        offset = timedelta(hours=int(off_h), minutes=int(off_m))
        if offset >= timedelta(days=1) or int(off_m) > 59:
            raise ValueError("the offset is not one")
        return as_numpy(wall - offset if sign == "+" else wall + offset)
    return from_wall(wall, zone)


def parse_moments(texts: np.ndarray[Any, Any], zone: str) -> np.ndarray[Any, Any] | None:
    """Return what `parse_moment` gives for each text, or None where each must be asked about.

    Parameters
    ----------
    texts : ndarray of object of shape (n_rows,)
    zone : str

    Returns
    -------
    ndarray of datetime64[us] of shape (n_rows,), or None
        Where a text may be wrong, or its offset is left to the zone.
    """
    try:
        array = pa.array(texts, pa.string())
        if pc.all(pc.match_substring_regex(array, _WITH_OFFSET)).as_py():
            read = array.cast(pa.timestamp("us", "UTC"))
        elif zone == "UTC" and pc.all(pc.match_substring_regex(array, _WITHOUT)).as_py():
            read = array.cast(pa.timestamp("us"))
        else:
            return None
    except (pa.ArrowException, UnicodeError):
        return None
    moments: np.ndarray[Any, Any] = read.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    inside = (moments >= _FROM) & (moments < _TO)
    return moments if inside.all() else None


def from_wall(wall: datetime, zone: str) -> np.datetime64:
    """Return the moment at which clocks of `zone` show the naive `wall`; see `parse_moment`."""
    if zone == "UTC":
        return as_numpy(wall)
    info = _zone(zone)
    first = wall.replace(tzinfo=info, fold=0).astimezone(timezone.utc)
    second = wall.replace(tzinfo=info, fold=1).astimezone(timezone.utc)
    if first != second:
        raise ClockChange(f"clocks of {zone} skip or repeat this time: give an offset")
    return as_numpy(first.replace(tzinfo=None))


def as_numpy(naive_utc: datetime) -> np.datetime64:
    """Return a naive moment in UTC as numpy holds it."""
    # Whole microseconds by integer arithmetic: a float of seconds would round.
    return np.datetime64((naive_utc - _EPOCH) // timedelta(microseconds=1), "us")
