"""One column, one kind: from whatever arrives to what the pipeline sees."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asfitted.contract.column import Column, Fill
from asfitted.contract.datetimes import read_datetime
from asfitted.contract.numbers import read_integer, read_number, whole_numbers
from asfitted.contract.plain import Array, Plain, Texts
from asfitted.contract.reading import ReadColumn, note_missing, refuse_type


def _boolean(source: Plain, column: Column, out: ReadColumn, is_conformed: bool) -> None:
    note_missing(source, column, out)
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
    refuse_type("values are not true or false", source, present & ~good, out)
    if isinstance(column.missing, Fill):
        values[source.missing] = column.missing.fill
    if column.missing == "pass":
        out.values = np.where(source.missing, np.nan, values.astype("float64"))
    else:
        out.values = values


def _category(source: Plain, column: Column, out: ReadColumn) -> None:
    note_missing(source, column, out)
    labels = column.labels
    present = ~source.missing
    known, dtype = _lookup(labels)
    is_text = isinstance(labels[0], str)
    whole: Array | None = None
    if is_text:
        good = present & _are_text(source)
        refuse_type("values are not text", source, present & ~good, out)
        codes = _codes(source, good, known)
    else:
        whole, good = whole_numbers(source, out)
        codes = dtype.categories.get_indexer(whole)
    codes = np.where(good, codes, -1)
    unknown = good & (codes < 0)
    if column.unknown == "refuse":
        out.refuse("category", "values are not among the categories", unknown)
    elif column.unknown == "other":
        codes = np.where(unknown, labels.index(column.other), codes)  # type: ignore[arg-type]
    if column.unknown != "refuse" and unknown.any():
        received = source.values if whole is None else whole
        if is_text:
            broken, with_nul = np.zeros((2, len(present)), dtype=bool)
            broken[unknown] = [not _is_unicode(v) for v in received[unknown]]
            with_nul[unknown] = [not column.allow_nul and "\0" in v for v in received[unknown]]
            out.refuse("unicode", _NOT_UNICODE, broken)
            out.refuse("nul", _TEXT_RULES["nul"], with_nul)
        out.note("unknown_category", unknown, received)
    if isinstance(column.missing, Fill):
        codes = np.where(codes < 0, labels.index(column.missing.fill), codes)  # type: ignore[arg-type]
    out.values = pd.Categorical.from_codes(codes, dtype=dtype)


@lru_cache(maxsize=4096)
def _lookup(labels: tuple[Any, ...]) -> tuple[dict[Any, int], pd.CategoricalDtype]:
    """Return the code of each label, and the dtype of the conformed column."""
    dtype = object if isinstance(labels[0], str) else "int64"
    categories = pd.CategoricalDtype(pd.Index(labels, dtype=dtype))
    return {label: code for code, label in enumerate(labels)}, categories


def _codes(source: Plain, good: Array, known: dict[str, int]) -> Array:
    """Return the code of each text that is `good`, -1 for one that is unknown."""
    if isinstance(source, Texts):
        labels = pa.array(list(known), type=source.arrow.type)
        return pc.fill_null(pc.index_in(source.arrow, value_set=labels), -1).to_numpy()
    codes = np.full(len(good), -1, dtype="int64")
    texts = source.values[good].tolist()
    codes[good] = np.fromiter(map(known.get, texts, repeat(-1)), "int64", len(texts))
    return codes


def _are_text(source: Plain) -> Array:
    if isinstance(source, Texts):
        return ~source.missing
    if source.family != "object":
        return np.zeros(len(source.missing), dtype=bool)
    if set(map(type, source.values[~source.missing].tolist())) <= {str}:
        return ~source.missing
    return np.array([isinstance(v, str) for v in source.values], dtype=bool)


_NOT_UNICODE = "values hold half of a surrogate pair, which is no text"


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written anywhere: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_TEXT_RULES = {
    "nul": "values hold a NUL, which not every store of the log can keep; "
    "allow_nul: true in the contract lets it pass",
    "min_length": "values are shorter than {0.min_length} characters",
    "max_length": "values are longer than {0.max_length} characters",
    "pattern": "values do not match the pattern {0.pattern}",
}


def _text(source: Plain, column: Column, out: ReadColumn) -> None:
    note_missing(source, column, out)
    present = ~source.missing
    good = present & _are_text(source)
    refuse_type("values are not text", source, present & ~good, out)
    fill = column.missing.fill if isinstance(column.missing, Fill) else None
    if isinstance(source, Texts) and _are_short(source.arrow, column):
        out.values = source.values.copy()
        out.values[source.missing] = fill
        return
    values = np.full(len(present), fill, dtype=object)
    texts = list(map(str.__str__, source.values[good].tolist()))
    values[good] = texts
    broken = np.zeros(len(present), dtype=bool)
    if not _is_unicode("".join(texts)):
        broken[good] = [not _is_unicode(text) for text in texts]
    out.refuse("unicode", _NOT_UNICODE, broken)
    for rule, wrong in column.broken_by(texts):
        mask = np.zeros(len(present), dtype=bool)
        mask[good] = wrong
        out.refuse(rule, _TEXT_RULES[rule].format(column), mask)
    out.values = values


def _are_short(texts: pa.ChunkedArray, column: Column) -> bool:
    """Whether it is plain that no text breaks a rule of its column."""
    if column.min_length or column.pattern is not None:
        return False
    if not column.allow_nul and pc.any(pc.match_substring(texts, "\0")).as_py():
        return False
    # In bytes, of which there are no fewer than characters.
    longest = pc.max(pc.binary_length(texts)).as_py()
    return longest is None or longest <= column.max_length


_READERS: dict[str, Callable[[Plain, Column, ReadColumn], None]] = {
    "number": read_number,
    "integer": read_integer,
    "category": _category,
    "text": _text,
}


def read_column(source: Plain, column: Column, *, is_conformed: bool = False) -> ReadColumn:
    """Return one column as the pipeline sees it, with what is wrong and what was mended.

    Parameters
    ----------
    source : Plain
        Of n_rows values.
    column : Column
    is_conformed : bool, default False
        Naive moments are in UTC already, whatever the column's zone, and a
        boolean may be 0.0 or 1.0.
    """
    out = ReadColumn()
    if column.kind == "datetime":
        read_datetime(source, column, out, is_conformed)
    elif column.kind == "boolean":
        _boolean(source, column, out, is_conformed)
    else:
        _READERS[column.kind](source, column, out)
    return out
