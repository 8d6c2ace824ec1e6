"""What does less gives the same bits, and is not taken where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import yaml
from scoring_rows import CONTRACT, make_rows, numbers, pipeline
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    SGDRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import asfitted
from asfitted.save._row_wise import plan
from asfitted.save._shortcuts import proved
from asfitted.scoring import Scorer
from asfitted.scoring.blocks import in_blocks, same_bits
from asfitted.scoring.distinct import Distinct, agrees, with_distinct
from asfitted.scoring.linear import Linear

WORDS = ("words", TfidfVectorizer(), "t")


def prepared(pipe: Any, rows: pd.DataFrame) -> tuple[Scorer, pd.DataFrame, list[str]]:
    scorer = Scorer(pipe)
    conformed = CONTRACT.conform(rows, keys=False).frame
    scorer.whole_steps = plan(scorer.steps, conformed)
    return scorer, conformed, proved(scorer, [conformed])


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LogisticRegression(), ["unmarked", "columns", "texts", "linear", "labels"]),
        (RandomForestClassifier(5), ["unmarked", "columns", "texts", "labels"]),
        (Ridge(), ["unmarked", "columns", "texts", "linear"]),
    ],
)
def test_all_that_are_proved_together_give_the_same_bits(rows, estimator, expected) -> None:
    target = (rows["a"] > 0).astype(int)
    scale = ("scale", make_pipeline(numbers()[1], StandardScaler()), ["a", "b", "k"])
    pipe = pipeline(WORDS, scale, estimator=estimator).fit(rows, target)
    scorer, _, found = prepared(pipe, rows)
    assert found == expected
    many = CONTRACT.conform(make_rows(500, seed=3), keys=False).frame
    expected_rows = scorer.score(many)
    taking = Scorer(pipe, scorer.whole_steps, found)
    pd.testing.assert_frame_equal(taking.score(many), expected_rows, check_exact=True)
    for row in (0, 63, 64, 499):
        alone = taking.score(many.iloc[[row]])
        wanted = expected_rows.iloc[[row]].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, wanted, check_exact=True)


def test_a_saved_model_says_which_it_takes(tmp_path, rows, target) -> None:
    pipe = pipeline(WORDS, numbers(), estimator=LogisticRegression()).fit(rows, target)
    asfitted.save_model(pipe, tmp_path / "model", reference=rows, name="shop")
    said = yaml.safe_load((tmp_path / "model/MLmodel").read_text())["flavors"]["asfitted"]
    assert said["shortcuts"] == ["unmarked", "columns", "texts", "linear", "labels"]
    model = asfitted.load_model(tmp_path / "model")
    many = make_rows(300, seed=8)
    expected = asfitted.FittedModel(pipe).outputs(many)
    pd.testing.assert_frame_equal(model.outputs(many), expected, check_exact=True)


# --- texts --------------------------------------------------------------------------


class Counting(CountVectorizer):
    seen: list[int] = []  # noqa: RUF012

    def transform(self, raw_documents):
        self.seen.append(len(raw_documents))
        return super().transform(raw_documents)


def test_each_text_of_a_batch_is_read_once() -> None:
    texts = pd.Series([f"flight {i % 7}" for i in range(200)], dtype=object, name="t")
    step = Counting().fit(texts)
    expected = CountVectorizer().fit(texts).transform(texts)
    Counting.seen.clear()
    assert same_bits(Distinct(step).transform(texts), expected)
    assert same_bits(Distinct(step).transform(texts[:64]), expected[:64])
    assert Counting.seen == [7, 64]  # few rows are not worth looking at


def test_texts_that_differ_are_read_as_they_are() -> None:
    texts = pd.Series([f"flight {i}" for i in range(200)], dtype=object)
    step = Counting().fit(texts)
    Counting.seen.clear()
    Distinct(step).transform(texts)
    assert Counting.seen == [200]


class CountsRows(TransformerMixin, BaseEstimator):
    """Gives each row the number of rows beside it."""

    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self

    def transform(self, X):
        return np.full((len(X), 1), float(len(X)))


def test_who_looks_at_the_number_of_rows_sees_all_of_them(rows) -> None:
    conformed = CONTRACT.conform(rows, keys=False).frame
    whole = ColumnTransformer([("n", CountsRows(), "t")]).fit(conformed)
    assert isinstance(with_distinct(whole).transformers_[0][1], Distinct)
    assert not agrees(whole, [conformed])
    assert not agrees(whole, [conformed.iloc[:2]])


def test_nothing_is_written_into_the_fitted_transformer(rows) -> None:
    conformed = CONTRACT.conform(rows, keys=False).frame
    whole = ColumnTransformer([WORDS]).fit(conformed)
    with_distinct(whole)
    assert type(whole.transformers_[0][1]) is TfidfVectorizer


def test_what_runs_in_blocks_sees_each_row(rows, target) -> None:
    """A block of another number of rows would have other last bits."""
    words = make_pipeline(TfidfVectorizer(), TruncatedSVD(2))
    pipe = pipeline(("words", words, "t"), estimator=LogisticRegression()).fit(rows, target)
    scorer, _, found = prepared(pipe, rows)
    assert scorer.whole_steps == 0
    assert "texts" not in found


# --- linear -------------------------------------------------------------------------


def table(n_rows: int = 200) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(n_rows, 9))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("estimator", "classes"),
    [
        (LogisticRegression(), 2),
        (LogisticRegression(), 4),
        (LinearRegression(), 0),
        (Ridge(), 0),
        (Lasso(0.01), 0),
        (ElasticNet(0.01), 0),
    ],
)
def test_a_linear_model_says_the_same_to_the_bit(estimator, classes, sparse) -> None:
    X = table()
    y = np.arange(200) % classes if classes else X[:, 0] + X[:, 1] ** 2
    fitted = estimator.fit(X, y)
    X = scipy.sparse.csr_matrix(X) if sparse else X
    linear = Linear(fitted)
    for method in ("predict", "predict_proba") if classes else ("predict",):
        for n_rows in (1, 2, 63, 64, 65, 128, 200):
            was = in_blocks(getattr(fitted, method), X[:n_rows])
            assert same_bits(was, linear.call(method, X[:n_rows]))


def test_of_other_numbers_than_it_computes_with_it_is_asked_block_by_block() -> None:
    X = table().astype("float32")
    fitted = LogisticRegression().fit(table(), np.arange(200) % 2)
    assert same_bits(in_blocks(fitted.predict_proba, X), Linear(fitted).call("predict_proba", X))
    seen: list[int] = []
    fitted.predict_proba = lambda block: seen.append(len(block)) or block
    Linear(fitted).call("predict_proba", X)
    assert seen == [64] * 4


def test_of_several_targets_too() -> None:
    X = table()
    fitted = Ridge().fit(X, X[:, :3] ** 2)
    assert same_bits(in_blocks(fitted.predict, X), Linear(fitted).call("predict", X))


def test_it_is_given_all_rows_at_once(rows, target, monkeypatch) -> None:
    pipe = pipeline(numbers(), estimator=LogisticRegression()).fit(rows, target)
    scorer, conformed, shortcuts = prepared(pipe, rows)
    short = Scorer(pipe, scorer.whole_steps, shortcuts)
    wanted = {n_rows: scorer.score(conformed.head(n_rows)) for n_rows in (1, 63, 64, 65, 150)}
    monkeypatch.setattr("asfitted.scoring.scorer.in_blocks", pytest.fail)
    for n_rows, answers in wanted.items():
        said = short.score(conformed.head(n_rows))
        pd.testing.assert_frame_equal(said, answers, check_exact=True)


def test_what_a_linear_model_refuses_it_refuses() -> None:
    fitted = LogisticRegression().fit(table(), np.arange(200) % 2)
    block = table(64)
    block[3, 3] = np.nan
    for wrong in (block, table(64)[:, :5]):
        with pytest.raises(ValueError) as by_itself:
            fitted.predict_proba(wrong)
        with pytest.raises(ValueError) as asked:
            Linear(fitted).call("predict_proba", wrong)
        assert str(asked.value) == str(by_itself.value)


class Doubled(LogisticRegression):
    def decision_function(self, X):
        return 2 * super().decision_function(X)


def test_others_are_not_taken_for_one(rows, target) -> None:
    for other in (SGDRegressor(), RandomForestClassifier(), Doubled()):
        with pytest.raises(TypeError):
            Linear(other.fit(table(), np.arange(200) % 2))
    pipe = pipeline(numbers(), estimator=Doubled()).fit(rows, target)
    assert "linear" not in prepared(pipe, rows)[2]


def test_one_other_bit_and_it_is_not_taken(rows, target, monkeypatch) -> None:
    pipe = pipeline(numbers(), estimator=LogisticRegression()).fit(rows, target)
    assert "linear" in prepared(pipe, rows)[2]
    monkeypatch.setattr(
        "asfitted.scoring.linear.Linear._product",
        lambda self, table: np.nextafter(table @ self._coef, np.inf),
    )
    assert "linear" not in prepared(pipe, rows)[2]
