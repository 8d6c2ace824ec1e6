"""The door through which a model is loaded: a Spark worker's records nothing."""

from __future__ import annotations

import logging

import pytest

from asfitted.errors import LoadRefused
from asfitted.serving import door


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_PYTHON_RUNTIME", "PYTHON_WORKER")


def called_as(module: str, function: str) -> object:
    """Ask for the source from within a function of MLflow's."""
    names = {"__name__": module, "door": door}
    exec(f"def {function}():\n    return door.source()", names)
    return names[function]()  # type: ignore[operator]


SERVER = "mlflow.pyfunc.scoring_server"


def test_each_door_is_known_by_what_is_being_run() -> None:
    assert door.source() == "inprocess"
    assert called_as(f"{SERVER}.app", "load") == "serve"
    assert called_as(SERVER, "_predict") == "batch"
    assert called_as(SERVER, "load_model_with_mlflow_config") == "inprocess"


@pytest.mark.usefixtures("worker")
def test_in_a_worker_it_is_spark_and_a_server_is_refused() -> None:
    assert door.source() == "spark"
    with pytest.raises(LoadRefused, match='env_manager="local"'):
        called_as(SERVER, "load_model_with_mlflow_config")


def test_from_a_worker_nothing_is_recorded_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    door._say_unrecorded.cache_clear()
    assert door.recorded_source() == "inprocess"
    monkeypatch.setenv("SPARK_PYTHON_RUNTIME", "PYTHON_WORKER")
    with caplog.at_level(logging.WARNING):
        assert door.recorded_source() is None
        assert door.recorded_source() is None
    (said,) = caplog.messages
    assert "asfitted score" in said
