"""Rows written column by column are what `json` writes of them row by row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asfitted.errors import RecordError
from asfitted.prediction_log import json_rows as module
from asfitted.prediction_log.encode import encode_columns

_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())
    | st.floats(allow_nan=False, allow_infinity=False).map(np.float64)
    | st.lists(st.integers(), max_size=2)
)
_COLUMNS = st.dictionaries(st.text(st.characters(), max_size=5), st.just(None), max_size=4)


@given(data=st.data(), names=_COLUMNS, n_rows=st.integers(0, 4), piece=st.integers(1, 5))
def test_each_row_is_what_json_writes(data, names, n_rows, piece) -> None:
    columns: dict[str, list[Any]] = {
        name: data.draw(st.lists(_VALUES, min_size=n_rows, max_size=n_rows)) for name in names
    }
    rows = [{name: values[i] for name, values in columns.items()} for i in range(n_rows)]
    wanted = [json.dumps(row, separators=(",", ":")) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", piece)
        assert encode_columns(columns, n_rows, "inputs") == wanted


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), object(), np.int64(1), [float("nan")]]
)
@pytest.mark.parametrize("beside", [[], [None], ["x"]])
def test_what_json_has_not_is_refused_unquoted(value, beside) -> None:
    with pytest.raises(RecordError, match=r"^inputs cannot be written as JSON") as refused:
        encode_columns({"a": [value, *beside]}, 1 + len(beside), "inputs")
    assert "give str, int, finite float" in str(refused.value)


@given(
    numbers=st.lists(st.floats(allow_infinity=False), max_size=6),
    whole=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6),
)
def test_the_numbers_of_an_array_read_back_as_the_same_bits(numbers, whole) -> None:
    for values in (np.array(numbers, dtype="float64"), np.array(whole, dtype="int64")):
        # Also of an array whose numbers do not lie side by side.
        apart = np.column_stack([values, values])[:, 0]
        rows = encode_columns({"a": apart}, len(values), "inputs")
        read = [json.loads(row)["a"] for row in rows]
        again = np.array([np.nan if value is None else value for value in read], values.dtype)
        assert again.view("int64")[values == values].tolist() == (
            values.view("int64")[values == values].tolist()
        )
        assert [value is None for value in read] == np.isnan(values).tolist()
        # A number stays one, and a whole number a whole one.
        kind = float if values.dtype == "float64" else int
        assert all(type(value) is kind for value in read if value is not None)


@given(
    labels=st.lists(st.text(st.characters()) | st.integers(-9, 9), max_size=5, unique_by=repr),
    codes=st.lists(st.integers(-1, 4), max_size=9),
)
def test_categories_are_what_their_labels_are(labels, codes) -> None:
    codes = [code if code < len(labels) else -1 for code in codes]
    held = pd.Categorical.from_codes(codes, pd.Index(labels, dtype=object))
    values = [None if code < 0 else labels[code] for code in codes]
    wanted = encode_columns({"a": [1] * len(codes), "b": values}, len(codes), "inputs")
    for columns in ({"a": np.ones(len(codes), "int64"), "b": held}, {"a": [1] * 9, "b": held}):
        assert encode_columns(columns, len(codes), "inputs") == wanted


def test_an_infinity_in_an_array_is_refused() -> None:
    with pytest.raises(RecordError, match="inputs cannot be written as JSON"):
        encode_columns({"a": np.array([1.0, -np.inf])}, 2, "inputs")
