"""Contracts at random, changes of them, and the rows near the bounds of both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import assume
from hypothesis import strategies as st
from pydantic import ValidationError

from asfitted.contract import Column, DataContract
from asfitted.contract.kinds import read_column
from asfitted.contract.plain import plain

EXACT = 2**53 - 1
_NUMBERS = {"min": [-1, 0, 0.5, 4], "max": [4, 5, 5.5, 2**60], "observed": [(0, 1), (1, 2)]}
_MOMENTS = ["2020-03-01", "2020-03-02T00:00:00Z", "2020-03-02T12:00+02:00"]
# What may be said of each kind, rule by rule; not all of it goes together.
RULES: dict[str, dict[str, list[Any]]] = {
    "number": {**_NUMBERS, "missing": [{"fill": 4}, {"fill": 4.5}]},
    "integer": {**_NUMBERS, "missing": [{"fill": 4}, {"fill": 0}]},
    "boolean": {"missing": [{"fill": True}, {"fill": False}]},
    "category": {
        "categories": [
            *(("a", "b"), ("b", "a", "other"), ("ab",), (1, 4), (4, 5, 1), ("",), ("a", "\0")),
        ],
        "allow_nul": [True, False],
        "unknown": ["refuse", "missing", "other"],
        "other": ["other", "b", 9],
        "missing": [{"fill": "a"}, {"fill": 4}],
    },
    "text": {
        "min_length": [0, 1, 2],
        "max_length": [2, 3, 1000],
        "pattern": ["[a-z]*", "a.*", ".{1,3}"],
        "allow_nul": [True, False],
        "missing": [{"fill": ""}, {"fill": "ab"}],
    },
    "datetime": {
        "min": _MOMENTS,
        "max": ["2020-03-02", "2020-03-05"],
        "zone": ["UTC", "Asia/Tokyo"],
        "observed": [("2020-03-01", "2020-03-02")],
        "missing": [{"fill": "2020-03-02"}, {"fill": "2020-03-02T11:00"}],
    },
}
for _rules in RULES.values():
    _rules["missing"] = ["refuse", "pass", *_rules["missing"]]
    _rules["unit"] = ["", "m", "km"]
    _rules["meaning"] = ["", "How far"]
    _rules["why"] = [{}, {"missing": "seldom"}]

# Each kind's bounds, one step on either side of them, and what is of another kind.
VALUES: list[Any] = [
    *(None, float("nan"), pd.NA, True, False),
    *(-2, -1, -0.5, 0, 0.5, 1, 3, 4, 4.0, 4.5, 5, 5.1, 5.5, 6, 7, 9),
    *(EXACT, -EXACT, EXACT + 1, 2.0**60, 2.0**61, 1e300),
    *(
        "",
        "a",
        "b",
        "z",
        "\0",
        "a\0",
        "ab",
        "AB",
        "abc",
        "abcd",
        "a\n",
        "other",
        "x" * 1000,
        "x" * 1001,
    ),
    *("2020-02-29T23:59:59.999999Z", "2020-03-01", "2020-03-01T00:00Z", "2020-03-01T15:00"),
    *("2020-03-02", "2020-03-02T12:00+02:00", "2020-03-02T09:00", "2020-03-05T00:00:00.000001"),
    *(dt.datetime(2020, 3, 2), dt.datetime(2020, 3, 2, tzinfo=dt.timezone.utc)),
    dt.datetime(2020, 3, 5, 9),
]


def column_of(said: dict[str, Any]) -> Column | None:
    """Return the column, or None where its rules do not go together."""
    try:
        return Column.model_validate(said)
    except ValidationError:
        return None


@st.composite
def _said(draw: st.DrawFn, kinds: Iterable[str] = tuple(RULES)) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(kinds)))
    said: dict[str, Any] = {"kind": kind}
    for rule, values in RULES[kind].items():
        if rule == "categories" or draw(st.integers(0, 2)) == 0:
            said[rule] = draw(st.sampled_from(values))
    return said


def columns(kinds: Iterable[str] = tuple(RULES)) -> st.SearchStrategy[Column]:
    """Return columns of any of `kinds`, with some of the rules of the kind."""
    return _said(kinds).map(column_of).filter(lambda column: column is not None)  # type: ignore[return-value]


def contract_of(parts: dict[str, Any]) -> DataContract | None:
    """Return the contract, or None where its parts do not go together."""
    try:
        return DataContract.model_validate(parts)
    except ValidationError:
        return None


@st.composite
def contracts(draw: st.DrawFn, max_columns: int = 3) -> DataContract:
    """Return contracts of a few columns, some of them keys."""
    names = "abcd"[: draw(st.integers(1, max_columns))]
    parts = {
        "columns": {name: draw(columns()) for name in names},
        "keys": tuple(name for name in names if draw(st.integers(0, 5)) == 0),
        "extra_columns": draw(st.sampled_from(["refuse", "ignore"])),
    }
    contract = contract_of(parts)
    assume(contract is not None)
    assert contract is not None
    return contract


@st.composite
def changed_columns(draw: st.DrawFn, column: Column) -> Column:
    """Return `column` with a rule or two of other values, or of another kind altogether."""
    said = column.model_dump(exclude_unset=True)
    if draw(st.integers(0, 4)) == 0:
        kind = draw(st.sampled_from(sorted(RULES)))
        said = {"kind": kind} | {rule: v for rule, v in said.items() if rule in RULES[kind]}
    rules = RULES[said["kind"]]
    if "categories" in rules and "categories" not in said:
        said["categories"] = draw(st.sampled_from(rules["categories"]))
    for rule in draw(st.lists(st.sampled_from(sorted(rules)), min_size=1, max_size=2)):
        said[rule] = draw(st.sampled_from(rules[rule]))
    changed = column_of(said)
    assume(changed is not None)
    assert changed is not None
    return changed


@st.composite
def changes(draw: st.DrawFn, old: DataContract) -> DataContract:
    """Return `old` as somebody may have edited it."""
    columns_now = dict(old.columns)
    keys, extra = list(old.keys), old.extra_columns
    for name in draw(st.lists(st.sampled_from(sorted(old.columns)), max_size=2, unique=True)):
        match draw(st.integers(0, 6)):
            case 0:
                del columns_now[name]
                keys = [key for key in keys if key != name]
            case 1:
                keys = [k for k in keys if k != name] if name in keys else [*keys, name]
            case _:
                columns_now[name] = draw(changed_columns(old.columns[name]))
    if draw(st.integers(0, 3)) == 0:
        columns_now["new"] = draw(columns())
    if draw(st.integers(0, 3)) == 0:
        extra = draw(st.sampled_from(["refuse", "ignore"]))
    if draw(st.integers(0, 5)) == 0:
        columns_now = dict(reversed(columns_now.items()))
    new = contract_of({"columns": columns_now, "keys": tuple(keys), "extra_columns": extra})
    assume(new is not None)
    assert new is not None
    return new


def taken(column: Column) -> list[bool]:
    """Return which of `VALUES` the column allows."""
    read = read_column(plain(pd.Series(VALUES, dtype=object)), column)
    good = np.ones(len(VALUES), dtype=bool)
    for _, _, mask in read.problems:
        good &= ~mask
    return good.tolist()


@st.composite
def frames(draw: st.DrawFn, contract: DataContract, others: Iterable[str] = ()) -> pd.DataFrame:
    """Return frames that `contract` allows; `others` are columns that it may not know."""
    n_rows = draw(st.integers(1, 4))
    said: dict[str, Any] = {}
    for name, column in contract.columns.items():
        good = [value for value, ok in zip(VALUES, taken(column), strict=True) if ok]
        if column.may_miss and (not good or draw(st.integers(0, 4)) == 0):
            continue
        assume(good)
        said[name] = [draw(st.sampled_from(good)) for _ in range(n_rows)]
    if contract.extra_columns == "ignore":
        for name in others:
            if name not in contract.columns and draw(st.booleans()):
                said[name] = [draw(st.sampled_from(VALUES)) for _ in range(n_rows)]
    return pd.DataFrame(
        {name: pd.Series(values, dtype=object) for name, values in said.items()},
        index=range(n_rows),
    )
