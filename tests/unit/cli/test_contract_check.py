"""A file in chunks is one file: its rows, all that is wrong with it, and a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asfitted.cli.contract_check import check_frames
from asfitted.contract import DataContract
from asfitted.errors import ContractViolation, Violation

CONTRACT = DataContract.from_yaml(
    "columns: {a: {kind: number, max: 5, observed: [0, 3]}, b: {kind: integer, missing: pass}}"
)


def chunks(frame: pd.DataFrame, rows: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(frame), rows):
        yield frame.iloc[start : start + rows]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ContractViolation as error:
        return error


@given(
    a=st.lists(st.sampled_from([1.0, 4.0, 6.0, None, "x"]), min_size=1, max_size=12),
    rows=st.integers(1, 13),
)
def test_chunks_say_what_the_whole_says(a: list[object], rows: int) -> None:
    frame = pd.DataFrame({"a": pd.Series(a, dtype=object), "b": 1})
    refused = outcome(lambda: CONTRACT.conform(frame))
    in_chunks = outcome(lambda: check_frames(chunks(frame, rows), CONTRACT, "rows.csv"))
    if isinstance(refused, ContractViolation):
        assert isinstance(in_chunks, ContractViolation)
        assert set(in_chunks.violations) == set(refused.violations)
        assert in_chunks.where == "rows.csv"
    else:
        said = {(f.column, f.rule): len(f.rows) for f in refused.findings}
        assert in_chunks == (len(frame), said)


def test_all_chunks_are_looked_at() -> None:
    frame = pd.DataFrame({"a": [9.0, *[1.0] * 8, 9.0], "b": [*[1.0] * 5, 0.5, *[1.0] * 4]})
    with pytest.raises(ContractViolation) as caught:
        check_frames(chunks(frame, 3), CONTRACT, "rows.csv")
    assert caught.value.violations == (
        Violation("a", "max", "values above 5", (0, 9), 10),
        Violation("b", "whole", "values are not whole numbers", (5,), 10),
    )
    assert caught.value.mend == ""


def test_what_is_about_the_frame_is_said_once() -> None:
    frame = pd.DataFrame({"A": np.ones(7), "b": 1})
    with pytest.raises(ContractViolation) as caught:
        check_frames(chunks(frame, 2), CONTRACT, "rows.csv")
    assert [(v.column, v.rule, v.rows) for v in caught.value.violations] == [
        ("A", "extra_column", ()),
        ("a", "missing_column", ()),
    ]
    assert caught.value.mend.startswith("the contract's columns are a, b; there are A, b")


def test_not_more_than_a_bound() -> None:
    looked = []

    def endless() -> Iterator[pd.DataFrame]:
        while True:
            looked.append(10)
            yield pd.DataFrame({"a": [9.0] * 10, "b": [1] * 10})

    with pytest.raises(ContractViolation) as caught:
        check_frames(endless(), CONTRACT, "rows.csv", most_rows=25)
    assert len(looked) == 3
    (violation,) = caught.value.violations
    assert (len(violation.rows), violation.n_rows, violation.rows[-1]) == (30, 30, 29)
    assert caught.value.mend == "only the first 30 rows were looked at"


def test_a_file_that_breaks_off() -> None:
    torn = Violation("", "ragged", "lines do not have the 2 fields of the header", (5,), 6)

    def breaks() -> Iterator[pd.DataFrame]:
        yield pd.DataFrame({"a": [1.0, 9.0, 1.0], "b": [1] * 3})
        raise ContractViolation([torn], "rows.csv line 7")

    with pytest.raises(ContractViolation) as caught:
        check_frames(breaks(), CONTRACT, "rows.csv")
    assert caught.value.violations == (
        Violation("a", "max", "values above 5", (1,), 6),
        torn,
    )
    assert caught.value.where == "rows.csv line 7"
