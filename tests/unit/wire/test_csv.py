"""CSV by the contract: nothing is guessed, nothing is lost."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_frames import frame_of

from asfitted.contract import Column, DataContract, Fill
from asfitted.errors import ConfigError, ContractViolation, RequestRefused
from asfitted.wire.csv import read_csv, read_csv_body
from asfitted.wire.csv_types import read_csv_types

CONTRACT = DataContract(
    columns={
        "name": Column(kind="text", missing=Fill(fill="?")),
        "size": Column(kind="number", missing="pass"),
        "count": Column(kind="integer", missing="pass"),
        "on": Column(kind="boolean", missing="pass"),
        "colour": Column(kind="category", categories=("NA", "red"), missing="pass"),
        "grade": Column(kind="category", categories=(2, 1), missing="pass"),
        "left": Column(kind="datetime", missing="pass"),
    }
)


def frames(text: str | bytes, folder: Path, rows: int = 1000) -> list[pd.DataFrame]:
    file = folder / "rows.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    # A missing number is NaN in a column of nothing but numbers, and None beside a text.
    read = read_csv(file, CONTRACT, rows)
    return [frame.astype(object).where(frame.notna(), None) for frame in read]


def column(name: str, fields: list[str], folder: Path) -> list[Any]:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([[name], *([f] for f in fields)])
    (frame,) = frames(stream.getvalue(), folder)
    body = frame_of(read_csv_body(stream.getvalue().encode(), CONTRACT, 1000))
    alike(frame, body)
    return frame[name].tolist()


def alike(left: pd.DataFrame, right: pd.DataFrame) -> None:
    assert list(left) == list(right)
    assert said(left) == said(right)


def said(frame: pd.DataFrame) -> list[list[tuple[type, Any]]]:
    return [[(type(v), v) for v in row] for row in frame.to_numpy(dtype=object)]


def refused(text: str | bytes, folder: Path, match: str, rows: int = 1000) -> ContractViolation:
    with pytest.raises(ContractViolation, match=match) as caught:
        frames(text, folder, rows)
    assert str(folder / "rows.csv") in caught.value.where
    return caught.value


def test_text_is_text_and_nothing_is_missing(tmp_path: Path) -> None:
    said = ["NA", "nan", "null", "None", "N/A", "-", "1", "true", " x ", "1e3"]
    assert column("name", [*said, ""], tmp_path) == [*said, None]
    assert column("colour", ["NA", "red", ""], tmp_path) == ["NA", "red", None]
    assert column("left", ["2020-01-01", ""], tmp_path) == ["2020-01-01", None]


def test_numbers_are_read_strictly(tmp_path: Path) -> None:
    good = {
        "1": 1.0,
        "-1.5": -1.5,
        "+2": 2.0,
        ".5": 0.5,
        "5.": 5.0,
        "1e3": 1000.0,
        "1E-2": 0.01,
        "0.1": 0.1,
        "007": 7.0,
        "-0": -0.0,
    }
    assert column("size", list(good), tmp_path) == list(good.values())
    bad = ["1_000", " 5", "5 ", "0x1F", "nan", "NaN", "inf", "-Infinity", "1,5", "1 000", "१"]
    bad += ["--1", "1e", "e1", ".", "1d3", "true", "NA", "１"]
    for name in ("size", "count", "grade"):
        assert column(name, bad, tmp_path) == bad
        (frame,) = frames(f"{name}\n" + "\n".join(f'"{b}"' for b in ["1", *bad]), tmp_path)
        with pytest.raises(ContractViolation) as caught:
            CONTRACT.conform(frame)
        (violation,) = caught.value.violations
        assert violation.rule == "type"
        assert violation.rows == tuple(range(1, len(bad) + 1))


def test_whole_numbers_are_exact(tmp_path: Path) -> None:
    got = column("count", ["1", "-7", "9007199254740993", "1.0", "1e2", "1.5", ""], tmp_path)
    assert [(type(v), v) for v in got] == [
        (int, 1), (int, -7), (int, 9007199254740993), (float, 1.0), (float, 100.0), (float, 1.5),
        (type(None), None),
    ]  # fmt: skip
    (frame,) = frames("count\n1\n9007199254740993\n1.5\n99999999999999999999\n", tmp_path)
    with pytest.raises(ContractViolation) as caught:
        CONTRACT.conform(frame)
    assert {v.rule: v.rows for v in caught.value.violations} == {"exact": (1, 3), "whole": (2,)}


def test_a_whole_number_that_a_float_may_round_is_conforms_to_refuse(tmp_path: Path) -> None:
    beyond = ["9007199254740992", "-9007199254740993", "+" + "9" * 400, "00" + "9" * 17]
    held = ["9007199254740991", "0000000000000000012", "9007199254740993.0", "9e30", ""]
    for said in (["1", *beyond], ["1", *held, *beyond]):
        (frame,) = frames("size\n" + "\n".join(f'"{each}"' for each in said), tmp_path)
        with pytest.raises(ContractViolation) as caught:
            CONTRACT.conform(frame)
        (violation,) = caught.value.violations
        assert violation.rule == "exact"
        assert violation.rows == tuple(range(len(said) - len(beyond), len(said)))
    for longer in ([], ["+1"]):  # by Arrow, and one by one
        got = column("size", [*held, *longer], tmp_path)
        assert got[:4] == [9007199254740991.0, 12.0, 9007199254740992.0, 9e30]


def test_only_true_and_false_are_booleans(tmp_path: Path) -> None:
    said = ["true", "false", "tRUE", "fALSE", "1", "0", "yes", "t", "T", "F", " true", "true ", ""]
    assert column("on", said, tmp_path) == [True, False, *said[2:-1], None]


@pytest.mark.parametrize("spelt", [str.lower, str.title, str.upper], ids=["JSON", "pandas", "R"])
def test_booleans_as_each_tool_spells_them(spelt: Any, tmp_path: Path) -> None:
    """pandas writes True, R and a spreadsheet TRUE: the rows are the same, through both doors."""
    said = [spelt(word) for word in ("true", "false")] + ["", spelt("true")]
    assert column("on", said, tmp_path) == [True, False, None, True]
    body = "on,name\n" + "".join(f"{word},a\n" for word in said)
    read = read_csv_body(body.encode(), CONTRACT, 10)
    assert read.columns["on"] == [True, False, None, True]
    assert {type(value) for value in read.columns["on"]} == {bool, type(None)}
    file = tmp_path / "types.csv"
    file.write_text(body)
    assert read_csv_types(file)["on"].tolist() == [True, False, None, True]
    # Of a text column they are texts, each as it is spelt.
    assert column("name", said, tmp_path) == [*said[:2], None, said[3]]


def test_a_column_that_is_not_in_the_contract_is_text(tmp_path: Path) -> None:
    assert column("stranger", ["1", "true", ""], tmp_path) == ["1", "true", None]


def test_quotes_and_newlines_within(tmp_path: Path) -> None:
    said = ['a "b" c', "a,b", "a\nb", "a\r\nb", "'", "a\\nb", "ä\u2028b", "\ufeff"]
    assert column("name", said, tmp_path) == said


_PLAIN = ["", "1", "-2.5", "+3", "1e5", "NA", "red", "true", "é", " x ", "0" * 20]
_ODD = ["\ufeff", '"a,b"', '"a""b"', '"a\nb"', '"', 'a"b', "\0", "\t", "\x0b", "\u2028", "\r"]
_FIELDS = st.sampled_from([*_PLAIN, *_ODD])


@given(
    lines=st.lists(
        st.one_of(
            st.lists(_FIELDS, min_size=2, max_size=2),
            st.lists(_FIELDS, max_size=3),
        ).map(",".join),
        max_size=12,
    ),
    ends=st.lists(st.sampled_from(["\n", "\n", "\r\n", "\r"]), min_size=12, max_size=12),
    header=st.sampled_from(["size,name", "name,count", "name,name", "on", "", '"left",x']),
    rows=st.integers(1, 5),
)
def test_lines_without_a_quote_are_read_as_all_are(lines, ends, header, rows) -> None:
    text = header + ends[0] + "".join(map("".join, zip(lines, ends, strict=False)))

    def read() -> Any:
        try:
            return [
                (frame.columns.tolist(), frame.index.tolist(), frame.to_numpy().tolist())
                for frame in frames(text, Path(folder), rows)
            ]
        except ContractViolation as error:
            return str(error)

    with tempfile.TemporaryDirectory() as folder:
        at_once = read()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("asfitted.wire.csv.unquoted", lambda lines, n_columns: None)
            one_by_one = read()
    assert at_once == one_by_one


def test_a_mark_within_is_text(tmp_path: Path) -> None:
    read = frames("name,count\n\ufeffa,1\n\ufeffb,2\n", tmp_path, rows=1)
    assert [frame["name"].tolist() for frame in read] == [["\ufeffa"], ["\ufeffb"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark(end: str, tmp_path: Path) -> None:
    text = end.join(["name,size", "a,1", "b,"]) + end
    for content in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.rstrip().encode()):
        (frame,) = frames(content, tmp_path)
        assert list(frame) == ["name", "size"]
        assert frame.to_numpy().tolist() == [["a", 1.0], ["b", None]]


def test_a_line_with_another_number_of_fields(tmp_path: Path) -> None:
    error = refused("name,size\na,1\nb\nc,3\nd,4,5\n", tmp_path, "lines do not have the 2 fields")
    (violation,) = error.violations
    assert (violation.rule, violation.rows) == ("ragged", (1, 3))
    # Counted over the file, also in a later chunk.
    error = refused("name,size\na,1\nb,2\nc,3\nd\n", tmp_path, "fields", rows=2)
    assert error.violations[0].rows == (3,)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_empty_lines_are_no_rows_and_are_not_counted(end: str, tmp_path: Path) -> None:
    text = end.join(["name,size", "", "a,1", "", ",", "b,x", "", ""])
    (whole,) = frames(text, tmp_path)
    assert whole.to_numpy().tolist() == [["a", 1.0], [None, None], ["b", "x"]]
    assert whole.index.tolist() == [0, 1, 2]
    assert [len(part) for part in frames(text, tmp_path, rows=1)] == [1, 1, 1]
    # As many rows as a request may have, and no row more.
    alike(whole, frame_of(read_csv_body(text.encode(), CONTRACT, 3)))
    error = refused(f"name,size{end}{end}a,1{end}b{end}", tmp_path, "fields")
    assert error.violations[0].rows == (1,)


def test_an_empty_line_in_one_column_may_be_a_value(tmp_path: Path) -> None:
    refused("name\na\n\nb\n", tmp_path, "fields")
    with pytest.raises(RequestRefused) as caught:
        read_csv_body(b"name\na\n\nb\n", CONTRACT, 9)
    assert caught.value.code == "ragged"


def test_what_is_no_csv(tmp_path: Path) -> None:
    refused("", tmp_path, "the file is empty")
    refused(b"\xef\xbb\xbf", tmp_path, "the file is empty")
    for text in (
        b"name\n\xff\xfe\n",
        "name\n\xe4\n".encode("latin-1"),
        gzip.compress(b"name\na\n"),
    ):
        error = refused(text, tmp_path, "not readable as CSV: not UTF-8")
        assert error.where.endswith(".csv")
        assert error.mend == "write it as UTF-8, and not packed"
    refused('name\n"a"b\n', tmp_path, "not readable as CSV")
    error = refused('name\na\n"b', tmp_path, "not readable as CSV")
    assert error.where.endswith("line 3")


def test_a_field_may_be_as_long_as_the_contract_allows(tmp_path: Path) -> None:
    assert column("name", ["x" * 200_000], tmp_path) == ["x" * 200_000]


def test_a_name_that_stands_there_twice_is_conforms_to_refuse(tmp_path: Path) -> None:
    (frame,) = frames("size,size\n1,2\n", tmp_path)
    assert list(frame) == ["size", "size"]
    with pytest.raises(ContractViolation, match="size: the column stands there twice"):
        CONTRACT.conform(frame)


def test_a_file_of_no_rows_has_columns(tmp_path: Path) -> None:
    for text in ("name,size\n", "name,size"):
        (frame,) = frames(text, tmp_path)
        assert frame.shape == (0, 2)
        assert CONTRACT.conform(frame).frame.shape == (0, 7)
    (frame,) = frames("nam,size\n", tmp_path)
    with pytest.raises(ContractViolation, match="did you mean name"):
        CONTRACT.conform(frame)


_FIELDS = st.sampled_from(["", "1", "1.5", "x", "NA", "true", "a\nb", '"', "2020-01-01", "2"])


@given(rows=st.lists(st.tuples(*[_FIELDS] * 7), max_size=9), size=st.integers(1, 4))
def test_chunks_give_what_the_whole_gives(
    rows: list[tuple[str, ...]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([tuple(CONTRACT.columns), *rows])
    folder = tmp_path_factory.mktemp("csv")
    (whole,) = frames(stream.getvalue(), folder)
    parts = frames(stream.getvalue(), folder, size)
    assert all(len(part) == size for part in parts[:-1])
    together = pd.concat(parts)
    assert together.index.tolist() == list(range(len(rows)))
    alike(together, whole)
    body = read_csv_body(stream.getvalue().encode(), CONTRACT, 10)
    assert body.n_rows == len(rows)
    alike(whole, frame_of(body))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "no_payload"),
        (b"\xef\xbb\xbf", "no_payload"),
        (b"\xff", "not_utf8"),
        (b'name\n"a"b', "not_csv"),
        (b"name,name\n1,2", "duplicate_column"),
        (b"name,size\n1", "ragged"),
        (b"name\na\nb\nc\nd", "too_many_rows"),
        (b"name,size\n,\n,\n,\n,", "too_many_rows"),
        (b"name,size\n,\n\n\n\n\n\n\n", "too_many_rows"),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, code: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        read_csv_body(body, CONTRACT, 3)
    assert caught.value.code == code
    assert caught.value.status == (413 if code == "too_many_rows" else 400)


def test_a_body_without_a_header_is_refused_where_other_columns_are_ignored() -> None:
    lax = CONTRACT.model_copy(update={"extra_columns": "ignore"})
    with pytest.raises(RequestRefused, match="no name in the first line") as caught:
        read_csv_body(b"canary,7\ncanary,8\n", lax, 3)
    assert caught.value.code == "no_header"
    assert "canary" not in str(caught.value)
    assert read_csv_body(b"name,other\na,7\n", lax, 3).n_rows == 1
    # Where they are not, the contract's own refusal says it.
    assert read_csv_body(b"canary,7\ncanary,8\n", CONTRACT, 3).n_rows == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for file in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match="the file cannot be read") as caught:
            next(read_csv(file, CONTRACT, 10))
        assert caught.value.where == str(file)
