"""`mlflow.models.evaluate` treats an artifact as any scikit-learn model."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
from conformance_cases import CASES, rows, target
from sklearn.metrics import accuracy_score, r2_score

import asfitted
from asfitted.config import LOG_VARIABLE

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        ".*Any type hint is inferred as AnyType:UserWarning",
        # MLflow's own calls of pandas and SQLAlchemy.
        r":DeprecationWarning:mlflow\..*",
        "Series.values returning an ndarray that drops timezone",
    )
]


@pytest.mark.parametrize(
    ("name", "kind", "metric", "score"),
    [
        ("forest_of_two_jobs", "classifier", "accuracy_score", accuracy_score),
        ("ridge", "regressor", "r2_score", r2_score),
    ],
)
def test_evaluate(name, kind, metric, score, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    case, train = CASES[name], rows(seed=1)
    truth = target(case.target, train)
    pipeline = case.pipeline().fit(train, truth)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", (tmp_path / "a").as_uri()))
    with mlflow.start_run():
        info = asfitted.log_model(pipeline, name, reference=train, predict_fn="predict")
        result = mlflow.models.evaluate(
            info.model_uri,
            train.assign(truth=truth),
            targets="truth",
            model_type=kind,
            # Its explainer cannot read the text columns of pandas 3, even if switched off.
            evaluators=kind,
        )
    assert result.metrics[metric] == pytest.approx(score(truth, pipeline.predict(train)))
    assert np.isfinite(result.metrics[metric])
