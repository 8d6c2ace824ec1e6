"""A real PostgreSQL and a real S3 for the tests of the log, started when the first asks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from real_postgres import database, postgres
from real_s3 import bucket, s3

__all__ = ["bucket", "database", "postgres", "s3"]


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's own tables as a file: to make them takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def mlflow_url(mlflow_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a sink in a new, empty MLflow."""
    # Artifacts of an experiment without a place of its own lie in the working directory.
    monkeypatch.chdir(tmp_path)
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    return f"mlflow+sqlite:///{tmp_path / 'mlflow.db'}"
