"""What is allowed, what is refused, what is found, and what is said about it."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from asfitted.contract import Column, Conformed, DataContract, Fill
from asfitted.contract.conform import conform as conform_whole
from asfitted.errors import ContractViolation, Violation

CANARY = "canary-5157"


def rule(**said: Any) -> DataContract:
    return DataContract(columns={"c": Column(**said)})


def conform(contract: DataContract, values: Any, **kwargs: Any) -> Conformed:
    if isinstance(values, list):
        values = pd.Series(values, dtype=object)
    return contract.conform(pd.DataFrame({"c": values}), **kwargs)


def held(contract: DataContract, values: Any) -> list[Any]:
    return conform(contract, values).frame["c"].tolist()


def refused(contract: DataContract, values: Any) -> tuple[Violation, ...]:
    with pytest.raises(ContractViolation) as caught:
        conform(contract, values)
    return caught.value.violations


def rules_and_rows(contract: DataContract, values: Any) -> dict[str, tuple[int, ...]]:
    return {v.rule: v.rows for v in refused(contract, values)}


def found(contract: DataContract, values: Any) -> list[tuple[str, list[int]]]:
    return [(f.rule, f.rows.tolist()) for f in conform(contract, values).findings]


NUMBER, INTEGER, BOOLEAN = (rule(kind=k) for k in ("number", "integer", "boolean"))
TEXT, DATETIME = rule(kind="text"), rule(kind="datetime")
COLOURS = rule(kind="category", categories=("red", "blue"))
CODES = rule(kind="category", categories=(1, 2, 5))


# Types: what each kind refuses, whatever stands beside it.

NOTHING_LIKE_IT = [[1], {"a": 1}, {1}, b"5", 1j, object(), pd.Timedelta(1), dt.time(1)]


@pytest.mark.parametrize(
    "contract", [NUMBER, INTEGER, BOOLEAN, TEXT, COLOURS, CODES, DATETIME], ids=str
)
@pytest.mark.parametrize("value", NOTHING_LIKE_IT, ids=lambda v: type(v).__name__)
def test_what_no_kind_takes(contract: DataContract, value: object) -> None:
    assert rules_and_rows(contract, [value]) == {"type": (0,)}
    assert (0,) in rules_and_rows(contract, [value, None]).values()


@pytest.mark.parametrize("value", [True, np.True_, "5", "", "nan", pd.Timestamp(0), dt.date.min])
def test_not_a_number(value: object) -> None:
    assert rules_and_rows(NUMBER, [value]) == {"type": (0,)}
    assert rules_and_rows(NUMBER, [1.5, value, 2]) == {"type": (1,)}


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, np.float32("inf"), decimal.Decimal("Infinity")], ids=repr
)
def test_a_number_is_finite(value: object) -> None:
    assert rules_and_rows(NUMBER, [0.0, value]) == {"finite": (1,)}


def test_a_number_too_large_for_a_float() -> None:
    assert rules_and_rows(NUMBER, [10**400]) == {"type": (0,)}
    assert rules_and_rows(NUMBER, [10**400, 1.5]) == {"type": (0,)}
    assert held(NUMBER, [2.0**70, 1.5]) == [2.0**70, 1.5]


def test_a_whole_number_that_a_float_may_round() -> None:
    for beyond in (2**53, 2**53 + 1, -(2**53), 2**60):
        for values in ([beyond, 1], [beyond, 1.5], np.array([beyond, 1])):
            assert rules_and_rows(NUMBER, values) == {"exact": (0,)}
        assert rules_and_rows(NUMBER, pd.Series([beyond, 1], dtype="Int64")) == {"exact": (0,)}
    assert rules_and_rows(NUMBER, np.array([2**64 - 1], dtype="uint64")) == {"exact": (0,)}
    # It is out of bounds as well, perhaps: which number is meant is not known.
    assert rules_and_rows(rule(kind="number", max=5), [2**60]) == {"exact": (0,)}
    assert held(NUMBER, [2**53 - 1, 1 - 2**53]) == [2.0**53 - 1, 1 - 2.0**53]
    assert held(NUMBER, [decimal.Decimal(2**60), decimal.Decimal("0.1")]) == [2.0**60, 0.1]
    assert rules_and_rows(NUMBER, [decimal.Decimal(2**60 + 1)]) == {"exact": (0,)}


def test_a_bool_column_is_no_number() -> None:
    for dtype in ("bool", "boolean", "bool[pyarrow]"):
        for contract in (NUMBER, INTEGER, CODES):
            assert rules_and_rows(contract, pd.Series([True], dtype=dtype)) == {"type": (0,)}


EXACT = 2**53 - 1
BEYOND = [
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    2**63,
    -(2**63),
    10**400,
    float(2**53),
    1e300,
    np.inf,
    np.uint64(2**63),
    decimal.Decimal(2**53 + 1),
    decimal.Decimal("1e30"),
]


@pytest.mark.parametrize("value", BEYOND, ids=repr)
@pytest.mark.parametrize("contract", [INTEGER, CODES], ids=["integer", "codes"])
def test_an_integer_is_exact(contract: DataContract, value: Any) -> None:
    assert rules_and_rows(contract, [value]) == {"exact": (0,)}
    # Nor does a float beside it make it another number first.
    assert rules_and_rows(contract, [value, 1.0]) == {"exact": (0,)}
    assert rules_and_rows(contract, [1, value]) == {"exact": (1,)}


@pytest.mark.parametrize("dtype", ["int64", "Int64", "int64[pyarrow]", "uint64", "UInt64"])
def test_an_integer_is_exact_in_every_dtype(dtype: str) -> None:
    signs = (1,) if dtype.lower().startswith("u") else (1, -1)
    for sign in signs:
        assert held(INTEGER, pd.Series([sign * EXACT], dtype=dtype)) == [sign * EXACT]
        for beyond in (2**53, 2**53 + 1, 2**63 - 1):
            series = pd.Series([1, sign * beyond], dtype=dtype)
            assert rules_and_rows(INTEGER, series) == {"exact": (1,)}
    if len(signs) == 1:
        assert rules_and_rows(INTEGER, pd.Series([2**64 - 1], dtype=dtype)) == {"exact": (0,)}


def test_what_pandas_has_rounded_beside_a_missing_value_is_refused() -> None:
    contract = rule(kind="integer", missing="pass")
    series = pd.Series([2**53 + 1, None])
    assert series.dtype == "float64"
    assert rules_and_rows(contract, series) == {"exact": (0,)}


@pytest.mark.parametrize(
    "value", [1.5, -0.1, np.float32(0.5), decimal.Decimal("1.00000000000000000001"), 1e-300]
)
def test_an_integer_has_no_fraction(value: object) -> None:
    assert rules_and_rows(INTEGER, [value]) == {"whole": (0,)}
    assert rules_and_rows(INTEGER, [3, value]) == {"whole": (1,)}
    assert rules_and_rows(CODES, [1, value]) == {"whole": (1,)}


def test_a_whole_number_in_another_type_is_an_integer() -> None:
    got = held(INTEGER, [1, 2.0, np.int8(3), decimal.Decimal("4.0"), -0.0])
    assert got == [1, 2, 3, 4, 0]
    assert conform(INTEGER, [1, 2.0]).frame["c"].dtype == "int64"


def test_a_fraction_is_not_a_number_of_ours() -> None:
    assert rules_and_rows(NUMBER, [fractions.Fraction(1, 3)]) == {"type": (0,)}


@pytest.mark.parametrize("value", ["true", "True", "", 1, 0, 1.0, np.int64(1), decimal.Decimal(1)])
@pytest.mark.parametrize("missing", ["refuse", "pass"])
def test_not_true_or_false(value: object, missing: Any) -> None:
    contract = rule(kind="boolean", missing=missing)
    assert rules_and_rows(contract, [value]) == {"type": (0,)}
    assert rules_and_rows(contract, [value, True]) == {"type": (0,)}
    assert rules_and_rows(contract, pd.Series([value])) == {"type": (0,)}


def test_numbers_of_a_column_that_pandas_widened_are_not_booleans() -> None:
    contract = rule(kind="boolean", missing="pass")
    assert rules_and_rows(contract, pd.Series([1, None])) == {"type": (0,)}


def test_five_is_not_the_text_five() -> None:
    assert rules_and_rows(rule(kind="category", categories=("5",)), [5]) == {"type": (0,)}
    assert rules_and_rows(rule(kind="category", categories=("5",)), pd.Series([5])) == {
        "type": (0,)
    }
    assert rules_and_rows(CODES, ["5"]) == {"type": (0,)}
    assert rules_and_rows(CODES, pd.Series(["5"])) == {"type": (0,)}
    assert held(CODES, [5, 5.0]) == [5, 5]


def test_true_is_not_the_category_one() -> None:
    assert rules_and_rows(CODES, [True]) == {"type": (0,)}
    assert rules_and_rows(CODES, [2, True]) == {"type": (1,)}


def test_a_category_keeps_the_list_and_its_order() -> None:
    for values in (["blue"], [], ["blue", "red"]):
        got = conform(COLOURS, values).frame["c"]
        assert got.cat.categories.tolist() == ["red", "blue"]
        assert not got.cat.ordered
        assert got.tolist() == values
    assert conform(CODES, [5]).frame["c"].cat.categories.tolist() == [1, 2, 5]


def test_nan_within_a_dtype_that_has_a_missing_value_beside_it() -> None:
    """The nullable dtypes tell NaN from NA; to a pipeline both are missing."""
    zero = pd.Series([0.0, 1.0], dtype="Float64")
    arrow = pd.arrays.ArrowExtensionArray(pa.array([float("nan"), 1.0]))
    for series in (zero / zero, pd.Series(arrow)):
        assert rules_and_rows(NUMBER, series) == {"missing": (0,)}
        got = held(rule(kind="number", missing=Fill(fill=7)), series)
        assert got == [7.0, 1.0]


def test_a_missing_value_is_not_the_category_zero() -> None:
    contract = rule(kind="category", categories=(1, 0), missing="pass")
    for dtype in (object, "Int64", "float64"):
        series = pd.Series([None, 0, 1], dtype=dtype)
        assert conform(contract, series).frame["c"].cat.codes.tolist() == [-1, 1, 0]
    mapped = contract.model_copy(
        update={
            "columns": {
                "c": Column(
                    kind="category", categories=(1, 0), missing=Fill(fill=1), unknown="missing"
                )
            }
        }
    )
    assert held(mapped, [None, 0, 7]) == [1, 0, 1]


def test_categories_are_compared_exactly() -> None:
    assert rules_and_rows(COLOURS, ["red", "Red", "red ", "réd"]) == {"category": (1, 2, 3)}


# Text.


def test_an_empty_text_is_a_value_and_not_missing() -> None:
    assert held(TEXT, [""]) == [""]
    assert rules_and_rows(COLOURS, [""]) == {"category": (0,)}
    assert held(rule(kind="text", missing=Fill(fill="none")), ["", None]) == ["", "none"]
    assert held(rule(kind="category", categories=("", "a")), [""]) == [""]


def test_na_is_a_text() -> None:
    said = ["NA", "nan", "None", "null", "<NA>", "NaT", "N/A"]
    assert held(TEXT, said) == said


def test_the_length_of_a_text_is_in_characters() -> None:
    contract = rule(kind="text", max_length=3)
    assert held(contract, ["äöü", "😀😀😀", ""]) == ["äöü", "😀😀😀", ""]
    assert rules_and_rows(contract, ["abc", "abcd", None]) == {"missing": (2,), "max_length": (1,)}


def test_a_text_may_be_too_short() -> None:
    contract = rule(kind="text", min_length=2, max_length=3)
    assert held(contract, ["äö", "😀😀", "abc"]) == ["äö", "😀😀", "abc"]
    assert rules_and_rows(contract, ["ab", "a", "", "abcd"]) == {
        "min_length": (1, 2),
        "max_length": (3,),
    }
    (short,) = refused(contract, ["a"])
    assert short.what == "values are shorter than 2 characters"


def test_the_whole_text_matches_the_pattern() -> None:
    contract = rule(kind="text", pattern="[A-Z]{2}|x", max_length=5)
    assert held(contract, ["AB", "x"]) == ["AB", "x"]
    wrong = ["AB", "ABC", " AB", "AB\n", "", "ax", "xx"]
    assert rules_and_rows(contract, wrong) == {"pattern": (1, 2, 3, 4, 5, 6)}
    # Said by the first rule that it breaks, and never with the value.
    assert rules_and_rows(contract, ["abcdef"]) == {"max_length": (0,)}
    (violation,) = refused(contract, [CANARY[:5]])
    assert violation.what == "values do not match the pattern [A-Z]{2}|x"
    assert rules_and_rows(rule(kind="text", pattern="(?i)a.c"), ["ABC", "a\nc", 5]) == {
        "type": (2,),
        "pattern": (1,),
    }


def test_a_pattern_is_not_tried_on_what_is_too_long() -> None:
    # Where it was tried, this would take until the sun is cold.
    contract = rule(kind="text", pattern="(a|aa)+", max_length=20)
    assert rules_and_rows(contract, ["a" * 60 + "b"]) == {"max_length": (0,)}


def test_a_fill_is_no_value_of_the_callers_to_match() -> None:
    contract = rule(kind="text", pattern="[a-z]+", missing=Fill(fill="none"))
    assert held(contract, ["a", None]) == ["a", "none"]
    assert rules_and_rows(contract, ["a", ""]) == {"pattern": (1,)}


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    assert rules_and_rows(TEXT, ["a", "\ud800", "\ud83d" + "x"]) == {"unicode": (1, 2)}
    assert held(TEXT, ["\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]) == ["😀"]
    mapped = rule(kind="category", categories=("a", "other"), unknown="other")
    assert rules_and_rows(mapped, ["a", "\ud800", "x"]) == {"unicode": (1,)}


# Missing values.


@pytest.mark.parametrize("gone", [None, np.nan, pd.NA, pd.NaT, decimal.Decimal("NaN")], ids=repr)
@pytest.mark.parametrize(
    ("contract", "good"),
    [
        (NUMBER, 1.5),
        (INTEGER, 1),
        (BOOLEAN, True),
        (TEXT, "a"),
        (COLOURS, "red"),
        (CODES, 2),
        (DATETIME, "2020-01-01"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_missing_is_refused(contract: DataContract, good: object, gone: object) -> None:
    assert rules_and_rows(contract, [good, gone, good, gone]) == {"missing": (1, 3)}
    assert rules_and_rows(contract, [gone]) == {"missing": (0,)}


@pytest.mark.parametrize(
    ("said", "good", "expected"),
    [
        ({"kind": "number", "missing": Fill(fill=0)}, 1.5, [1.5, 0.0]),
        ({"kind": "integer", "missing": Fill(fill=-7)}, 1, [1, -7]),
        ({"kind": "boolean", "missing": Fill(fill=True)}, False, [False, True]),
        ({"kind": "text", "missing": Fill(fill="none")}, "a", ["a", "none"]),
        (
            {"kind": "category", "categories": ("a", "b"), "missing": Fill(fill="b")},
            "a",
            ["a", "b"],
        ),
        ({"kind": "category", "categories": (7, 0), "missing": Fill(fill=0)}, 7, [7, 0]),
        (
            {"kind": "datetime", "missing": Fill(fill="2020-01-01"), "zone": "Asia/Tokyo"},
            "2021-01-01T00:00Z",
            [pd.Timestamp("2021-01-01"), pd.Timestamp("2019-12-31T15:00")],
        ),
    ],
    ids=lambda v: str(v.get("kind")) if isinstance(v, dict) else "",
)
def test_a_fill_is_put_and_found(said: dict[str, Any], good: object, expected: list[Any]) -> None:
    contract = rule(**said)
    got = conform(contract, [good, None])
    assert got.frame["c"].tolist() == expected
    (finding,) = got.findings
    assert (finding.column, finding.rule, finding.rows.tolist()) == ("c", "filled", [1])
    assert finding.received is None
    assert held(contract, [None]) == expected[1:]
    assert found(contract, [good]) == []


def test_what_passes_as_missing_is_no_finding() -> None:
    contract = rule(kind="number", missing="pass")
    assert found(contract, [None, 1]) == []
    assert np.isnan(held(contract, [None])[0])


# Unknown categories.


@pytest.mark.parametrize("missing", ["pass", Fill(fill="b")], ids=["pass", "fill"])
@pytest.mark.parametrize("unknown", ["refuse", "missing", "other"])
@pytest.mark.parametrize("codes", [False, True], ids=["text", "integer"])
def test_unknown_by_missing(unknown: Any, missing: Any, codes: bool) -> None:
    spell = {"a": 1, "b": 2, "other": 9, CANARY: 5157} if codes else {}
    said: dict[str, Any] = {"kind": "category", "unknown": unknown, "missing": missing}
    said["categories"] = tuple(spell.get(v, v) for v in ("a", "b"))
    if unknown == "other":
        said["other"] = spell.get("other", "other")
    if isinstance(missing, Fill):
        said["missing"] = Fill(fill=spell.get("b", "b"))
    contract = rule(**said)
    values = [spell.get(v, v) if v else None for v in ("a", CANARY, None)]
    if unknown == "refuse":
        assert rules_and_rows(contract, values) == {"category": (1,)}
        return
    got = conform(contract, values)
    gone = spell.get("b", "b") if isinstance(missing, Fill) else np.nan
    second = gone if unknown == "missing" else spell.get("other", "other")
    assert [str(v) for v in got.frame["c"].tolist()] == [str(v) for v in (values[0], second, gone)]
    by_rule = {f.rule: f for f in got.findings}
    assert by_rule["unknown_category"].rows.tolist() == [1]
    received = by_rule["unknown_category"].received
    assert received is not None
    assert received.tolist() == [values[1]]
    assert ("filled" in by_rule) == isinstance(missing, Fill)
    if "filled" in by_rule:
        # An unknown category is not a missing value, even where it becomes the same.
        assert by_rule["filled"].rows.tolist() == [2]


def test_other_stands_in_the_list_once() -> None:
    added = rule(kind="category", categories=("a",), unknown="other")
    assert conform(added, ["x"]).frame["c"].cat.categories.tolist() == ["a", "other"]
    inside = rule(kind="category", categories=("other", "a"), unknown="other")
    assert conform(inside, ["x"]).frame["c"].cat.categories.tolist() == ["other", "a"]
    assert found(inside, ["other"]) == []


# Bounds and the observed range.


@pytest.mark.parametrize("kind", ["number", "integer"])
def test_bounds_are_inclusive(kind: Any) -> None:
    contract = rule(kind=kind, min=-2, max=3, observed=(0, 1), unit="miles", missing="pass")
    assert held(contract, [-2, 3])[:2] == [-2, 3]
    assert rules_and_rows(contract, [-3, 0, 4, None]) == {"min": (0,), "max": (2,)}
    assert "below -2 miles" in str(refused(contract, [-3])[0])
    assert found(contract, [-2, -1, 0, 1, 2, 3, None]) == [("outside_observed", [0, 1, 4, 5])]
    assert found(contract, [0, 1, None]) == []


def test_a_bound_of_one_ulp() -> None:
    contract = rule(kind="number", max=0.1)
    assert held(contract, [0.1]) == [0.1]
    assert rules_and_rows(contract, [np.nextafter(0.1, 1)]) == {"max": (0,)}


def test_bounds_of_a_datetime_are_moments() -> None:
    contract = rule(
        kind="datetime",
        zone="America/New_York",
        min="2020-06-01",
        max="2020-06-30T12:00Z",
        observed=("2020-06-02", "2020-06-03"),
        missing="pass",
    )
    inside = ["2020-06-01T00:00", "2020-06-01T04:00Z", "2020-06-30T08:00-04:00"]
    assert found(contract, inside) == [("outside_observed", [0, 1, 2])]
    outside = ["2020-06-01T03:59:59.999999Z", "2020-06-30T12:00:00.000001Z", None]
    assert rules_and_rows(contract, outside) == {"min": (0,), "max": (1,)}
    assert found(contract, ["2020-06-02", "2020-06-03", None]) == []


# Dates and times.

ISO = {
    "2013-02-28": "2013-02-28",
    "2012-02-29": "2012-02-29",
    "2013-02-28T23:59": "2013-02-28T23:59",
    "2013-02-28 23:59": "2013-02-28T23:59",
    "2013-02-28T23:59:58": "2013-02-28T23:59:58",
    "2013-02-28T23:59:58.1": "2013-02-28T23:59:58.1",
    "2013-02-28T23:59:58.12": "2013-02-28T23:59:58.12",
    "2013-02-28T23:59:58.123": "2013-02-28T23:59:58.123",
    "2013-02-28T23:59:58.1234": "2013-02-28T23:59:58.1234",
    "2013-02-28T23:59:58.12345": "2013-02-28T23:59:58.12345",
    "2013-02-28T23:59:58.123456": "2013-02-28T23:59:58.123456",
    "2013-02-28T23:59:58Z": "2013-02-28T23:59:58",
    "2013-02-28T23:59+00:00": "2013-02-28T23:59",
    "2013-02-28T23:59-05:00": "2013-03-01T04:59",
    "2013-02-28T23:59:58.123456+05:45": "2013-02-28T18:14:58.123456",
    "2013-02-28T00:00+14:00": "2013-02-27T10:00",
    "0001-01-01": "0001-01-01",
    "9999-12-31T23:59:59.999999": "9999-12-31T23:59:59.999999",
}
NOT_ISO = [
    "03/04/2021",
    "3.4.2021",
    "2013-2-3",
    "20130203",
    "2013-02",
    "2013-W05-1",
    "2013-034",
    "1356998400",
    "2013-02-30",
    "2013-02-29",
    "2013-13-01",
    "2013-00-01",
    "2013-01-00",
    "0000-01-01",
    "10000-01-01",
    "-0001-01-01",
    "2013-02-28T24:00",
    "2013-02-28T24:00:00",
    "2016-12-31T23:59:60Z",
    "2013-02-28T23:60",
    "2013-02-28T23",
    "2013-02-28T23:59:58.",
    "2013-02-28T23:59:58,5",
    "2013-02-28T23:59:58.1234567",
    "2013-02-28T23:59:58.0000001",
    "2013-02-28T23:59:58z",
    "2013-02-28t23:59:58",
    "2013-02-28T23:59:58+5",
    "2013-02-28T23:59:58+0500",
    "2013-02-28T23:59:58+05:60",
    "2013-02-28T23:59:58+24:00",
    "2013-02-28T23:59:58 Z",
    "2013-02-28T23:59:58 UTC",
    "2013-02-28T23:59:58[Europe/Paris]",
    "2013-02-28Z",
    " 2013-02-28",
    "2013-02-28\n",
    "２０１３-02-28",
    "0001-01-01T00:00+01:00",
    "9999-12-31T23:59-01:00",
    "today",
    "",
]


@pytest.mark.parametrize(("text", "moment"), ISO.items())
def test_iso_8601_is_read(text: str, moment: str) -> None:
    got = conform(DATETIME, [text]).frame["c"]
    assert got.dtype == "datetime64[us]"
    assert got.to_numpy()[0] == np.datetime64(moment, "us")


@pytest.mark.parametrize("text", NOT_ISO, ids=repr)
def test_nothing_else_is_read(text: str) -> None:
    assert rules_and_rows(DATETIME, ["2020-01-01", text]) == {"datetime": (1,)}


@pytest.mark.parametrize("value", [0, 1356998400, 1.5, True, np.int64(10**18)])
def test_a_number_is_no_moment(value: Any) -> None:
    assert rules_and_rows(DATETIME, [value]) == {"type": (0,)}
    assert rules_and_rows(DATETIME, pd.Series([value])) == {"type": (0,)}


NEW_YORK = rule(kind="datetime", zone="America/New_York", missing="pass")
# 2013-03-10 02:00–03:00 was skipped, 2013-11-03 01:00–02:00 shown twice.
CLOCK_CHANGES = ["2013-03-10T02:30:00", "2013-11-03T01:30:00"]


@pytest.mark.parametrize("text", CLOCK_CHANGES)
def test_skipped_and_repeated_hours_are_refused_unless_an_offset_says(text: str) -> None:
    naive = dt.datetime.fromisoformat(text)
    ways = [
        [text],
        [naive],
        [naive.replace(fold=1)],
        [np.datetime64(text)],
        [pd.Timestamp(text)],
        pd.Series(np.array([text], dtype="datetime64[us]")),
        pd.Series(np.array([text], dtype="datetime64[ns]")),
        pd.Series([naive], dtype="timestamp[us][pyarrow]"),
    ]
    for way in ways:
        assert rules_and_rows(NEW_YORK, way) == {"zone": (0,)}
    for offset, hours in (("-05:00", 5), ("-04:00", 4)):
        expected = pd.Timestamp(naive + dt.timedelta(hours=hours))
        assert held(NEW_YORK, [text + offset]) == [expected]
        aware = dt.datetime.fromisoformat(text + offset)
        assert held(NEW_YORK, [aware]) == [expected]
        assert held(NEW_YORK, pd.Series([pd.Timestamp(text + offset)])) == [expected]


def test_a_zone_is_for_values_that_carry_none() -> None:
    hour = [pd.Timestamp("2013-07-01T16:00")]
    assert held(NEW_YORK, ["2013-07-01T12:00"]) == hour
    assert held(NEW_YORK, [dt.datetime(2013, 7, 1, 12)]) == hour
    assert held(NEW_YORK, pd.Series(["2013-07-01T12:00"], dtype="datetime64[s]")) == hour
    assert held(NEW_YORK, ["2013-07-01T12:00Z"]) == [pd.Timestamp("2013-07-01T12:00")]
    paris = pd.Series(["2013-07-01T12:00"], dtype="datetime64[ns]").dt.tz_localize("Europe/Paris")
    assert held(NEW_YORK, paris) == [pd.Timestamp("2013-07-01T10:00")]
    assert held(NEW_YORK, [paris[0]]) == [pd.Timestamp("2013-07-01T10:00")]
    assert held(NEW_YORK, [dt.date(2013, 7, 1)]) == [pd.Timestamp("2013-07-01T04:00")]


def test_zones_know_summer_time_for_ever_and_before_there_were_any() -> None:
    for text, moment in {
        "2050-07-01T12:00": "2050-07-01T16:00",
        "2050-01-01T12:00": "2050-01-01T17:00",
        "1850-01-01T00:00": "1850-01-01T04:56:02",
    }.items():
        for value in ([text], pd.Series([text], dtype="datetime64[us]")):
            assert held(NEW_YORK, value) == [pd.Timestamp(moment)]


def test_conforming_twice_across_a_clock_change_shifts_nothing() -> None:
    hours = pd.date_range("2013-11-03T04:00Z", periods=6, freq="30min")
    once = conform(NEW_YORK, pd.Series(hours)).frame
    assert once["c"].tolist() == hours.tz_localize(None).tolist()
    twice = NEW_YORK.conform(once).frame
    pd.testing.assert_frame_equal(once, twice)
    pd.testing.assert_frame_equal(once, NEW_YORK.conform(twice).frame)


@pytest.mark.parametrize("year", ["0000", "-0001", "10000", "20000", "292000"])
def test_years_that_no_calendar_has(year: str) -> None:
    for unit in ("s", "us"):
        moment = np.datetime64(f"{year}-01-01", unit)
        assert rules_and_rows(DATETIME, pd.Series(np.array([moment]))) == {"datetime": (0,)}
        assert rules_and_rows(DATETIME, [moment]) == {"datetime": (0,)}
    # 2**60 seconds, as microseconds, would overflow to 1970.
    late = pd.Series(np.array([2**60], dtype="datetime64[s]"))
    assert rules_and_rows(DATETIME, late) == {"datetime": (0,)}


def test_the_ends_of_the_calendar_in_a_zone() -> None:
    tokyo = rule(kind="datetime", zone="Asia/Tokyo")
    for text in ("0001-01-01T00:00:00", "9999-12-31T23:00:00-10:00"):
        assert rules_and_rows(tokyo, [text]) == {"datetime": (0,)}
    first = pd.Series(np.array(["0001-01-01"], dtype="datetime64[us]"))
    assert rules_and_rows(tokyo, first) == {"datetime": (0,)}
    early = [dt.datetime(999, 1, 1, tzinfo=dt.timezone.utc)]
    assert held(tokyo, early) == held(tokyo, ["0999-01-01T00:00Z"])


def test_what_microseconds_cannot_hold_is_refused_in_every_dtype() -> None:
    fine = np.datetime64("2013-02-28T23:59:58.123456789", "ns")
    for value in ([fine], [pd.Timestamp(fine)], pd.Series(np.array([fine]))):
        assert rules_and_rows(DATETIME, value) == {"finer": (0,)}
    assert rules_and_rows(DATETIME, pd.Series(np.array([fine])).dt.tz_localize("UTC")) == {
        "finer": (0,)
    }


# The frame.


TWO = DataContract(
    columns={
        "flight": Column(kind="text", missing="pass"),
        "distance": Column(kind="number", min=0),
        "carrier": Column(kind="category", categories=("AA", "UA")),
        "note": Column(kind="text", missing=Fill(fill="-")),
        "delay": Column(kind="number", missing="pass"),
    },
    keys=("flight",),
)


def whole(n: int = 2, **columns: Any) -> pd.DataFrame:
    base = {"flight": "x", "distance": 1.0, "carrier": "AA", "note": "n", "delay": 2.0}
    return pd.DataFrame({name: columns.get(name, [value] * n) for name, value in base.items()})


def test_all_violations_are_collected_with_their_rows() -> None:
    frame = pd.DataFrame(
        {
            "distance": pd.Series([-1, 2, CANARY, None, np.inf], dtype=object),
            "carrier": ["AA", CANARY, "UA", None, "AA"],
            "note": pd.Series(["n", 7, "n", "n", "n" * 1001], dtype=object),
        }
    ).set_axis(list("vwxyz"))
    with pytest.raises(ContractViolation) as caught:
        TWO.conform(frame)
    said = {(v.column, v.rule): (v.rows, v.n_rows) for v in caught.value.violations}
    assert said == {
        ("distance", "missing"): ((3,), 5),
        ("distance", "type"): ((2,), 5),
        ("distance", "finite"): ((4,), 5),
        ("distance", "min"): ((0,), 5),
        ("carrier", "missing"): ((3,), 5),
        ("carrier", "category"): ((1,), 5),
        ("note", "type"): ((1,), 5),
        ("note", "max_length"): ((4,), 5),
    }
    assert CANARY not in f"{caught.value}{caught.value!r}{caught.value.violations}"
    assert str(caught.value).count("\n") == 5
    assert "… and 3 more" in str(caught.value)


@pytest.mark.parametrize(
    ("contract", "value"),
    [
        (NUMBER, CANARY),
        (INTEGER, CANARY),
        (INTEGER, 5157.5),
        (INTEGER, 10**20 + 5157),
        (BOOLEAN, CANARY),
        (COLOURS, CANARY),
        (CODES, CANARY),
        (CODES, 5157),
        (rule(kind="text", max_length=2), CANARY),
        (DATETIME, CANARY),
        (DATETIME, "5157-02-30"),
        (rule(kind="number", max=1), 5157),
        (rule(kind="datetime", max="2000-01-01"), "5157-01-01"),
    ],
)
def test_no_message_holds_a_value(contract: DataContract, value: object) -> None:
    with pytest.raises(ContractViolation) as caught:
        conform(contract, [value])
    error: BaseException | None = caught.value
    while error is not None:
        assert "5157" not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_arrows_moments_finer_than_a_microsecond(zone: str | None) -> None:
    moments = pa.array([0, 999], pa.timestamp("ns", zone))
    assert rules_and_rows(DATETIME, moments.to_pandas(types_mapper=pd.ArrowDtype)) == {
        "finer": (1,)
    }
    whole_ones = pa.array([0, 999_000], pa.timestamp("ns", zone))
    assert len(conform(DATETIME, whole_ones.to_pandas(types_mapper=pd.ArrowDtype)).frame) == 2


def test_the_only_name_is_shown_where_one_is_near() -> None:
    contract = DataContract(columns={"distance": Column(kind="number")})
    with pytest.raises(ContractViolation, match=r"distanse: .*did you mean distance"):
        contract.conform(pd.DataFrame({"distanse": [1.0]}))
    with pytest.raises(ContractViolation, match="no name is that of") as caught:
        contract.conform(pd.DataFrame({CANARY: [1.0]}))
    assert CANARY not in str(caught.value)


def test_a_column_that_is_the_index_is_not_taken_for_one_that_misses() -> None:
    rows = whole(3, distance=[3.0, 1.0, 2.0])
    for gone in (["delay"], ["note", "carrier"]):  # which may miss, which may not
        with pytest.raises(ContractViolation) as caught:
            TWO.conform(rows.set_index(gone))
        index = {v.column for v in caught.value.violations if v.rule == "index"}
        assert index == set(gone)
    # A key is asked for in production, not by the step of a pipeline.
    by_key = rows.set_index("flight")
    with pytest.raises(ContractViolation, match="flight: the column is the frame's index"):
        TWO.conform(by_key)
    assert len(features_only(by_key)) == 3
    assert len(TWO.conform(rows.set_index("delay", drop=False)).frame) == 3


def features_only(frame: pd.DataFrame) -> pd.DataFrame:
    return conform_whole(TWO, frame, keys=False).frame


def test_columns_come_in_the_contracts_order_with_the_index_that_came_in() -> None:
    shuffled = whole()[["delay", "note", "carrier", "flight", "distance"]]
    got = TWO.conform(shuffled)
    assert list(got.frame) == ["distance", "carrier", "note", "delay"]
    assert list(got.keys) == ["flight"]


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([7, 7, 7]),
        pd.Index(["a", "b", "a"], name="id"),
        pd.MultiIndex.from_tuples([(1, "a"), (1, "a"), (2, "b")], names=["x", "y"]),
        pd.date_range("2020-01-01", periods=3),
        pd.RangeIndex(5, 8),
    ],
    ids=lambda v: type(v).__name__,
)
def test_the_index_is_kept(index: pd.Index) -> None:
    frame = whole(3, distance=[3.0, 1.0, 2.0]).set_axis(index)
    got = TWO.conform(frame)
    pd.testing.assert_index_equal(got.frame.index, index)
    pd.testing.assert_index_equal(got.keys.index, index)
    assert got.frame["distance"].tolist() == [3.0, 1.0, 2.0]
    with pytest.raises(ContractViolation, match=r"rows 1\)"):
        TWO.conform(whole(3, distance=[1.0, -2.0, 3.0]).set_axis(index))


def test_the_callers_frame_is_not_touched() -> None:
    frame = whole(note=["n", None], delay=[None, 1.0])
    before = frame.copy(deep=True)
    got = TWO.conform(frame).frame
    got.loc[:, "delay"] = 99.0
    got.loc[:, "distance"] = 99.0
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == {}


def test_an_absent_column_that_may_miss_is_missing() -> None:
    for n in (1, 3):
        got = TWO.conform(whole(n).drop(columns=["flight", "note", "delay"]))
        explicit = TWO.conform(whole(n).assign(flight=None, note=None, delay=None))
        pd.testing.assert_frame_equal(got.frame, explicit.frame)
        pd.testing.assert_frame_equal(got.keys, explicit.keys)
        assert [(f.column, f.rule, len(f.rows)) for f in got.findings] == [("note", "filled", n)]


def test_absent_columns_of_every_kind_are_missing() -> None:
    columns = {
        "number": Column(kind="number", missing="pass"),
        "integer": Column(kind="integer", missing=Fill(fill=3)),
        "boolean": Column(kind="boolean", missing="pass"),
        "category": Column(kind="category", categories=("a",), missing="pass"),
        "text": Column(kind="text", missing=Fill(fill="")),
        "datetime": Column(kind="datetime", zone="Asia/Tokyo", missing="pass"),
        "there": Column(kind="number"),
    }
    got = DataContract(columns=columns).conform(pd.DataFrame({"there": [1.0, 2.0]})).frame
    assert got["integer"].tolist() == [3, 3]
    assert got["text"].tolist() == ["", ""]
    assert got[["number", "boolean", "category", "datetime"]].isna().all(axis=None)


def test_an_absent_column_that_may_not_miss_is_named_with_what_is_there() -> None:
    with pytest.raises(ContractViolation) as caught:
        TWO.conform(whole().drop(columns=["carrier", "distance"]))
    assert [(v.column, v.rule) for v in caught.value.violations] == [
        ("distance", "missing_column"),
        ("carrier", "missing_column"),
    ]
    assert "there are flight, note, delay" in caught.value.mend


def test_an_extra_column_is_refused_with_a_near_name() -> None:
    with pytest.raises(ContractViolation) as caught:
        TWO.conform(whole().rename(columns={"distance": "distanc"}).assign(zzz=1))
    said = {v.column: v.what for v in caught.value.violations}
    assert "did you mean distance?" in said["distanc"]
    assert said["zzz"] == (
        "not a column of the contract; extra_columns: ignore in the contract lets it pass"
    )
    with pytest.raises(ContractViolation, match="1: not a column"):
        TWO.conform(whole().assign(distance=1.0).join(pd.DataFrame({1: [1, 2]})))


def test_an_extra_column_is_ignored_and_found() -> None:
    ignoring = TWO.model_copy(update={"extra_columns": "ignore"})
    got = ignoring.conform(whole().assign(extra=[object(), CANARY]))
    assert list(got.frame) == list(TWO.features)
    (finding,) = got.findings
    assert (finding.column, finding.rule, finding.rows.tolist()) == (
        "extra",
        "extra_column",
        [0, 1],
    )
    assert finding.received is None


@pytest.mark.parametrize("extra_columns", ["refuse", "ignore"])
def test_a_column_twice_is_refused(extra_columns: str) -> None:
    contract = TWO.model_copy(update={"extra_columns": extra_columns})
    frame = pd.concat([whole(), whole()[["distance"]]], axis=1)
    with pytest.raises(ContractViolation) as caught:
        contract.conform(frame)
    assert [(v.column, v.rule) for v in caught.value.violations] == [("distance", "duplicate")]


@pytest.mark.parametrize("extra_columns", ["refuse", "ignore"])
@pytest.mark.parametrize("names", [[CANARY], [CANARY, CANARY], [f"flight;{CANARY}"], [CANARY, 1]])
def test_names_none_of_which_is_a_columns_are_not_shown(names: list, extra_columns: str) -> None:
    # They are the first row of a CSV file without a header.
    contract = TWO.model_copy(update={"extra_columns": extra_columns})
    with pytest.raises(ContractViolation, match="may not miss") as caught:
        contract.conform(pd.DataFrame([[0] * len(names)], columns=names))
    assert "a CSV file names them in its first line, with commas" in caught.value.mend
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.violations)


@pytest.mark.parametrize("thing", [None, [[1.0]], np.zeros((2, 2)), {"distance": [1]}, pd.Series()])
def test_only_a_frame_is_a_frame(thing: Any) -> None:
    with pytest.raises(ContractViolation, match="a DataFrame with named columns is needed"):
        TWO.conform(thing)


def test_keys_are_held_to_their_rules_or_left_alone() -> None:
    strict = DataContract(
        columns={"id": Column(kind="integer"), "x": Column(kind="number")}, keys=("id",)
    )
    bad = pd.DataFrame({"id": ["a"], "x": [1.0]})
    with pytest.raises(ContractViolation, match="id: 1 of 1"):
        strict.conform(bad)
    got = strict.conform(bad, keys=False)
    assert list(got.frame) == ["x"]
    assert got.keys.shape == (1, 0)
    with pytest.raises(ContractViolation) as caught:
        strict.conform(bad[["x"]])
    assert [(v.column, v.rule) for v in caught.value.violations] == [("id", "missing")]
    assert strict.conform(bad[["x"]], keys=False).frame["x"].tolist() == [1.0]
    good = strict.conform(pd.DataFrame({"x": [1.0], "id": [7]}))
    assert good.keys["id"].tolist() == [7]


def test_no_rows() -> None:
    got = TWO.conform(whole().iloc[:0])
    assert got.frame.shape == (0, 4)
    assert got.findings == ()
    assert got.frame.dtypes.equals(TWO.conform(whole()).frame.dtypes)
    assert TWO.conform(pd.DataFrame({"distance": [], "carrier": []})).frame.shape == (0, 4)
    # A column that must be there must be there, also for no rows.
    with pytest.raises(ContractViolation, match="carrier"):
        TWO.conform(pd.DataFrame({"distance": []}))
