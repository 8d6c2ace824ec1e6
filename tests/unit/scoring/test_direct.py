"""The same fitted transformers, called one by one, give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scoring_rows import CONTRACT, numbers, pipeline
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

import asfitted
from asfitted.scoring import Scorer
from asfitted.scoring.direct import DirectColumns, agrees


class Signs(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Wants a frame, by name."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Signs:
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"sign": np.sign(X["a"])})


NUMBERS = ("num", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "k"])
LABELS = OneHotEncoder(categories=CONTRACT.categories(["c"]), handle_unknown="ignore")
ENCODED = OrdinalEncoder(categories=CONTRACT.categories(["c"]), encoded_missing_value=-1)
MIXED = (
    NUMBERS,
    ("scaled", make_pipeline(MinMaxScaler(), "passthrough", SimpleImputer()), ["b"]),
    ("cat", LABELS, ["c"]),
    ("ordinal", make_pipeline(ENCODED, StandardScaler()), ["c"]),
    ("text", TfidfVectorizer(), "t"),
    ("own", Signs(), ["a"]),
    ("flag", SimpleImputer(strategy="most_frequent"), ["f"]),
    ("dummies", asfitted.Dummies(), ["c", "d"]),
    ("none", "drop", ["m"]),
    ("nothing", StandardScaler(), []),
)


def fitted(whole: ColumnTransformer, rows: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    conformed = CONTRACT.conform(rows, keys=False).frame
    return whole.fit(conformed, rows["a"]), conformed


def bits(result: Any) -> Any:
    if scipy.sparse.issparse(result):
        return result.toarray().tobytes(), result.nnz
    return np.asarray(result).tobytes(), result.shape


@pytest.mark.parametrize("threshold", [0, 1])
@pytest.mark.parametrize("n_rows", [1, 2, 64, 150])
def test_the_same_bits(rows: pd.DataFrame, threshold: float, n_rows: int) -> None:
    whole, conformed = fitted(ColumnTransformer(list(MIXED), sparse_threshold=threshold), rows)
    assert agrees(whole, CONTRACT, [conformed])
    part = conformed.iloc[:n_rows]
    given = DirectColumns(whole, CONTRACT).transform(part)
    assert scipy.sparse.issparse(given) == bool(threshold)
    assert bits(given) == bits(whole.transform(part))


@pytest.mark.parametrize(
    "columns",
    [[0, 1], slice(0, 2), make_column_selector("^[ab]$"), np.arange(8) < 2, ["b", "a"]],
    ids=["places", "slice", "selector", "mask", "order"],
)
def test_every_way_to_name_columns(rows: pd.DataFrame, columns: Any) -> None:
    whole, conformed = fitted(ColumnTransformer([("n", RobustScaler(), columns)]), rows)
    assert agrees(whole, CONTRACT, [conformed])


def test_nothing_is_written_into_the_fitted_steps(rows: pd.DataFrame) -> None:
    whole, _ = fitted(ColumnTransformer(list(MIXED)), rows)
    DirectColumns(whole, CONTRACT)
    assert whole.named_transformers_["num"].steps[0][1].feature_names_in_.tolist() == [*"abk"]


class Loud(ColumnTransformer):  # type: ignore[misc]
    def transform(self, X: Any, **params: Any) -> Any:
        return super().transform(X) + 1


@pytest.mark.parametrize(
    "whole",
    [
        ColumnTransformer([NUMBERS], transformer_weights={"num": 2}),
        ColumnTransformer([numbers()]).set_output(transform="pandas"),
        ColumnTransformer([("all", "drop", ["a"])]),
        Loud([NUMBERS]),
        make_pipeline(ColumnTransformer([NUMBERS])),
    ],
    ids=["weights", "pandas", "nothing", "subclass", "pipeline"],
)
def test_what_is_called_as_it_is(rows: pd.DataFrame, whole: Any) -> None:
    whole, conformed = fitted(whole, rows)
    with pytest.raises(TypeError):
        DirectColumns(whole, CONTRACT)
    assert not agrees(whole, CONTRACT, [conformed])


class Moody(StandardScaler):  # type: ignore[misc]
    """Answers an array otherwise than a frame."""

    def transform(self, X: Any, copy: Any = None) -> Any:
        return super().transform(X) + isinstance(X, pd.DataFrame)


def test_one_other_bit_is_enough(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, conformed = fitted(ColumnTransformer([("n", Moody(), ["a"])]), rows)
    assert agrees(whole, CONTRACT, [conformed])
    monkeypatch.setattr("asfitted.scoring.direct._NUMBERS", (Moody,))
    assert not agrees(whole, CONTRACT, [conformed])


def test_a_scorer_gives_the_same_answers(rows: pd.DataFrame) -> None:
    pipe: Pipeline = pipeline(*MIXED[:6]).fit(rows, rows["a"] > 0)
    conformed = CONTRACT.conform(rows, keys=False).frame
    for whole_steps in (0, 1):
        plain = Scorer(pipe, whole_steps).score(conformed)
        direct = Scorer(pipe, whole_steps, ["columns"])
        assert isinstance(direct.steps[0][1], DirectColumns)
        pd.testing.assert_frame_equal(direct.score(conformed), plain, check_exact=True)
        for row in (0, 77, 149):
            alone = direct.score(conformed.iloc[[row]])
            pd.testing.assert_frame_equal(
                alone, plain.iloc[[row]].reset_index(drop=True), check_exact=True
            )
