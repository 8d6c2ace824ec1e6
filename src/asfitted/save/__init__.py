"""Save a fitted pipeline: prove it, write the artifact, and only then tell MLflow."""

from __future__ import annotations

import os
import shutil
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import Model

from asfitted._mlflow import warn_of_autologging, without_autologging
from asfitted.artifact import layout
from asfitted.config import Config, load_config
from asfitted.errors import SaveRefused
from asfitted.save._build import Built, build
from asfitted.save._mlmodel import describe as describe_model
from asfitted.scoring import input_example
from asfitted.scoring.outputs import PredictFn

__all__ = ["log_model", "save_model"]

_Path = str | os.PathLike[str]


@without_autologging()
def save_model(
    pipeline: Any,
    path: _Path,
    *,
    reference: pd.DataFrame,
    name: str = "",
    code_paths: Sequence[_Path] = (),
    resources: Mapping[str, _Path] | None = None,
    predict_fn: PredictFn = "predict",
    serialization_format: str | None = None,
    mlflow_model: Model | None = None,
    config: Config | None = None,
) -> None:
    """Save a fitted pipeline as an MLflow model that proves itself.

    Parameters
    ----------
    pipeline : fitted Pipeline, or search over one
        Its first step is `Conform`.
    path : path
        A folder that does not exist yet.
    reference : DataFrame of shape (n_rows, n_columns)
        The raw training frame: what the contract allows and training never saw
        is tried, and a few rows become golden examples.
    name : str, default ""
        Names the model on the record where no registry does.
    code_paths : sequence of path
        Files and packages that hold the classes of your steps.
    resources : mapping of name to path, optional
        What steps read with `asfitted.resource`; by default what
        `asfitted.resources` has declared.
    predict_fn : "predict", "predict_proba" or "both", default "predict"
    serialization_format : "skops" or "cloudpickle", optional
        By default skops, where every type is known to be safe.
    mlflow_model : mlflow.models.Model, optional
    config : Config, optional
        By default read from registry_config.yaml: which columns are never
        written in clear.

    Raises
    ------
    SaveRefused
        And its children, for whatever would answer otherwise in production.
    ContractViolation
        Where `reference` does not conform.
    """
    root = Path(path)
    if root.exists() and any(root.iterdir()):
        raise SaveRefused("the folder is not empty", str(root), "give a new folder")
    model = mlflow_model or Model()

    def describe(built: Built) -> None:
        describe_model(model, built)
        if (root / layout.INPUT_EXAMPLE).is_file():
            model.saved_input_example_info = dict(input_example.INFO)
        model.save(str(root / layout.MLMODEL))

    build(
        root,
        pipeline,
        reference,
        name=name,
        code_paths=[Path(p) for p in code_paths],
        resources=None if resources is None else {k: Path(v) for k, v in resources.items()},
        predict_fn=predict_fn,
        serialization_format=serialization_format,
        config=config or load_config(),
        describe=describe,
    )


def log_model(
    pipeline: Any,
    name: str,
    *,
    reference: pd.DataFrame,
    code_paths: Sequence[_Path] = (),
    resources: Mapping[str, _Path] | None = None,
    registered_model_name: str | None = None,
    predict_fn: PredictFn = "predict",
    serialization_format: str | None = None,
    config: Config | None = None,
    **kwargs: Any,
) -> Any:
    """Log a fitted pipeline to MLflow, and register it if a name is given.

    The model is built and proved first: where it is refused, MLflow holds
    nothing of it.

    Parameters
    ----------
    pipeline, reference, code_paths, resources, predict_fn, serialization_format, config
        As `save_model`.
    name : str
        Of the logged model.
    registered_model_name : str, optional
    **kwargs
        Further arguments of ``mlflow.models.Model.log``: tags, params, step, …

    Returns
    -------
    mlflow.models.model.ModelInfo

    Raises
    ------
    SaveRefused, ContractViolation
        As `save_model`.
    """
    warn_of_autologging()
    with tempfile.TemporaryDirectory(prefix="asfitted-") as folder:
        built = Path(folder) / "model"
        save_model(
            pipeline,
            built,
            reference=reference,
            name=registered_model_name or name,
            code_paths=code_paths,
            resources=resources,
            predict_fn=predict_fn,
            serialization_format=serialization_format,
            config=config,
        )

        def copy(path: str, mlflow_model: Model, validate_serving_input: bool) -> None:
            shutil.copytree(built, path, dirs_exist_ok=True)
            proved = Model.load(str(built))
            mlflow_model.flavors = proved.flavors
            mlflow_model.signature = proved.signature
            mlflow_model.saved_input_example_info = proved.saved_input_example_info
            mlflow_model.save(os.path.join(path, layout.MLMODEL))

        return Model.log(
            artifact_path=None,
            name=name,
            flavor=types.SimpleNamespace(__name__="asfitted.flavor", save_model=copy),
            registered_model_name=registered_model_name,
            # MLflow would load the model and ask it, which would go on record as predictions.
            validate_serving_input=False,
            **kwargs,
        )
