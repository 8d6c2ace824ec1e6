"""The golden examples come back as they were, and a difference of one bit is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asfitted.artifact import golden, layout, numerics
from asfitted.contract import Column, DataContract, Fill
from asfitted.errors import ArtifactDamaged

CONTRACT = DataContract(
    columns={
        "size": Column(kind="number", missing="pass"),
        "count": Column(kind="integer"),
        "count_missing": Column(kind="integer", missing="pass"),
        "on": Column(kind="boolean"),
        "on_missing": Column(kind="boolean", missing="pass"),
        "colour": Column(kind="category", categories=("NA", "b", ""), missing="pass"),
        "grade": Column(kind="category", categories=(3, 1)),
        "grade_missing": Column(kind="category", categories=(3, 1), missing="pass"),
        "text": Column(kind="text", missing=Fill(fill="")),
        "left": Column(kind="datetime", missing="pass"),
        "left_ny": Column(kind="datetime", zone="America/New_York", missing="pass"),
        "output.prediction": Column(kind="number"),
    }
)
RAW = pd.DataFrame(
    {
        "size": [0.1, None, 5e-324],
        "count": [1, -(2**53 - 1), 3],
        "count_missing": pd.array([2**53 - 1, None, 0], dtype="Int64"),
        "on": [True, False, True],
        "on_missing": pd.array([True, None, False], dtype="boolean"),
        "colour": ["NA", None, ""],
        "grade": [1, 3, 1],
        "grade_missing": pd.array([1, None, 3], dtype="Int64"),
        "text": ["", "\u2028", None],
        "left": ["2020-01-01T00:00:00.000001Z", None, "0001-01-01"],
        "left_ny": ["2013-11-03T01:30-05:00", None, "9999-12-31"],
        "output.prediction": [1.0, 2.0, 3.0],
    }
)
OUTPUTS = pd.DataFrame(
    {
        "prediction": [1, 0, 1],
        "label": pd.Series(["a", "b", "NA"], dtype=object),
        "flag": [True, False, True],
        "probability_0": [0.1, 1 / 3, 1e-300],
        "probability_1": np.array([0.1, 1 / 3, 1e-30], dtype="float32"),
        "decision": [np.nan, -0.0, 1e300],
    }
)


def test_inputs_of_all_kinds_come_back_to_the_bit(tmp_path: Path) -> None:
    conformed = CONTRACT.conform(RAW).frame
    golden.write(tmp_path, conformed, OUTPUTS, OUTPUTS)
    inputs, outputs, meta = golden.read(tmp_path)
    again = CONTRACT.conform(inputs, keys=False).frame
    pd.testing.assert_frame_equal(conformed, again)
    for name in conformed:
        if conformed[name].dtype.kind in "fiMb":
            assert conformed[name].to_numpy().tobytes() == again[name].to_numpy().tobytes()
    assert list(outputs) == list(OUTPUTS)
    for name in OUTPUTS:
        assert (
            outputs[name].to_numpy().tolist()[:2] == OUTPUTS[name].tolist()[:2]
            or name == "decision"
        )
        if OUTPUTS[name].dtype != object:
            assert outputs[name].dtype == OUTPUTS[name].dtype
            assert outputs[name].to_numpy().tobytes() == OUTPUTS[name].to_numpy().tobytes()
    assert golden.differences(outputs, OUTPUTS, meta) == (0, 0.0)


@pytest.mark.parametrize("rows", [[1], [0], [1, 1], []])
def test_a_few_rows_of_any_kind(rows: list[int], tmp_path: Path) -> None:
    conformed = CONTRACT.conform(RAW.iloc[rows]).frame
    golden.write(tmp_path, conformed, OUTPUTS.iloc[rows], OUTPUTS.iloc[rows])
    inputs, outputs, meta = golden.read(tmp_path)
    again = CONTRACT.conform(inputs, keys=False).frame
    pd.testing.assert_frame_equal(conformed.reset_index(drop=True), again)
    assert golden.differences(outputs, OUTPUTS.iloc[rows].reset_index(drop=True), meta)[0] == 0


def meta(*, same: bool) -> dict[str, Any]:
    return {
        "numerics": numerics.fingerprint() if same else {"machine": "another"},
        "tolerance": {name: golden.tolerance(OUTPUTS[name].to_numpy()) for name in OUTPUTS},
    }


@pytest.mark.parametrize("name", ["probability_0", "probability_1"])
def test_one_ulp_is_seen_on_the_same_numerics_and_borne_on_others(name: str) -> None:
    given = OUTPUTS.copy()
    values = given[name].to_numpy().copy()
    values[1] = np.nextafter(values[1], values.dtype.type(1))
    given[name] = values
    wrong, largest = golden.differences(OUTPUTS, given, meta(same=True))
    assert wrong == 1
    assert 0 < largest < 1e-6
    assert golden.differences(OUTPUTS, given, meta(same=False))[0] == 0
    # A difference in half of the digits is no matter of a kernel.
    values[1] = values[1] * values.dtype.type(1 + 3 * golden.tolerance(values))
    given[name] = values
    assert golden.differences(OUTPUTS, given, meta(same=False))[0] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prediction", 7),
        ("label", "z"),
        ("flag", False),
        ("decision", 5.0),
        ("probability_0", np.nan),
    ],
)
@pytest.mark.parametrize("same", [True, False])
def test_another_answer_is_wrong_on_any_numerics(name: str, value: Any, same: bool) -> None:
    given = OUTPUTS.copy()
    given.loc[0, name] = value
    wrong, _ = golden.differences(OUTPUTS, given, meta(same=same))
    assert wrong == 1


def test_infinities_and_nan() -> None:
    one = pd.DataFrame({"decision": [np.inf, -np.inf, np.nan, 0.0]})
    assert golden.differences(one, one.copy(), meta(same=True)) == (0, 0.0)
    other = pd.DataFrame({"decision": [-np.inf, np.nan, np.inf, 5e-324]})
    assert golden.differences(one, other, meta(same=False))[0] == 4


def test_rows_and_columns_that_are_not_there() -> None:
    for given in (OUTPUTS.iloc[:2], OUTPUTS.drop(columns="label"), OUTPUTS[OUTPUTS.columns[::-1]]):
        wrong, largest = golden.differences(OUTPUTS, given, meta(same=True))
        assert wrong == 3
        assert np.isnan(largest)


def test_the_tolerance_is_of_the_outputs_type() -> None:
    assert golden.tolerance(np.zeros(1)) == pytest.approx(1.49e-8, rel=0.01)
    assert golden.tolerance(np.zeros(1, "float32")) == pytest.approx(3.45e-4, rel=0.01)
    assert golden.tolerance(np.zeros(1, "int64")) == 0
    assert golden.tolerance(np.array(["a"], dtype=object)) == 0


def test_examples_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        golden.read(tmp_path)
    (tmp_path / layout.GOLDEN).write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        golden.read(tmp_path)
    RAW[["size"]].to_parquet(tmp_path / layout.GOLDEN)
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        golden.read(tmp_path)
