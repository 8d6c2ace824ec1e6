"""The one way from conformed rows to answers: whose steps, in which order, how undisturbed."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import Parallel, delayed, effective_n_jobs
from scoring_rows import CONTRACT, numbers
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import asfitted
from asfitted.errors import NotConformed
from asfitted.scoring import Scorer
from asfitted.scoring.scorer import quiet_and_single, split


def test_pipelines_within_the_pipeline_are_taken_apart() -> None:
    inner = Pipeline([("scale", StandardScaler()), ("skip", "passthrough"), ("none", None)])
    front = Pipeline([("conform", asfitted.Conform(CONTRACT)), ("inner", inner)])
    contract, steps = split(Pipeline([("front", front), ("clf", LogisticRegression())]))
    assert contract == CONTRACT
    assert [name for name, _ in steps] == ["front.inner.scale", "clf"]


@pytest.mark.parametrize(
    ("pipeline", "what"),
    [
        (LogisticRegression(), "with LogisticRegression"),
        (make_pipeline(StandardScaler(), asfitted.Conform(CONTRACT)), "with StandardScaler"),
        (make_pipeline(asfitted.Conform(CONTRACT), "passthrough"), "no step after Conform"),
    ],
)
def test_what_does_not_begin_with_conform(pipeline, what) -> None:
    with pytest.raises(NotConformed, match=what) as error:
        split(pipeline)
    assert error.value.mend


class Threads(RegressorMixin, BaseEstimator):
    """Answers with how many threads its work ran in, besides the caller's own."""

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        calls = (delayed(threading.get_ident)() for _ in range(len(X)))
        ran_in = Parallel(n_jobs=2, require="sharedmem")(calls)
        return np.full(len(X), float(len({*ran_in} - {threading.get_ident()})))


def test_what_asks_for_several_jobs_gets_one(rows) -> None:
    """A forest that adds its trees up in two threads adds them in any order."""
    prep = ColumnTransformer([numbers()])
    pipe = make_pipeline(asfitted.Conform(CONTRACT), prep, Threads()).fit(rows, rows["a"])
    assert asfitted.FittedModel(pipe).predict(rows).tolist() == [0.0] * len(rows)
    with quiet_and_single():
        assert effective_n_jobs(2) == 1


def test_a_forest_gives_the_same_bits_time_and_again(rows, target) -> None:
    forest = RandomForestClassifier(60, n_jobs=2, random_state=0)
    prep = ColumnTransformer([numbers()])
    pipe = make_pipeline(asfitted.Conform(CONTRACT), prep, forest).fit(rows, target)
    model = asfitted.FittedModel(pipe)
    first = model.outputs(rows)
    for _ in range(10):
        pd.testing.assert_frame_equal(model.outputs(rows), first, check_exact=True)


def first_column(X):
    return X[:, :1]  # an array has it, a frame has not


def test_a_global_setting_of_the_caller_does_not_reach_the_steps(rows, target) -> None:
    prep = ColumnTransformer([numbers()])
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT), prep, FunctionTransformer(first_column), LogisticRegression()
    ).fit(rows, target)
    expected = asfitted.FittedModel(pipe).outputs(rows)
    with sklearn.config_context(transform_output="pandas"):
        given = asfitted.FittedModel(pipe, whole_steps=2).outputs(rows)
    pd.testing.assert_frame_equal(given, expected, check_exact=True)


def test_there_is_no_answer_to_no_rows(fitted, rows) -> None:
    conformed = CONTRACT.conform(rows.iloc[:0], keys=False).frame
    with pytest.raises(ValueError, match="nothing to score"):
        Scorer(fitted).score(conformed)
    assert len(asfitted.FittedModel(fitted).score(conformed)) == 0
