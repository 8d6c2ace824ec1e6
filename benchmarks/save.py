"""How long saving takes, by the number of columns: Asfitted's proof beside plain MLflow.

::

    python benchmarks/save.py                 # prints a table
    python benchmarks/save.py 10 100          # these numbers of columns only

Half of the columns are categories of five texts, half are numbers; 2,000 rows; a logistic
regression behind an imputer, a scaler and a one-hot encoder.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import asfitted

COLUMNS = (10, 100, 500, 2000)
ROWS = 2000


def fitted(n_columns: int) -> tuple[Any, pd.DataFrame]:
    """Return a fitted pipeline and the rows that it was fitted on."""
    rng = np.random.default_rng(0)
    half = n_columns // 2
    columns: dict[str, Any] = {
        f"c{i}": rng.choice(["red", "green", "blue", "grey", "black"], ROWS) for i in range(half)
    }
    columns |= {f"n{i}": rng.normal(size=ROWS) for i in range(n_columns - half)}
    frame = pd.DataFrame(columns)
    labels, numbers = list(frame)[:half], list(frame)[half:]
    contract = asfitted.DataContract.infer(frame)
    prepare = ColumnTransformer(
        [
            ("cat", OneHotEncoder(categories=contract.categories(labels)), labels),
            ("num", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        ]
    )
    model = make_pipeline(asfitted.Conform(contract), prepare, LogisticRegression(max_iter=200))
    return model.fit(frame, rng.integers(0, 2, ROWS)), frame


def seconds(save: Any) -> float:
    """Return how long `save`, which is given a new folder, takes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        save(Path(folder) / "model")
        return perf_counter() - begun


def main(numbers: list[str]) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    print("| columns | Asfitted, s | ms for a column | mlflow.sklearn, s | ratio |")
    print("|---:|---:|---:|---:|---:|")
    for n_columns in map(int, numbers) if numbers else COLUMNS:
        model, frame = fitted(n_columns)

        def ours(path: Path, model: Any = model, frame: pd.DataFrame = frame) -> None:
            asfitted.save_model(model, path, reference=frame)

        def plain(path: Path, model: Any = model, frame: pd.DataFrame = frame) -> None:
            signature = mlflow.models.infer_signature(frame, model.predict(frame))
            mlflow.sklearn.save_model(
                model, path, signature=signature, serialization_format="cloudpickle"
            )

        took, peer = seconds(ours), seconds(plain)
        a_column = 1000 * took / n_columns
        print(
            f"| {n_columns:,} | {took:.1f} | {a_column:.0f} | {peer:.1f} | {took / peer:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
