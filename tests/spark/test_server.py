"""The server that ``spark_udf`` starts with ``env_manager="uv"`` and the like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# As MLflow starts them in a worker: over HTTP, and over stdin, which is its default.
SERVERS = {
    "http": ["uvicorn", "--port", "0", "mlflow.pyfunc.scoring_server.app:app"],
    "stdin": ["mlflow.pyfunc.stdin_server", "--model-uri", "model"],
}


def test_it_refuses_to_start(home: Path, model: str) -> None:
    """It would get JSON, in which no zone is left."""
    variables = {"SPARK_PYTHON_RUNTIME": "PYTHON_WORKER", "__pyfunc_model_path__": model}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=home,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, arguments in SERVERS.items()
    }
    for name, server in started.items():
        try:
            _, said = server.communicate(timeout=180)
        finally:
            server.kill()
        assert server.returncode > 0, name
        assert "LoadRefused: spark_udf has started a server" in said, name
        assert 'env_manager="local"' in said, name
