"""The contract, the rows and the model that the tests of batch share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from asfitted import FittedModel
from asfitted.contract import Column, Conform, DataContract
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.preprocessing import Dummies
from asfitted.scoring import Identity, Recorder

CONTRACT = DataContract(
    columns={
        "id": Column(kind="text", missing="pass"),
        "size": Column(kind="number", missing="pass"),
        "count": Column(kind="integer", missing="pass"),
        "on": Column(kind="boolean", missing="pass"),
        "colour": Column(kind="category", categories=("red", "NA"), missing="pass"),
        "left": Column(kind="datetime", zone="Europe/Berlin", missing="pass"),
        "order": Column(kind="integer", missing="pass"),
    },
    keys=("id", "order"),
)


def raw(n: int = 25) -> pd.DataFrame:
    i = range(n)
    return pd.DataFrame(
        {
            "id": [f"r{k}" if k % 4 else None for k in i],
            "size": [k / 7 if k % 5 else None for k in i],
            "count": pd.array([k if k % 3 else None for k in i], dtype="Int64"),
            "on": pd.array([k % 2 == 0 if k % 7 else None for k in i], dtype="boolean"),
            "colour": [("red", "NA", None)[k % 3] for k in i],
            "left": pd.to_datetime([f"2020-06-{k % 28 + 1:02}T12:00Z" for k in i]),
            "order": pd.array([k if k != 3 else None for k in i], dtype="Int64"),
        }
    )


def fitted() -> FittedModel:
    """Return a model that records nothing, fitted on `raw`."""
    columns = ColumnTransformer(
        [
            ("cat", Dummies(), ["colour"]),
            ("num", FunctionTransformer(np.nan_to_num), ["size", "count", "on"]),
        ]
    )
    pipeline = make_pipeline(Conform(CONTRACT), columns, LogisticRegression())
    return FittedModel(pipeline.fit(raw(), np.arange(25) % 2))


def write(frame: pd.DataFrame, file: Path) -> Path:
    if file.suffix == ".csv":
        words = frame.assign(
            on=frame["on"].map({True: "true", False: "false"}),
            left=frame["left"].map(lambda moment: moment.isoformat()),
        )
        words.to_csv(file, index=False)
    else:
        frame.to_parquet(file, index=False)
    return file


def read(file: Path) -> pd.DataFrame:
    if file.suffix == ".csv":
        # By Python's float, which reads what was written to the bit.
        texts = pd.read_csv(file, dtype=str, keep_default_na=False)
        numbers = [name for name in texts if name.startswith(("prob", "order"))]
        for name in numbers:
            texts[name] = [float(v) if v else np.nan for v in texts[name]]
        return texts.assign(
            id=[v or None for v in texts["id"]], prediction=texts["prediction"].astype(int)
        )
    return pd.read_parquet(file)


def recording(model: FittedModel, folder: Path, **fields: str) -> FittedModel:
    """Return `model` as one that records in `folder`, with a field policy."""
    identity = Identity("shop", "3", "d" * 64)
    policy = FieldPolicy(fields)  # type: ignore[arg-type]
    return FittedModel(
        model.pipeline,
        identity=identity,
        recorder=Recorder(Journal(folder), policy, identity, "inprocess"),
    )


def refusals_on_record(folder: Path) -> pd.DataFrame:
    """Return the refused requests that are on record in `folder`."""
    return pd.DataFrame(list(records(folder, Query(table="refusals"))))
