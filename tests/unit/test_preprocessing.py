"""`Dummies` gives what `pandas.get_dummies` gives, and never what the data happens to hold."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from asfitted.contract import Column, Conform, DataContract
from asfitted.errors import ContractInvalid
from asfitted.preprocessing import Dummies

_WORDS = st.text(st.characters(codec="utf-8"), max_size=4)
_LISTS = st.one_of(
    st.lists(_WORDS, min_size=1, max_size=5, unique=True),
    st.lists(st.integers(-9, 9), min_size=1, max_size=5, unique=True),
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    lists = draw(st.lists(_LISTS, min_size=1, max_size=3))
    n = draw(st.integers(0, 6))
    columns = {}
    for i, labels in enumerate(lists):
        codes = draw(st.lists(st.integers(-1, len(labels) - 1), min_size=n, max_size=n))
        kind = "int64" if isinstance(labels[0], int) else object
        columns[f"c{i}"] = pd.Categorical.from_codes(codes, pd.Index(labels, dtype=kind))
    return pd.DataFrame(columns)


@given(frame=frames(), dtype=st.sampled_from([bool, int, float, "uint8", np.float32]))
def test_bit_for_bit_what_get_dummies_gives(frame: pd.DataFrame, dtype: Any) -> None:
    expected = pd.get_dummies(frame, dummy_na=True, dtype=dtype)
    dense = Dummies(dtype=dtype).fit(frame)
    got = dense.transform(frame)
    assert got.dtype == np.dtype(dtype)
    assert got.tobytes() == expected.to_numpy(dtype=dtype).tobytes()
    assert dense.get_feature_names_out().tolist() == expected.columns.tolist()
    sparse = Dummies(sparse=True, dtype=dtype).fit_transform(frame)
    assert scipy.sparse.issparse(sparse)
    assert sparse.format == "csr"
    assert sparse.has_canonical_format
    assert sparse.toarray().tobytes() == got.tobytes()


@given(frame=frames(), data=st.data())
def test_the_columns_do_not_depend_on_the_data(frame: pd.DataFrame, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, max(len(frame) - 1, 0)), max_size=3))
    part = frame.iloc[rows if len(frame) else []]
    whole, less = Dummies().fit(frame), Dummies().fit(part)
    assert whole.get_feature_names_out().tolist() == less.get_feature_names_out().tolist()
    assert whole.transform(part).tobytes() == less.transform(part).tobytes()
    for i in range(len(frame)):
        alone = less.transform(frame.iloc[[i]])
        assert alone.tobytes() == whole.transform(frame)[[i]].tobytes()
        assert alone.sum() == frame.shape[1]


def letters(values: list[str | None], labels: str = "abc") -> pd.DataFrame:
    return pd.DataFrame({"c": pd.Categorical(values, categories=list(labels))})


def test_edges() -> None:
    step = Dummies().fit(letters([]))
    assert step.transform(letters([])).shape == (0, 4)
    assert Dummies(sparse=True).fit_transform(letters([])).shape == (0, 4)
    assert step.transform(letters([None, None])).tolist() == [[False, False, False, True]] * 2
    assert step.transform(letters(["b"])).tolist() == [[False, True, False, False]]
    assert step.get_feature_names_out().tolist() == ["c_a", "c_b", "c_c", "c_nan"]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (letters(["a"], "ab"), "the categories are not those of fit"),
        (letters(["a"], "acb"), "the categories are not those of fit"),
        (letters(["a"], "abcd"), "the categories are not those of fit"),
        (pd.DataFrame({"c": pd.Categorical([1, 2, 3])}), "the categories are not those of fit"),
        (pd.DataFrame({"c": ["a"]}), "needs Categoricals"),
        (pd.DataFrame({"c": [1.0]}), "needs Categoricals"),
        (letters(["a"]).rename(columns={"c": "d"}), "was fitted on the columns c"),
        (letters(["a"]).assign(d=pd.Categorical(["a"])), "was fitted on the columns c"),
        (letters(["a"])[[]], "was fitted on the columns c"),
        (np.array([["a"]]), "not ndarray"),
        ([["a"]], "not list"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_other_frames_than_those_of_fit(frame: Any, said: str) -> None:
    with pytest.raises(ContractInvalid, match=said):
        Dummies().fit(letters(["a"])).transform(frame)


def test_what_cannot_be_fitted() -> None:
    for frame in (pd.DataFrame({"c": ["a"]}), pd.DataFrame({"c": [1]}), np.zeros((1, 1))):
        with pytest.raises(ContractInvalid):
            Dummies().fit(frame)
    twice = pd.concat([letters(["a"]), letters(["b"])], axis=1)
    with pytest.raises(ContractInvalid, match="twice"):
        Dummies().fit(twice)
    for call in (lambda s: s.transform(letters(["a"])), lambda s: s.get_feature_names_out()):
        with pytest.raises(NotFittedError):
            call(Dummies())


def test_the_order_of_the_columns_is_that_of_fit() -> None:
    two = pd.DataFrame({"x": pd.Categorical(["a"]), "y": pd.Categorical(["b"])})
    step = Dummies().fit(two)
    assert step.feature_names_in_.tolist() == ["x", "y"]
    with pytest.raises(ContractInvalid, match="columns x, y"):
        step.transform(two[["y", "x"]])


def test_set_output() -> None:
    frame = letters(["a", None]).set_axis(["r", "s"])
    expected = pd.get_dummies(frame, dummy_na=True)
    got = Dummies().set_output(transform="pandas").fit_transform(frame)
    pd.testing.assert_frame_equal(got, expected)
    default = Dummies().set_output(transform="default").fit_transform(frame)
    assert isinstance(default, np.ndarray)
    with pytest.raises(ValueError, match="sparse"):
        Dummies(sparse=True).set_output(transform="pandas").fit_transform(frame)


def test_clone_and_pickle() -> None:
    step = Dummies(sparse=True, dtype="float32").fit(letters(["a", None]))
    assert clone(step).get_params() == {"sparse": True, "dtype": "float32"}
    assert not hasattr(clone(step), "categories_")
    there = pickle.loads(pickle.dumps(step))
    frame = letters(["c", None, "a"])
    assert (there.transform(frame) != step.transform(frame)).nnz == 0
    assert there.get_feature_names_out().tolist() == step.get_feature_names_out().tolist()


CONTRACT = DataContract(
    columns={
        "carrier": Column(kind="category", categories=("UA", "AA", "NO"), missing="pass"),
        "grade": Column(kind="category", categories=(2, 1), missing="pass"),
        "size": Column(kind="number"),
    }
)


@pytest.mark.parametrize("sparse", [False, True])
def test_behind_conform_in_a_column_transformer(sparse: bool) -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0], "grade": [1, None], "carrier": ["AA", None]})
    columns = ColumnTransformer(
        [
            ("cat", Dummies(sparse=sparse, dtype=float), ["carrier", "grade"]),
            ("num", FunctionTransformer(feature_names_out="one-to-one"), ["size"]),
        ],
        sparse_threshold=1.0 if sparse else 0.0,
    )
    pipeline = make_pipeline(Conform(CONTRACT), columns).fit(frame)
    got = pipeline.transform(frame)
    assert scipy.sparse.issparse(got) == sparse
    rows = got.toarray().tolist() if sparse else got.tolist()
    assert rows == [[0, 1, 0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0, 1, 2]]
    assert pipeline.get_feature_names_out().tolist() == [
        "cat__carrier_UA",
        "cat__carrier_AA",
        "cat__carrier_NO",
        "cat__carrier_nan",
        "cat__grade_2",
        "cat__grade_1",
        "cat__grade_nan",
        "num__size",
    ]
    # A category that training never saw has had its column all along.
    unseen = frame.assign(carrier=["NO", "NO"])
    assert np.asarray(got.shape).tolist() == list(pipeline.transform(unseen).shape)
