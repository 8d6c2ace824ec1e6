"""Rows as CSV that every reader finds the cells of again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO, Any


def write_csv(file: IO[str], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    r"""Write a header and rows; lines end in ``\n``.

    Python before 3.13 quotes a carriage return only where lines end in one, and readers
    end a line there.

    Examples
    --------
    >>> import io
    >>> file = io.StringIO()
    >>> write_csv(file, ["a", "b"], [["x", 1], ["y\rz", 2]])
    >>> file.getvalue()
    'a,b\nx,1\n"y\rz",2\n'
    """
    plain = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    for row in chain([names], rows):
        returns = any(type(cell) is str and "\r" in cell for cell in row)
        (quoting if returns else plain).writerow(row)
