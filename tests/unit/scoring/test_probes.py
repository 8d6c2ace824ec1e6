"""Every value that the contract allows is tried at save; what breaks or is lost is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoring_rows import CONTRACT, numbers, pipeline
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import FeatureHasher
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

import asfitted
from asfitted.errors import ProbeFailed, ResourceNotShipped
from asfitted.save._probes import probe
from asfitted.scoring import Scorer

pytestmark = [
    # With drop="first" scikit-learn says at each transform that it met a stranger.
    pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning"),
]


def probed(pipe: Any, rows: pd.DataFrame, target: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    scorer = Scorer(pipe.fit(rows, target))
    return probe(scorer, scorer.contract.conform(rows, keys=False).frame)


def assert_let_through(pipe: Any, rows: pd.DataFrame, target: Any) -> None:
    """Every category and its absence was tried, and each try was answered."""
    probes, answers = probed(pipe, rows, target)
    categories = probes["c"].cat.categories
    assert set(probes["c"].dropna()) == set(categories)
    assert probes["c"].isna().any()
    assert len(answers) == len(probes) > len(categories)
    assert not answers.isna().any(axis=None)


def test_each_value_is_tried_and_nothing_else_is_moved(fitted, rows) -> None:
    scorer = Scorer(fitted)
    probes, outputs = probe(scorer, CONTRACT.conform(rows, keys=False).frame)
    base = probes.iloc[0]
    tried = []
    for _, row in probes.iloc[1:].iterrows():
        other = [c for c in probes if not (row[c] == base[c] or (row.isna()[c] and base.isna()[c]))]
        tried.append([(c, None if pd.isna(row[c]) else row[c]) for c in other])
    everything = [("b", None), ("f", None)]
    everything += [("c", value) for value in ("x", "y", "z", None)]
    everything += [("d", value) for value in (2, 1, 0)]
    everything += [("t", ""), ("m", None)]
    assert [t[0] for t in tried if t] == [(c, v) for c, v in everything if v != base[c]]
    assert all(len(t) <= 1 for t in tried)
    assert len(probes) == len(outputs) == 12


def hour(X):
    return X["m"].dt.hour.to_numpy(dtype="float64")[:, None]


class NoAnswer(RegressorMixin, BaseEstimator):
    """Answers NaN where the first feature is missing."""

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return X[:, 0]


NUM = ("num", SimpleImputer(), ["a", "k"])
FAILURES = {
    "unseen category": (("c", OneHotEncoder(), ["c"]), "c = 'z'", "c"),
    "unseen mapped unknown": (("d", OneHotEncoder(), ["d"]), "d = 0", "d"),
    "missing number": (("b", StandardScaler(), ["k", "b"]), "b = missing", "b"),
    "missing boolean": (("f", FunctionTransformer(), ["f"]), "f = missing", "f"),
    "missing moment": (("m", FunctionTransformer(hour), ["m"]), "m = missing", "m"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_the_pipeline_fails_on_is_named(name, rows, target) -> None:
    transformer, said, column = FAILURES[name]
    full = rows.assign(b=rows["b"].fillna(0.0))
    with pytest.raises(ProbeFailed) as error:
        probed(pipeline(transformer, NUM), full, target)
    assert f"the contract allows {said}, and the pipeline fails on it" in error.value.what
    assert error.value.where.startswith(f"column {column}")
    assert "let a step take it" in error.value.mend


def test_all_that_fail_are_named_up_to_five(rows, target) -> None:
    with pytest.raises(ProbeFailed) as error:
        probed(pipeline(("c", OneHotEncoder(), ["c", "d"]), NUM), rows, target)
    assert "c = 'z'" in error.value.what
    assert error.value.where == "column c; so do c = missing, d = 0"


def test_an_answer_that_must_not_be_sent_is_a_failure(rows) -> None:
    pipe = pipeline(("b", "passthrough", ["b"]), estimator=NoAnswer())
    full = rows.assign(b=rows["b"].fillna(0.0))
    with pytest.raises(ProbeFailed, match=r"b = missing(.|\n)*not finite"):
        probed(pipe, full, full["a"])


def reads_a_resource(X):
    return np.full((len(X), 1), float(asfitted.resource("nowhere").read_text()))


def test_a_resource_that_nobody_declared_is_not_blamed_on_a_value(rows, target, tmp_path) -> None:
    (tmp_path / "one").write_text("1.0")
    pipe = pipeline(("bad", FunctionTransformer(reads_a_resource), ["a"]), NUM)
    with asfitted.resources(nowhere=tmp_path / "one"):
        pipe.fit(rows, target)
    with pytest.raises(ResourceNotShipped, match="nowhere"):
        probe(Scorer(pipe), CONTRACT.conform(rows, keys=False).frame)


LOSSES = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "one-hot, first dropped": OneHotEncoder(handle_unknown="ignore", drop="first"),
    "ordinal": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_lost_in_silence_is_named(name, rows, target) -> None:
    with pytest.raises(ProbeFailed) as error:
        probed(pipeline(("cat", LOSSES[name], ["c"]), NUM), rows, target)
    assert "c = 'z', c = missing, which training never saw" in error.value.what
    assert "lost in silence" in error.value.what
    assert error.value.where == "column c"
    assert "contract.categories(['c'" in error.value.mend


def test_a_mapped_unknown_that_is_lost_in_silence(rows, target) -> None:
    pipe = pipeline(("cat", OneHotEncoder(handle_unknown="ignore"), ["d"]), NUM)
    with pytest.raises(ProbeFailed, match="d = 0, which training never saw"):
        probed(pipe, rows, target)


def test_a_target_encoder_of_one_column_does_not_excuse_another(rows, target) -> None:
    pipe = pipeline(
        ("t", TargetEncoder(), ["d"]), ("o", OneHotEncoder(handle_unknown="ignore"), ["c"]), NUM
    )
    with pytest.raises(ProbeFailed, match="c = 'z'"):
        probed(pipe, rows, target)


def is_x(X):
    return (X == "x").to_numpy(dtype="float64")


def words(X):
    return [[f"c={value}"] for value in X["c"].astype(object)]


KEPT = {
    "dummies": asfitted.Dummies(),
    "sparse dummies": asfitted.Dummies(sparse=True),
    "target encoder": TargetEncoder(),
    "target encoder in a pipeline": make_pipeline(TargetEncoder(), StandardScaler()),
    "one-hot by the contract": OneHotEncoder(categories=CONTRACT.categories(["c"])),
    "ignoring what cannot come": OneHotEncoder(
        categories=CONTRACT.categories(["c"]), handle_unknown="ignore"
    ),
    "first dropped": OneHotEncoder(categories=CONTRACT.categories(["c"]), drop="first"),
    "first dropped, rest ignored": OneHotEncoder(
        categories=CONTRACT.categories(["c"]), drop="first", handle_unknown="ignore"
    ),
    "dropped one was never seen": OneHotEncoder(
        categories=CONTRACT.categories(["c"]), drop=["z"], handle_unknown="ignore"
    ),
    "ordinal by the contract": OrdinalEncoder(
        categories=CONTRACT.categories(["c"]),
        handle_unknown="use_encoded_value",
        unknown_value=-1,
        encoded_missing_value=-2,
    ),
    "a question of one category": FunctionTransformer(is_x),
    "hashed": make_pipeline(
        FunctionTransformer(words), FeatureHasher(n_features=256, input_type="string")
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_legitimate_is_let_through(name, rows, target) -> None:
    assert_let_through(pipeline(("cat", KEPT[name], ["c"]), NUM), rows, target)


@pytest.mark.parametrize("rule", [{"min_frequency": 30}, {"max_categories": 3}])
def test_an_encoder_that_puts_rare_and_unseen_ones_together(rule, rows, target) -> None:
    rows.loc[:9, "c"] = "z"
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", **rule)
    rows.loc[10:14, "c"] = None
    contract = CONTRACT.columns["c"].model_copy(update={"categories": ("x", "y", "z", "w")})
    columns = {**CONTRACT.columns, "c": contract}
    pipe = pipeline(
        ("c", encoder, ["c"]), NUM, contract=CONTRACT.model_copy(update={"columns": columns})
    )
    assert_let_through(pipe, rows, target)


def test_a_column_that_the_pipeline_does_not_use(rows, target) -> None:
    assert_let_through(pipeline(NUM), rows, target)


def test_an_estimator_that_reads_the_category_dtype_itself(rows, target) -> None:
    kept = ["id", "a", "b", "k", "f", "c", "d"]
    contract = CONTRACT.model_copy(
        update={"columns": {n: CONTRACT.columns[n] for n in kept}, "extra_columns": "ignore"}
    )
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")
    assert_let_through(make_pipeline(asfitted.Conform(contract), model), rows, target)


def test_a_second_column_transformer_on_arrays(rows, target) -> None:
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT),
        ColumnTransformer([("c", TargetEncoder(), ["c"]), numbers()]),
        ColumnTransformer([("all", StandardScaler(), [0, 1, 4])]),
        LogisticRegression(),
    )
    assert_let_through(pipe, rows, target)
