"""Hard bounds for a proposal: beyond every honest row, and before what is absurd.

To refuse an honest row is worse than to let mild nonsense through, so the bounds lie far
outside of what training saw. They are round: so they are no cell of the data, and the
next sample of the same data mostly proposes the same.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

import numpy as np

from asfitted.contract.column import EXACT

# How many times the largest seen a number may be. A small sample of something heavy-tailed,
# such as incomes or a rare fee, shows next to nothing of its tail.
_TIMES, _TIMES_OF_FEW = 1_000, 100_000
_FEW = 100
# Of a column of nothing but zeros nobody knows the size.
_LARGEST_OF_ZEROS = 1_000_000_000
# For how long a model may be asked, and how far back it may be asked about. Of a moment a
# sentinel such as 1900-01-01 is refused; a house may have been built in that year.
_YEARS_OF_MOMENTS, _YEARS_OF_NUMBERS = 30, 200
# What may be negative without having been so in training, as winter is after a summer.
# fmt: off
_SIGNED = frozenset({
    "temp", "temperature", "dewp", "dewpoint", "chill", "balance", "delay", "lat", "latitude",
    "lon", "lng", "long", "longitude", "delta", "diff", "difference", "change", "growth", "trend",
    "slope", "profit", "margin", "net", "return", "returns", "surplus", "deficit", "elevation",
    "altitude", "offset", "skew", "residual", "anomaly", "bias", "correlation", "log", "zscore",
    "scaled",
})
# fmt: on
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

# A rule of a column, its value, and the comment that stands beside it.
Bound = tuple[str, Any, str]


def number_bounds(
    name: str, values: np.ndarray[Any, Any], today: dt.date, *, is_whole: bool
) -> list[Bound]:
    """Return hard bounds for a column of numbers, as far as there are any.

    Parameters
    ----------
    name : str
        Of the column: it may say that it holds years, or what may be negative.
    values : ndarray of int or float of shape (n_values,)
        All finite.
    today : date
    is_whole : bool
        Whether the kind is ``integer``.

    Examples
    --------
    >>> ages = np.arange(18, 91).repeat(2)
    >>> for bound in number_bounds("age", ages, dt.date(2026, 1, 1), is_whole=True):
    ...     print(*bound)
    min 0 guess: none is negative
    max 100000 guess: 1,000 times the largest seen, rounded up
    """
    low, high = values.min().item(), values.max().item()
    words = {word.lower() for word in _WORDS.findall(name)}
    if low >= 1800 and high <= 2200 and any(word.endswith(("year", "yr")) for word in words):
        return _decades(math.floor(low), math.floor(high), today, _YEARS_OF_NUMBERS)
    n_sizes, largest = np.count_nonzero(values), max(abs(low), abs(high))
    times = _TIMES if n_sizes >= _FEW else _TIMES_OF_FEW
    reach = _round_up(largest * times) if largest else _LARGEST_OF_ZEROS
    said = f"guess: {times:,} times the largest seen, rounded up"
    if largest == 0:
        said = "guess: nothing but 0 was seen; say how much there may be"
    may_be_negative = low < 0 or not words.isdisjoint(_SIGNED)
    # Beyond, the kind ends by itself.
    has_end = reach is not None and not (is_whole and reach > EXACT)
    bounds: list[Bound] = []
    if not may_be_negative:
        bounds.append(("min", 0, "guess: none is negative"))
    elif has_end:
        seen = "as max" if low < 0 else "as max; none is negative, but by its name it may be"
        bounds.append(("min", -reach, f"guess: {seen}"))  # type: ignore[operator]
    return [*bounds, ("max", reach, said)] if has_end else bounds


def moment_bounds(first: np.datetime64, last: np.datetime64, today: dt.date) -> list[Bound]:
    """Return hard bounds for a column of moments, as far as the calendar has them.

    Examples
    --------
    >>> seen = np.datetime64("2013-01-01"), np.datetime64("2013-09-30")
    >>> for rule, moment, _ in moment_bounds(*seen, dt.date(2026, 1, 1)):
    ...     print(rule, moment)
    min 1980-01-01T00:00:00Z
    max 2060-01-01T00:00:00Z
    """
    seen = [int(moment.astype("datetime64[Y]").astype(int)) + 1970 for moment in (first, last)]
    bounds = _decades(min(seen), max(seen), today, _YEARS_OF_MOMENTS)
    return [
        (rule, f"{year:04}-01-01T00:00:00Z", said) for rule, year, said in bounds if 0 < year < 9999
    ]


def _decades(first: int, last: int, today: dt.date, years: int) -> list[Bound]:
    """Return the years of the decades before and after all that may be asked about."""
    margin = years + last - first
    # What is asked about may lie after the training data, however old they are.
    low, high = (first - margin) // 10 * 10, (max(last, today.year) + margin) // 10 * 10 + 10
    said = f"guess: {years} years and the span seen"
    return [
        ("min", low, f"{said} before the first"),
        ("max", high, f"{said} after the last and after now"),
    ]


def _round_up(value: float) -> int | float | None:
    """Return the next 1, 2 or 5 times a power of ten; None where no float is as large."""
    if not math.isfinite(value):
        return None
    exponent = math.floor(math.log10(value))
    for digits in ("1e", "2e", "5e", "10e"):
        rounded = float(f"{digits}{exponent}")
        if value <= rounded < math.inf:
            return int(rounded) if 1 <= rounded <= EXACT else rounded
    return None
