"""The answer's columns, what a caller gets of them, and what must not be sent."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from asfitted.errors import OutputViolation, SaveRefused
from asfitted.scoring import outputs

X = np.array([[0.0], [1.0], [2.0], [3.0]])


def named(estimator: Any) -> pd.DataFrame:
    results = {m: getattr(estimator, m)(X) for m in outputs.methods(estimator)}
    return outputs.name_outputs(estimator, results)


@pytest.mark.parametrize(
    ("estimator", "y", "columns"),
    [
        (LogisticRegression(), ["n", "y", "y", "n"], ["probability_n", "probability_y"]),
        (LogisticRegression(), [0, 1, 2, 2], [f"probability_{i}" for i in range(3)]),
        (LogisticRegression(), [False, True] * 2, ["probability_False", "probability_True"]),
        (LinearSVC(), [0, 1, 1, 0], ["decision"]),
        (RidgeClassifier(), [0, 1, 2, 2], ["decision_0", "decision_1", "decision_2"]),
        (LinearRegression(), [0.0, 1.0, 2.0, 2.0], []),
        (LinearRegression(), [[0.0], [1.0], [2.0], [2.0]], []),
        (KMeans(2, n_init=1, random_state=0), None, []),
    ],
)
def test_one_target(estimator, y, columns) -> None:
    answer = named(estimator.fit(X, y))
    assert list(answer.columns) == ["prediction", *columns]
    assert len(answer) == 4
    outputs.check(estimator, answer)


def test_of_a_chain_each_target_keeps_its_probability() -> None:
    chain = ClassifierChain(LogisticRegression()).fit(X, [[0, 5], [1, 7], [0, 7], [1, 5]])
    answer = named(chain)
    names = ["prediction_0", "prediction_1", "probability_0_1", "probability_1_7"]
    assert list(answer.columns) == names
    assert answer[names[2:]].to_numpy().tolist() == chain.predict_proba(X).tolist()
    outputs.check(chain, answer)


def test_several_targets() -> None:
    forest = RandomForestClassifier(3, random_state=0)
    answer = named(forest.fit(X, [["a", 1], ["b", 2], ["a", 3], ["b", 1]]))
    assert list(answer.columns) == [
        "prediction_0",
        "prediction_1",
        "probability_0_a",
        "probability_0_b",
        "probability_1_1",
        "probability_1_2",
        "probability_1_3",
    ]
    outputs.check(forest, answer)
    numbers = named(LinearRegression().fit(X, np.column_stack([X[:, 0], -X[:, 0]])))
    assert list(numbers.columns) == ["prediction_0", "prediction_1"]


def test_what_a_caller_gets() -> None:
    both = named(LogisticRegression().fit(X, ["n", "y", "y", "y"]))
    labels = outputs.answer(both, "predict")
    assert isinstance(labels, np.ndarray)
    assert labels.tolist() == both["prediction"].tolist()
    assert list(outputs.answer(both, "predict_proba")) == ["probability_n", "probability_y"]
    assert list(outputs.answer(both, "both")) == list(both.columns)
    decided = named(LinearSVC().fit(X, [0, 1, 1, 0]))
    assert outputs.answer(decided, "predict").tolist() == decided["prediction"].tolist()
    several = pd.DataFrame({"prediction_0": [1.0], "prediction_1": [2.0]})
    assert list(outputs.answer(several, "predict")) == ["prediction_0", "prediction_1"]


CLASSIFIER = LogisticRegression().fit(X, ["n", "y", "y", "n"])
GOOD = {"prediction": ["y", "n"], "probability_n": [0.25, 1.0], "probability_y": [0.75, 0.0]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"probability_y": [np.nan, 0.0]}, "probability_y: 1 of 2 values are not finite"),
        ({"probability_y": [np.inf, -np.inf]}, "probability_y: 2 of 2 values are not finite"),
        ({"probability_n": [0.25, 1.5]}, "probability_n: 1 of 2 probabilities outside"),
        ({"probability_n": [-1e-9, 1.0]}, "probability_n: 1 of 2 probabilities outside"),
        ({"probability_n": [0.2, 1.0]}, "1 of 2 rows' probabilities do not sum to 1"),
        ({"prediction": ["y", "maybe"]}, "1 of 2 labels are no class of training"),
        (
            {"prediction": np.array(["y", None], dtype=object)},
            "prediction: 1 of 2 values are missing",
        ),
    ],
)
def test_answers_that_must_not_be_sent(changed, said) -> None:
    outputs.check(CLASSIFIER, pd.DataFrame(GOOD))
    with pytest.raises(OutputViolation, match=said) as error:
        outputs.check(CLASSIFIER, pd.DataFrame({**GOOD, **changed}))
    assert error.value.where == "LogisticRegression"
    again = pickle.loads(pickle.dumps(error.value))
    assert again.violations == error.value.violations
    assert str(again) == str(error.value)


def test_rounding_of_a_sum_is_no_violation() -> None:
    tiny = {**GOOD, "probability_n": [0.25 + 1e-9, 1.0]}
    outputs.check(CLASSIFIER, pd.DataFrame(tiny))
    single = pd.DataFrame({k: np.asarray(v) for k, v in GOOD.items()})
    single = single.astype({"probability_n": "float32", "probability_y": "float32"})
    outputs.check(CLASSIFIER, single)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["prediction", "prediction_1", "decision"])
def test_a_number_that_is_not_finite(bad, column) -> None:
    regressor = LinearRegression().fit(X, X[:, 0])
    with pytest.raises(OutputViolation, match=f"{column}: 1 of 2 values are not finite"):
        outputs.check(regressor, pd.DataFrame({column: [1.0, bad]}))


def test_several_targets_are_looked_at_too() -> None:
    frame = pd.DataFrame({"prediction_0": [1], "probability_0_1": [1.2]})
    with pytest.raises(OutputViolation, match="probability_0_1: 1 of 1 probabilities outside"):
        outputs.check(CLASSIFIER, frame)


@pytest.mark.parametrize(
    ("estimator", "predict_fn", "said"),
    [
        (CLASSIFIER, "transform", "there is no predict_fn 'transform'"),
        (StandardScaler(), "predict", "StandardScaler, cannot predict"),
        (LinearSVC(), "predict_proba", "LinearSVC gives no probabilities"),
        (LinearRegression(), "both", "LinearRegression gives no probabilities"),
    ],
)
def test_a_predict_fn_that_cannot_be_served(estimator, predict_fn, said) -> None:
    with pytest.raises(SaveRefused, match=said) as error:
        outputs.refuse_predict_fn(estimator, predict_fn)
    assert error.value.mend


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        LinearSVC(),
        LinearRegression(),
        RandomForestClassifier(3),
        RidgeClassifier(),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_outputs_of_no_rows_have_the_columns_of_some(estimator, classes) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.array(["a", "b", "c"])[np.arange(60) % classes]
    regression = type(estimator) is LinearRegression
    fitted = clone(estimator).fit(X, np.arange(60.0) if regression else y)
    said = {name: getattr(fitted, name)(X) for name in outputs.methods(fitted)}
    some = outputs.name_outputs(fitted, said)
    none = outputs.none(fitted)
    assert len(none) == 0
    assert list(none) == list(some)
    assert none.dtypes.tolist() == some.dtypes.tolist()
