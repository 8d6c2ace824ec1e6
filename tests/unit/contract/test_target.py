"""The target's own contract: before fit, and for outcomes that arrive later."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from asfitted.contract import Conform, DataContract, check_target
from asfitted.errors import ContractInvalid, ContractViolation


def held(rules: str, name: str = "y") -> DataContract:
    return DataContract.from_yaml(
        f"columns: {{x: {{kind: number}}}}\ntarget: {{{name}: {{{rules}}}}}"
    )


NUMBER, INTEGER = held("kind: number, min: 0, max: 9"), held("kind: integer, min: 0")
BOOLEAN = held("kind: boolean")
WORDS = held("kind: category, categories: [no, 'yes']".replace("no,", "'no',"))
CODES = held("kind: category, categories: [0, 1]")

GOOD = [
    (NUMBER, [0, 1.5, 9], [0.0, 1.5, 9.0], "float64"),
    (INTEGER, [0, 1.0, 7], [0, 1, 7], "int64"),
    (INTEGER, pd.Series([3, 4], dtype="Int64"), [3, 4], "int64"),
    (BOOLEAN, [True, False], [True, False], "bool"),
    (BOOLEAN, pd.Series([True], dtype="boolean"), [True], "bool"),
    (WORDS, ["no", "yes", "no"], ["no", "yes", "no"], "object"),
    (WORDS, pd.Series(pd.Categorical(["yes"])), ["yes"], "object"),
    (CODES, [0, 1, 1], [0, 1, 1], "int64"),
]


@pytest.mark.parametrize(("contract", "y", "values", "dtype"), GOOD)
def test_what_is_allowed(contract: DataContract, y: Any, values: list[Any], dtype: str) -> None:
    ways = [y, pd.Series(y), pd.Series(y).to_frame("y"), pd.Series(y).rename("other")]
    if not isinstance(y, pd.Series):
        array = np.array(y, dtype=object if dtype == "object" else None)
        ways += [tuple(y), array, array.reshape(-1, 1)]
    for way in ways:
        checked = check_target(way, contract)
        assert isinstance(checked, pd.Series)
        assert (checked.name, str(checked.dtype), checked.tolist()) == ("y", dtype, values)
        # What was checked is allowed again.
        assert check_target(checked, contract).equals(checked)


BAD = [
    (NUMBER, [1.0, None], "missing", (1,)),
    (NUMBER, [np.nan, 1.0], "missing", (0,)),
    (NUMBER, [1.0, np.inf], "finite", (1,)),
    (NUMBER, [1.0, 9.5], "max", (1,)),
    (NUMBER, ["1", "2"], "type", (0, 1)),
    (INTEGER, [1, 1.5], "whole", (1,)),
    (INTEGER, [1, -1], "min", (1,)),
    (BOOLEAN, [0, 1], "type", (0, 1)),
    (BOOLEAN, ["true"], "type", (0,)),
    (WORDS, ["no", "maybe"], "category", (1,)),
    (WORDS, ["no", None], "missing", (1,)),
    (CODES, [0, 2], "category", (1,)),
    (CODES, [True, False], "type", (0, 1)),
]


@pytest.mark.parametrize(("contract", "y", "rule", "rows"), BAD)
def test_what_is_refused(contract: DataContract, y: Any, rule: str, rows: Any) -> None:
    for way in (y, pd.Series(y, dtype=object), pd.DataFrame({"y": y})):
        with pytest.raises(ContractViolation) as caught:
            check_target(way, contract)
        (violation,) = caught.value.violations
        assert (violation.column, violation.rule, violation.rows) == ("y", rule, rows)
        assert violation.n_rows == len(y)
        assert caught.value.where == "the target"
        assert "maybe" not in str(caught.value)


TWO = DataContract.from_yaml(
    "columns: {x: {kind: number}}\ntarget: {late: {kind: boolean}, minutes: {kind: number, max: 9}}"
)


def test_two_targets() -> None:
    frame = pd.DataFrame({"minutes": [1, 2], "late": [True, False], "more": "x"}, index=[5, 7])
    checked = check_target(frame, TWO)
    assert checked.dtypes.astype(str).to_dict() == {"late": "bool", "minutes": "float64"}
    assert checked.index.tolist() == [5, 7]
    by_position = check_target(np.array([[True, 1.5], [False, 2]], dtype=object), TWO)
    assert by_position["late"].tolist() == [True, False]
    assert by_position["minutes"].tolist() == [1.5, 2.0]
    with pytest.raises(ContractViolation) as caught:
        check_target(frame.assign(late="no", minutes=99), TWO)
    assert [(v.column, v.rule) for v in caught.value.violations] == [
        ("late", "type"),
        ("minutes", "max"),
    ]


def test_a_list_of_numbers_beside_texts() -> None:
    rules = "target: {n: {kind: number}, word: {kind: category, categories: [p, q]}}"
    contract = DataContract.from_yaml(f"columns: {{x: {{kind: number}}}}\n{rules}")
    assert check_target([[1, "p"], [2.5, "q"]], contract).to_numpy().tolist() == [
        [1.0, "p"],
        [2.5, "q"],
    ]


def test_the_wrong_shape() -> None:
    for y in (np.zeros((3, 1)), np.zeros((3, 3)), [1, 2], pd.Series([1, 2])):
        with pytest.raises(ContractViolation, match="the contract has 2: late, minutes") as caught:
            check_target(y, TWO)
        assert [v.rule for v in caught.value.violations] == ["shape"]
    with pytest.raises(ContractViolation, match="late: the column is not there") as caught:
        check_target(pd.DataFrame({"minutes": [1]}), TWO)
    assert caught.value.mend == "there are minutes"
    with pytest.raises(ContractViolation, match="2 columns, the contract has 1: y"):
        check_target(np.zeros((3, 2)), NUMBER)


@pytest.mark.parametrize(
    "y", [5, "abc", {"y": [1]}, [[1], [2, 3]], np.zeros((3, 2, 2)), np.zeros((0, 2, 2))], ids=str
)
def test_what_is_no_target(y: Any) -> None:
    with pytest.raises(ContractViolation, match="neither one value a row") as caught:
        check_target(y, NUMBER)
    assert [v.rule for v in caught.value.violations] == ["shape"]


def test_a_column_twice() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["y", "y", "z"])
    with pytest.raises(ContractViolation, match="y: the column stands there twice"):
        check_target(frame, NUMBER)
    # A column that is not asked for may.
    assert check_target(frame.set_axis(["z", "z", "y"], axis=1), NUMBER).tolist() == [3.0]


def test_no_rows() -> None:
    assert check_target([], NUMBER).tolist() == []
    assert check_target(pd.Series([], dtype="float64"), NUMBER).dtype == "float64"


def test_a_contract_without_a_target() -> None:
    with pytest.raises(ContractInvalid, match="says nothing of the target") as caught:
        check_target([1], DataContract.from_yaml("columns: {x: {kind: number}}"))
    assert "target:" in caught.value.mend


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("kind: text", "a target is one of number, integer, boolean, category"),
        ("kind: datetime", "a target is one of"),
        ("kind: number, missing: pass", "may not miss"),
        ("kind: number, missing: {fill: 0}", "may not miss"),
        ("kind: category, categories: [a], unknown: other", "or be mapped"),
        ("kind: number, observed: [1, 2]", "its range is min, max"),
        ("kind: number, mx: 3", "'mx', did you mean max\\? @ target.y.mx"),
    ],
)
def test_what_a_target_may_not_say(rules: str, said: str) -> None:
    with pytest.raises(ContractInvalid, match=said):
        held(rules)


# In a pipeline.

X = pd.DataFrame({"x": np.arange(24) / 3})
LATE = np.arange(24) % 3 == 0


def pipeline(contract: DataContract, model: Any = None) -> Any:
    return make_pipeline(Conform(contract), model or LogisticRegression())


def test_fit_refuses_a_wrong_target() -> None:
    step = Conform(BOOLEAN)
    for call in (step.fit, step.fit_transform, pipeline(BOOLEAN).fit):
        with pytest.raises(ContractViolation, match="y: 24 of 24 values are not true or false"):
            call(X, LATE.astype(int))
    for call in (Conform(NUMBER).fit, Conform(NUMBER).fit_transform):
        with pytest.raises(ContractViolation, match="above 9"):
            call(X, np.arange(24))


def test_a_target_that_holds() -> None:
    fitted = pipeline(BOOLEAN).fit(X, LATE)
    assert fitted.predict(X).dtype == bool
    # Without y there is nothing to hold; and what has no target's contract takes any.
    assert Conform(BOOLEAN).fit(X).transform(X).shape == (24, 1)
    assert Conform(BOOLEAN).fit_transform(X).shape == (24, 1)
    plain = DataContract.from_yaml("columns: {x: {kind: number}}")
    assert Conform(plain).fit(X, ["any"] * 24).transform(X).shape == (24, 1)


def test_cross_validation_and_search() -> None:
    scores = cross_val_score(pipeline(BOOLEAN), X, LATE, cv=3, error_score="raise")
    assert scores.shape == (3,)
    grid = {"logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline(CODES), grid, cv=2, error_score="raise")
    assert search.fit(X, LATE.astype(int)).predict(X).shape == (24,)
    with pytest.raises(ContractViolation):
        cross_val_score(pipeline(CODES), X, LATE, cv=3, error_score="raise")
    both = np.column_stack([np.arange(24), -np.arange(24)])
    two = DataContract.from_yaml(
        "columns: {x: {kind: number}}\ntarget: {a: {kind: number}, b: {kind: number, max: 0}}"
    )
    scores = cross_val_score(pipeline(two, LinearRegression()), X, both, error_score="raise")
    assert scores.shape == (5,)


def test_it_travels_with_the_step() -> None:
    fitted = pipeline(BOOLEAN).fit(X, LATE)
    for there in (clone(fitted), pickle.loads(pickle.dumps(fitted))):
        assert there[0].contract == BOOLEAN
        with pytest.raises(ContractViolation):
            there.fit(X, LATE.astype(int))
