"""Columns that no kind takes: what is said of them is true, and the hint works as it stands."""

from __future__ import annotations

import datetime as dt
import re
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from asfitted.contract import Column, DataContract, Fill
from asfitted.errors import ContractInvalid, ContractViolation

HOURS = pd.Series([pd.Timedelta(hours=1), pd.Timedelta(minutes=90)])
MONTHS = pd.Series(pd.period_range("2020-01", periods=2, freq="M"))
WORDS = pd.Series([["new", "red"], ["old"]])
PAIRS = pd.Series([[1.5, 2.0], [0.5, 3.0]])
BYTES = pd.Series([b"a", b"b"], dtype=object)
COMPLEX = pd.Series([1 + 2j, 3j])
CUT = pd.cut(pd.Series([1, 5]), [0, 3, 9])
CASES: list[tuple[str, pd.Series, str, list[str]]] = [
    # What they are called, a column, a part of the hint to try, the kinds of what it makes.
    ("durations", HOURS, "pd.to_timedelta", ["number"]),
    ("durations", HOURS.astype(object), "pd.to_timedelta", ["number"]),
    ("durations", HOURS.astype(pd.ArrowDtype(pa.duration("us"))), "pd.to_timedelta", ["number"]),
    ("durations", pd.Series([dt.timedelta(1)] * 2, dtype=object), "pd.to_timedelta", ["number"]),
    ("periods", MONTHS, "c.infer_objects", ["datetime"]),
    ("periods", MONTHS.astype(object), "c.infer_objects", ["datetime"]),
    ("intervals", CUT, "c.map", ["category"]),
    ("intervals", CUT.astype(object), "c.map", ["category"]),
    ("intervals", pd.Series(pd.IntervalIndex.from_breaks([0, 1, 2])), "c.map", ["category"]),
    ("complex numbers", COMPLEX, "c.map(lambda z: z.real)", ["number"]),
    ("complex numbers", COMPLEX, "c.map(lambda z: z.imag)", ["number"]),
    ("complex numbers", COMPLEX.astype(object), "c.map(lambda z: z.real)", ["number"]),
    ("bytes", BYTES, "c.astype", ["category"]),
    ("bytes", BYTES.astype(pd.ArrowDtype(pa.binary())), "c.astype", ["category"]),
    ("times of day", pd.Series([dt.time(1, 30), dt.time(2)], dtype=object), "c.map", ["number"]),
    ("sets", pd.Series([{"b", "a"}, {"c"}]), "c.map", ["category"]),
    ("objects", pd.Series([{"a": 1, "b": "x"}] * 2), "pd.DataFrame", ["integer", "category"]),
    ("lists", WORDS, "c.map", ["category"]),
    ("lists", PAIRS, "pd.DataFrame", ["number", "number"]),
    ("lists", PAIRS.map(tuple), "pd.DataFrame", ["number", "number"]),
    ("lists", PAIRS.map(np.array), "pd.DataFrame", ["number", "number"]),
    (
        "lists",
        PAIRS.astype(pd.ArrowDtype(pa.list_(pa.float64()))),
        "pd.DataFrame",
        ["number", "number"],
    ),
    ("of the type UUID", pd.Series([uuid.UUID(int=1), uuid.UUID(int=2)]), "c.map", ["category"]),
    ("lists", WORDS.astype(pd.ArrowDtype(pa.list_(pa.string()))), "c.map", ["category"]),
]
IDS = [f"{name}-{series.dtype}-{part}" for name, series, part, _ in CASES]
COLUMNS = {
    "number": Column(kind="number"),
    "integer": Column(kind="integer", missing="pass"),
    "boolean": Column(kind="boolean"),
    "text": Column(kind="text", missing=Fill(fill="")),
    "category": Column(kind="category", categories=("a", "b")),
    "codes": Column(kind="category", categories=(1, 2)),
    "datetime": Column(kind="datetime", zone="Asia/Tokyo"),
}


def code_of(hint: str, part: str) -> str:
    """Return the expression of a hint that begins with `part`, up to where the words go on."""
    start = hint.index(part)
    depth, quoted = 0, False
    for end in range(start, len(hint)):
        quoted ^= hint[end] == '"'
        depth += 0 if quoted else {"(": 1, ")": -1}.get(hint[end], 0)
        if depth == 0 and not quoted and hint[end] in " ,;":
            return hint[start:end]
    return hint[start:]


def applied(code: str, series: pd.Series) -> pd.DataFrame:
    made = eval(code, {"c": series, "pd": pd})
    if isinstance(made, pd.DataFrame):
        return made.rename(columns=lambda name: f"c_{name}")
    return made.to_frame("c")


@pytest.mark.parametrize(("name", "series", "part", "kinds"), CASES, ids=IDS)
def test_what_infer_says_is_true_and_its_hint_works(
    name: str, series: pd.Series, part: str, kinds: list[str]
) -> None:
    with pytest.raises(ContractInvalid, match=f"the values are {name}") as caught:
        DataContract.infer(pd.DataFrame({"c": series}))
    made = applied(code_of(caught.value.mend, part), series)
    contract = DataContract.infer(made)
    assert [column.kind for column in contract.columns.values()] == kinds
    assert len(contract.conform(made).frame) == len(series)


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize(("name", "series", "part", "kinds"), CASES, ids=IDS)
def test_what_conform_says_is_true_and_its_hint_works(
    name: str, series: pd.Series, part: str, kinds: list[str], kind: str
) -> None:
    contract = DataContract(columns={"c": COLUMNS[kind]})
    with pytest.raises(ContractViolation) as caught:
        contract.conform(pd.DataFrame({"c": series}))
    (violation,) = caught.value.violations
    assert (violation.rule, violation.rows) == ("type", (0, 1))
    assert re.search(f"values are not .* but {name}; ", violation.what)
    made = applied(code_of(violation.what, part), series)
    assert DataContract.infer(made).columns


def test_missing_values_beside_them_change_nothing() -> None:
    for series in (HOURS, MONTHS, WORDS, BYTES, CUT):
        some = pd.concat([series.astype(object), pd.Series([None, np.nan], dtype=object)])
        with pytest.raises(ContractInvalid, match="the values are "):
            DataContract.infer(pd.DataFrame({"c": some.reset_index(drop=True)}))


def test_of_several_sorts_nothing_is_guessed() -> None:
    mixed = pd.Series([["a"], b"a", pd.Timedelta(1)], dtype=object)
    with pytest.raises(ContractInvalid, match="types that no kind holds together"):
        DataContract.infer(pd.DataFrame({"c": mixed}))
    with pytest.raises(ContractViolation, match="3 of 3 values are not numbers \\(rows"):
        DataContract(columns={"c": COLUMNS["number"]}).conform(pd.DataFrame({"c": mixed}))


def test_no_cell_stands_in_what_is_said() -> None:
    contract = DataContract(columns={"c": COLUMNS["number"]})
    for value in (["s3cret"], b"s3cret", {"s3cret": "s3cret"}, {"s3cret"}):
        with pytest.raises(ContractViolation) as caught:
            contract.conform(pd.DataFrame({"c": pd.Series([value])}))
        assert "s3cret" not in str(caught.value)


# An index that is a feature.


def frame() -> pd.DataFrame:
    moments = pd.date_range("2013-01-01", periods=3, freq="h")
    return pd.DataFrame({"when": moments, "size": [1.5, 2.0, 3.0]})


def test_a_named_index_is_a_column_after_reset_index() -> None:
    contract = DataContract.infer(frame())
    indexed = frame().set_index("when")
    with pytest.raises(ContractViolation, match=r"when: .*call reset_index\(\)"):
        contract.conform(indexed)
    assert contract.conform(indexed.reset_index()).findings == ()


def test_a_nameless_index_of_moments_is_a_column_by_its_name() -> None:
    contract = DataContract.infer(frame())
    indexed = frame().set_index("when").rename_axis(None)
    with pytest.raises(ContractViolation) as caught:
        contract.conform(indexed)
    (said,) = [v.what for v in caught.value.violations if v.rule == "index"]
    assert "reset_index(names='when')" in said
    assert contract.conform(indexed.reset_index(names="when")).findings == ()


def test_an_index_of_moments_that_nobody_asks_for_is_nothing() -> None:
    contract = DataContract.infer(frame()[["size"]])
    indexed = frame().set_index("when")
    assert contract.conform(indexed).frame.index.equals(indexed.index)
    optional = contract.model_copy(
        update={"columns": {**contract.columns, "at": Column(kind="datetime", missing="pass")}}
    )
    assert optional.conform(indexed).frame["at"].isna().all()


def test_infer_says_that_an_index_is_left_out() -> None:
    indexed = frame().set_index("when")
    said = "# The frame's index (when) is no column and left out: reset_index()"
    contract = DataContract.infer(indexed)
    assert list(contract.columns) == ["size"]
    assert said in contract.to_yaml()
    nameless = DataContract.infer(indexed.rename_axis(None)).to_yaml()
    assert "# The frame's index (of moments) is no column" in nameless
    assert "index" not in DataContract.infer(frame()).to_yaml()
    both = frame().set_index(["when", "size"]).assign(x=1)
    assert "index (when, size) is no column" in DataContract.infer(both).to_yaml()
    assert list(DataContract.infer(indexed.reset_index()).columns) == ["when", "size"]
    awkward = indexed.rename_axis("a\n# b: c")
    assert list(DataContract.infer(awkward).columns) == ["size"]


def test_infer_names_reset_index_for_what_is_only_there() -> None:
    indexed = frame().set_index("when")
    with pytest.raises(ContractInvalid, match=r"'when' is not a column(.|\n)*reset_index\(\)"):
        DataContract.infer(indexed, keys=["when"])
    with pytest.raises(ContractInvalid, match=r"empty frame(.|\n)*reset_index\(\)"):
        DataContract.infer(indexed[[]])
    assert DataContract.infer(indexed.reset_index(), keys=["when"]).keys == ("when",)
