"""What somebody may have meant: a misspelt name, or values that no kind takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

# What people call the values, and what makes them a kind's; `c` is the column, of any
# dtype that can hold them.
_TEXTS = 'c.map(str, na_action="ignore") makes them texts'
_LISTS = (
    "pd.DataFrame(c.tolist(), index=c.index) makes one column per item, "
    'c.map(" ".join) makes lists of words one text'
)
_MENDS: tuple[tuple[tuple[type, ...], str, str], ...] = (
    (
        (dt.timedelta, np.timedelta64),
        "durations",
        "pd.to_timedelta(c).dt.total_seconds() makes them numbers",
    ),
    (
        (pd.Period,),
        "periods",
        "c.infer_objects().dt.to_timestamp() makes each the moment of its start",
    ),
    ((pd.Interval,), "intervals", _TEXTS),
    (
        (complex, np.complexfloating),
        "complex numbers",
        "c.map(lambda z: z.real) and c.map(lambda z: z.imag) make two columns",
    ),
    (
        (bytes, bytearray),
        "bytes",
        'c.astype(object).str.decode("utf-8") makes them texts',
    ),
    ((dt.time,), "times of day", "c.map(lambda t: t.hour + t.minute / 60) makes them hours"),
    ((dict,), "objects", "pd.DataFrame(c.tolist(), index=c.index) makes one column per key"),
    ((set, frozenset), "sets", 'c.map(sorted).map(" ".join) makes sets of words texts'),
    ((list, tuple, np.ndarray), "lists", _LISTS),
)
_OF_A_KIND = (str, bool, int, float, Decimal, np.generic, dt.date)
# Of a large column the first values tell.
_ENOUGH = 10_000


def misfit(values: Iterable[Any]) -> tuple[str, str]:
    """Return what the values are called, and what makes them fit a kind.

    Parameters
    ----------
    values : iterable of objects
        Those present that are of no kind.

    Returns
    -------
    (name, hint) : (str, str)
        Both "" where they are not all of one sort that no kind takes.

    Examples
    --------
    >>> misfit([dt.timedelta(hours=1)])
    ('durations', 'pd.to_timedelta(c).dt.total_seconds() makes them numbers')
    >>> misfit(["a", 1])
    ('', '')
    """
    found = {_sort(type(value)) for value, _ in zip(values, range(_ENOUGH), strict=False)}
    return found.pop() if len(found) == 1 else ("", "")


def _sort(kind: type) -> tuple[str, str]:
    for types, name, mend in _MENDS:
        if issubclass(kind, types):
            return name, mend
    return ("", "") if issubclass(kind, _OF_A_KIND) else (f"of the type {kind.__name__}", _TEXTS)


def did_you_mean(said: str, known: Sequence[str], otherwise: Sequence[str] = ()) -> str:
    """Return a question that names the nearest of `known`, or what else there is.

    Examples
    --------
    >>> did_you_mean("mising", ["missing", "min"])
    ', did you mean missing?'
    """
    near = known if len(known) == 1 else get_close_matches(said, known, n=1)
    if near:
        return f", did you mean {near[0]}?"
    return f"; there are {', '.join(otherwise)}" if otherwise else ""
