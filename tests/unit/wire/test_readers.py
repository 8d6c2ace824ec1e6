"""One row through every reader gives the same conformed bits."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_frames import frame_of

from asfitted.contract import Column, DataContract, Fill
from asfitted.errors import RequestRefused
from asfitted.wire.csv import read_csv_body
from asfitted.wire.json_body import read_json
from asfitted.wire.parquet import read_parquet

CONTRACT = DataContract(
    columns={
        "size": Column(kind="number", missing="pass"),
        "count": Column(kind="integer", missing="pass"),
        "on": Column(kind="boolean", missing="pass"),
        "colour": Column(kind="category", categories=("red", "NA"), missing="pass"),
        "grade": Column(kind="category", categories=(2, 1), missing="pass"),
        "name": Column(kind="text", missing=Fill(fill="")),
        "left": Column(kind="datetime", zone="Europe/Berlin", missing="pass"),
    }
)
EXACT = 2**53 - 1
ROWS = st.fixed_dictionaries(
    {
        "size": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | st.integers(-EXACT, EXACT),
        "on": st.none() | st.booleans(),
        "colour": st.none() | st.sampled_from(["red", "NA"]),
        "grade": st.none() | st.sampled_from([1, 2]),
        # In CSV an empty field is missing: it has no way to say the empty text.
        # U+0000 is no text of this contract.
        "name": st.none()
        | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6),
        "left": st.none()
        | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)).map(
            lambda moment: moment.isoformat() + "Z"
        ),
    }
)
SCHEMA = pa.schema(
    [
        ("size", pa.float64()),
        ("count", pa.int64()),
        ("on", pa.bool_()),
        ("colour", pa.dictionary(pa.int8(), pa.string())),
        ("grade", pa.int8()),
        ("name", pa.string()),
        ("left", pa.timestamp("us", "UTC")),
    ]
)


def through(rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    names = list(rows[0])
    split = {"columns": names, "data": [[row[n] for n in names] for row in rows]}
    by_column = {name: [row[name] for row in rows] for name in names}
    bodies = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": rows,
        "inputs": by_column,
    }
    read = {
        shape: read_json(json.dumps({shape: content}).encode(), CONTRACT, 100)
        for shape, content in bodies.items()
    }
    frame = pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in by_column.items()})
    words = frame.map(lambda v: str(v).lower() if isinstance(v, bool) else v)
    text = words.to_csv(index=False, lineterminator="\r\n")
    read["csv"] = read_csv_body(text.encode(), CONTRACT, 100)
    typed = {
        **by_column,
        "left": [v and dt.datetime.fromisoformat(v[:-1]) for v in by_column["left"]],
    }
    stream = io.BytesIO()
    pa.parquet.write_table(pa.table(typed, schema=SCHEMA), stream)
    read["parquet"] = read_parquet(stream.getvalue(), CONTRACT, 100)
    assert {rows_read.n_rows for rows_read in read.values()} == {len(rows)}
    return {door: frame_of(rows_read) for door, rows_read in read.items()}


def bits(frame: pd.DataFrame) -> list[Any]:
    said = []
    for name in frame:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat.codes
        values: np.ndarray = column.to_numpy()
        held = values.tolist() if values.dtype == object else values.tobytes()
        said.append((name, str(values.dtype), held))
    return said


@settings(max_examples=15)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_every_reader_gives_the_same_bits(rows: list[dict[str, Any]]) -> None:
    conformed = {door: CONTRACT.conform(f).frame for door, f in through(rows).items()}
    expected = bits(conformed["dataframe_split"])
    for door, frame in conformed.items():
        assert bits(frame) == expected, door
    for door, alone in through(rows[-1:]).items():
        got = bits(CONTRACT.conform(alone).frame)
        assert got == bits(conformed[door].iloc[[-1]]), door


@pytest.mark.parametrize("body", [b"", b"PAR1", b"not a file", b"PAR1" + b"\0" * 50 + b"PAR1"])
def test_what_is_no_parquet(body: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        read_parquet(body, CONTRACT, 10)
    assert caught.value.code == "not_parquet"


def test_a_parquet_body_of_too_many_rows_or_a_column_twice() -> None:
    stream = io.BytesIO()
    pa.parquet.write_table(pa.table({"size": [1.0] * 11}), stream)
    with pytest.raises(RequestRefused) as caught:
        read_parquet(stream.getvalue(), CONTRACT, 10)
    assert (caught.value.code, caught.value.status) == ("too_many_rows", 413)
    stream = io.BytesIO()
    twice = pa.table([[1.0], [2.0]], names=["size", "size"])
    pa.parquet.write_table(twice, stream)
    with pytest.raises(RequestRefused) as caught:
        read_parquet(stream.getvalue(), CONTRACT, 10)
    assert caught.value.code == "duplicate_column"


JSON = {
    b"": "not_json",
    b"\xff": "not_utf8",
    b"nul": "not_json",
    b'{"inputs": {"size": [NaN]}}': "not_json",
    b'{"inputs": {"size": [Infinity]}}': "not_json",
    b"[" * 100_000: "too_deep",
    b"[]": "no_payload",
    b"3": "no_payload",
    b"{}": "no_payload",
    b'{"rows": []}': "no_payload",
    b'{"inputs": [], "instances": []}': "two_payloads",
    b'{"inputs": [], "more": 1}': "unknown_key",
    b'{"inputs": [], "inputs": []}': "duplicate_key",
    b'{"inputs": [{"a": 1, "a": 2}]}': "duplicate_key",
    b'{"inputs": 3}': "bad_shape",
    b'{"inputs": [3]}': "bad_shape",
    b'{"inputs": {"size": 3}}': "bad_shape",
    b'{"inputs": {"size": [1], "count": [1, 2]}}': "ragged",
    b'{"instances": {"size": [1]}}': "bad_shape",
    b'{"dataframe_split": []}': "bad_shape",
    b'{"dataframe_split": {"columns": ["a"]}}': "bad_shape",
    b'{"dataframe_split": {"columns": [1], "data": []}}': "bad_shape",
    b'{"dataframe_split": {"columns": ["a"], "data": [1]}}': "bad_shape",
    b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}': "ragged",
    b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}': "duplicate_column",
    b'{"dataframe_split": {"columns": ["a"], "data": [[1]], "index": []}}': "bad_shape",
    b'{"dataframe_split": {"columns": ["a"], "data": [], "dtypes": []}}': "bad_shape",
    b'{"inputs": {"count": [9007199254740993]}}': "number_out_of_range",
    b'{"inputs": {"count": [' + b"9" * 5000 + b"]}}": "number_out_of_range",
    b'{"inputs": [{}, {}, {}, {}]}': "too_many_rows",
    b'{"inputs": {"a": [1, 2, 3, 4]}}': "too_many_rows",
    b'{"inputs": [], "params": {"x": 1}}': "bad_params",
    b'{"inputs": [], "params": {"return_ids": 1}}': "bad_params",
    b'{"inputs": [], "params": []}': "bad_params",
}


@pytest.mark.parametrize("large", [0, 2**60])
@pytest.mark.parametrize(("body", "code"), JSON.items(), ids=lambda v: str(v[:40]))
def test_json_that_is_refused(
    body: bytes, code: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asfitted.wire.json_body._LARGE", large)
    with pytest.raises(RequestRefused) as caught:
        read_json(body, CONTRACT, 3)
    assert caught.value.code == code
    assert "9999" not in str(caught.value)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"[true],", b'{"a":[[]]},'])
def test_a_large_body_ends_at_more_lists_and_objects_than_rows_have(unit: bytes) -> None:
    body = b'{"instances":[' + unit * 50_000 + b"[]]}"
    with pytest.raises(RequestRefused) as caught:
        read_json(body, CONTRACT, 100)
    assert (caught.value.code, caught.value.status) == ("too_many_rows", 413)
    assert "more lists and objects than 100 rows" in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 200_000, "{,[" * 100_000, '\\"' * 100_000, "," * 300_000])
def test_a_text_may_hold_what_lists_and_objects_are_made_of(text: str) -> None:
    for rows in ([{"name": text}, {"name": "b"}], [{"name": "b"}] * 50 + [{"name": text}]):
        for shape in ({"instances": rows}, {"inputs": {"name": [row["name"] for row in rows]}}):
            read = read_json(json.dumps(shape).encode(), CONTRACT, 100)
            assert read.columns == {"name": [row["name"] for row in rows]}


def test_a_line_of_csv_without_end() -> None:
    for body in (b"," * 2_000_000, b"name,size\n" + b"," * 2_000_000):
        with pytest.raises(RequestRefused) as caught:
            read_csv_body(body, CONTRACT, 100)
        assert (caught.value.code, caught.value.status) == ("too_many_columns", 413)


def test_a_nested_value_is_a_value_of_no_kind() -> None:
    frame = frame_of(read_json(b'{"inputs": {"size": [[1, 2], {"a": 1}]}}', CONTRACT, 3))
    with pytest.raises(ValueError, match="2 of 2 values are not numbers"):
        CONTRACT.conform(frame)


def code(body: bytes, max_rows: int = 10_000) -> str:
    with pytest.raises(RequestRefused) as caught:
        read_json(body, CONTRACT, max_rows)
    return caught.value.code


@pytest.mark.parametrize("index", [b'["\\ud800"]', b"[[1]]", b"[{}]", b"{}", b"[1, 2]", b'"a"'])
def test_an_index_is_a_label_per_row(index: bytes) -> None:
    split = b'{"dataframe_split": {"columns": ["size"], "data": [[1]], "index": %s}}'
    assert code(split % index) == "bad_shape"
    for good in (b'["a"]', b"[0]", b"[null]", b"null"):
        assert read_json(split % good, CONTRACT, 3).n_rows == 1


def test_columns_beyond_all_reason() -> None:
    """A few bytes name a column, and each would be a cell in every row of a table."""
    names = [f"q{i}" for i in range(3_000)]
    sparse = json.dumps({"inputs": [{name: 1} for name in names]}).encode()
    assert code(sparse) == "too_many_columns"
    assert code(json.dumps({"inputs": dict.fromkeys(names, ())}).encode()) == "too_many_columns"
    split = {"columns": names, "data": []}
    assert code(json.dumps({"dataframe_split": split}).encode()) == "too_many_columns"
    # Fewer columns, in more rows.
    rows = [{names[i % 900]: 1} for i in range(6_000)]
    assert code(json.dumps({"instances": rows}).encode()) == "too_many_columns"
    with pytest.raises(RequestRefused) as caught:
        read_csv_body((",".join(names) + "\n").encode(), CONTRACT, 10)
    assert (caught.value.code, caught.value.status) == ("too_many_columns", 413)
    some = json.dumps({"inputs": [dict.fromkeys(names[:900], 1)]}).encode()
    assert len(read_json(some, CONTRACT, 10).columns) == 900
