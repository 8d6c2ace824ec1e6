"""A proposal from training data: the data conforms to it, and each guess says that it is one."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from families import EXACT, PASS, VALUES, columns, families
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from asfitted.contract import DataContract, Fill, check_target
from asfitted.errors import AsfittedError, ContractInvalid


def infer(values: Any, **kwargs: Any) -> DataContract:
    series = values if isinstance(values, (pd.Series, pd.Categorical)) else pd.Series(values)
    return DataContract.infer(pd.DataFrame({"c": series}), **kwargs)


def kind_of(values: Any) -> str:
    return infer(values).columns["c"].kind


OBJECT = {"dtype": object}


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("number", pd.Series([1.5, 2])),
        ("number", pd.Series([1, 2], dtype="float32")),
        ("number", pd.Series([1, None], dtype="Float64")),
        ("number", pd.Series([1.0, None], dtype="double[pyarrow]")),
        ("number", pd.Series([decimal.Decimal("1.5"), None], **OBJECT)),
        ("number", pd.Series([1, 1.5, None], **OBJECT)),
        ("number", pd.Series([1.5, pd.NA, None, np.nan], **OBJECT)),
        ("number", pd.Series(pd.Categorical([1.5, 2.5]))),
        ("integer", pd.Series([1, 2])),
        ("integer", pd.Series([1, 2], dtype="uint8")),
        ("integer", pd.Series([1, None], dtype="Int64")),
        ("integer", pd.Series([1, None], dtype="int16[pyarrow]")),
        ("integer", pd.Series([1, None, pd.NA], **OBJECT)),
        ("boolean", pd.Series([True, False])),
        ("boolean", pd.Series([True, None], dtype="boolean")),
        ("boolean", pd.Series([True, None], dtype="bool[pyarrow]")),
        ("boolean", pd.Series([True, None, np.nan, pd.NA], **OBJECT)),
        ("boolean", pd.Series(pd.Categorical([True, False]))),
        ("category", pd.Series(["a", "b"])),
        ("category", pd.Series(["a", None], dtype="string")),
        ("category", pd.Series(["a", None], dtype="string[pyarrow]")),
        ("category", pd.Series(["a", None, np.nan, pd.NA], **OBJECT)),
        ("category", pd.Series(pd.Categorical(["a", None]))),
        ("category", pd.Series(pd.Categorical([3, 1]))),
        ("text", pd.Series([f"word {i}" for i in range(300)])),
        ("datetime", pd.Series(pd.to_datetime(["2020-01-01"]))),
        ("datetime", pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("Asia/Tokyo"))),
        ("datetime", pd.Series(pd.to_datetime(["2020-01-01"]), dtype="timestamp[us][pyarrow]")),
        ("datetime", pd.Series(pd.Categorical(pd.to_datetime(["2020-01-01", None])))),
        ("datetime", pd.Series(pd.Categorical([dt.date(2020, 1, 1), None]))),
        ("datetime", pd.Series([dt.date(2020, 1, 1), None], **OBJECT)),
        ("datetime", pd.Series([dt.date(2020, 1, 1), None], dtype="date32[pyarrow]")),
        ("datetime", pd.Series([dt.datetime(2020, 1, 1), pd.NaT], **OBJECT)),
        ("datetime", pd.Series([np.datetime64("2020-01-01")], **OBJECT)),
    ],
    ids=lambda v: str(v.dtype) if isinstance(v, pd.Series) else v,
)
def test_the_kind_of_each_dtype(kind: str, series: pd.Series) -> None:
    contract = infer(series)
    column = contract.columns["c"]
    assert column.kind == kind
    if series.isna().any():
        assert column.may_miss
    else:
        assert column.missing == "refuse"
    frame = pd.DataFrame({"c": series})
    assert contract.conform(frame).findings == tuple(
        f for f in contract.conform(frame).findings if f.rule == "filled"
    )


def test_what_is_missing_decides_the_policy() -> None:
    assert infer([1.0, None]).columns["c"].missing == "pass"
    assert infer([f"word {i}" for i in range(300)] + [None]).columns["c"].missing == Fill(fill="")
    assert infer(["a", None], keys=()).columns["c"].missing == "pass"
    frame = pd.DataFrame({"id": ["a", None], "x": [1.0, 2.0]})
    keyed = DataContract.infer(frame, keys=("id",))
    assert (keyed.columns["id"].kind, keyed.columns["id"].missing) == ("text", "pass")
    assert keyed.features == ("x",)


def test_few_or_repeated_words_are_categories_and_many_are_text() -> None:
    assert kind_of([f"w{i}" for i in range(20)]) == "category"
    assert kind_of([f"w{i}" for i in range(21)]) == "text"
    assert kind_of([f"w{i}" for i in range(200)] * 2) == "category"
    assert kind_of([f"w{i}" for i in range(201)] * 2) == "text"
    assert infer([f"w{i}" for i in range(30)] * 2, max_categories=29).columns["c"].kind == "text"
    assert infer(["x" * 700] * 2 + [f"w{i}" for i in range(30)]).columns["c"].max_length == 1400


NAMES = [
    ["New York", "San Francisco", "Boston", "Salt Lake City", "Washington, D.C."],
    ["new york", "san francisco", "boston", "salt lake city"],
    ["NEW YORK", "LOS ANGELES", "SALT LAKE CITY", "BOSTON"],
    ["Trinidad and Tobago", "Bosnia and Herzegovina", "United States of America", "France"],
    ["Rio de Janeiro", "São Paulo", "Ho Chi Minh City"],
    ["strongly disagree", "disagree", "neither agree nor disagree", "agree", "strongly agree"],
    ["Some college", "Bachelor's degree", "High school graduate", "Less than high school"],
    ["less than 1 year", "1 to 4 years", "5 to 9 years", "retired"],
    ["debt consolidation", "home improvement", "major purchase", "small business"],
    ["Never-married", "Married-civ-spouse", "Not-in-family", "Other-relative"],
    ["Apple iPhone 13 Pro Max", "Samsung Galaxy S22 Ultra 5G"],
    ["", " ", "-", "?"],
]
PHRASES = [
    ["the product arrived broken", "great value and fast delivery", "would buy again"],
    ["The product arrived broken.", "Great value!", "Would buy it again.", "It is too small"],
    ["THE PRODUCT ARRIVED BROKEN", "GREAT VALUE AND FAST DELIVERY"],
    ["das Paket kam zu spät an", "alles gut, gerne wieder", "leider nicht zu gebrauchen"],
    ["उत्पाद टूटा हुआ आया", "यह बहुत अच्छा है"],
]


@pytest.mark.parametrize("repeated", [1, 100])
@pytest.mark.parametrize("words", NAMES, ids=lambda v: v[0])
def test_names_of_several_words_are_categories(words: list[str], repeated: int) -> None:
    assert infer(words * repeated).columns["c"].categories == tuple(sorted(words))


@pytest.mark.parametrize("repeated", [1, 100])
@pytest.mark.parametrize("words", PHRASES, ids=lambda v: v[0])
def test_phrases_are_text_however_few_they_are(words: list[str], repeated: int) -> None:
    contract = infer(words * repeated)
    assert contract.columns["c"].kind == "text"
    assert "phrases of several words, so no category" in contract.to_yaml()
    # What nobody has said yet is no violation.
    contract.conform(pd.DataFrame({"c": ["it never arrived at all"]}))
    # A list that somebody made is one, and the classes of a target are.
    assert infer(pd.Categorical(words)).columns["c"].kind == "category"
    frame = pd.DataFrame({"x": range(len(words * repeated))})
    target = DataContract.infer(frame, target=words * repeated).target["target"]
    assert target.categories == tuple(sorted(words))


def test_a_nul_that_was_seen_may_be_there() -> None:
    for values in (["a\0"] * 2, [f"{i}\0" for i in range(300)], pd.Categorical(["a\0"])):
        contract = infer(values)
        assert contract.columns["c"].allow_nul
        contract.conform(pd.DataFrame({"c": values}))
        assert "allow_nul: true  # U+0000 was seen" in contract.to_yaml()
    keyed = DataContract.infer(pd.DataFrame({"c": ["a\0"], "x": 1.0}), keys=("c",))
    assert keyed.columns["c"].allow_nul
    assert "allow_nul" not in infer(["a", "b"]).to_yaml()


def test_the_dtypes_own_list_is_the_list() -> None:
    series = pd.Series(pd.Categorical(["b", None], categories=["z", "b", "a"]))
    assert infer(series).columns["c"].categories == ("z", "b", "a")
    codes = pd.Series(pd.Categorical([5, None], categories=[5, 1]))
    assert infer(codes).columns["c"].categories == (5, 1)


def test_the_zone_is_the_dtypes() -> None:
    naive = pd.Series(pd.to_datetime(["2020-07-01"]))
    assert infer(naive).columns["c"].zone == "UTC"
    zoned = infer(naive.dt.tz_localize("America/New_York")).columns["c"]
    assert zoned.zone == "America/New_York"
    assert zoned.observed == ("2020-07-01T04:00:00.000000Z",) * 2
    fixed = naive.dt.tz_localize(dt.timezone(dt.timedelta(hours=2)))
    assert infer(fixed).columns["c"].zone == "UTC"


def test_a_comment_stands_beside_each_guess() -> None:
    frame = pd.DataFrame(
        {
            "number": [0.5, None, 2.0],
            "word": ["a", "b", "c"],
            "text": [f"{i}" for i in range(3)],
            "when": pd.to_datetime(["2020-01-01"] * 3),
        }
    )
    text = DataContract.infer(frame, keys=("text",)).to_yaml()
    assert "# Data contract, inferred from 3 rows on " in text
    for line in (
        "kind: number  # guessed from float64, 2 values",
        "missing: pass  # guess: 1 of 3 missing",
        "observed: [0.5, 2.0]  # outside is a finding",
        "missing: refuse  # guess: none of 3 missing",
        "unknown: refuse  # guess: what a value outside the list does",
        "categories: [a, b, c]  # guess: the 3 distinct values seen",
        "max_length: 1000  # guess: 3 distinct, the longest has 1",
        "zone: UTC  # guess: of values that carry no offset",
        "keys: [text]  # logged with each answer, not fed to the pipeline",
    ):
        assert line in text


# The target.

TARGETS = [
    ([0, 1, 1, 0], "category", (0, 1)),
    ([3, 1, 2, 1], "category", (1, 2, 3)),
    (pd.Series([0, 1, 1, 0], dtype="Int64"), "category", (0, 1)),
    (["yes", "no", "no", "no"], "category", ("no", "yes")),
    (pd.Series(pd.Categorical(["b", "a", "a", "b"], categories=["c", "b", "a"])), "category", None),
    ([True, False, True, True], "boolean", ()),
    ([0.5, 1, 2, 3], "number", ()),
    (np.array([0, 1, 1, 0]).reshape(-1, 1), "category", (0, 1)),
]


@pytest.mark.parametrize(("target", "kind", "labels"), TARGETS, ids=lambda v: str(v)[:20])
def test_the_target_of_each_kind(target: Any, kind: str, labels: Any) -> None:
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4]})
    contract = DataContract.infer(frame, target=target)
    ((name, column),) = contract.target.items()
    assert name == ("target_0" if np.ndim(target) == 2 else "target")
    assert column.kind == kind
    assert column.missing == "refuse"
    assert column.categories == (("c", "b", "a") if labels is None else labels)
    assert check_target(target, contract).tolist() == np.ravel(np.asarray(target)).tolist()
    again = DataContract.from_yaml(contract.to_yaml())
    assert again == contract
    assert list(contract.columns) == ["x"]


def test_many_whole_numbers_are_no_classes() -> None:
    frame = pd.DataFrame({"x": np.arange(30.0)})
    column = DataContract.infer(frame, target=np.arange(30)).target["target"]
    assert column.kind == "integer"
    assert (column.min, column.max, column.observed) == (None, None, None)
    text = DataContract.infer(frame, target=np.arange(30)).to_yaml()
    assert "seen 0 to 29: min and max would refuse" in text
    assert "target:  # checked before fit" in text
    assert DataContract.infer(frame, target=np.arange(30) % 20).target["target"].kind == "category"


def test_the_targets_names() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    for target, names in (
        (pd.Series([1, 0], name="late"), ["late"]),
        (pd.Series([1, 0], name=0), ["target"]),
        (pd.DataFrame({"late": [1, 0], "why so": [0.5, 1]}), ["late", "why so"]),
        (np.zeros((2, 2)), ["target_0", "target_1"]),
    ):
        assert list(DataContract.infer(frame, target=target).target) == names


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ([1.0, None], "1 of 2 values are missing"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "a datetime cannot be a target"),
        (["a", 1], "types that no kind holds|could not"),
        (pd.DataFrame({0: [1, 2]}), "without a name in text"),
        ([1.0, np.inf], "not finite"),
    ],
    ids=str,
)
def test_what_no_target_is_made_of(target: Any, said: str) -> None:
    if isinstance(target, list):
        target = pd.Series(target, name="late", dtype=object if "a" in target else None)
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    with pytest.raises(ContractInvalid, match=said):
        DataContract.infer(frame, target=target)


# YAML's surprises.

PITFALLS = [
    ["NO", "yes", "on", "Off", "y", "n", "true", "False"],
    ["1e3", "1.5", ".5", "1_000", "012", "08", "0x1F", "0o17", "0b1", "+1", "-0", ".inf", ".nan"],
    ["null", "~", "", " ", "Null", "None", "NA", "nan", "=", "<<"],
    ["2013-01-01", "2013-01-01T00:00:00Z", "12:30", "12:30:45", "190:20:30", "1:2"],
    ["a: b", "a #b", "#c", "- d", "? e", "!tag", "&anchor", "*alias", "%f", "@g", "`h`", "|", ">"],
    ["'single'", '"double"', "it's", 'say "so"', "\\", "\\n", "{a: 1}", "[1]", "a, b", "{", "]"],
    ["ä", "日本", "😀", "\u00a0", "\u200b", "\ufeff", "e\u0301", "\U0001f1e9\U0001f1ea"],
    ["a\nb", "\n", "a\n", "\na", "a\r\nb", "\r", "a\n\nb", "a\n...\nb", "a\n---\nb", "\t", " a "],
    ["\x85", "\u2028", "\u2029", "a\x85b", "\x0b", "\x0c", "\x1c", "\x00", "\x07", "\x7f"],
    ["...", "---", "--- a", "... b", "a:", ":a", "-", "?", ":", "word " * 40, "x" * 300],
]


def round_trip(frame: pd.DataFrame, file: Path) -> DataContract:
    inferred = DataContract.infer(frame)
    inferred.save(file)
    loaded = DataContract.load(file)
    assert loaded.digest == inferred.digest
    assert loaded.to_yaml() == inferred.to_yaml()
    rendered = DataContract(**{name: getattr(loaded, name) for name in type(loaded).model_fields})
    assert DataContract.from_yaml(rendered.to_yaml()).digest == inferred.digest
    return loaded


@pytest.mark.parametrize("labels", PITFALLS, ids=lambda v: repr(v[0]))
def test_words_that_yaml_reads_as_something_else(labels: list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": pd.Series(labels, dtype=object)})
    loaded = round_trip(frame, tmp_path / "contract.yaml")
    assert loaded.columns["c"].categories == tuple(sorted(labels))
    assert loaded.conform(frame).frame["c"].tolist() == labels


@pytest.mark.parametrize("labels", PITFALLS, ids=lambda v: repr(v[0]))
def test_names_that_yaml_reads_as_something_else(labels: list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame([[1.0] * len(labels)], columns=pd.Index(labels, dtype=object))
    if "" in labels:
        frame = frame.drop(columns="")
    loaded = round_trip(frame, tmp_path / "contract.yaml")
    assert list(loaded.columns) == list(frame.columns)
    assert loaded.conform(frame).frame.shape == frame.shape


def test_a_very_long_list(tmp_path: Path) -> None:
    labels = [f"category, number {i}: 'x'" for i in range(5000)]
    frame = pd.DataFrame({"c": pd.Categorical(labels, categories=labels)})
    loaded = round_trip(frame, tmp_path / "contract.yaml")
    assert loaded.columns["c"].categories == tuple(labels)
    assert max(map(len, loaded.to_yaml().splitlines())) <= 130


_ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@given(name=_ANY_TEXT.filter(bool), labels=st.lists(_ANY_TEXT, min_size=1, unique=True))
def test_any_name_and_any_word_come_back(name: str, labels: list[str]) -> None:
    # By codes: pandas 2 takes "" and "\x00" for one label when it looks for them itself.
    index = pd.Index(labels, dtype=object)
    frame = pd.DataFrame({name: pd.Categorical.from_codes(range(len(labels)), index)})
    again = DataContract.from_yaml(DataContract.infer(frame).to_yaml())
    assert list(again.columns) == [name]
    assert set(again.columns[name].categories) == set(labels)
    assert again.conform(frame).frame[name].tolist() == labels


@given(low=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_comes_back_to_the_bit(low: float) -> None:
    observed = infer([low]).columns["c"].observed
    assert observed is not None
    assert np.array(observed[0]).tobytes() == np.array(low).tobytes()


# What is refused.


def assert_refused(frame: Any, match: str, **kwargs: Any) -> None:
    with pytest.raises(AsfittedError, match=match) as caught:
        DataContract.infer(frame, **kwargs)
    assert isinstance(caught.value, ContractInvalid)


@pytest.mark.parametrize(
    "values",
    [
        ["a", 1],
        [1, "a", 2.5],
        [True, 1],
        [True, "a"],
        [dt.date(2020, 1, 1), "2020-01-01"],
        [dt.datetime(2020, 1, 1), 1.5],
        [["a"], "b"],
        [object(), 1],
    ],
    ids=lambda v: "-".join(type(value).__name__ for value in v),
)
def test_mixed_and_strange_types(values: list[Any]) -> None:
    assert_refused(pd.DataFrame({"c": pd.Series(values, dtype=object)}), "types that no kind holds")


def test_a_category_of_mixed_labels() -> None:
    assert_refused(pd.DataFrame({"c": pd.Categorical(["a", 1])}), "no kind holds|valid")


def test_empty_frames_and_names() -> None:
    assert_refused(pd.DataFrame(), "empty")
    assert_refused(pd.DataFrame({"a": []}), "empty")
    assert_refused(pd.DataFrame({1: [1.0]}), "without a name in text: 1")
    assert_refused(pd.DataFrame({"": [1.0]}), "without a name")
    assert_refused(pd.DataFrame({None: [1.0]}), "without a name")
    assert_refused(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "stand there twice: a")
    assert_refused(pd.DataFrame([[1.0]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "name")
    assert_refused(np.zeros((2, 2)), "not from ndarray")
    assert_refused({"a": [1]}, "not from dict")


@pytest.mark.parametrize("gone", [None, np.nan, pd.NA, pd.NaT])
def test_a_column_of_nothing(gone: Any) -> None:
    assert_refused(pd.DataFrame({"c": [gone, gone]}), "every value is missing")


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", object])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity(dtype: Any, value: float) -> None:
    assert_refused(pd.DataFrame({"c": pd.Series([1.0, value], dtype=dtype)}), "not finite")


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, 2**64 - 1, 2**70, 10**400])
def test_integers_that_no_float_holds(value: int) -> None:
    assert_refused(pd.DataFrame({"c": pd.Series([1, value], dtype=object)}), "2\\^53|not finite")
    labels = pd.Categorical.from_codes([0], pd.Index([value], dtype=object))
    assert_refused(pd.DataFrame({"c": labels}), "2\\^53|no kind|not finite|valid")


def test_moments_that_microseconds_do_not_hold() -> None:
    fine = pd.Series(pd.to_datetime(["2020-01-01T00:00:00.123456789"]))
    assert_refused(pd.DataFrame({"c": fine}), "finer than a microsecond")
    late = pd.Series(np.array(["20000-01-01"], dtype="datetime64[s]"))
    assert_refused(pd.DataFrame({"c": late}), "no such moment")


def test_half_of_a_surrogate_pair() -> None:
    assert_refused(pd.DataFrame({"c": pd.Series(["\ud800"], dtype=object)}), "surrogate")
    assert_refused(pd.DataFrame([[1.0]], columns=pd.Index(["\ud800"], dtype=object)), "surrogate")


def test_a_key_that_is_no_column() -> None:
    assert_refused(pd.DataFrame({"a": [1.0]}), "the key 'b' is not a column", keys=("b",))
    assert_refused(pd.DataFrame({"a": [1.0]}), "no column is left", keys=("a",))


# The law.

KINDS = sorted(PASS)


@settings(max_examples=60)
@given(data=st.data(), kind=st.sampled_from(KINDS), key=st.booleans())
def test_what_it_was_inferred_from_conforms(data: st.DataObject, kind: str, key: bool) -> None:
    values = data.draw(columns(kind, min_size=1))
    assume(any(v is not None for v in values))
    held = dict(families(kind, values))
    name = data.draw(st.sampled_from(sorted(held)))
    frame = pd.DataFrame({"c": held[name], "x": 1.0})
    contract = DataContract.infer(frame, keys=("c",) if key else ())
    conformed = contract.conform(frame)
    assert {f.rule for f in conformed.findings} <= {"filled"}
    assert DataContract.from_yaml(contract.to_yaml()).digest == contract.digest
    assert len((conformed.keys if key else conformed.frame)["c"]) == len(values)


_JUNK = st.one_of(
    *VALUES.values(),
    st.integers(),
    st.floats(),
    st.none(),
    st.dates(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.decimals(allow_nan=False, allow_infinity=True),
    st.just(EXACT + 1),
)


@settings(max_examples=100)
@example([2**53, 0.5])
@given(values=st.lists(_JUNK, min_size=1, max_size=4))
def test_whatever_the_objects_it_conforms_or_is_refused(values: list[Any]) -> None:
    frame = pd.DataFrame({"c": pd.Series(values, dtype=object)})
    contract = None
    with contextlib.suppress(AsfittedError):
        contract = DataContract.infer(frame)
    assert contract is None or contract.conform(frame).frame.shape == frame.shape
