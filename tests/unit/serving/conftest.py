"""A small served model, without a server: the ASGI app called as uvicorn calls it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import asfitted
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.scoring import Identity, Recorder
from asfitted.serving.app import App

CONTRACT = """
schema_version: 1
keys: [id]
limits: {rows: 50, bytes: 20000}
columns:
  id: {kind: text}
  a: {kind: number, missing: {fill: 0.5}}
  c: {kind: category, categories: [x, y], missing: pass, unknown: missing}
"""


@pytest.fixture(scope="session")
def pipeline() -> Any:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "id": [f"k{i}" for i in range(100)],
            "a": rng.normal(size=100),
            "c": rng.choice(np.array(["x", "y", None]), 100),
        }
    )
    steps = [("c", asfitted.Dummies(), ["c"]), ("a", "passthrough", ["a"])]
    contract = asfitted.DataContract.from_yaml(CONTRACT)
    return make_pipeline(
        asfitted.Conform(contract), ColumnTransformer(steps), LogisticRegression()
    ).fit(X, X.a > 0)


@pytest.fixture
def model(pipeline: Any, tmp_path: Path) -> Iterator[asfitted.FittedModel]:
    with Journal(tmp_path / "log") as journal:
        identity = Identity("m", "1", "d" * 64)
        recorder = Recorder(journal, FieldPolicy(), identity, "serve")
        yield asfitted.FittedModel(
            pipeline, predict_fn="both", identity=identity, recorder=recorder
        )


@pytest.fixture
def app(model: asfitted.FittedModel) -> App:
    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"MLflow's own"})

    return App(model, behind)
