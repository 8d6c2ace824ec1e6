"""MLmodel: the three flavors of a saved model, and its signature."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import sklearn
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from asfitted._version import __version__
from asfitted.artifact import layout
from asfitted.save._build import Built
from asfitted.scoring import spark
from asfitted.scoring.loading import FLAVOR


def describe(model: Model, built: Built) -> None:
    """Write the three flavors and the signature into the MLflow model."""
    pyfunc.add_to_model(
        model,
        loader_module="asfitted.flavor",
        code=layout.CODE,
        conda_env=layout.CONDA,
        python_env=layout.PYTHON_ENV,
        # MLflow drops what a server's operator overrides and the model does not name.
        model_config={"allow_versions": [], spark.ZONE: ""},
    )
    model.add_flavor(
        FLAVOR,
        asfitted_version=__version__,
        format=layout.FORMAT,
        model_name=built.name,
        predict_fn=built.predict_fn,
        whole_steps=built.whole_steps,
        shortcuts=built.shortcuts,
        transform_output=built.transform_output,
        proof=asdict(built.proof),
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
