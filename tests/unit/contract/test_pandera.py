"""The pandera schema of a conformed frame, and the script that makes it."""

from __future__ import annotations

import builtins
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contracts import contracts, frames
from hypothesis import given, settings
from hypothesis import strategies as st

from asfitted.contract import DataContract
from asfitted.contract.pandera import pandera_script, to_pandera
from asfitted.errors import ConfigError

CONTRACT = DataContract.from_yaml("""\
keys: [id]
columns:
  id: {kind: text}
  size: {kind: number, min: -1, max: 5, missing: pass, meaning: "How 'far' it is"}
  free: {kind: number}
  count: {kind: integer, max: 9}
  maybe: {kind: integer, missing: pass, min: 0}
  sure: {kind: boolean}
  perhaps: {kind: boolean, missing: pass}
  colour: {kind: category, categories: [red, "bl\\"ue"], unknown: other}
  grade: {kind: category, categories: [3, 1], missing: pass}
  word: {kind: text, min_length: 1, max_length: 4, pattern: "(?i)a.*", missing: {fill: A}}
  left: {kind: datetime, min: 0001-01-02, max: 9999-12-30}
row_checks: [{function: "pandera_checks:grows", why: "it's so"}]
""")
RAW = pd.DataFrame(
    {
        "id": ["x", "y", "z"],
        "size": [-1, None, 5],
        "free": [0.5, -1e308, 1e308],
        "count": [9, -3, 0],
        "maybe": [0, None, 2**53 - 1],
        "sure": [True, False, True],
        "perhaps": pd.Series([True, None, False], dtype=object),
        "colour": ["red", 'bl"ue', "green"],
        "grade": pd.array([3, None, 1], dtype="Int64"),
        "word": pd.Series(["a", None, "Abcd"], dtype=object),
        "left": ["2020-01-01T12:00", "0001-01-02", "9999-12-30"],
    }
)


@pytest.fixture(scope="module")
def pandera() -> Any:
    return pytest.importorskip("pandera.pandas")


def _grows(frame: pd.DataFrame) -> pd.Series[Any]:
    # Nullable, and with an index of its own: the contract takes it, so pandera must.
    allowed = (frame["count"] < 9) | (frame["free"] == 0.5)
    return allowed.astype("boolean").set_axis(range(7, 7 + len(frame)))


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pandera_checks")
    module.grows = _grows  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandera_checks", module)


def conformed() -> pd.DataFrame:
    return CONTRACT.conform(RAW).frame


def schemas(contract: DataContract) -> Iterator[Any]:
    yield contract.to_pandera()
    there: dict[str, Any] = {}
    exec(pandera_script(contract), there)
    yield there["schema"]


@pytest.mark.usefixtures("pandera")
@settings(max_examples=settings().max_examples * 2)
@given(data=st.data())
def test_whatever_conforms_passes(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    frame = contract.conform(data.draw(frames(contract))).frame
    for schema in schemas(contract):
        for part in (frame, frame.iloc[:0], frame.iloc[[-1]]):
            pd.testing.assert_frame_equal(schema.validate(part), part)


@pytest.mark.usefixtures("pandera")
def test_the_conformed_rows_of_every_kind_pass() -> None:
    frame = conformed().set_axis(["r0", "r1", "r2"])
    for schema in schemas(CONTRACT):
        pd.testing.assert_frame_equal(schema.validate(frame), frame)
        assert schema.columns["size"].description == "How 'far' it is"
        assert list(schema.columns) == list(CONTRACT.features)


NAT = np.datetime64("NaT", "us")
BROKEN = [
    ("size", -1.1),
    ("size", 5.1),
    ("free", np.inf),
    ("free", np.nan),
    ("count", 10),
    ("count", -(2**53)),
    ("maybe", -1.0),
    ("maybe", 0.5),
    ("maybe", 2.0**53),
    ("perhaps", 0.5),
    ("colour", None),
    ("word", ""),
    ("word", "abcde"),
    ("word", "b"),
    ("word", "a\n"),
    ("word", None),
    ("word", 5),
    ("left", NAT),
    ("left", np.datetime64("0001-01-01T23:59:59.999999", "us")),
    ("left", np.datetime64("9999-12-30T00:00:00.000001", "us")),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_one_value_that_breaks_one_rule(name: str, value: Any, pandera: Any) -> None:
    frame = conformed()
    dtype = frame[name].dtype
    if isinstance(dtype, pd.CategoricalDtype):
        frame[name] = pd.Categorical.from_codes([-1, 0, 1], dtype=dtype)
    else:
        frame[name] = pd.Series([value, *frame[name][1:]], dtype=dtype)
    for schema in schemas(CONTRACT):
        with pytest.raises(pandera.errors.SchemaError) as caught:
            schema.validate(frame)
        assert caught.value.schema.name == name


OTHER: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "float for int": lambda f: f.assign(count=f["count"].astype("float64")),
    "int for float": lambda f: f.assign(size=[1, 2, 3]),
    "narrow": lambda f: f.assign(count=f["count"].astype("int32")),
    "float for bool": lambda f: f.assign(sure=[1.0, 0.0, 1.0]),
    "ns": lambda f: f.assign(left=np.array(["2020-01-01"] * 3, dtype="datetime64[ns]")),
    "aware": lambda f: f.assign(left=pd.Timestamp("2020-01-01", tz="UTC")),
    "text for a category": lambda f: f.assign(colour=f["colour"].astype(object)),
    "order": lambda f: f.assign(
        colour=f["colour"].cat.reorder_categories(f["colour"].cat.categories[::-1])
    ),
    "more": lambda f: f.assign(colour=f["colour"].cat.add_categories(["green"])),
    "fewer": lambda f: f.assign(grade=pd.Categorical([3, 3, 3])),
    "ordered": lambda f: f.assign(grade=f["grade"].cat.as_ordered()),
    "a column more": lambda f: f.assign(more=1),
    "a column less": lambda f: f.drop(columns="sure"),
    "other order": lambda f: f[[*f.columns[::-1]]],
    "twice": lambda f: pd.concat([f, f[["left"]]], axis=1),
    "a row check": lambda f: f.assign(free=1.0),
}


@pytest.mark.parametrize("case", OTHER)
def test_another_frame_than_the_pipeline_sees(case: str, pandera: Any) -> None:
    frame = OTHER[case](conformed())
    said = "grows: it's so" if case == "a row check" else None
    for schema in schemas(CONTRACT):
        with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors), match=said):
            schema.validate(frame)


@pytest.mark.usefixtures("pandera")
def test_the_script_needs_pandas_and_pandera_alone(tmp_path: Any) -> None:
    (tmp_path / "rows_schema.py").write_text(pandera_script(CONTRACT), encoding="utf-8")
    (tmp_path / "pandera_checks.py").write_text("def grows(frame): return frame['free'] < 9\n")
    code = (
        "import sys, rows_schema; assert rows_schema.schema.ordered; "
        "assert not any(name.split('.')[0] in {'asfitted', 'sklearn'} for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("pandera")
@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1),
    label=st.text(st.characters(codec="utf-8")),
)
def test_no_name_and_no_label_is_read_as_code(name: str, label: str) -> None:
    contract = DataContract.model_validate(
        {
            "columns": {
                name: {
                    "kind": "category",
                    "categories": (label,),
                    "meaning": label,
                    "allow_nul": True,
                },
                name + "2": {"kind": "text", "max_length": 9},
            }
        }
    )
    there: dict[str, Any] = {}
    exec(pandera_script(contract), there)
    assert list(there["schema"].columns) == [name, name + "2"]
    assert list(there["schema"].columns[name].dtype.categories) == [label]


def test_a_nul_is_refused_by_the_schema_too() -> None:
    pandera = pytest.importorskip("pandera")
    for allowed in (True, False):
        contract = DataContract.from_yaml(
            f"columns: {{c: {{kind: text, allow_nul: {str(allowed).lower()}}}}}"
        )
        there: dict[str, Any] = {}
        exec(pandera_script(contract), there)
        frame = pd.DataFrame({"c": pd.Series(["a", "b\0"], dtype=object)})
        for schema in (contract.to_pandera(), there["schema"]):
            if allowed:
                schema.validate(frame)
            else:
                with pytest.raises(pandera.errors.SchemaError, match="no NUL"):
                    schema.validate(frame)


def test_without_pandera(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "pandera":
            raise ModuleNotFoundError("No module named 'pandera'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="No module named 'pandera'") as caught:
        to_pandera(CONTRACT)
    assert caught.value.mend == "pip install asfitted[pandera]"
    # What is only text needs no pandera.
    assert "DataFrameSchema" in pandera_script(CONTRACT)
