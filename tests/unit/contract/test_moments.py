"""Many moments at once are those that are read one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asfitted
from asfitted.contract.moments import parse_moment, parse_moments

_DAYS = st.dates().map(str) | st.from_regex(r"\A[0-9]{4}-[0-3][0-9]-[0-3][0-9]\Z")
_TIMES = st.from_regex(r"\A[T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,7})?)?\Z")
_OFFSETS = st.sampled_from(["", "Z", "z", "+00", "+0530", "\n"]) | st.from_regex(
    r"\A[+-][0-2][0-9]:[0-6][0-9]\Z"
)
_MOMENTS = st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='microseconds')}Z")
_TEXTS = _MOMENTS | st.builds("".join, st.tuples(_DAYS, _TIMES | st.just(""), _OFFSETS))


@given(texts=st.lists(_TEXTS, min_size=1, max_size=3), zone=st.sampled_from(["UTC", "Asia/Tokyo"]))
def test_at_once_or_not_at_all(texts, zone) -> None:
    at_once = parse_moments(np.array(texts, dtype=object), zone)
    if at_once is not None:
        assert at_once.dtype == "datetime64[us]"
        assert at_once.tolist() == [parse_moment(text, zone).item() for text in texts]


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2013-12-06T22:40:00Z", "Europe/Berlin"),
        ("2013-12-06 22:40:00.123456+05:30", "Europe/Berlin"),
        ("1960-02-29T23:59:59.5-11:45", "UTC"),
        ("2013-12-06T22:40:00", "UTC"),
    ],
)
def test_what_is_read_at_once(text, zone) -> None:
    at_once = parse_moments(np.array([text] * 3, dtype=object), zone)
    assert at_once is not None
    assert at_once.tolist() == [parse_moment(text, zone).item()] * 3


@pytest.mark.parametrize(
    "text",
    [
        "2013-12-06",
        "2013-12-06T22:40Z",
        "2013-12-06T22:40:00",  # of no zone but the column's
        "2013-02-30T00:00:00Z",
        "2013-02-28T23:59:60Z",
        "0000-02-28T00:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "2013-12-06T22:40:00Z\n",
        "२०१३-12-06T22:40:00Z",
        "2013-12-06T22:40:00Z\ud800",
        17,
    ],
)
def test_one_that_may_be_wrong_and_all_are_read_one_by_one(text) -> None:
    texts = np.array(["2013-12-06T22:40:00Z", text], dtype=object)
    assert parse_moments(texts, "Europe/Berlin") is None


def test_a_long_column_is_conformed_as_its_rows_are() -> None:
    contract = asfitted.DataContract.from_yaml("""
schema_version: 1
columns:
  m: {kind: datetime, zone: America/New_York, missing: pass}
""")
    texts = [f"2013-{1 + i % 12:02d}-06T22:40:00.{i:06d}-05:00" for i in range(60)]
    texts[7] = None  # type: ignore[call-overload]
    frame = pd.DataFrame({"m": pd.Series(texts, dtype=object)})
    whole = contract.conform(frame).frame["m"]
    alone = [contract.conform(frame.iloc[[i]]).frame["m"].iloc[0] for i in range(60)]
    assert whole.isna().tolist() == [i == 7 for i in range(60)]
    assert [str(value) for value in whole] == [str(value) for value in alone]
    wrong = frame.assign(m=[*texts[:59], "2013-13-01T00:00:00Z"])
    with pytest.raises(asfitted.ContractViolation) as refused:
        contract.conform(wrong)
    assert [v.rows for v in refused.value.violations] == [(59,)]
