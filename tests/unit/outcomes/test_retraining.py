"""What docs/prediction_log.md says of training on the log gives the model of before."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import asfitted
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.scoring.recording import Identity, Recorder

DOCS = Path(__file__).parents[3] / "docs" / "prediction_log.md"

CONTRACT = asfitted.DataContract.from_yaml("""
keys: [stay]
columns:
  stay: {kind: text}
  age: {kind: integer, missing: {fill: 40}}
  smoker: {kind: boolean, missing: pass}
  ward: {kind: category, categories: [A, B, other], unknown: other, missing: pass}
  admitted: {kind: datetime, zone: Europe/Berlin}
target:
  back: {kind: category, categories: [0, 1]}
""")


def numbers(frame: pd.DataFrame) -> np.ndarray:
    """Return the hour of a moment and what else is a number, nothing missing."""
    return np.c_[frame["age"], frame["smoker"].fillna(0.5), frame["admitted"].dt.hour]


def test_the_log_trains_the_same_model(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    n = 80
    raw = pd.DataFrame(
        {
            "stay": [f"S{i}" for i in range(n)],
            "age": pd.array(rng.integers(1, 90, n), dtype="Int64"),
            "smoker": rng.choice(np.array([True, False, None], dtype=object), n),
            "ward": rng.choice(np.array(["A", "B", "new", None], dtype=object), n),
            "admitted": pd.Timestamp("2026-03-28", tz="Europe/Berlin")
            + pd.to_timedelta(rng.integers(0, 3000, n), unit="min"),
        }
    )
    raw["admitted"] = raw["admitted"].dt.as_unit("us")
    raw.loc[3, "age"] = pd.NA
    y = pd.Series(rng.integers(0, 2, n), name="back")
    pipeline = make_pipeline(
        asfitted.Conform(CONTRACT),
        ColumnTransformer(
            [
                ("cat", asfitted.Dummies(), ["ward"]),
                ("num", FunctionTransformer(numbers), ["age", "smoker", "admitted"]),
            ]
        ),
        LogisticRegression(max_iter=2000),
    ).fit(raw[:50], y[:50])
    identity = Identity("ward", "1", "d" * 64)
    with Journal(tmp_path / "prediction_log") as journal:
        recorder = Recorder(journal, FieldPolicy(), identity, "inprocess")
        asfitted.FittedModel(pipeline, identity=identity, recorder=recorder).predict(raw)
    known = pd.DataFrame({"stay": raw["stay"], "back": y})[:50]
    asfitted.add_outcomes(known, contract=CONTRACT, model="ward")
    expected = (pipeline.classes_, pipeline[-1].coef_)

    (snippet,) = re.findall(
        r"```python\n(log = asfitted.read_log.*?)```", DOCS.read_text(), re.DOTALL
    )
    again = clone(pipeline)
    exec(
        snippet.replace('"flights"', '"ward"'),
        {"asfitted": asfitted, "contract": CONTRACT, "pipeline": again},
    )
    for got, wanted in zip((again.classes_, again[-1].coef_), expected, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
