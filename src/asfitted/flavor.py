"""MLflow's face: `load_model`, and the loader that MLflow calls."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from asfitted._mlflow import fetch
from asfitted.artifact import permissions
from asfitted.config import Config, load_config
from asfitted.scoring import FittedModel, spark
from asfitted.scoring.loading import open_artifact
from asfitted.serving import door, seam

__all__ = ["load_model"]

_Path = str | os.PathLike[str]


def load_model(
    model_uri: _Path,
    *,
    allow_versions: Collection[str] = (),
    record: bool = True,
    config: Config | None = None,
) -> FittedModel:
    """Load a model, which proves itself before it answers.

    Unlike ``mlflow.pyfunc.load_model`` nothing stands between the caller's frame
    and the contract, so that every dtype that means the same is taken. In a Spark
    worker nothing is recorded, and a time without a zone is refused.

    Parameters
    ----------
    model_uri : str or path
        A folder, ``models:/name@alias``, ``models:/name/version``, ``runs:/…``.
    allow_versions : collection of str
        Packages that may differ from the pins; logged, and on each record.
    record : bool, default True
        False for calls that are no predictions: proof, evaluation, replay.
    config : Config, optional
        By default read from registry_config.yaml.

    Returns
    -------
    FittedModel

    Raises
    ------
    LoadRefused
        And its children: damaged files, another environment, other answers.
    """
    return open_artifact(
        fetch(model_uri),
        config or load_config(),
        source=door.recorded_source() if record else None,
        allow_versions=allow_versions,
    )


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> FittedModel:
    """Load for ``mlflow.pyfunc`` and everything behind it; MLflow calls this by name."""
    given = model_config or {}
    allowed = given.get("allow_versions") or ()
    source = door.recorded_source()
    zone = spark.check_zone(given.get(spark.ZONE))
    try:
        door.refuse_mlserver()
        permissions.check_pyfunc(Path(path))
        config = load_config()
        model = open_artifact(Path(path), config, source=source, allow_versions=_listed(allowed))
        if source == "serve" and model.recorder is not None:
            # A server that could not record would refuse each request; say so now.
            model.recorder.can_record()
    except Exception:
        if source == "serve":
            door.give_up()
        raise
    model.spark_zone = zone
    if source == "serve":
        from asfitted.serving.app import App

        seam.install(lambda behind: App(model, behind, config))
    if source == "batch":
        door.read_as_served(model.contract)
    return model


def _listed(allowed: Any) -> list[str]:
    return allowed.split(",") if isinstance(allowed, str) else list(allowed)
