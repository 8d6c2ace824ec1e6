"""MLflow's answers in our words."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from asfitted.errors import RegistryError, StoreUnavailable
from asfitted.registry.store import Store, asking_mlflow


def metric(value: float, data: str | None = None, at: int = 0) -> Any:
    digest = data and f"{data}-digest"
    return SimpleNamespace(key="auc", value=value, timestamp=at, step=0, dataset_name=data,
                           dataset_digest=digest)  # fmt: skip


class FakeStore(Store):
    """One version, of the logged model m-1 and of run r, with these metrics."""

    def __init__(self, of_model: list[Any], of_run: dict[str, float]) -> None:
        version = SimpleNamespace(source="models:/m-1", run_id="r")
        run = SimpleNamespace(data=SimpleNamespace(metrics=of_run))
        client: Any = SimpleNamespace(
            get_model_version=lambda name, version_: version,
            get_logged_model=lambda model_id: SimpleNamespace(metrics=of_model),
            get_run=lambda run_id: run,
        )
        self.where, self.client = "memory", client


@pytest.mark.parametrize(
    ("of_model", "of_run", "value", "text"),
    [
        ([], {"auc": 0.7}, 0.7, "logged in run r"),
        ([metric(0.8)], {"auc": 0.7}, 0.8, "logged for model m-1"),
        ([metric(0.9, at=2), metric(0.8, at=1)], {}, 0.9, "logged for model m-1"),
        ([metric(0.8, "a"), metric(0.8, "b")], {}, 0.8, "logged for model m-1"),
        ([metric(0.8, "a"), metric(0.9, "b")], {}, None, "for several data sets (a, b)"),
        ([], {"auc": math.nan}, None, "what is logged is nan"),
        ([], {"loss": 1.0}, None, "no metric 'auc' is logged for it; there is loss"),
        ([], {}, None, "there is none"),
    ],
)
def test_a_logged_metric(
    of_model: list[Any], of_run: dict[str, float], value: float | None, text: str
) -> None:
    found = FakeStore(of_model, of_run).logged_metric("m", "1", "auc")
    assert found.value == value
    assert text in (found.source if value is not None else found.why)


def test_a_logged_metric_knows_its_rows() -> None:
    found = FakeStore([metric(0.8, "a")], {}).logged_metric("m", "1", "auc")
    assert found.data_digest == "a-digest"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MlflowException("API request to http://… failed with exception refused"), 4),
        (MlflowException("database is locked", TEMPORARILY_UNAVAILABLE), 4),
        (requests.ConnectionError("refused"), 4),
        (MlflowException("no such alias", RESOURCE_DOES_NOT_EXIST), 2),
        (MlflowException("bad name", INVALID_PARAMETER_VALUE), 2),
    ],
)
def test_errors(raised: Exception, expected: int) -> None:
    with pytest.raises((RegistryError, StoreUnavailable)) as caught, asking_mlflow("here"):
        raise raised
    assert caught.value.exit_code == expected
    assert caught.value.where == "here"
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (FileNotFoundError("golden.parquet"), RegistryError),
        (MlflowException("gone", RESOURCE_DOES_NOT_EXIST), RegistryError),
        (MlflowException("##### File x #####\n404 Client Error: Not Found"), RegistryError),
        (MlflowException("##### File x #####\nMax retries exceeded"), StoreUnavailable),
        (None, RegistryError),
    ],
)
def test_a_download_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception | None,
    expected: type[Exception],
) -> None:
    def download(**_: Any) -> str:
        if raised is not None:
            raise raised
        return str(tmp_path)  # a folder without a model in it

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    with pytest.raises(expected):
        FakeStore([], {}).download("m", "1", tmp_path)
