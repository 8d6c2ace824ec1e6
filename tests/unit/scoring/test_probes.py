"""Every value that the contract allows is tried at save; what breaks or is lost is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoring_rows import CONTRACT, numbers, pipeline
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer, make_column_selector
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
    probes = probe(scorer, scorer.contract.conform(rows, keys=False).frame)
    return probes.frame, scorer.answers(probes.frame)


def assert_let_through(pipe: Any, rows: pd.DataFrame, target: Any) -> None:
    """Every category and its absence was tried, and each try was answered."""
    probes, answers = probed(pipe, rows, target)
    categories = probes["c"].cat.categories
    assert set(probes["c"].dropna()) == set(categories)
    assert probes["c"].isna().any()
    assert len(answers) == len(probes) > len(categories)
    assert not answers.isna().any(axis=None)


def test_each_value_is_tried_and_nothing_else_is_moved(fitted, rows) -> None:
    conformed = CONTRACT.conform(rows, keys=False).frame
    probes = probe(Scorer(fitted), conformed)
    base = probes.frame.iloc[0]
    tried: dict[str, list[Any]] = {}
    for (_, row), varied in zip(probes.frame.iterrows(), probes.values, strict=True):
        moved = [
            c for c in base.index if not (row[c] == base[c] or pd.isna([row[c], base[c]]).all())
        ]
        assert moved in ([], [varied[0].column])
        tried.setdefault(varied[0].column, []).append(
            None if moved and pd.isna(row[moved[0]]) else row.get(varied[0].column)
        )
    assert tried["c"] == ["x", "y", "z", None]
    assert tried["d"] == [2, 1, 0]
    assert set(tried["f"]) == {True, False, None}
    assert {"", "zq never seen"} <= set(tried["t"])
    for name in ("a", "b", "k", "m"):
        ends = conformed[name].dropna()
        found = [value for value in tried[name] if value is not None]
        assert {ends.min(), ends.max()} <= set(found)
        assert min(found) < ends.min()
        assert max(found) > ends.max()
    assert None in tried["b"]
    assert None in tried["m"]
    assert None not in tried["a"]


def test_a_bound_is_tried_and_nothing_beyond_it(rows, target) -> None:
    bounded = CONTRACT.columns["a"].model_copy(update={"min": -5, "max": 5})
    contract = CONTRACT.model_copy(update={"columns": {**CONTRACT.columns, "a": bounded}})
    pipe = pipeline(("num", SimpleImputer(), ["a"]), contract=contract)
    probes, _ = probed(pipe, rows, target)
    assert (probes["a"].min(), probes["a"].max()) == (-5, 5)


def root_of_the_rest(X):
    if (X["a"] < -20).any():
        raise ValueError("below what this was made for")
    return X[["a"]]


def test_a_number_beyond_training_that_fails_is_told_and_no_reason_to_refuse(
    rows, target, caplog
) -> None:
    step = FunctionTransformer(root_of_the_rest)
    probes, answers = probed(pipeline(("a", step, ["a"]), NUM), rows, target)
    assert probes["a"].min() >= -20
    assert len(answers) == len(probes)
    assert "the contract allows a = -" in caplog.text
    assert "below what this was made for" in caplog.text


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


def test_a_mapped_unknown_is_encoded_as_unknown(rows, target) -> None:
    """`other` is where the contract puts what it does not know: no known category is lost."""
    pipe = pipeline(("cat", OneHotEncoder(handle_unknown="ignore"), ["d"]), NUM)
    probes, answers = probed(pipe, rows, target)
    assert 0 in set(probes["d"])
    assert not answers.isna().any(axis=None)


@pytest.mark.parametrize("drop", ["first", "if_binary", ["x"]])
def test_what_one_encoder_drops_excuses_no_other_column(drop, rows, target) -> None:
    dropping = OneHotEncoder(categories=[["x", "y"]], drop=drop, handle_unknown="ignore")
    pipe = pipeline(
        ("c", dropping, ["t"]), ("d", OneHotEncoder(handle_unknown="ignore"), ["c"]), NUM
    )
    columns = {
        **CONTRACT.columns,
        "t": CONTRACT.columns["c"].model_copy(
            update={"categories": ("x", "y"), "missing": "refuse", "unknown": "refuse"}
        ),
    }
    contract = CONTRACT.model_copy(update={"columns": columns})
    pipe.set_params(conform__contract=contract)
    with pytest.raises(ProbeFailed, match="c = 'z'"):
        probed(pipe, rows.assign(t=rows["c"]), target)


def test_a_binary_drop_excuses_no_loss_where_there_are_three(rows, target) -> None:
    """Of three categories none is dropped, so that one which is lost is not the dropped one."""
    rows.loc[:4, "c"] = None
    encoder = OneHotEncoder(handle_unknown="ignore", drop="if_binary")
    with pytest.raises(ProbeFailed, match="c = 'z', which training never saw"):
        probed(pipeline(("c", encoder, ["c"]), NUM), rows, target)


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


def test_a_column_that_the_pipeline_does_not_use_is_told(rows, target, caplog) -> None:
    assert_let_through(pipeline(NUM), rows, target)
    assert "no step uses b, f, c, d, t, m:" in caplog.text


def test_columns_that_are_used_are_not_told(rows, target, caplog) -> None:
    text = FunctionTransformer(lambda X: np.array([[len(t)] for t in X["t"]]))
    used = [
        ("c", asfitted.Dummies(), ["c", "d"]), ("t", text, ["t"]), numbers(),
    ]  # fmt: skip
    assert_let_through(pipeline(*used), rows, target)
    assert "no step uses m:" in caplog.text


def test_a_selector_of_objects_finds_nothing_behind_conform(rows, target, caplog) -> None:
    text = make_column_selector(dtype_include=object)
    encoder = OneHotEncoder(handle_unknown="ignore")
    assert_let_through(
        pipeline(("c", encoder, lambda X: [n for n in text(X) if n != "t"]), numbers()),
        rows,
        target,
    )
    assert "no step uses c, d, t, m:" in caplog.text
    assert "a column selector of dtype object" in caplog.text


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
