"""Bodies for the readers: well-formed ones of every shape, and what becomes of them.

Everything comes from one seeded generator. Cells of text that no rule names hold
`CANARY`, odd numbers `CANARY_DIGITS`, and columns that the contract does not know
`STRANGER`, so that a reply that shows a piece of the body gives itself away.
"""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.contract import DataContract

CANARY, CANARY_DIGITS, STRANGER = "CANARY", "73167", "STRANGER"

STRICT = DataContract.from_yaml("""
schema_version: 1
keys: [id]
limits: {rows: 6, bytes: 20000}
columns:
  id: {kind: text}
  n: {kind: number, min: 0, max: 100}
  i: {kind: integer}
  b: {kind: boolean}
  cat: {kind: category, categories: [x, y, "NA"]}
  code: {kind: category, categories: [1, 2, 3]}
  when: {kind: datetime, min: "2000-01-01", max: "2100-01-01", zone: Europe/Berlin}
""")
LENIENT = DataContract.from_yaml("""
schema_version: 1
extra_columns: ignore
limits: {rows: 6, bytes: 20000}
columns:
  n: {kind: number, missing: pass}
  i: {kind: integer, missing: pass, min: -5}
  b: {kind: boolean, missing: pass}
  c: {kind: boolean, missing: {fill: true}}
  cat: {kind: category, categories: [x, "true"], missing: pass, unknown: missing}
  code: {kind: category, categories: [7, 8], unknown: other, other: 9, missing: {fill: 7}}
  txt: {kind: text, max_length: 12, missing: {fill: ""}}
  when: {kind: datetime, missing: pass}
""")

JSON_TOKENS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "9007199254740991",
    "9007199254740992", "-9007199254740991", "-9007199254740992", "9007199254740991.0",
    "9007199254740992.0", "9223372036854775808", "18446744073709551616", "1.0", "3.0", "1.5",
    "2.0000000001", "-0", "-0.0", "0", "1", "2", "7", "9", "1E2", "01", "+1", ".5", "1.", "0x10",
    "1_000", "1e", "--1", "-", "true", "false", "True", "tru", "null", "None", "undefined", "[]",
    "{}", "[1]", '{"a": 1}', '{"a": 1, "a": 2}', '"7"', '""', '" "', '"x"', '"x "', '"NA"',
    '"true"', '"nan"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\udfffx"', '"\\u0000"', '"\\x"',
    '"\t"', "'x'", "73167", "73167.73167", f'"{CANARY}"', f'["{CANARY}"]', '"2013-02-30"',
    '"2013-05-01T10:00:00Z"', '"2013-05-01"', '"2013-05-01 10:00"', '"2013-05-01T24:00:00Z"',
    '"2013-03-31T02:30:00"', '"2013-10-27T02:30:00"', '"0001-01-01T00:00:00+01:00"',
    '"9999-12-31T23:59:59-01:00"', '"2013-05-01T10:00:00.1234567Z"', '"2013-05-01T10:00:60Z"',
    '"1999-12-31T23:00:00Z"', '"1999-12-31T22:59:59.999999Z"', '"２013-05-01"',
    '"2013-05-01T10:00:00+05:75"', '"2013-05-01T10:00:00+24:00"', '"03/04/2013"', "1367402400",
    "1" * 17, "1" * 18, "1" * 400, "0." + "1" * 400, "[" * 50 + "]" * 50, "[" * 20_000, "/*x*/1",
    '"' + "é" * 12 + '"', '"' + "é" * 13 + '"', '"\ufeff"', '"\u2028"', '"\U0001f600"',
]  # fmt: skip
# The one that a lenient parser makes a missing value of comes more often.
JSON_TOKENS += ["NaN"] * 8
CSV_FIELDS = [
    "", " ", "1", "1.0", "-0", "+7", "007", ".5", "5.", "1e2", "1e999", "nan", "NaN", "inf", "NA",
    "null", "None", "true", "false", "True", "TRUE", "yes", "0x1F", "1_000", " 5", "5 ", "1,5",
    " 5", "5 ", "+5", "９", "9007199254740991", "9007199254740992", "99999999999999999999",
    "1.5", "x", "y", "z",
    "2013-05-01", "2013-05-01T10:00:00Z", "2013-02-30", "2013-03-31T02:30:00", "03/04/2013",
    CANARY, "73167", "73167.73167", 'a"b', "a,b", "a\nb", "a\r\nb", "\0", "\ufeff", "\u2028",
    "é" * 12, "é" * 13, "1" * 4_000 + "x", "'", "=1+1",
]  # fmt: skip
PIECES = [
    b"\xef\xbb\xbf", b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"{", b"}",
    b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r", b"\r\n", b"null", b"NaN", b"//x", b"1e5",
    b'"params": {},', b'"n": 1,', b"[[[[", b"{}", b"PAR1", b"\x15\x00", b"\xff\xff\xff\x7f", b"e",
]  # fmt: skip


@dataclass(frozen=True)
class Body:
    """One request: its media type, its bytes, and the table whose bytes they still are."""

    media: str
    content: bytes
    contract: DataContract
    table: pa.Table | None = None


def body(rng: random.Random, kinds: str = "jjjjccp") -> Body:
    """Return a body: j for JSON, c for CSV, p for Parquet, with the weights of the letters."""
    contract = rng.choice((STRICT, LENIENT))
    kind = rng.choice(kinds)
    if rng.random() < 0.02:
        media = {"j": "application/json", "c": "text/csv", "p": PARQUET}[kind]
        return Body(media, rng.randbytes(rng.randrange(200)), contract)
    return {"j": _json, "c": _csv, "p": _parquet}[kind](rng, contract)


PARQUET = "application/vnd.apache.parquet"


# -- values ---------------------------------------------------------------------------


def value(rng: random.Random, name: str, contract: DataContract) -> Any:
    """Return a value that the contract allows in a column, None where it may miss."""
    column = contract.columns[name]
    if column.may_miss and rng.random() < 0.2:
        return None
    if column.kind == "number":
        return rng.choice((rng.uniform(0, 100), rng.randrange(101), 0.0, 5e-324, 73.167))
    if column.kind == "integer":
        return rng.choice((0, -3, 7, rng.randrange(10**6), 2**53 - 1))
    if column.kind == "boolean":
        return rng.random() < 0.5
    if column.kind == "category":
        return rng.choice(column.categories)
    if column.kind == "text":
        return rng.choice((CANARY, "a b", "ohé", "\U0001f600", 'a"b', "a,b", "a\nb", "7", "NA"))
    moment = dt.datetime(2001, 1, 1) + dt.timedelta(microseconds=rng.randrange(10**15))
    return moment.isoformat() + rng.choice(("Z", "+02:00", "-11:30"))


# -- JSON -----------------------------------------------------------------------------


def _spelt(rng: random.Random, given: Any) -> str:
    """Return a value as JSON, in one of the ways in which it can be written."""
    if isinstance(given, str):
        return json.dumps(given, ensure_ascii=rng.random() < 0.5)
    if isinstance(given, float) and rng.random() < 0.3:
        return f"{given!r}".replace("e", "E")
    if isinstance(given, int) and not isinstance(given, bool) and rng.random() < 0.2:
        return rng.choice((f"{given}.0", f"{given}e0", f"{given}.000"))
    return json.dumps(given)


def _json(rng: random.Random, contract: DataContract) -> Body:
    names = list(contract.columns)
    n_rows = rng.choice((1, 1, 1, 2, 3, 0, 7))
    rows = [
        {name: _spelt(rng, value(rng, name, contract)) for name in names} for _ in range(n_rows)
    ]
    for row in rows:
        for name in names:
            if contract.columns[name].may_miss and rng.random() < 0.05:
                del row[name]
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        if rows:
            rng.choice(_ROW_CHANGES)(rng, rng.choice(rows), names)
    shape = rng.choice(("dataframe_split", "dataframe_records", "inputs", "instances"))
    text = _SHAPES[shape](rng, rows, names)
    parts = [f'"{shape}": {text}']
    if rng.random() < 0.1:
        parts.append(f'"params": {rng.choice(_PARAMS)}')
    if rng.random() < 0.03:
        parts.append(rng.choice(_BESIDE))
    rng.shuffle(parts)
    content = ("{" + ", ".join(parts) + "}").encode("utf-8", "surrogatepass")
    return Body("application/json", _mutated(rng, content), contract)


_PARAMS = ["{}", '{"return_ids": true}', '{"return_ids": 1}', "[]", "null", '{"x": "CANARY"}']
_BESIDE = ['"inputs": []', '"instances": {}', '"id": 1', '"CANARY": 1', '"params": {}', '"": 0']


def _put(rng: random.Random, row: dict[str, str], names: list[str]) -> None:
    row[rng.choice(names)] = rng.choice(JSON_TOKENS)


def _drop(rng: random.Random, row: dict[str, str], names: list[str]) -> None:
    row.pop(rng.choice(names), None)


def _stranger(rng: random.Random, row: dict[str, str], names: list[str]) -> None:
    odd = (STRANGER, "", "N", "n ", "\x00", "../etc/passwd", "<script>", "n.x", "\ud800", "é")
    row[rng.choice(odd)] = rng.choice(JSON_TOKENS)


def _twice(rng: random.Random, row: dict[str, str], names: list[str]) -> None:
    row["\0twice"] = rng.choice(names)


def _half(rng: random.Random, row: dict[str, str], names: list[str]) -> None:
    """Put half of a surrogate pair, or one the wrong way round, where text may stand."""
    odd = ('"\\ud800"', '"x\\uDFFF"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"')
    row[rng.choice([n for n in ("id", "txt", "cat") if n in names])] = rng.choice(odd)


_ROW_CHANGES: list[Callable[[random.Random, dict[str, str], list[str]], None]] = [
    _put, _put, _put, _put, _put, _drop, _stranger, _twice, _half,
]  # fmt: skip


def _object(rng: random.Random, row: dict[str, str]) -> str:
    parts = [f"{json.dumps(name)}: {token}" for name, token in row.items() if name != "\0twice"]
    if twice := row.get("\0twice"):
        # The same key, spelt otherwise.
        key = rng.choice((json.dumps(twice), f'"\\u{ord(twice[0]):04x}{twice[1:]}"'))
        parts.append(f"{key}: null")
    if rng.random() < 0.3:
        rng.shuffle(parts)
    return "{" + rng.choice((", ", ",", " ,\n\t")).join(parts) + "}"


def _as_records(rng: random.Random, rows: list[dict[str, str]], names: list[str]) -> str:
    return "[" + ", ".join(_object(rng, row) for row in rows) + "]"


def _as_split(rng: random.Random, rows: list[dict[str, str]], names: list[str]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "\0twice"))
    columns = columns or list(names)
    if any("\0twice" in row for row in rows) and rng.random() < 0.5:
        columns.append(columns[0])
    data = [[row.get(name, "null") for name in columns] for row in rows]
    if data and rng.random() < 0.03:
        rng.choice(data)[rng.randrange(len(columns)) :] = []
    lines = ", ".join("[" + ", ".join(line) + "]" for line in data)
    parts = [f'"columns": {json.dumps(columns)}', f'"data": [{lines}]']
    if rng.random() < 0.15:
        labels = [rng.choice(("0", "1.5", "null", f'"{CANARY}"')) for _ in rows]
        odd = rng.choice(("[]", "{}", '["\\ud800"]', "[[1]]", "null"))
        parts.append(f'"index": {odd if rng.random() < 0.3 else "[" + ", ".join(labels) + "]"}')
    return "{" + ", ".join(parts) + "}"


def _as_inputs(rng: random.Random, rows: list[dict[str, str]], names: list[str]) -> str:
    if rng.random() < 0.2:
        return _as_records(rng, rows, names)
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "\0twice"))
    lists = {name: [row.get(name, "null") for row in rows] for name in columns or names}
    if lists and rng.random() < 0.03:
        rng.choice(list(lists.values()))[:1] = []
    return _object(rng, {name: "[" + ", ".join(cells) + "]" for name, cells in lists.items()})


_SHAPES = {
    "dataframe_split": _as_split,
    "dataframe_records": _as_records,
    "inputs": _as_inputs,
    "instances": _as_records,
}


# -- CSV ------------------------------------------------------------------------------


def _csv(rng: random.Random, contract: DataContract) -> Body:
    names = list(contract.columns)
    if rng.random() < 0.1:
        rng.shuffle(names)
    if rng.random() < 0.05:
        names.append(rng.choice((STRANGER, "", names[0], "é", "\ufeff")))
    lines = [names]
    for _ in range(rng.choice((1, 1, 1, 2, 0, 7))):
        fields = []
        for name in names:
            given = value(rng, name, contract) if name in contract.columns else "1"
            text = "" if given is None else json.dumps(given) if type(given) is bool else str(given)
            fields.append(rng.choice(CSV_FIELDS) if rng.random() < 0.04 else text)
        if rng.random() < 0.02:
            fields[rng.randrange(len(fields)) :] = []
        lines.append(fields)
    if rng.random() < 0.03:
        lines.insert(rng.randrange(len(lines) + 1), [])
    end = rng.choice(("\n", "\r\n", "\r"))
    text = end.join(",".join(_quoted(rng, field) for field in line) for line in lines)
    if rng.random() < 0.8:
        text += end
    content = (b"\xef\xbb\xbf" if rng.random() < 0.05 else b"") + text.encode()
    return Body("text/csv", _mutated(rng, content), contract)


def _quoted(rng: random.Random, field: str) -> str:
    if any(c in field for c in ',"\r\n') or rng.random() < 0.1:
        return '"' + field.replace('"', '""') + '"' if rng.random() < 0.97 else f'"{field}"'
    return field


# -- Parquet --------------------------------------------------------------------------

_MOMENT = dt.datetime(2013, 5, 1, 10, 30)
_ODD: list[pa.Array] = [
    pa.array([1.5]), pa.array([1.5], pa.float32()), pa.array([2.0], pa.float16()),
    pa.array([float("nan")]), pa.array([float("inf")]), pa.array([3]), pa.array([3], pa.uint8()),
    pa.array([2**64 - 1], pa.uint64()), pa.array([2**53]), pa.array([True]), pa.array([CANARY]),
    pa.array(["x"], pa.large_string()), pa.array(["x"], pa.string_view()), pa.array([b"x"]),
    pa.array(["x"]).dictionary_encode(), pa.array([2]).dictionary_encode(),
    pa.array([_MOMENT], pa.timestamp("us")).dictionary_encode(), pa.array([None]),
    pa.array([decimal.Decimal("3.00")]), pa.array([decimal.Decimal("73167.5")]),
    pa.array([decimal.Decimal("9" * 60)]), pa.array([dt.time(1, 2)]), pa.array([_MOMENT.date()]),
    pa.array([_MOMENT], pa.timestamp("ns")), pa.array([_MOMENT], pa.timestamp("ms", "UTC")),
    pa.array([_MOMENT], pa.timestamp("us", "Nowhere/Land")), pa.array([_MOMENT], pa.date64()),
    pa.array([10**18 + 1], pa.int64()).cast(pa.timestamp("ns")),
    pa.array([2**62], pa.int64()).cast(pa.timestamp("us")),
    pa.array([10**7], pa.int32()).cast(pa.date32()), pa.array([dt.timedelta(1)]),
    pa.array([[1.5]]), pa.array([{"a": 1}]),
    pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
    pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    ),
    pa.array(["z" * 5_000]), pa.array(["z" * 30_000]),
]  # fmt: skip


def _column(rng: random.Random, name: str, contract: DataContract, n_rows: int) -> pa.Array:
    if rng.random() < 0.06:
        odd = rng.choice(_ODD)
        return pa.concat_arrays([odd] * n_rows) if n_rows else odd.slice(0, 0)
    cells = [value(rng, name, contract) for _ in range(n_rows)]
    kind = contract.columns[name].kind
    if kind == "datetime":
        moments = [
            cell
            and dt.datetime.fromisoformat(cell.replace("Z", "+00:00")).astimezone(dt.timezone.utc)
            for cell in cells
        ]
        return pa.array(moments, pa.timestamp("us", "UTC"))
    types = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}
    if kind == "category" and isinstance(contract.columns[name].categories[0], int):
        return pa.array(cells, pa.int64())
    return pa.array(cells, types.get(kind, pa.string()))


def _parquet(rng: random.Random, contract: DataContract) -> Body:
    n_rows = rng.choice((1, 1, 2, 3, 0, 7))
    columns = {name: _column(rng, name, contract, n_rows) for name in contract.columns}
    if rng.random() < 0.1:
        columns[rng.choice((STRANGER, ""))] = pa.array([[1]] * n_rows, pa.list_(pa.int8()))
    if rng.random() < 0.05:
        del columns[rng.choice(list(columns))]
    table = pa.table(columns)
    stream = io.BytesIO()
    # Without Arrow's own schema in it, a file's types are not quite those of the table.
    stored = rng.random() < 0.8
    pq.write_table(
        table,
        stream,
        compression=rng.choice(("snappy", "zstd", "gzip", "none")),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(("1.0", "2.0")),
        store_schema=stored,
    )
    content = stream.getvalue()
    changed = _mutated(rng, content)
    return Body(PARQUET, changed, contract, table if stored and changed == content else None)


# -- bytes ----------------------------------------------------------------------------


def _mutated(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with nothing, or a few things, changed in them."""
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 4))):
        content = rng.choice(_BYTE_CHANGES)(rng, content)
    return content


def _at(rng: random.Random, content: bytes) -> int:
    return rng.randrange(len(content) + 1)


def _flip(rng: random.Random, content: bytes) -> bytes:
    at = _at(rng, content)
    return (
        content[:at]
        + bytes(b ^ (1 << rng.randrange(8)) for b in content[at : at + 1])
        + (content[at + 1 :])
    )


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: _at(rng, content)]


def _remove(rng: random.Random, content: bytes) -> bytes:
    at = _at(rng, content)
    return content[:at] + content[at + rng.choice((1, 1, 2, 8)) :]


def _insert(rng: random.Random, content: bytes) -> bytes:
    at = rng.choice((0, len(content), _at(rng, content), _at(rng, content)))
    return content[:at] + rng.choice(PIECES) + content[at:]


def _replace(rng: random.Random, content: bytes) -> bytes:
    at = _at(rng, content)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    at = _at(rng, content)
    piece = content[at : at + rng.choice((1, 4, 16, 64))]
    return content[:at] + piece + content[at:]


def _swap(rng: random.Random, content: bytes) -> bytes:
    """Change places of two tokens."""
    parts = content.split(b",")
    if len(parts) < 2:
        return content
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[i], parts[j] = parts[j], parts[i]
    return b",".join(parts)


def _digits(rng: random.Random, content: bytes) -> bytes:
    """Change a digit for another: the form stays, the value moves."""
    places = [i for i, b in enumerate(content) if 48 <= b <= 57]
    if not places:
        return content
    at = rng.choice(places)
    return content[:at] + bytes([48 + rng.randrange(10)]) + content[at + 1 :]


_BYTE_CHANGES = [_flip, _cut, _remove, _insert, _replace, _repeat, _swap, _digits, _digits]
