"""What every test relies on: Hypothesis profiles, and a process as clean as a new one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before anything loads OpenMP: several processes whose idle threads spin take each
# other's cores, and a test takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Run times vary too much on shared machines for a deadline to mean anything.
_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fast", max_examples=30, **_COMMON)
settings.register_profile("ci", max_examples=200, derandomize=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# No variable of the shell that runs the tests decides what they find.
for _name in [name for name in os.environ if name.startswith("ASFITTED_")]:
    del os.environ[_name]

# A shell that starts the tests in the background has Ctrl-C ignored, and what is started
# from here would ignore it too.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _mlflow_uris() -> tuple[str | None, str | None]:
    tracking = sys.modules.get("mlflow.tracking._tracking_service.utils")
    registry = sys.modules.get("mlflow.tracking._model_registry.utils")
    return getattr(tracking, "_tracking_uri", None), getattr(registry, "_registry_uri", None)


def _mlflow_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


@pytest.fixture(autouse=True)
def _mlflow_forgets() -> Iterator[None]:
    """Put back what MLflow keeps in globals, lest one test's run or store reach the next.

    Its URIs, the stack of active runs and the variables that it sets for child
    processes (`set_experiment` does) outlive the test that set them: a later test
    would log into a deleted folder, as a nested run, or into an experiment that its
    store has not. What a fixture of a module has set is kept, and a test without
    MLflow does not pay for its import.
    """
    before = _mlflow_uris()
    environment = _mlflow_environment()
    yield
    mlflow = sys.modules.get("mlflow")
    if hasattr(mlflow, "active_run"):
        assert mlflow is not None
        while mlflow.active_run():
            mlflow.end_run()
        if _mlflow_uris() != before:
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])
        mlflow.tracking.fluent._active_experiment_id = None
    for name in _mlflow_environment():
        del os.environ[name]
    os.environ.update(environment)
