"""Through which door of MLflow's the model is being loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import Literal

_SERVER = "mlflow.pyfunc.scoring_server"

Source = Literal["serve", "batch", "inprocess"]


def source() -> Source:
    """Return what the record of each answer says about where it was asked.

    MLflow passes the loader nothing but a path. Its server loads the model while
    the module ``scoring_server.app`` runs, and ``mlflow models predict`` while
    the function ``scoring_server._predict`` does: both are on the stack.
    """
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == f"{_SERVER}.app":
            return "serve"
        if module == _SERVER and frame.f_code.co_name == "_predict":
            return "batch"
        frame = frame.f_back  # type: ignore[assignment]
    return "inprocess"


def give_up() -> None:
    """End the server whose worker cannot load the model.

    uvicorn starts a worker anew whenever one has died, without end: whoever ran
    ``mlflow models serve -w 2`` would never see that it failed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        os.kill(parent.pid, signal.SIGTERM)
