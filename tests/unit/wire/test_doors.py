"""The same cell through every door: one value, or one refusal."""

from __future__ import annotations

import io
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asfitted.contract import Column, Conformed, DataContract, Fill
from asfitted.errors import ContractViolation, RequestRefused
from asfitted.prediction_log.encode import encode_columns
from asfitted.scoring.recording import received
from asfitted.wire.csv import read_csv, read_csv_body
from asfitted.wire.json_body import read_json
from asfitted.wire.parquet import read_parquet

Door = Callable[[DataContract, str, Any], Conformed]


def through_frame(dtype: Any) -> Door:
    def conform(contract: DataContract, name: str, value: Any) -> Conformed:
        return contract.conform(pd.DataFrame({name: pd.Series([value], dtype=dtype)}))

    return conform


def through_json(shape: Callable[[str, Any], Any]) -> Door:
    def conform(contract: DataContract, name: str, value: Any) -> Conformed:
        return read_json(json.dumps(shape(name, value)).encode(), contract, 9).conform(contract)

    return conform


def _csv(name: str, value: Any) -> bytes:
    return f'{name},z\n"{value}",1\n'.encode()


def through_csv_body(contract: DataContract, name: str, value: Any) -> Conformed:
    return read_csv_body(_csv(name, value), contract, 9).conform(contract)


def through_csv_file(contract: DataContract, name: str, value: Any) -> Conformed:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        file.write_bytes(_csv(name, value))
        (frame,) = read_csv(file, contract, 9)
    return contract.conform(frame)


def through_parquet(contract: DataContract, name: str, value: Any) -> Conformed:
    stream = io.BytesIO()
    pq.write_table(pa.table({name: [value]}), stream)
    return read_parquet(stream.getvalue(), contract, 9).conform(contract)


BODIES: dict[str, Door] = {
    "split": through_json(lambda n, v: {"dataframe_split": {"columns": [n], "data": [[v]]}}),
    "records": through_json(lambda n, v: {"dataframe_records": [{n: v}]}),
    "inputs": through_json(lambda n, v: {"inputs": {n: [v]}}),
    "csv": through_csv_body,
    "csv file": through_csv_file,
    "parquet": through_parquet,
}
OF_TEXT = {
    **BODIES,
    "objects": through_frame(object),
    "pyarrow": through_frame(pd.StringDtype("pyarrow")),
    "arrow": through_frame(pd.ArrowDtype(pa.string())),
    "categorical": through_frame("category"),
}
OF_FLOAT = {
    **BODIES,
    "float64": through_frame("float64"),
    "objects": through_frame(object),
    "Float64": through_frame("Float64"),
    "arrow": through_frame(pd.ArrowDtype(pa.float64())),
    "float32": through_frame("float32"),
    "categorical": through_frame("category"),
}


def rules(door: Door, contract: DataContract, name: str, value: Any) -> dict[str, str]:
    with pytest.raises(ContractViolation) as caught:
        door(contract, name, value)
    return {violation.rule: violation.what for violation in caught.value.violations}


def on_record(contract: DataContract, conformed: Conformed) -> str:
    """Return the cell as the log has it: as JSON, for to Python 0, 0.0 and -0.0 are one."""
    (row,) = encode_columns(received(contract, conformed)[0], 1, "inputs")
    return json.dumps(json.loads(row)["c"])


def contract(column: Column, *, key: bool = False) -> DataContract:
    columns = {"c": column, "z": Column(kind="number", missing="pass")}
    return DataContract(columns=columns, keys=("c",) if key else ())


# U+0000. Python 3.10's csv reads none.

WITHOUT_CSV = [door for door in OF_TEXT if sys.version_info >= (3, 11) or "csv" not in door]
WITH_NUL = ["\0", "a\0", "\0a", "a\0b" * 20]
TEXTS = {
    "text": Column(kind="text"),
    "text that may miss": Column(kind="text", missing=Fill(fill="")),
    "text of a length": Column(kind="text", min_length=1, max_length=200),
    "text of a pattern": Column(kind="text", pattern="(?s).*"),
    "unknown: other": Column(kind="category", categories=("a", "b"), unknown="other"),
    "unknown: missing": Column(
        kind="category", categories=("a", "b"), unknown="missing", missing="pass"
    ),
}


@pytest.mark.parametrize("door", WITHOUT_CSV)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_nul_is_refused_by_every_door(kind: str, door: str) -> None:
    for key in (False, True):
        for text in WITH_NUL:
            if key and kind == "unknown: missing":
                continue
            found = rules(OF_TEXT[door], contract(TEXTS[kind], key=key), "c", text)
            assert list(found) == ["nul"]
            assert "allow_nul: true" in found["nul"]


@pytest.mark.parametrize("door", WITHOUT_CSV)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_nul_passes_where_the_contract_says_so(kind: str, door: str) -> None:
    column = TEXTS[kind].model_copy(update={"allow_nul": True})
    assert column.allow_nul
    allowing = contract(column)
    for text in WITH_NUL:
        conformed = OF_TEXT[door](allowing, "c", text)
        assert on_record(allowing, conformed) == json.dumps(text)


@pytest.mark.parametrize("door", WITHOUT_CSV)
def test_a_category_of_the_list_that_lacks_the_text_refuses_it_as_that(door: str) -> None:
    strict = contract(Column(kind="category", categories=("a", "b")))
    assert list(rules(OF_TEXT[door], strict, "c", "a\0")) == ["category"]


def test_only_the_rows_with_a_nul_are_named_among_texts_that_arrow_holds() -> None:
    texts = pd.Series(["a", None, "b\0", "c", "\0"] * 2, dtype=pd.StringDtype("pyarrow"))
    with pytest.raises(ContractViolation) as caught:
        contract(TEXTS["text that may miss"]).conform(pd.DataFrame({"c": texts}))
    (violation,) = caught.value.violations
    assert (violation.rule, violation.rows) == ("nul", (2, 4, 7, 9))


def test_the_name_of_an_ignored_column_stands_on_record_and_holds_no_nul() -> None:
    lenient = contract(Column(kind="number")).model_copy(update={"extra_columns": "ignore"})
    body = json.dumps({"inputs": [{"c": 1, "x\0": 2}]}).encode()
    with pytest.raises(ContractViolation) as caught:
        read_json(body, lenient, 9).conform(lenient)
    assert [(v.column, v.rule) for v in caught.value.violations] == [("", "nul")]


# The zero that is negative.


@pytest.mark.parametrize("zero", [-0.0, 0.0], ids=str)
@pytest.mark.parametrize("door", OF_FLOAT)
def test_a_number_keeps_the_sign_of_zero_and_a_whole_number_has_none(
    door: str, zero: float
) -> None:
    expected: dict[str, tuple[Column, float | int]] = {
        "number": (Column(kind="number"), zero),
        "number that may miss": (Column(kind="number", missing="pass"), zero),
        "number in bounds": (Column(kind="number", min=0, max=0), zero),
        "integer": (Column(kind="integer"), 0),
        "integer that may miss": (Column(kind="integer", missing="pass"), 0),
        "code": (Column(kind="category", categories=(1, 0)), 0),
        "unknown code": (Column(kind="category", categories=(1, 2), unknown="other", other=2), 0),
    }
    for kind, (column, recorded) in expected.items():
        one = contract(column)
        conformed = OF_FLOAT[door](one, "c", zero)
        assert on_record(one, conformed) == json.dumps(recorded), kind
        held = conformed.frame["c"].iloc[0]
        if kind.startswith("number"):
            assert math.copysign(1, held) == math.copysign(1, zero), kind
        elif kind == "integer that may miss":
            assert math.copysign(1, held) == 1
        elif kind != "unknown code":
            assert (held, str(held)) == (0, "0")


@pytest.mark.parametrize("text", ["-0", "-0.0", "-.0", "-0e5", "-0000000000000000000"])
def test_however_a_csv_spells_it(text: str) -> None:
    for door in (through_csv_body, through_csv_file):
        held = door(contract(Column(kind="number")), "c", text).frame["c"]
        assert math.copysign(1, held[0]) == -1
        assert door(contract(Column(kind="integer")), "c", text).frame["c"].tolist() == [0]


@pytest.mark.parametrize("text", ["-0", "-0.0", "-0e5"])
def test_however_json_spells_it(text: str) -> None:
    body = f'{{"inputs": {{"c": [{text}, 1]}}}}'.encode()
    for column, zero in ((Column(kind="number"), "-0.0"), (Column(kind="integer"), "0")):
        rule = contract(column)
        held = read_json(body, rule, 9).conform(rule).frame["c"]
        assert str(held.tolist()[0]) == zero


def test_both_zeros_in_one_column_stay_apart() -> None:
    rule = contract(Column(kind="number"))
    for values in ([0.0, -0.0], [-0.0, 0.0], [0, -0.0], [Decimal("-0"), 0]):
        held = rule.conform(pd.DataFrame({"c": pd.Series(values, dtype=object)})).frame["c"]
        assert [math.copysign(1, v) for v in held] == [math.copysign(1, v) for v in values]
    # pandas itself has one category for the two: what it holds is what is read.
    both = pd.Series(pd.Categorical([0.0, -0.0]))
    assert str(rule.conform(pd.DataFrame({"c": both})).frame["c"].tolist()) == str(both.tolist())


# Booleans, as CSV spells them.


@pytest.mark.parametrize("spelt", [str.lower, str.title, str.upper], ids=["JSON", "pandas", "R"])
def test_a_boolean_is_the_same_row_and_record_however_csv_spells_it(
    spelt: Callable[[str], str],
) -> None:
    for column in (Column(kind="boolean"), Column(kind="boolean", missing="pass")):
        rule = contract(column)
        for value in (True, False):
            measure = OF_TEXT["inputs"](rule, "c", value)
            for door in ("csv", "csv file"):
                conformed = OF_TEXT[door](rule, "c", spelt(str(value)))
                was, now = (one.frame["c"].to_numpy() for one in (measure, conformed))
                assert (was.dtype, was.tobytes()) == (now.dtype, now.tobytes())
                assert on_record(rule, conformed) == json.dumps(value)


@pytest.mark.parametrize("text", ["True", "TRUE", "true", "False"])
def test_json_and_a_text_spell_no_boolean(text: str) -> None:
    rule = contract(Column(kind="boolean"))
    for door in ("split", "records", "inputs", "parquet", "objects"):
        assert list(rules(OF_TEXT[door], rule, "c", text)) == ["type"]
    words = contract(Column(kind="category", categories=("True", "false")))
    assert OF_TEXT["csv"](words, "c", "True").frame["c"].tolist() == ["True"]
    assert list(rules(OF_TEXT["csv"], words, "c", "true")) == ["category"]


# No rows.

EMPTY: list[dict[str, Any]] = [
    {"dataframe_records": []},
    {"instances": []},
    {"inputs": []},
    {"inputs": {}},
    {"dataframe_split": {"columns": [], "data": []}},
    {"dataframe_split": {"columns": [], "data": [], "index": []}},
    {"dataframe_records": [], "params": {"return_ids": True}},
]


@pytest.mark.parametrize("body", EMPTY, ids=str)
def test_no_rows_of_no_columns_are_called_that(body: dict[str, Any]) -> None:
    needs = contract(Column(kind="number"))
    with pytest.raises(RequestRefused, match="the body holds no rows") as caught:
        read_json(json.dumps(body).encode(), needs, 9)
    assert (caught.value.code, caught.value.status) == ("no_rows", 400)
    # Where every column may miss there is nothing to ask for.
    lenient = contract(Column(kind="number", missing="pass"))
    assert read_json(json.dumps(body).encode(), lenient, 9).n_rows == 0


def test_a_parquet_body_of_nothing_and_columns_without_rows() -> None:
    needs = contract(Column(kind="number"))
    stream = io.BytesIO()
    pq.write_table(pa.table({}), stream)
    with pytest.raises(RequestRefused, match="the body holds no rows"):
        read_parquet(stream.getvalue(), needs, 9)
    assert len(read_json(b'{"inputs": {"c": []}}', needs, 9).conform(needs).frame) == 0
    assert len(read_csv_body(b"c,z\n", needs, 9).conform(needs).frame) == 0


# Moments that pandas counts.


def _bodies(frame: pd.DataFrame, **options: Any) -> Iterator[bytes]:
    for orient in ("split", "records"):
        yield b'{"dataframe_%s": %s}' % (
            orient.encode(),
            frame.to_json(orient=orient, **options).encode(),
        )


@pytest.mark.parametrize("zone", [None, "America/New_York"])
@pytest.mark.parametrize("unit", ["ns", "us", "s"])
def test_epoch_milliseconds_are_refused_with_what_makes_texts_of_them(unit: str, zone: Any) -> None:
    moments = pd.Series(pd.to_datetime(["2013-01-01T05:15:00.25", None])).dt.as_unit(unit)
    frame = pd.DataFrame({"c": moments.dt.tz_localize(zone)})
    rule = contract(Column(kind="datetime", missing="pass", zone=zone or "UTC"))
    with warnings.catch_warnings():
        # pandas 3.1 announces that it will no longer do this.
        warnings.simplefilter("ignore")
        bodies = list(_bodies(frame))
    for body in bodies:
        with pytest.raises(ContractViolation, match=r"but numbers; .*to_json") as caught:
            read_json(body, rule, 9).conform(rule)
        assert 'to_json(date_format="iso", date_unit="us")' in str(caught.value)
        assert "135" not in str(caught.value)
    for body in _bodies(frame, date_format="iso", date_unit="us"):
        held = read_json(body, rule, 9).conform(rule).frame["c"]
        pd.testing.assert_series_equal(held, rule.conform(frame).frame["c"])


@given(value=st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False))
def test_no_number_is_a_moment(value: float) -> None:
    rule = contract(Column(kind="datetime"))
    found = rules(through_frame(object), rule, "c", value)
    assert list(found) == ["type"]
    assert str(value) not in found["type"]
