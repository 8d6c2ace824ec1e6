"""The example that MLflow shows: golden rows as a caller would send them, keys neutral."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asfitted.artifact import layout
from asfitted.contract import DataContract
from asfitted.scoring import input_example
from asfitted.wire.json_body import read_json

FRAME = pd.DataFrame({"n": [0.1 + 0.2, -0.0, 5e-324, 1e300, 7.0, 8.0, 9.0]})

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def contract_with_key(key: str, rest: str = "") -> DataContract:
    return DataContract.from_yaml(
        f"schema_version: 1\nkeys: [k]\ncolumns:\n  k: {key}\n  n: {{kind: number}}\n{rest}"
    )


def written(root: Path, contract: DataContract, frame: pd.DataFrame = FRAME) -> pd.DataFrame:
    """Write the example of `frame`; return what our own reader makes of the serving form."""
    conformed = contract.conform(frame, keys=False).frame
    assert input_example.write(root, contract, conformed)
    body = (root / layout.SERVING_EXAMPLE).read_bytes()
    assert (
        json.loads((root / layout.INPUT_EXAMPLE).read_bytes())
        == json.loads(body)["dataframe_split"]
    )
    rows = read_json(body, contract, 100)
    read = rows.conform(contract)
    pd.testing.assert_frame_equal(
        read.frame.reset_index(drop=True),
        conformed.iloc[: rows.n_rows].reset_index(drop=True),
        check_exact=True,
    )
    return read.keys


KEYS = {
    "{kind: text}": "",
    "{kind: text, min_length: 3}": "000",
    "{kind: text, min_length: 100, max_length: 200}": "0" * 100,
    "{kind: text, pattern: '[A-Z]{4}'}": "AAAA",
    "{kind: text, pattern: '[a-z]+'}": "a",
    "{kind: text, pattern: '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'}": (
        "00000000-0000-0000-0000-000000000000"
    ),
    "{kind: text, pattern: 'order-\\d+', missing: {fill: order-0}}": "order-0",
    "{kind: text, pattern: 'order-\\d+', missing: pass}": None,
    "{kind: integer}": 0,
    "{kind: integer, min: 0.5}": 1,
    "{kind: integer, max: -1.5}": -2,
    "{kind: number, min: 2.5}": 2.5,
    "{kind: number, missing: pass}": None,
    "{kind: boolean}": False,
    "{kind: category, categories: [x, y]}": "x",
    "{kind: category, categories: [7, 8]}": 7,
    "{kind: datetime}": np.datetime64("2000-01-01"),
    "{kind: datetime, min: '2020-02-03T04:05:06.000007Z'}": np.datetime64(
        "2020-02-03T04:05:06.000007"
    ),
    "{kind: datetime, max: '1999-01-01T00:00:00', zone: America/New_York}": np.datetime64(
        "1999-01-01T05:00"
    ),
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_a_neutral_value_that_its_rules_allow(key: str, tmp_path: Path) -> None:
    keys = written(tmp_path, contract_with_key(key))
    assert len(keys) == input_example.ROWS
    values = keys["k"].tolist()
    expected = KEYS[key]
    if expected is None:
        assert keys["k"].isna().all()
    elif isinstance(expected, np.datetime64):
        assert (keys["k"].to_numpy().astype("datetime64[us]") == expected).all()
    else:
        assert values == [expected] * len(keys)


@pytest.mark.parametrize(
    "key", ["{kind: text, pattern: 'order-\\d+'}", "{kind: integer, min: 0.2, max: 0.8}"]
)
def test_without_a_neutral_key_there_is_no_example(
    key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contract = contract_with_key(key)
    conformed = contract.conform(FRAME, keys=False).frame
    with caplog.at_level(logging.INFO, "asfitted"):
        assert not input_example.write(tmp_path, contract, conformed)
    assert list(tmp_path.iterdir()) == []
    (record,) = caplog.records
    assert "the key k" in record.getMessage()


def test_no_more_rows_than_a_request_may_hold(tmp_path: Path) -> None:
    contract = contract_with_key("{kind: text}", "limits: {rows: 2}")
    assert len(written(tmp_path, contract)) == 2


@pytest.mark.parametrize("missing", ["refuse", "pass", "fill"])
@given(data=st.data())
def test_every_kind_of_column_survives(
    missing: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kinds: dict[str, tuple[str, Any, st.SearchStrategy[Any]]] = {
        "number": ("", 0.5, st.floats(allow_nan=False, allow_infinity=False)),
        "integer": ("", 3, st.integers(-(2**53) + 1, 2**53 - 1)),
        "boolean": ("", True, st.booleans()),
        "category": (", categories: [ä, 'NA', '1', '']", "NA", st.sampled_from(["ä", "NA", "1"])),
        "text": ("", "null", _TEXT),
        "datetime": (
            ", zone: America/New_York",
            "2020-01-01T00:00:00Z",
            st.datetimes(min_value=pd.Timestamp("1700-01-01").to_pydatetime()).map(
                lambda moment: moment.isoformat() + "Z"
            ),
        ),
    }
    lines, rows = [], data.draw(st.integers(1, 4))
    frame = {}
    for kind, (rules, fill, values) in kinds.items():
        may_miss = missing != "refuse" and not (kind == "text" and missing == "pass")
        said = json.dumps({"fill": fill}) if missing == "fill" else missing if may_miss else ""
        lines.append(f"  {kind}: {{kind: {kind}{rules}{', missing: ' + said if said else ''}}}")
        drawn = st.one_of(st.none(), values) if may_miss else values
        frame[kind] = pd.Series(
            data.draw(st.lists(drawn, min_size=rows, max_size=rows)), dtype=object
        )
    contract = DataContract.from_yaml("schema_version: 1\ncolumns:\n" + "\n".join(lines))
    assert len(written(tmp_path_factory.mktemp("example"), contract, pd.DataFrame(frame))) == rows
