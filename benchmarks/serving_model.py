"""One pipeline, saved plainly and by Asfitted, and the rows that are sent to it.

Eight numbers and six categories with missing values, a text, a moment, and a
transformer of one's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bench_steps
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import asfitted

ROWS = 5_000
NUMBERS = [f"n{i}" for i in range(8)]
CATEGORIES = [f"c{i}" for i in range(6)]
WORDS = [
    "late",
    "early",
    "rain",
    "snow",
    "refund",
    "broken",
    "good",
    "fine",
    "again",
    "never",
    "slow",
    "fast",
    "cheap",
    "dear",
]
ESTIMATORS: dict[str, Any] = {
    "logistic": LogisticRegression(max_iter=500),
    "boosting": HistGradientBoostingClassifier(max_iter=100, random_state=0),
}


def rows() -> tuple[pd.DataFrame, pd.Series]:
    """Return the training frame of shape (5000, 16) and the classes."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({name: rng.normal(size=ROWS) for name in NUMBERS})
    for i, name in enumerate(CATEGORIES):
        frame[name] = pd.Series(rng.choice([f"v{k}" for k in range(4 + 3 * i)], ROWS), dtype=object)
    for name in [*NUMBERS, *CATEGORIES]:
        frame.loc[rng.random(ROWS) < 0.1, name] = None
    frame["note"] = pd.Series([" ".join(rng.choice(WORDS, 6)) for _ in range(ROWS)], dtype=object)
    frame["at"] = pd.date_range("2026-01-01", periods=ROWS, freq="37min", unit="us")
    score = frame["n0"].fillna(0) + (frame["c0"] == "v1") + 0.3 * rng.normal(size=ROWS)
    return frame, (score > 0.5).astype(int)


def columns(dense: bool, categories: Any) -> ColumnTransformer:
    """Return the preparation that both pipelines share."""
    encode = OneHotEncoder(handle_unknown="ignore", categories=categories, sparse_output=not dense)
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
            ("categories", encode, CATEGORIES),
            ("note", TfidfVectorizer(), "note"),
            ("at", make_pipeline(bench_steps.HourAndDay(), StandardScaler()), ["at"]),
        ],
        sparse_threshold=0 if dense else 0.3,
    )


def save(folder: Path, estimators: Iterable[str] = tuple(ESTIMATORS)) -> None:
    """Write ``<estimator>-mlflow`` and ``<estimator>-asfitted`` below `folder`."""
    frame, y = rows()
    steps = str(Path(bench_steps.__file__))
    contract = asfitted.DataContract.infer(frame, target=y)
    for name in estimators:
        estimator = ESTIMATORS[name]
        dense = name == "boosting"
        plain = make_pipeline(columns(dense, "auto"), estimator).fit(frame, y)
        mlflow.sklearn.save_model(
            plain,
            str(folder / f"{name}-mlflow"),
            signature=infer_signature(frame, plain.predict(frame)),
            code_paths=[steps],
            pip_requirements=["mlflow", "scikit-learn"],
            serialization_format="cloudpickle",
            pyfunc_predict_fn="predict_proba",
        )
        ours = make_pipeline(
            asfitted.Conform(contract), columns(dense, contract.categories(CATEGORIES)), estimator
        )
        asfitted.save_model(
            ours.fit(frame, y),
            folder / f"{name}-asfitted",
            reference=frame,
            code_paths=[steps],
            name=name,
            predict_fn="predict_proba",
        )


def body(n_rows: int, start: int = 0) -> bytes:
    """Return `n_rows` rows as a ``dataframe_split`` body."""
    frame = rows()[0].iloc[start : start + n_rows]
    sent = frame.assign(at=frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    split = json.loads(sent.to_json(orient="split", index=False))
    return json.dumps({"dataframe_split": split}).encode()
