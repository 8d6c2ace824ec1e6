"""What looks at the rows beside it is refused by name; what does not is let through."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scoring_rows import CONTRACT, numbers, pipeline
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import asfitted
from asfitted.errors import BatchDependent
from asfitted.save._compare import deviation
from asfitted.save._row_wise import is_of_trees, plan
from asfitted.scoring import Scorer


def planned(pipe: Pipeline, rows: pd.DataFrame, target: Any) -> int:
    scorer = Scorer(pipe.fit(rows, target))
    return plan(scorer.steps, scorer.contract.conform(rows, keys=False).frame)


def center(X):
    return X - X.mean()


def rank(X):
    return X.rank()


def get_dummies(X):
    return pd.get_dummies(X.astype(object))


def codes_of_the_batch(X):
    return X.apply(lambda column: column.astype(str).astype("category").cat.codes)


def share_of_the_largest(X):
    return X / X.abs().max()


def shuffled_when_many(X):
    return X[::-1] if len(X) > 5 else X


CALLS = count()


def nondeterministic(X):
    return X.to_numpy() + next(CALLS)


def scaled_by_rows(X):
    return np.asarray(X) / len(X)


def other_in_small_batches(X):
    return X + (1 < len(X) < 50)


def only_many(X):
    if len(X) < 3:
        raise ValueError("needs company")
    return X


FUNCTIONS = {
    "center": (center, ["a"]),
    "rank": (rank, ["a"]),
    "get_dummies": (get_dummies, ["c"]),
    "codes_of_the_batch": (codes_of_the_batch, ["c"]),
    "share_of_the_largest": (share_of_the_largest, ["a"]),
    "shuffled_when_many": (shuffled_when_many, ["a"]),
    "nondeterministic": (nondeterministic, ["a"]),
    "scaled_by_rows": (scaled_by_rows, ["a"]),
    "other_in_small_batches": (other_in_small_batches, ["a"]),
    "only_many": (only_many, ["a"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refused_inside_a_column_transformer_by_its_innermost_name(name, rows, target) -> None:
    function, columns = FUNCTIONS[name]
    bad = ("bad", FunctionTransformer(function), columns)
    with pytest.raises(BatchDependent) as error:
        planned(pipeline(bad, numbers()), rows, target)
    assert error.value.where == f"prep.bad (FunctionTransformer of {name})"
    assert "depends on the rows beside it" in error.value.what
    assert "learn in fit" in error.value.mend


def test_refused_by_the_innermost_name_however_deep(rows, target) -> None:
    inner = FeatureUnion(
        [
            ("good", StandardScaler()),
            ("chain", make_pipeline(StandardScaler(), FunctionTransformer(center_array))),
        ]
    )
    deep = ("num", make_pipeline(SimpleImputer(), inner), ["a", "b"])
    with pytest.raises(BatchDependent) as error:
        planned(pipeline(deep), rows, target)
    assert error.value.where == (
        "prep.num.featureunion.chain.functiontransformer (FunctionTransformer of center_array)"
    )


def center_array(X):
    return X - X.mean(axis=0)


@pytest.mark.parametrize(
    "columns",
    ["a", ["a"], [1], slice("a", "b"), slice(0, 2), [True, True, *[False] * 6], lambda X: ["a"]],
)
def test_named_whatever_selects_its_columns(columns, rows, target) -> None:
    step = FunctionTransformer(center_column)
    prep = ColumnTransformer([("bad", step, columns), ("k", "passthrough", ["k"])])
    pipe = make_pipeline(asfitted.Conform(CONTRACT), prep, SimpleImputer(), LogisticRegression())
    with pytest.raises(BatchDependent, match=r"columntransformer\.bad"):
        planned(pipe, rows, target)


def center_column(X):
    centred = np.asarray(X, dtype="float64")
    centred = np.nan_to_num(centred) - np.nanmean(centred)
    return centred.reshape(len(X), -1)


def test_a_step_of_the_pipeline_itself(rows, target) -> None:
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT),
        ColumnTransformer([numbers()]),
        FunctionTransformer(center_array),
        LogisticRegression(),
    )
    with pytest.raises(BatchDependent) as error:
        planned(pipe, rows, target)
    assert error.value.where == "functiontransformer (FunctionTransformer of center_array)"


def colour_as_category(X):
    return X[["c"]].astype(str).astype("category")


def to_codes(X):
    return X.apply(lambda column: column.cat.codes)


def test_a_list_of_categories_that_comes_from_the_batch(rows, target) -> None:
    """Each step alone gives the same values; together they do not."""
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT),
        FunctionTransformer(colour_as_category),
        FunctionTransformer(to_codes),
        LogisticRegression(),
    )
    with pytest.raises(BatchDependent) as error:
        planned(pipe, rows, target)
    assert error.value.where == "functiontransformer-1 (FunctionTransformer of colour_as_category)"


class Stateful(TransformerMixin, BaseEstimator):
    """Passes its rows on, and leaves behind how many they were."""

    rows = 0

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        type(self).rows = len(X)
        return X


class Divided(Stateful):
    def transform(self, X):
        return X / Stateful.rows


def test_steps_that_are_row_wise_alone_and_not_together(rows, target) -> None:
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT),
        ColumnTransformer([numbers()]),
        Stateful(),
        Divided(),
        LogisticRegression(),
    )
    with pytest.raises(BatchDependent, match="in another company"):
        planned(pipe, rows, target)


def aligned(X):
    out = pd.DataFrame({"a": X["a"].to_numpy()})
    out["b"] = X["b"]
    return out.fillna(0.0)


def test_a_step_that_joins_on_the_labels_of_the_rows(rows, target) -> None:
    step = ("bad", FunctionTransformer(aligned), ["a", "b"])
    with pytest.raises(BatchDependent, match="another index"):
        planned(pipeline(step), rows, target)


class MeanOfTheBatch(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return X[:, 0] - X[:, 0].mean()


class ModeOfTheBatch(ClassifierMixin, BaseEstimator):
    """Honest scores, and labels that are cut at the batch's median."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-X[:, 0]))
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[(X[:, 0] > np.median(X[:, 0])).astype(int)]


@pytest.mark.parametrize("estimator", [MeanOfTheBatch(), ModeOfTheBatch()])
def test_the_last_step_is_held_to_it_as_well(estimator, rows, target) -> None:
    with pytest.raises(BatchDependent, match="clf"):
        planned(pipeline(numbers(), estimator=estimator), rows, target)


class Noisy(LogisticRegression):
    """Moves the last bits from call to call, as a sum of racing threads does."""

    def predict_proba(self, X):
        p = super().predict_proba(X)
        return np.nextafter(p, 2) if next(CALLS) % 2 else p


def test_last_bits_that_change_from_call_to_call(rows, target) -> None:
    with pytest.raises(BatchDependent, match="last bits"):
        planned(pipeline(numbers(), estimator=Noisy()), rows, target)


def log1p(X):
    return np.log1p(X.abs())


def in_place(X):
    X["b"] = X["b"].fillna(0.0) + 1
    return X


def listed(X):
    return X["t"].tolist()


@pytest.mark.parametrize(
    ("transformer", "whole"),
    [
        (("f", FunctionTransformer(log1p), ["a", "k"]), 1),
        (("f", FunctionTransformer(in_place), ["a", "b"]), 1),
        (("f", "passthrough", ["a"]), 1),
        (("f", make_pipeline(FunctionTransformer(listed), TfidfVectorizer()), ["t"]), 1),
        (("f", TfidfVectorizer(), "t"), 1),
        # Neither is free of BLAS: they run in blocks, whatever they measure.
        (("f", make_pipeline(SimpleImputer(), PCA(2)), ["a", "b"]), 0),
        (("f", KNNImputer(), ["a", "b"]), 0),
    ],
    ids=[
        "function",
        "writes in place",
        "passthrough",
        "list of texts",
        "texts",
        "pca",
        "neighbours",
    ],
)
def test_what_is_row_wise_passes(transformer, whole, rows, target) -> None:
    assert planned(pipeline(transformer), rows, target) == whole


def test_a_step_of_the_pipeline_that_writes_in_place_passes(rows, target) -> None:
    steps = FunctionTransformer(in_place), ColumnTransformer([("num", "passthrough", ["a", "b"])])
    pipe = make_pipeline(asfitted.Conform(CONTRACT), *steps, LogisticRegression())
    assert planned(pipe, rows, target) == 2


@pytest.mark.parametrize(
    ("steps", "whole"),
    [
        ([ColumnTransformer([numbers()])], 1),
        ([ColumnTransformer([numbers()]), StandardScaler()], 2),
        ([ColumnTransformer([numbers()]), PCA(2)], 1),
        ([ColumnTransformer([numbers()]), PCA(2), StandardScaler()], 1),
        ([ColumnTransformer([("p", make_pipeline(SimpleImputer(), PCA(1)), ["a", "b"])])], 0),
        ([ColumnTransformer([("p", KNNImputer(), ["a", "b"])])], 0),
        ([ColumnTransformer([("t", TfidfVectorizer(), "t")])], 1),
    ],
)
def test_how_many_steps_may_run_on_all_rows(steps, whole, rows, target) -> None:
    pipe = make_pipeline(asfitted.Conform(CONTRACT), *steps, LogisticRegression())
    assert planned(pipe, rows, target) == whole


def test_a_few_rows_are_enough(rows) -> None:
    few = rows.iloc[:3]
    pipe = pipeline(("num", SimpleImputer(), ["a", "k"]), estimator=LinearRegression())
    assert planned(pipe, few, [1.0, 2.0, 3.0]) == 1


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix, pd.DataFrame])
def test_rounding_is_measured_column_by_column(make) -> None:
    was = np.array([[1e9, 1.0], [2e9, 0.5]])
    now = was.copy()
    assert deviation(make(was), make(now)) == 0
    now[0, 1] = np.nextafter(1.0, 2)
    assert 0 < deviation(make(was), make(now)) <= 1
    now[0, 1] = 1.001  # far below what rounding may be beside 1e9
    assert deviation(make(was), make(now)) > 1


def test_deviation_of_other_shapes_kinds_and_containers() -> None:
    zeros = np.zeros((2, 2))
    assert deviation(zeros, np.zeros((2, 3))) == np.inf
    assert deviation(zeros, np.zeros((3, 2))) == np.inf
    assert deviation(scipy.sparse.csr_matrix(zeros), zeros) == np.inf
    assert deviation(scipy.sparse.csr_matrix(zeros), scipy.sparse.csr_matrix(zeros)) == 0
    assert deviation(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 0
    assert deviation(np.array([1.0, np.nan]), np.array([1.0, 0.0])) == np.inf
    assert deviation(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])) == 0
    assert deviation(np.array(["a", None], dtype=object), np.array(["a", None], dtype=object)) == 0
    assert deviation(np.array(["a"]), np.array(["b"])) == np.inf
    assert deviation(["a"], ["b"]) == np.inf
    # Whole numbers alone and floats beside a missing one are the same values.
    assert deviation(np.array([1, 2]), np.array([1.0, 2.0])) == 0
    frame = pd.DataFrame({"a": [1.0]})
    assert deviation(frame, frame.rename(columns={"a": "b"})) == np.inf


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (DecisionTreeClassifier(max_depth=3), True),
        (GradientBoostingClassifier(n_estimators=3), True),
        # Its first guess is a product of matrices.
        (GradientBoostingClassifier(n_estimators=3, init=LogisticRegression()), False),
        (LogisticRegression(), False),
    ],
)
def test_an_estimator_of_trees_alone_runs_on_all_rows(estimator, expected) -> None:
    assert is_of_trees(estimator) is expected
