"""skops where every type is known to be safe; otherwise cloudpickle, and a line says why."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from asfitted.artifact import layout, serialize
from asfitted.contract import Conform, DataContract
from asfitted.errors import ArtifactDamaged, SaveRefused
from asfitted.preprocessing import Dummies

X = pd.DataFrame({"c": ["a", "b"] * 20, "n": np.arange(40) / 7, "m": [None, 1.0] * 20})
Y = np.arange(40) % 3 > 0
CONTRACT = DataContract.infer(X)


class Own(TransformerMixin, BaseEstimator):
    def fit(self, X: Any, y: Any = None) -> Own:
        return self

    def transform(self, X: Any) -> Any:
        return X


def pipeline(model: Any = None, category: Any = None, *between: Any) -> Pipeline:
    columns = ColumnTransformer(
        [
            ("cat", category or Dummies(dtype=float), ["c"]),
            ("num", make_pipeline(SimpleImputer(), StandardScaler()), ["n", "m"]),
        ]
    )
    last = LogisticRegression() if model is None else model
    return make_pipeline(Conform(CONTRACT), *between, columns, last).fit(X, Y)


SAFE = {
    "dummies": lambda: pipeline(),
    "sparse dummies": lambda: pipeline(None, Dummies(sparse=True, dtype="float32")),
    "one-hot": lambda: pipeline(None, OneHotEncoder(categories=CONTRACT.categories(["c"]))),
    "forest": lambda: pipeline(RandomForestRegressor(3, random_state=0)),
    "boosting": lambda: pipeline(HistGradientBoostingClassifier(max_iter=3)),
}


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_pipeline_goes_as_skops(name: str, tmp_path: Path) -> None:
    fitted = SAFE[name]()
    written, trusted = serialize.dump(fitted, tmp_path)
    assert written == "skops"
    assert set(trusted) <= serialize.SAFE
    assert [p.name for p in tmp_path.iterdir()] == [layout.SKOPS]
    there = serialize.load(tmp_path)
    method = "predict_proba" if hasattr(fitted, "predict_proba") else "predict"
    assert getattr(there, method)(X).tobytes() == getattr(fitted, method)(X).tobytes()
    assert there[0].contract == CONTRACT


@pytest.mark.parametrize(
    ("step", "said"),
    [(Own(), "Own"), (FunctionTransformer(lambda X: X), "function|lambda")],
    ids=["class", "lambda"],
)
def test_any_other_goes_as_cloudpickle_and_says_why(
    step: Any, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fitted = pipeline(None, None, step)
    with caplog.at_level(logging.INFO, "asfitted"):
        assert serialize.dump(fitted, tmp_path) == ("cloudpickle", [])
    (record,) = caplog.records
    assert "not with skops" in record.getMessage()
    assert [p.name for p in tmp_path.iterdir()] == [layout.PICKLE]
    there = serialize.load(tmp_path)
    assert there.predict_proba(X).tobytes() == fitted.predict_proba(X).tobytes()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(SaveRefused, match=f"cannot be saved with skops.*({said})") as caught:
        serialize.dump(fitted, other, "skops")
    assert "cloudpickle" in caught.value.mend
    assert list(other.iterdir()) == []


def test_either_can_be_demanded(tmp_path: Path) -> None:
    assert serialize.dump(pipeline(), tmp_path, "skops")[0] == "skops"
    (tmp_path / layout.SKOPS).unlink()
    assert serialize.dump(pipeline(), tmp_path, "cloudpickle") == ("cloudpickle", [])
    assert [p.name for p in tmp_path.iterdir()] == [layout.PICKLE]
    with pytest.raises(SaveRefused, match="no serialization format 'joblib'"):
        serialize.dump(pipeline(), tmp_path, "joblib")


def test_what_the_installed_list_does_not_trust_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serialize.dump(pipeline(), tmp_path)
    monkeypatch.setattr(serialize, "SAFE", frozenset())
    with pytest.raises(ArtifactDamaged, match="types that are not trusted"):
        serialize.load(tmp_path)


@pytest.mark.parametrize("name", [layout.SKOPS, layout.PICKLE])
@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_file_that_cannot_be_read(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactDamaged, match="the pipeline cannot be read"):
        serialize.load(tmp_path)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(ArtifactDamaged, match="the pipeline cannot be read"):
        serialize.load(tmp_path)
