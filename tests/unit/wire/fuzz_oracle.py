"""What a body means, said a second time: slowly, simply, and without our code.

Of `asfitted` only the contract's data is used: its kinds, lists and bounds.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import re
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from asfitted.contract import Column, DataContract, Fill

Row = dict[str, Any]
MOST_STRANGERS = 1_000


class Invalid(Exception):
    """The body must be refused."""


def check(good: bool) -> None:
    if not good:
        raise Invalid


# -- JSON -----------------------------------------------------------------------------


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check(len({key for key, _ in pairs}) == len(pairs))
    return dict(pairs)


def _whole(text: str) -> int | float:
    if text == "-0":
        return -0.0
    check(len(text) < 20 and -(2**53) < int(text) < 2**53)
    return int(text)


def _never(text: str) -> Any:
    raise Invalid


def from_json(body: bytes, contract: DataContract) -> list[Row]:
    """Return the rows, as the pipeline must see them."""
    try:
        content = json.loads(
            body.decode("utf-8"), object_pairs_hook=_pairs, parse_int=_whole, parse_constant=_never
        )
    except (ValueError, RecursionError):
        raise Invalid from None
    check(isinstance(content, dict))
    params = content.pop("params", {})
    check(isinstance(params, dict) and set(params) <= {"return_ids"})
    check(all(isinstance(v, bool) for v in params.values()))
    check(len(content) == 1)
    ((shape, payload),) = content.items()
    if shape == "dataframe_split":
        rows, names = _from_split(payload)
    elif shape == "inputs" and isinstance(payload, dict):
        check(all(isinstance(cells, list) for cells in payload.values()))
        check(len({len(cells) for cells in payload.values()}) < 2)
        n_rows = max((len(cells) for cells in payload.values()), default=0)
        rows, names = [{n: c[i] for n, c in payload.items()} for i in range(n_rows)], set(payload)
    else:
        check(shape in {"dataframe_records", "inputs", "instances"} and isinstance(payload, list))
        check(all(isinstance(row, dict) for row in payload))
        rows, names = payload, {name for row in payload for name in row}
    return table(rows, names, contract)


def _from_split(payload: Any) -> tuple[list[Row], set[str]]:
    check(isinstance(payload, dict) and set(payload) <= {"columns", "data", "index"})
    names, data, index = payload.get("columns"), payload.get("data"), payload.get("index")
    check(isinstance(names, list) and all(isinstance(name, str) for name in names))
    check(len(set(names)) == len(names) and isinstance(data, list))
    check(all(isinstance(line, list) and len(line) == len(names) for line in data))
    if index is not None:
        check(isinstance(index, list) and len(index) == len(data))
        check(not any(isinstance(label, (list, dict)) for label in index))
        check(all(_is_text(label) for label in index if isinstance(label, str)))
    return [dict(zip(names, line, strict=True)) for line in data], set(names)


# -- CSV ------------------------------------------------------------------------------


def csv_lines(text: str) -> list[list[str]]:
    """Read RFC 4180 by hand; a quote within a field that is not quoted stands for itself."""
    lines: list[list[str]] = []
    line: list[str] = []
    at, n = 0, len(text)
    while at < n:
        if text[at] in "\r\n" and not line:
            lines.append([])
            at += 2 if text[at : at + 2] == "\r\n" else 1
            continue
        while True:
            if text[at : at + 1] == '"':
                end, field = at + 1, ""
                while True:
                    quote = text.find('"', end)
                    check(quote >= 0)
                    field += text[end:quote]
                    end = quote + 1
                    if text[end : end + 1] != '"':
                        break
                    field += '"'
                    end += 1
                check(text[end : end + 1] in {"", ",", "\r", "\n"})
                at = end
            else:
                end = at
                while end < n and text[end] not in ",\r\n":
                    end += 1
                field, at = text[at:end], end
            line.append(field)
            if text[at : at + 1] != ",":
                break
            at += 1
        at += 2 if text[at : at + 2] == "\r\n" else 1
        lines.append(line)
        line = []
    return lines


def from_csv(body: bytes, contract: DataContract) -> list[Row]:
    """Return the rows, as the pipeline must see them."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid from None
    lines = csv_lines(text.removeprefix("\ufeff"))
    check(bool(lines) and bool(lines[0]))
    names, *data = lines
    if len(names) > 1:
        data = [line for line in data if line]
    check(len(set(names)) == len(names) and all(len(line) == len(names) for line in data))
    rows = [
        {
            name: _field(field, contract.columns.get(name))
            for name, field in zip(names, line, strict=True)
        }
        for line in data
    ]
    return table(rows, set(names), contract)


def _field(text: str, column: Column | None) -> Any:
    if text == "":
        return None
    if column is None:
        return text
    if column.kind == "boolean":
        spellings = {str.lower, str.title, str.upper}
        for said, value in (("true", True), ("false", False)):
            if text in {spelt(said) for spelt in spellings}:
                return value
        return text
    whole = column.kind == "integer" or isinstance((*column.categories, "")[0], int)
    if (whole or column.kind == "number") and set(text) <= set("0123456789+-.eE"):
        if whole and re.fullmatch(r"[+-]?[0-9]{1,19}", text):
            return int(text)
        try:
            # Strict about its form, once signs, digits, points and e are all there is.
            decimal.Decimal(text)
        except decimal.InvalidOperation:
            return text
        if column.kind == "number" and set(text) <= set("0123456789+-") and len(text) > 15:
            return int(text) if len(text) < 4000 else 2**64
        return float(text)
    return text


# -- rows -----------------------------------------------------------------------------


def from_table(arrow: pa.Table, contract: DataContract) -> list[Row]:
    """Return the rows of a table, by what Arrow itself says its cells are."""
    zones = {f.type.tz for f in arrow.schema if pa.types.is_timestamp(f.type) and f.type.tz}
    check(zones <= {"UTC"})
    try:
        rows = [
            {
                name: None if isinstance(cell, float) and math.isnan(cell) else cell
                for name, cell in row.items()
            }
            for row in arrow.to_pylist()
        ]
    except (pa.ArrowException, ValueError, OverflowError, KeyError):
        raise Invalid from None
    texts = [v for row in rows for n, v in row.items() if n in contract.columns and type(v) is str]
    check(sum(len(text.encode()) for text in texts) <= contract.limits.bytes)
    return table(rows, set(arrow.column_names), contract)


def table(rows: list[Row], names: set[str], contract: DataContract) -> list[Row]:
    check(len(rows) <= contract.limits.rows)
    check(all(_is_text(name) for name in names))
    strangers = names - set(contract.columns)
    check(not strangers or contract.extra_columns == "ignore")
    check(not any("\0" in name for name in strangers))
    check(len(strangers) <= MOST_STRANGERS)
    for name, column in contract.columns.items():
        check(name in names or column.missing != "refuse" or name in contract.keys)
    return [
        {name: cell(row.get(name), column) for name, column in contract.columns.items()}
        for row in rows
    ]


def _is_text(given: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in given)


def cell(given: Any, column: Column) -> Any:
    """Return what the pipeline must see, or refuse it; None for missing."""
    if given is None:
        check(column.missing != "refuse")
        return column.missing.fill if isinstance(column.missing, Fill) else None
    return {
        "number": _number,
        "integer": _integer,
        "boolean": _boolean,
        "category": _category,
        "text": _text,
        "datetime": _datetime,
    }[column.kind](given, column)


def _within(value: Any, column: Column) -> Any:
    check(column.min is None or value >= column.min)
    check(column.max is None or value <= column.max)
    return value


def _is_number(given: Any) -> bool:
    return isinstance(given, (int, float, decimal.Decimal)) and not isinstance(given, bool)


def _number(given: Any, column: Column) -> float:
    check(_is_number(given) and math.isfinite(given))
    if abs(given) >= 2**53 and not isinstance(given, float):
        # A whole number that is written out, and that a float might round.
        exact = isinstance(given, decimal.Decimal) and float(given) == given
        check(exact or given != int(given))
    return _within(float(given), column)


def _integer(given: Any, column: Column) -> int:
    check(_is_number(given) and math.isfinite(given))
    check(given == int(given) and abs(int(given)) < 2**53)
    return _within(int(given), column)


def _boolean(given: Any, column: Column) -> bool:
    check(isinstance(given, bool))
    return given


def _category(given: Any, column: Column) -> Any:
    if isinstance(column.categories[0], str):
        check(isinstance(given, str))
        if given not in column.categories and column.unknown != "refuse":
            check(_is_text(given) and "\0" not in given)
    else:
        given = _integer(given, column)
    if given in column.categories:
        return given
    check(column.unknown != "refuse")
    if column.unknown == "other":
        return column.other
    return column.missing.fill if isinstance(column.missing, Fill) else None


def _text(given: Any, column: Column) -> str:
    check(isinstance(given, str) and _is_text(given) and len(given) <= column.max_length)
    check("\0" not in given)
    return given


_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-5][0-9])?)?"
)


def _datetime(given: Any, column: Column) -> dt.datetime:
    """Return the moment in UTC, naive."""
    if isinstance(given, str):
        check(_MOMENT.fullmatch(given) is not None)
        fraction = re.search(r"[.]([0-9]+)", given)
        if fraction:
            given = given.replace(fraction[0], "." + fraction[1].ljust(6, "0"))
        try:
            given = dt.datetime.fromisoformat(given.replace("Z", "+00:00"))
        except ValueError:
            raise Invalid from None
    elif not isinstance(given, dt.datetime) and isinstance(given, dt.date):
        given = dt.datetime.combine(given, dt.time())
    check(isinstance(given, dt.datetime))
    # A time of pandas' that microseconds cannot hold.
    check(not getattr(given, "nanosecond", 0))
    given = getattr(given, "to_pydatetime", lambda: given)()
    zone = ZoneInfo(column.zone)
    try:
        if given.tzinfo is None:
            early, late = (
                given.replace(tzinfo=zone, fold=fold).astimezone(dt.timezone.utc) for fold in (0, 1)
            )
            check(early == late)
            given = early
        moment = given.astimezone(dt.timezone.utc).replace(tzinfo=None)
    except OverflowError:
        raise Invalid from None
    for bound, wrong in ((column.min, moment.__lt__), (column.max, moment.__gt__)):
        if bound is not None:
            # The bounds of these contracts are dates of their zone.
            edge = dt.datetime.fromisoformat(str(bound)).replace(tzinfo=zone)
            check(not wrong(edge.astimezone(dt.timezone.utc).replace(tzinfo=None)))
    return moment
