"""Through which door of MLflow's the model is being loaded."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import mlflow
import pandas as pd

from asfitted.contract import DataContract
from asfitted.errors import LoadRefused
from asfitted.wire.csv import read_csv_body
from asfitted.wire.json_body import read_json
from asfitted.wire.rows import Rows

logger = logging.getLogger(__name__)

_SERVER = "mlflow.pyfunc.scoring_server"
_MLSERVER = "mlserver_mlflow"

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


def refuse_mlserver() -> None:
    """Refuse to be loaded by MLServer, which ``mlflow models serve --enable-mlserver`` starts.

    It reads requests with MLflow's guesses, or in a protocol that has no contract, before the
    model sees them, and hides what a refusal says. Its runtime loads the model in whichever
    process or thread answers, and has been imported there.

    Raises
    ------
    LoadRefused
    """
    if _MLSERVER in sys.modules:
        raise LoadRefused(
            "MLServer would change what a request says before the contract sees it",
            "mlflow models serve --enable-mlserver",
            "leave --enable-mlserver out, or use asfitted serve",
        )


def read_as_served(contract: DataContract) -> None:
    """Let ``mlflow models predict``, which is loading the model, read its input as our server.

    MLflow's own reading guesses: a text "NA" becomes missing, of two values of one name the
    last counts. It looks its readers up by name once the model is there; they are put back
    when one is called.
    """
    module = sys.modules[_SERVER]
    own = {name: getattr(module, name, None) for name in ("parse_csv_input", "_parse_json_data")}
    if None in own.values():
        logger.warning(
            "MLflow %s reads the input itself, and guesses: use asfitted score", mlflow.__version__
        )
        return

    def read(reader: Callable[..., Rows], body: bytes) -> Rows:
        for name, function in own.items():
            setattr(module, name, function)
        rows = reader(body, contract, len(body))
        # MLflow drops a column that the contract does not know before the model is asked.
        rows.conform(contract)
        return rows

    def csv(given: Any, schema: Any = None) -> pd.DataFrame:
        body = Path(given).read_bytes() if isinstance(given, str) else given.read().encode()
        return read(read_csv_body, body).frame()

    def from_json(data: str, metadata: Any, input_schema: Any) -> Any:
        rows = read(read_json, data.encode())
        return module.ParsedJsonInput(rows.frame(), dict(rows.params) or None, False)

    module.parse_csv_input, module._parse_json_data = csv, from_json  # type: ignore[attr-defined]


def give_up() -> None:
    """End the server whose worker cannot load the model.

    uvicorn starts a worker anew whenever one has died, without end: whoever ran
    ``mlflow models serve -w 2`` would never see that it failed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        os.kill(parent.pid, signal.SIGTERM)
