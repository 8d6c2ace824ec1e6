"""What a caller's DataFrame library chose is not a property of the row."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from families import PASS, VALUES, assert_same, columns, contract, families
from hypothesis import example, given
from hypothesis import strategies as st

from asfitted.contract import Column, DataContract, Fill
from asfitted.errors import ContractViolation

KINDS = sorted(PASS)
DTYPES = {
    "number": "float64",
    "integer": "float64",
    "boolean": "float64",
    "text": "object",
    "datetime": "datetime64[us]",
    "datetime_ny": "datetime64[us]",
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_every_family_gives_the_same_bits(kind: str, data: st.DataObject) -> None:
    values = data.draw(columns(kind))
    rule = contract(kind)
    expected = None
    for name, series in families(kind, values):
        frame = rule.conform(pd.DataFrame({"c": series})).frame
        if expected is None:
            expected = frame
        try:
            assert_same(expected, frame)
        except AssertionError as error:
            raise AssertionError(f"{name} ({series.dtype}): {error}") from error
    assert expected is not None
    if kind in DTYPES:
        assert expected["c"].dtype == DTYPES[kind]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_company_and_position_do_not_matter(kind: str, data: st.DataObject) -> None:
    values = data.draw(columns(kind, min_size=1, max_size=5))
    held = dict(families(kind, values))
    name = data.draw(st.sampled_from(sorted(held)))
    series, rule = held[name], contract(kind)
    whole = rule.conform(pd.DataFrame({"c": series})).frame
    assert_same(whole, rule.conform(pd.DataFrame({"c": series[::-1]})).frame[::-1])
    i = data.draw(st.integers(0, len(values) - 1))
    assert_same(whole.iloc[[i]], rule.conform(pd.DataFrame({"c": series.iloc[[i]]})).frame)
    # Alone, pandas would choose a dtype by this one value.
    again = pd.DataFrame({"c": pd.Series(series.iloc[[i]].tolist(), dtype=object)})
    assert_same(whole.iloc[[i]], rule.conform(again).frame)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_was_said_is_what_is_held(kind: str, data: st.DataObject) -> None:
    values = data.draw(columns(kind))
    got = contract(kind).conform(pd.DataFrame({"c": pd.Series(values, dtype=object)})).frame["c"]
    for value, held in zip(values, got, strict=True):
        if value is None:
            assert held == "" if kind == "text" else pd.isna(held)
        elif kind == "datetime_ny":
            # pandas 2 knows no summer time after 2037: asked of Python instead.
            utc = held.to_pydatetime().replace(tzinfo=dt.timezone.utc)
            assert utc.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None) == value
        else:
            assert held == value


@given(
    data=st.fixed_dictionaries(
        {kind: st.lists(st.none() | VALUES[kind], min_size=3, max_size=3) for kind in KINDS}
    )
)
def test_conforming_twice_is_conforming_once(data: dict[str, list[object]]) -> None:
    rule = DataContract(columns=PASS_ALL)
    frame = pd.DataFrame({kind: pd.Series(v, dtype=object) for kind, v in data.items()})
    once = rule.conform(frame)
    twice = rule.conform(once.frame)
    assert_same(once.frame, twice.frame)
    pd.testing.assert_index_equal(once.frame.index, twice.frame.index)
    # Also of a part of it, as a cross-validation takes.
    assert_same(once.frame.iloc[[2, 0]], rule.conform(once.frame.iloc[[2, 0]]).frame)


PASS_ALL = {kind: PASS[kind] for kind in KINDS}


@given(moment=st.datetimes(dt.datetime(1890, 1, 1), dt.datetime(2100, 1, 1)))
def test_a_zone_is_read_alike_by_every_family(moment: dt.datetime) -> None:
    """Also where its clocks change: all families refuse, or all agree."""
    rule = contract("datetime_ny")
    said = set()
    for _, series in families("datetime_ny", [moment]):
        try:
            said.add(str(rule.conform(pd.DataFrame({"c": series})).frame["c"].iloc[0]))
        except ValueError as error:
            said.add(str(error))
    assert len(said) == 1, said


def test_narrow_numbers_are_widened_and_not_rounded_again() -> None:
    rule = contract("number")
    for dtype in ("float32", "float16", "longdouble", "Float32"):
        got = rule.conform(pd.DataFrame({"c": pd.Series([0.1, None], dtype=dtype)})).frame["c"]
        narrow = {"Float32": "float32"}.get(dtype, dtype)
        assert got[0] == float(np.array([0.1]).astype(narrow)[0])


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "Int16", "int64[pyarrow]"])
def test_integers_are_numbers_too(dtype: str) -> None:
    got = contract("number").conform(pd.DataFrame({"c": pd.Series([1, 2], dtype=dtype)})).frame
    assert got["c"].tolist() == [1.0, 2.0]
    assert got["c"].dtype == "float64"


class Named(str):
    """A subclass, as a library may give."""


def test_texts_become_plain_whatever_holds_them() -> None:
    contract = DataContract(columns={"a": Column(kind="text", missing=Fill(fill="-"))})
    for dtype in (object, pd.StringDtype("python")):
        rows = pd.DataFrame({"a": pd.Series([Named("x"), None], dtype=dtype)})
        seen = contract.conform(rows).frame["a"].tolist()
        assert seen == ["x", "-"]
        assert type(seen[0]) is str


TEXT_RULES: list[dict[str, Any]] = [
    {"kind": "text", "max_length": 3},
    {"kind": "text", "missing": Fill(fill="-"), "max_length": 3},
    {"kind": "text", "min_length": 1},
    {"kind": "text", "missing": Fill(fill=""), "pattern": "[a-z]*"},
    {"kind": "category", "categories": ("a", "é"), "missing": "pass"},
    {"kind": "category", "categories": ("a", "é"), "unknown": "other", "missing": "pass"},
    {"kind": "category", "categories": ("a", "é"), "unknown": "missing", "missing": Fill(fill="a")},
]


@pytest.mark.parametrize("rule", TEXT_RULES, ids=str)
@given(texts=st.lists(st.none() | st.sampled_from(["a", "é"]) | st.text("ab é😀\0", max_size=4)))
@example(texts=["😀😀😀"])  # three characters, of four bytes each
@example(texts=["abcd", None])
@example(texts=[])
def test_texts_that_arrow_holds_are_read_as_any(
    rule: dict[str, Any], texts: list[str | None]
) -> None:
    column = DataContract(columns={"c": Column(**rule)})
    chunks = pa.chunked_array([texts[:1], texts[1:]], type=pa.large_string())
    said = []
    for series in (
        pd.Series(texts, dtype=object),
        pd.Series(texts, dtype=pd.StringDtype("pyarrow")),
        pd.Series(pd.arrays.ArrowStringArray(chunks)),
    ):
        try:
            got = column.conform(pd.DataFrame({"c": series}))
        except ContractViolation as error:
            said.append(repr(error.violations))
            continue
        values = [None if pd.isna(value) else value for value in got.frame["c"]]
        assert {type(value) for value in values} <= {str, type(None)}
        told = [(f.rule, f.rows.tolist(), _listed(f.received)) for f in got.findings]
        said.append(repr((values, str(got.frame["c"].dtype), told)))
    assert len(set(said)) == 1, said


def _listed(received: Any) -> Any:
    return None if received is None else received.tolist()
