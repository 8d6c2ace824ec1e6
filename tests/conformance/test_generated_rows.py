"""Rows that nobody would think of: the same answer through every door, the same on record."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from conformance_doors import (
    FAMILIES,
    FORMS,
    House,
    Request,
    Row,
    as_frame,
    bits,
    opened,
    request,
    rows_of,
)
from conformance_steps import Fingerprint, hours
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import asfitted

EXACT = 2**53 - 1
COLOURS = ("rot", "grün", "NA", "true", "1e3", " ")
CONTRACT = asfitted.DataContract.from_yaml(f"""
schema_version: 1
keys: [id]
columns:
  id: {{kind: text, allow_nul: true}}
  size: {{kind: number, missing: pass}}
  price: {{kind: number, missing: {{fill: 0.5}}, min: -1.0e+308}}
  count: {{kind: integer, missing: pass}}
  visits: {{kind: integer, missing: {{fill: 7}}}}
  fresh: {{kind: boolean, missing: pass}}
  member: {{kind: boolean}}
  colour: {{kind: category, categories: {json.dumps(COLOURS)}, missing: pass, unknown: missing,
    allow_nul: true}}
  shop: {{kind: category, categories: [north, south], unknown: other, allow_nul: true}}
  grade: {{kind: category, categories: [3, 1, {EXACT}], missing: {{fill: 1}}, unknown: missing}}
  note: {{kind: text, missing: {{fill: none}}, max_length: 30, allow_nul: true}}
  sold: {{kind: datetime, missing: pass, zone: Europe/Berlin}}
""")

# Python 3.10's csv reads no NUL.
_NOT_IN_CSV = "\0" if sys.version_info < (3, 11) else ""
TEXT = st.text(st.characters(codec="utf-8", exclude_characters=_NOT_IN_CSV), max_size=30)
AWKWARD = (
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    0.1 + 0.2,
    1e22,
    1e23,
    1e308,
    2.0**53,
)
WHOLE = st.integers(-EXACT, EXACT) | st.sampled_from((0, EXACT, -EXACT, EXACT - 1))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
# What is a moment in every family: pandas has no microseconds of other years than these
# where it holds nanoseconds, and an offset must not lead out of the calendar.
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31), timezones=OFFSETS)


def numbers(low: float) -> st.SearchStrategy[float | int]:
    """Return finite doubles, and whole numbers as JSON writes them."""
    floats = st.floats(low, allow_nan=False, allow_infinity=False)
    return floats | st.sampled_from(AWKWARD) | st.integers(-EXACT, EXACT)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": TEXT.filter(bool),
    "size": st.none() | numbers(-sys.float_info.max),
    "price": st.none() | numbers(-1e308),
    "count": st.none() | WHOLE,
    "visits": st.none() | WHOLE,
    "fresh": st.none() | st.booleans(),
    "member": st.booleans(),
    "colour": st.none() | st.sampled_from(COLOURS) | TEXT,
    "shop": st.sampled_from(("north", "south", "other")) | TEXT.filter(bool),
    "grade": st.none() | st.sampled_from((3, 1, EXACT)) | WHOLE,
    "note": st.none() | st.sampled_from(("", "NA", "null", "\r\n", '"', ",", "\ufeff")) | TEXT,
    "sold": st.none() | MOMENTS,
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6)

NOTHING: Row = dict.fromkeys(VALUES) | {"id": "k", "member": False, "shop": "west"}
EXTREME: Row = {
    "id": "\U0001f6a2 ‮k",
    "size": -0.0,
    "price": 1e308,
    "count": EXACT,
    "visits": -EXACT,
    "fresh": False,
    "member": True,
    "colour": "1e3",
    "shop": "NULL",
    "grade": EXACT,
    "note": 'a "b",\r\n\tc',
    "sold": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, dt.timezone(dt.timedelta(hours=-3.5))),
}


def training_rows(n_rows: int = 60) -> list[Row]:
    """Return plain rows to fit on."""
    start = dt.datetime(2024, 1, 5, tzinfo=dt.timezone.utc)
    return [
        {
            "id": f"k{i}",
            "size": None if i % 9 == 0 else math.sin(i),
            "price": i / 7,
            "count": i % 20,
            "visits": i % 5,
            "fresh": (True, False, None)[i % 3],
            "member": i % 2 == 0,
            "colour": COLOURS[i % len(COLOURS)],
            "shop": ("north", "south", "west")[i % 3],
            "grade": (3, 1, EXACT)[i % 3],
            "note": ("fine", "small and old", "")[i % 3],
            "sold": start + dt.timedelta(hours=37 * i),
        }
        for i in range(n_rows)
    ]


def _trees() -> Any:
    numeric = ["size", "price", "count", "visits", "fresh", "member"]
    columns = ColumnTransformer(
        [
            ("numbers", "passthrough", numeric),
            ("categories", asfitted.Dummies(), ["colour", "shop", "grade"]),
            ("note", HashingVectorizer(n_features=16), "note"),
            ("sold", FunctionTransformer(hours), ["sold"]),
        ],
        sparse_threshold=0,
    )
    return make_pipeline(columns, HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=3))


PIPELINES = {"trees": _trees, "fingerprint": Fingerprint}


@pytest.fixture(scope="module", params=PIPELINES)
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    rows = training_rows()
    frame = as_frame(rows, CONTRACT, "numpy")
    target = [math.cos(i) + (row["shop"] == "north") for i, row in enumerate(rows)]
    pipeline = make_pipeline(asfitted.Conform(CONTRACT), PIPELINES[request.param]())
    pipeline.fit(frame, target)
    folder = tmp_path_factory.mktemp("log")
    with opened(pipeline, frame, folder) as opened_house:
        yield opened_house


def as_csv_tells(row: Row) -> Row:
    """Return what a row is once it has been CSV: there an empty text is a missing value."""
    return {name: None if value == "" else value for name, value in row.items()}


def recorded(row: Row) -> list[Row]:
    """Return (inputs, keys) that have to stand on record: what was sent, by the contract."""
    inputs = dict(row)
    for name in ("size", "price"):
        inputs[name] = None if row[name] is None else float(row[name])
    if row["sold"] is not None:
        utc = row["sold"].astimezone(dt.timezone.utc).replace(tzinfo=None)
        inputs["sold"] = utc.isoformat(timespec="microseconds") + "Z"
    return [{name: inputs[name] for name in CONTRACT.features}, {"id": row["id"]}]


def conformed(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return a conformed frame so that it is equal only where dtypes and bits are."""
    table = CONTRACT.conform(frame).frame
    columns = []
    for name in table.columns:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            columns.append((name, column.cat.categories.tolist(), column.cat.codes.tolist()))
        elif column.dtype == object:
            columns.append((name, [(type(v), v) for v in column]))
        else:
            columns.append((name, str(column.dtype), column.to_numpy().tobytes()))
    return columns


_calls = iter(range(10**9))


@given(rows=ROWS)
@example(rows=[NOTHING])
@example(rows=[EXTREME])
@example(rows=[NOTHING, EXTREME])
@example(rows=[EXTREME | {"size": 1, "price": 2.5}, EXTREME | {"size": 2.5, "price": 1}])
def test_generated_rows_get_one_answer_through_every_door(house: House, rows: list[Row]) -> None:
    # The columns of a request come in one order, whatever it is.
    rows = [{name: row[name] for name in rows[0]} for row in rows]
    from_csv = [as_csv_tells(row) for row in rows]
    call = next(_calls)
    # The measure: each row alone, in process, as numpy holds it.
    measure = {
        form: [measured(house, row) for row in (from_csv if form == "csv" else rows)]
        for form in ("csv", "others")
    }
    requests, expected = [], {}
    for form in FORMS:
        given_rows = from_csv if form == "csv" else rows
        answers = measure["csv" if form == "csv" else "others"]
        requests.append(request(f"{call}:{form}:all", form, rows, CONTRACT))
        expected[requests[-1].id] = (answers, given_rows)
        requests.append(request(f"{call}:{form}:last", form, rows[-1:], CONTRACT))
        expected[requests[-1].id] = (answers[-1:], given_rows[-1:])
    replies = house.together(requests)
    for sent, reply in zip(requests, replies, strict=True):
        answers, given_rows = expected[sent.id]
        assert bits(reply) == bits(answers), sent.id
        on_record = asfitted.read_log(house.folder, request_id=sent.id).sort_values("row")
        pairs = zip(on_record["inputs"], on_record["keys"], strict=True)
        # Compared as JSON: to Python, 1 and 1.0 and True, 0.0 and -0.0 are equal.
        assert [json.dumps(pair) for pair in pairs] == [json.dumps(recorded(r)) for r in given_rows]
        assert bits([row["prediction"] for row in on_record["outputs"]]) == bits(answers)
    frames = {family: as_frame(rows, CONTRACT, family) for family in FAMILIES}
    for family, frame in frames.items():
        assert conformed(frame) == conformed(frames["numpy"]), family
        answered = house.inside.answered(frame)
        given_answers = [row["prediction"] for row in rows_of(answered.outputs)]
        assert bits(given_answers) == bits(measure["others"]), family


def measured(house: House, row: Row) -> float:
    model = asfitted.FittedModel(house.inside.pipeline)
    return model.outputs(as_frame([row], CONTRACT, "numpy"))["prediction"].item()


@pytest.mark.parametrize("house", ["fingerprint"], indirect=True)
def test_what_is_not_the_same_row_has_another_answer(house: House) -> None:
    """The fingerprint tells a zero from a negative one: else the test above would be blind."""
    changes: list[Row] = [
        {"size": 0.0},
        {"price": math.nextafter(1e308, 0)},
        {"count": EXACT - 1},
        {"fresh": None},
        {"note": 'a "b",\n\tc'},
        {"sold": EXTREME["sold"] + dt.timedelta(microseconds=1)},
    ]
    answers = {measured(house, EXTREME | change) for change in [{}, *changes]}
    assert len(answers) == len(changes) + 1
    for change in changes:
        (reply,) = house.in_turn([request("other", "inputs", [EXTREME | change], CONTRACT)])
        assert bits(reply) == bits([measured(house, EXTREME | change)])


@pytest.mark.parametrize("house", ["fingerprint"], indirect=True)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "parquet"])
def test_a_negative_zero_without_a_point_is_one(house: House, form: str) -> None:
    """As Go and C write it; a whole number has no such zero."""
    row = EXTREME | {"count": 0, "visits": 0}
    (whole,) = [request(f"zero:{form}", form, [row], CONTRACT)]
    short = Request(whole.id, whole.content_type, whole.body.replace(b"-0.0", b"-0"))
    assert whole.body != short.body
    assert bits(house.in_turn([whole, short])) == bits([[measured(house, row)]] * 2)
