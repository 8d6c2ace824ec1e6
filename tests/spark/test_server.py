"""The server that ``spark_udf`` starts with ``env_manager="uv"`` and the like."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SERVERS = {
    "http": ["uvicorn", "--port", "0", "mlflow.pyfunc.scoring_server.app:app"],
    "stdin": ["mlflow.pyfunc.stdin_server", "--model-uri", "model"],
}


@pytest.mark.parametrize("server", SERVERS)
def test_it_refuses_to_start(server: str, home: object, model: str) -> None:
    """It would get JSON, in which no zone is left; started as MLflow does, by a worker."""
    started = subprocess.run(
        [sys.executable, "-m", *SERVERS[server]],
        env={
            **os.environ,
            "SPARK_PYTHON_RUNTIME": "PYTHON_WORKER",
            "__pyfunc_model_path__": model,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert started.returncode != 0
    assert "LoadRefused: spark_udf has started a server" in started.stderr
    assert 'env_manager="local"' in started.stderr
