"""`asfitted serve`: verify with installed code first, then MLflow's own command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from asfitted._mlflow import fetch
from asfitted.artifact import manifest, permissions
from asfitted.config import load_config
from asfitted.serving import sidecar


def command(model_uri: str, options: Sequence[str]) -> list[str]:
    """Return the command that serves a model whose files have been verified.

    Parameters
    ----------
    model_uri : str
        Fetched here; what is served is the copy that was verified.
    options : sequence of str
        Of ``mlflow models serve``, as they are.

    Raises
    ------
    ArtifactDamaged, FormatTooNew, CodeNotAllowed
        Before a byte of the artifact has run.
    """
    root = fetch(model_uri).resolve()
    manifest.verify(root)
    permissions.check_pyfunc(root)
    permissions.check_load(root)
    return [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(root), *options]


def serve(model_uri: str, options: Sequence[str]) -> NoReturn:
    """Become the server; signals reach it as they reach this process.

    Where a sink is configured, a child ships the log for as long as the server lives:
    the sink's driver is in this environment, and need not be in the model's.
    """
    arguments = command(model_uri, options)
    sidecar.start(load_config())
    # MLflow starts uvicorn by its name, which lies beside this interpreter.
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", "")])
    os.execve(arguments[0], arguments, {**os.environ, "PATH": path})
