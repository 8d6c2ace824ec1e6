"""MLflow's face: `save_model`, `log_model`, `load_model`, and the loader of the artifact."""

from __future__ import annotations

import os
import shutil
import tempfile
import types
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import sklearn
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from asfitted._mlflow import fetch, warn_of_autologging, without_autologging
from asfitted._version import __version__
from asfitted.artifact import layout, permissions
from asfitted.config import Config, load_config
from asfitted.errors import SaveRefused
from asfitted.scoring import FittedModel, input_example
from asfitted.scoring.loading import FLAVOR, open_artifact
from asfitted.scoring.outputs import PredictFn
from asfitted.scoring.saving import Built, build
from asfitted.serving import door, seam

__all__ = ["load_model", "log_model", "save_model"]

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
        _describe(model, built)
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


def load_model(
    model_uri: _Path,
    *,
    allow_versions: Collection[str] = (),
    record: bool = True,
    config: Config | None = None,
) -> FittedModel:
    """Load a model, which proves itself before it answers.

    Unlike ``mlflow.pyfunc.load_model`` nothing stands between the caller's frame
    and the contract, so that every dtype that means the same is taken.

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
        source=door.source() if record else None,
        allow_versions=allow_versions,
    )


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> FittedModel:
    """Load for ``mlflow.pyfunc`` and everything behind it; MLflow calls this by name."""
    allowed = (model_config or {}).get("allow_versions") or ()
    source = door.source()
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
    if source == "serve":
        from asfitted.serving.app import App

        seam.install(lambda behind: App(model, behind, config))
    if source == "batch":
        door.read_as_served(model.contract)
    return model


def _listed(allowed: Any) -> list[str]:
    return allowed.split(",") if isinstance(allowed, str) else list(allowed)


def _describe(model: Model, built: Built) -> None:
    """Write the three flavors and the signature into the MLflow model."""
    pyfunc.add_to_model(
        model,
        loader_module="asfitted.flavor",
        code=layout.CODE,
        conda_env=layout.CONDA,
        python_env=layout.PYTHON_ENV,
        # MLflow drops what a server's operator overrides and the model does not name.
        model_config={"allow_versions": []},
    )
    model.add_flavor(
        FLAVOR,
        asfitted_version=__version__,
        format=layout.FORMAT,
        model_name=built.name,
        predict_fn=built.predict_fn,
        whole_steps=built.whole_steps,
        shortcuts=built.shortcuts,
        fields=dict(built.fields),
        code=layout.CODE,
    )
    model.add_flavor(
        "sklearn",
        pickled_model=built.model_file,
        sklearn_version=sklearn.__version__,
        serialization_format=built.serialization_format,
        skops_trusted_types=built.trusted,
        code=layout.CODE,
    )
    model.signature = ModelSignature(inputs=_input_schema(built), outputs=_output_schema(built))


def _input_schema(built: Built) -> Schema:
    """Name the columns and say which may be absent; their values are the contract's affair.

    A type here would make MLflow cast before the contract sees the row: 1.5 to 1
    for a long, "no" to True for a boolean; and refuse a frame whose column has
    the dtype of another row.
    """
    return Schema(
        [
            ColSpec(AnyType(), name=name, required=not column.may_miss)
            for name, column in built.contract.columns.items()
        ]
    )


_TYPES = {"f": DataType.double, "i": DataType.long, "u": DataType.long, "b": DataType.boolean}


def _output_schema(built: Built) -> Schema:
    answer = built.answer
    if isinstance(answer, pd.DataFrame):
        return Schema(
            [
                ColSpec(_TYPES.get(answer[name].dtype.kind, DataType.string), name=str(name))
                for name in answer.columns
            ]
        )
    return Schema([ColSpec(_TYPES.get(answer.dtype.kind, DataType.string))])
