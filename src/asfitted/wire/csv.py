"""CSV by the contract: no type is guessed, an empty field is missing, "NA" is text."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asfitted.contract import Column, DataContract
from asfitted.contract.column import EXACT
from asfitted.errors import ConfigError, ContractViolation, RequestRefused, Violation
from asfitted.wire.csv_unquoted import unquoted
from asfitted.wire.rows import Rows, check_columns

# A field may be as long as a body: what is too long, the contract says.
csv.field_size_limit(2**31 - 1)

_MANY_COMMAS = 1_000_000

_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
# Each digit can be matched in one way only: with ``\d+\.?\d*`` a field of many digits
# that is no number took the square of its length.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{16,}", re.ASCII)
# What Arrow reads a whole column at a time, and as what; for RE2, whose \d is ASCII's.
# Integers that may miss are not there: as floats they would be rounded.
_AT_ONCE: Mapping[str, tuple[str, pa.DataType]] = {
    # Without the whole numbers that a float may not hold.
    "number": (
        r"^[+-]?(\d{1,15}|(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]?\d+)$",
        pa.float64(),
    ),
    "integer": (r"^-?\d{1,18}$", pa.int64()),
}

# As JSON, pandas and R with Excel spell them; other mixtures are nobody's.
BOOLEANS: Mapping[str, bool] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
# Of no column that a file is likely to have: every one is text.
ALL_TEXT = DataContract(columns={"": Column(kind="text")})


def read_csv(file: Path, contract: DataContract, rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a CSV file as frames of at most `rows` rows; one of none if it has none.

    Parameters
    ----------
    file : Path
        UTF-8, comma separated, the first line naming the columns; empty lines are no rows.
    contract : DataContract
        Says what each column's text is read as. What cannot be read stays text,
        for `conform` to refuse with its row.
    rows : int

    Raises
    ------
    ConfigError
        Where there is no such file.
    ContractViolation
        Where a line has more or fewer fields than the header, or the file is
        not UTF-8.
    """
    try:
        opened = file.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", str(file)) from error
    with opened as stream:
        start, at, lines = 0, 0, csv.reader(stream, strict=True)
        try:
            header = next(lines, None)
            if header is None:
                raise ContractViolation([Violation("", "csv", "the file is empty")], str(file))
            while True:
                at, block = at + lines.line_num, list(islice(stream, rows))
                lines = csv.reader(chain(block, stream), strict=True)
                fields = unquoted(block, len(header))
                if fields is None:
                    chunk = list(islice(_filled(lines, header), rows))
                    n_rows, fields = len(chunk), _fields(chunk, header, file, start)
                else:
                    n_rows, at, lines = len(block), at + len(block), csv.reader(())
                index = range(start, start + n_rows)
                # A file of no rows has columns all the same, for conform to look at.
                if n_rows or start == 0:
                    yield _frame(fields, header, contract, index)
                if not n_rows:
                    break
                start += n_rows
        except UnicodeDecodeError as error:
            # Read ahead: the line that the reader is at is another one.
            raise ContractViolation(
                [Violation("", "csv", "not readable as CSV: not UTF-8")],
                str(file),
                "write it as UTF-8, and not packed",
            ) from error
        except csv.Error as error:
            raise ContractViolation(
                [Violation("", "csv", f"not readable as CSV: {error}")],
                f"{file} line {at + lines.line_num}",
            ) from error


def names_nothing(header: Sequence[str], contract: DataContract) -> bool:
    """Whether the first line is one of cells: none of them is the name of a contract's column.

    Where other columns are ignored and all of the contract's may miss, each row would
    be answered as one of nothing, and the cells stand on record as names.
    """
    return bool(header) and contract.columns.keys().isdisjoint(header)


def _filled(lines: Iterator[list[str]], header: list[str]) -> Iterator[list[str]]:
    """Yield the lines but empty ones, such as editors leave at the end.

    Where there is one column, an empty line may be meant as its missing value, and is
    left to be refused.
    """
    return (line for line in lines if line or len(header) < 2)


def _fields(
    chunk: list[list[str]], header: list[str], file: Path, start: int
) -> list[pa.StringArray]:
    ragged = [start + i for i, line in enumerate(chunk) if len(line) != len(header)]
    if ragged:
        what = f"lines do not have the {len(header)} fields of the header"
        raise ContractViolation(
            [Violation("", "ragged", what, tuple(ragged), start + len(chunk))], str(file)
        )
    columns = list(zip(*chunk, strict=True)) or [()] * len(header)
    return [pa.array([text or None for text in texts], pa.string()) for texts in columns]


def _frame(
    fields: list[pa.StringArray], header: list[str], contract: DataContract, index: range
) -> pd.DataFrame:
    columns = [
        _column(texts, contract.columns.get(name), index)
        for name, texts in zip(header, fields, strict=True)
    ]
    # Built by position: a column that stands there twice is conform's to refuse.
    frame = pd.DataFrame(dict(enumerate(columns)), index=index)
    frame.columns = pd.Index(header, dtype=object)
    return frame


def _column(texts: pa.StringArray, column: Column | None, index: range) -> pd.Series[Any]:
    """Return what `typed` reads, as an array where a column of numbers holds nothing else."""
    if _reader(column) is str:
        return pd.Series(texts.to_numpy(zero_copy_only=False), index, dtype=object)
    if column is not None and column.kind in _AT_ONCE and len(texts):
        pattern, kind = _AT_ONCE[column.kind]
        may_miss = column.kind == "number"
        matches = pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py()
        if matches and (may_miss or not texts.null_count):
            # A plus, which Arrow does not read, is left to Python.
            with contextlib.suppress(pa.ArrowInvalid):
                numbers = texts.cast(kind).to_numpy(zero_copy_only=False)
                return pd.Series(numbers, index)
    return pd.Series(typed(texts.fill_null("").to_pylist(), column), index, dtype=object)


def typed(texts: Sequence[str], column: Column | None) -> np.ndarray[Any, Any]:
    """Return fields as what a column's kind is written as, None for an empty one.

    What cannot be read stays text.
    """
    read = _reader(column)
    out = np.empty(len(texts), dtype=object)
    if read is str:
        out[:] = [text or None for text in texts]
    else:
        out[:] = [None if text == "" else read(text) for text in texts]
    return out


def _reader(column: Column | None) -> Callable[[str], Any]:
    if column is None:
        return str
    if column.kind == "number":
        return _number
    if column.kind == "integer" or (column.categories and isinstance(column.categories[0], int)):
        # 1.0 is a whole number here as it is in JSON; conform decides.
        return lambda text: int(text) if _INTEGER.fullmatch(text) else _float(text)
    if column.kind == "boolean":
        return lambda text: BOOLEANS.get(text, text)
    return str


def _number(text: str) -> float | int | str:
    # An int, as in JSON: for conform to refuse where a float would be another number.
    if _WHOLE.fullmatch(text) and abs(float(text)) > EXACT:
        return EXACT + 1
    return _float(text)


def _float(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _giving_way(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines: other threads have their turn before each, and none is endless."""
    for line in lines:
        if line.count(",") > _MANY_COMMAS:
            what = f"a line of the body holds more than {_MANY_COMMAS} commas"
            raise RequestRefused("too_many_columns", what, "send the columns of the contract", 413)
        yield line


def read_csv_body(body: bytes, contract: DataContract, max_rows: int) -> Rows:
    """Return the rows of a CSV body; what is read as what, as `read_csv` has it.

    Raises
    ------
    RequestRefused
    """
    try:
        text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")
        lines = csv.reader(_giving_way(text), strict=True)
        header = next(lines, None)
        # Of nothing but line ends a body could hold millions: so many may be empty.
        read = list(islice(lines, 2 * max_rows + 1))
        fields = list(_filled(iter(read), header or []))
    except UnicodeDecodeError:
        raise RequestRefused("not_utf8", "the body is not UTF-8") from None
    except csv.Error:
        raise RequestRefused("not_csv", "the body is not CSV") from None
    if not header:
        raise RequestRefused("no_payload", "the body is empty", "send a header and rows")
    if len(set(header)) != len(header):
        raise RequestRefused("duplicate_column", "the header holds a name twice")
    if contract.extra_columns == "ignore" and names_nothing(header, contract):
        what = "no name in the first line is that of a contract's column"
        raise RequestRefused("no_header", what, "name the columns there, with commas in between")
    check_columns(header, len(fields), contract)
    if len(fields) > max_rows or len(read) > 2 * max_rows:
        raise RequestRefused(
            "too_many_rows", f"the request holds more than {max_rows} rows", "send fewer", 413
        )
    if any(len(line) != len(header) for line in fields):
        raise RequestRefused("ragged", "a line has more or fewer fields than the header")
    columns = {
        name: list(typed(tuple(line[i] for line in fields), contract.columns.get(name)))
        for i, name in enumerate(header)
    }
    return Rows(columns, len(fields))
