"""Row checks and output checks: functions of the user's, asked for a mask of the rows."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from asfitted.contract import Check, Column, Conform, DataContract, Fill
from asfitted.contract.checks import broken
from asfitted.errors import CheckFailed, ContractViolation

CANARY = "canary-5157"
ROWS = pd.DataFrame({"low": [1.0, 2.0, 3.0], "high": [2.0, 1.0, 3.0], "word": [CANARY] * 3})


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("unit_checks")
    monkeypatch.setitem(sys.modules, "unit_checks", module)
    return module


@pytest.fixture
def check(checks: types.ModuleType) -> Callable[[Any], Check]:
    """Return a check of the function that is given."""

    def make(function: Any, why: str = "") -> Check:
        checks.asked = function  # type: ignore[attr-defined]
        return Check(function="unit_checks:asked", why=why)

    return make


def contract(*row_checks: Check, **columns: Any) -> DataContract:
    kinds = {"low": {"kind": "number"}, "high": {"kind": "number"}, "word": {"kind": "text"}}
    return DataContract.model_validate({"columns": {**kinds, **columns}, "row_checks": row_checks})


# What a mask may be.

MASKS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "series": lambda f: f["low"] <= f["high"],
    "array": lambda f: (f["low"] <= f["high"]).to_numpy(),
    "list": lambda f: [True, False, True],
    "numpy objects": lambda f: np.array([np.True_, np.False_, True], dtype=object),
    "nullable": lambda f: (f["low"] <= f["high"]).astype("boolean"),
    "arrow": lambda f: (f["low"] <= f["high"]).astype("bool[pyarrow]"),
    "another index": lambda f: (f["low"] <= f["high"]).set_axis([9, 7, 8]),
    "a column": lambda f: f.assign(ok=f["low"] <= f["high"])["ok"],
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_of_the_rows(mask: str, check: Callable[..., Check]) -> None:
    allowed = check(MASKS[mask]).allowed(ROWS)
    assert allowed.dtype == bool
    assert allowed.tolist() == [True, False, True]


NO_MASK: dict[str, Callable[[pd.DataFrame], Any]] = {
    "one answer for all": lambda f: True,
    "numpy's one answer": lambda f: np.bool_(True),
    "nothing": lambda f: None,
    "too few": lambda f: [True, False],
    "too many": lambda f: [True] * 4,
    "a frame": lambda f: f[["low"]] > 0,
    "whole numbers": lambda f: [1, 0, 1],
    "numbers": lambda f: f["low"],
    "texts": lambda f: f["word"],
    "a missing answer": lambda f: pd.Series([True, None, False]),
    "a nullable missing answer": lambda f: pd.array([True, None, False], dtype="boolean"),
    "NaN": lambda f: pd.Series([True, np.nan, False]),
    "a mapping": lambda f: {0: True, 1: False, 2: True},
}


@pytest.mark.parametrize("answer", NO_MASK)
def test_what_is_no_mask(answer: str, check: Callable[..., Check]) -> None:
    with pytest.raises(CheckFailed, match=r"asked returned .* not true or false") as e:
        check(NO_MASK[answer]).allowed(ROWS)
    assert "return a mask" in e.value.mend
    assert (e.value.code, e.value.exit_code) == ("check_failed", 1)


def test_it_raises(check: Callable[..., Check]) -> None:
    with pytest.raises(CheckFailed, match="unit_checks:asked failed: KeyError: 'lwo'") as caught:
        check(lambda f: f["lwo"] > 0).allowed(ROWS)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(CheckFailed):
        contract(check(lambda f: 1 / 0)).conform(ROWS)


def test_it_cannot_be_imported(checks: types.ModuleType, tmp_path: Any, monkeypatch: Any) -> None:
    for function, said in {
        "no_such_module:f": "ModuleNotFoundError: No module named 'no_such_module'",
        "unit_checks:absent": "AttributeError",
        "unit_checks.deeper:f": "ModuleNotFoundError",
    }.items():
        with pytest.raises(CheckFailed, match=f"{function} cannot be imported: {said}") as caught:
            Check(function=function).load()
        assert "code_paths" in caught.value.mend
    (tmp_path / "torn_checks.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckFailed, match="SyntaxError"):
        Check(function="torn_checks:f").load()
    checks.number = 3  # type: ignore[attr-defined]
    with pytest.raises(CheckFailed, match="failed: TypeError"):
        Check(function="unit_checks:number").allowed(ROWS)


def test_its_name() -> None:
    check = Check(function="package.checks:lands_after_start")
    assert (check.module, check.name) == ("package.checks", "lands_after_start")
    for wrong in (
        "",
        "f",
        "m:",
        ":f",
        "m:f:g",
        "m f:g",
        "m:f()",
        "m:f.g",
        "1m:f",
        "m:é",
        "m:f\n",
        "m.:f",
        "m..n:f",
        ".m:f",
    ):
        with pytest.raises(ValidationError, match="is not module:function"):
            Check(function=wrong)
    with pytest.raises(ValidationError, match="script or notebook"):
        Check(function="__main__:f")
    with pytest.raises(ValidationError):
        Check(function="m:f", why="x" * 301)


def test_it_judges_a_copy(check: Callable[..., Check]) -> None:
    def writes(frame: pd.DataFrame, answers: pd.DataFrame | None = None) -> Any:
        frame["low"] = -1.0
        frame.iloc[0, 1] = -1.0
        del frame["word"]
        if answers is not None:
            answers.iloc[:, 0] = 9
        return [True] * len(frame)

    before = ROWS.copy(deep=True)
    answers = pd.DataFrame({"prediction": [1, 2, 3]})
    one = check(writes)
    assert broken([one], ROWS, answers) == []
    pd.testing.assert_frame_equal(ROWS, before)
    assert answers["prediction"].tolist() == [1, 2, 3]
    conformed = contract(one).conform(ROWS).frame
    pd.testing.assert_frame_equal(conformed, contract().conform(ROWS).frame)
    # Nor does one check see what another has written.
    assert broken([one, check(lambda f: f["low"] > 0)], ROWS) == []


# What comes of it.


def test_a_violation_has_the_name_the_rows_and_the_reason(check: Callable[..., Check]) -> None:
    row_check = check(lambda f: f["low"] <= f["high"], why="what starts, ends later")
    with pytest.raises(ContractViolation) as caught:
        contract(row_check).conform(ROWS.set_axis([CANARY, "b", "c"]))
    (violation,) = caught.value.violations
    assert (violation.column, violation.rule, violation.rows, violation.n_rows) == (
        *("", "asked"),
        *((1,), 3),
    )
    assert str(violation) == "1 of 3 rows fail asked: what starts, ends later (rows 1)"
    assert CANARY not in str(caught.value)
    assert "rows fail asked (rows" in str(broken([check(lambda f: f["low"] > 9)], ROWS)[0])


def test_every_check_that_fails_is_said(checks: types.ModuleType) -> None:
    checks.first = lambda f: f["low"] < 3  # type: ignore[attr-defined]
    checks.second = lambda f: f["high"] > 0  # type: ignore[attr-defined]
    checks.third = lambda f: f["high"] < 2  # type: ignore[attr-defined]
    named = [Check(function=f"unit_checks:{name}") for name in ("first", "second", "third")]
    with pytest.raises(ContractViolation) as caught:
        contract(*named).conform(ROWS)
    assert {v.rule: v.rows for v in caught.value.violations} == {"first": (2,), "third": (0, 2)}


def test_an_output_check_sees_the_answers_too(check: Callable[..., Check]) -> None:
    answers = pd.DataFrame({"prediction": [1, 5, 2]})
    one = check(lambda frame, out: out["prediction"] <= frame["high"])
    assert broken([one], ROWS, answers)[0].rows == (1,)
    with pytest.raises(CheckFailed, match="TypeError"):
        broken([one], ROWS)


def test_it_sees_the_conformed_rows(check: Callable[..., Check]) -> None:
    seen = []

    def look(frame: pd.DataFrame) -> Any:
        seen.append(frame)
        return frame["low"].notna()

    asked = contract(
        check(look),
        low=Column(kind="number", missing=Fill(fill=0)),
        key={"kind": "text"},
        colour={"kind": "category", "categories": ("a",), "unknown": "other"},
    ).model_copy(update={"keys": ("key",)})
    raw = pd.DataFrame(
        {"key": ["k", "l"], "colour": ["z", "a"], "low": [None, 1], "high": [1, 2], "word": "w"}
    ).set_axis([5, 4])
    asked.conform(raw)
    (frame,) = seen
    assert frame.index.tolist() == [0, 1]
    assert list(frame) == ["low", "high", "word", "colour"]
    assert frame["low"].tolist() == [0.0, 1.0]
    assert frame["colour"].tolist() == ["other", "a"]


def test_when_it_is_not_asked(check: Callable[..., Check]) -> None:
    asked = []

    def note(frame: pd.DataFrame) -> Any:
        asked.append(len(frame))
        return np.zeros(len(frame), dtype=bool)

    one = contract(check(note))
    with pytest.raises(ContractViolation, match="not numbers") as caught:
        one.conform(ROWS.assign(low="far"))
    assert [v.rule for v in caught.value.violations] == ["type"]
    assert one.conform(ROWS, checks=False).frame.shape == (3, 3)
    assert one.conform(ROWS.iloc[:0]).frame.shape == (0, 3)
    assert asked == []
    with pytest.raises(ContractViolation, match="3 of 3 rows fail asked"):
        one.conform(ROWS)
    assert asked == [3]


def test_the_step_asks_in_fit_and_in_transform(check: Callable[..., Check]) -> None:
    step = Conform(contract(check(lambda f: f["low"] <= f["high"])))
    for call in (step.fit, step.transform, step.fit_transform):
        with pytest.raises(ContractViolation, match="rows fail asked"):
            call(ROWS)
    good = ROWS.iloc[[0, 2]]
    assert step.fit(good).transform(good).shape == (2, 3)


def test_a_function_of_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unit_checks_of_a_file.py").write_text(
        "def ordered(frame):\n    return frame['low'] <= frame['high']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    check = Check(function="unit_checks_of_a_file:ordered")
    assert [violation.rows for violation in broken([check], ROWS)] == [(1,)]
    monkeypatch.delitem(sys.modules, "unit_checks_of_a_file")
