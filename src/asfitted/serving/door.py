"""Through which door of MLflow's the model is being loaded."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import mlflow
import pandas as pd

from asfitted.contract import DataContract
from asfitted.errors import LoadRefused
from asfitted.scoring import spark
from asfitted.wire.csv import read_csv_body
from asfitted.wire.json_body import read_json
from asfitted.wire.rows import Rows

logger = logging.getLogger(__name__)

_SERVER = "mlflow.pyfunc.scoring_server"
_MLSERVER = "mlserver_mlflow"

Source = Literal["serve", "batch", "spark", "inprocess"]


def source() -> Source:
    """Return what the record of each answer says about where it was asked.

    MLflow passes the loader nothing but a path. Its server loads the model while
    the module ``scoring_server.app`` runs, and ``mlflow models predict`` while
    the function ``scoring_server._predict`` does: both are on the stack. A worker of
    Spark's is known by its task.

    Raises
    ------
    LoadRefused
        Where it is the server that ``spark_udf`` starts with another env_manager than
        "local": what MLflow sends it has lost what a row meant.
    """
    calls = set(_calls())
    if spark.is_worker():
        # What starts over HTTP and what starts over stdin load the model with this.
        if (_SERVER, "load_model_with_mlflow_config") in calls:
            raise LoadRefused(
                "spark_udf has started a server for the model and sends it JSON, in which times "
                "have lost their zone and missing numbers are NaN",
                "mlflow.pyfunc.spark_udf",
                'call it with env_manager="local", on workers that have the packages of the '
                "model's requirements.txt",
            )
        return "spark"
    if any(module == f"{_SERVER}.app" for module, _ in calls):
        return "serve"
    return "batch" if (_SERVER, "_predict") in calls else "inprocess"


def _calls() -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each function that is being run."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame.f_code.co_name
        frame = frame.f_back


def recorded_source() -> Source | None:
    """Return `source`, or None and a warning where nothing can be recorded."""
    found = source()
    if found != "spark":
        return found
    _say_unrecorded()
    return None


@cache
def _say_unrecorded() -> None:
    logger.warning(
        "nothing is recorded from this Spark worker: Spark runs a task as often as it likes, so "
        "a row would be on record more than once; for answers on record, use asfitted score"
    )


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
