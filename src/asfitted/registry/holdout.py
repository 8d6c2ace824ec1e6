"""Score one model on labelled rows, in a process of its own.

::

    python -m asfitted.registry.holdout MODEL DATA TARGET METRIC...

It prints one JSON object: with ``metrics``, null where one has no finite value and
the reason under ``problems``, and exit code 0; or with ``error`` and that error's exit
code. The call is evidence, not a prediction: nothing goes on record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from asfitted.contract import DataContract
from asfitted.errors import AsfittedError, ConfigError
from asfitted.registry.measures import Scored, measure_all
from asfitted.wire.csv import read_csv

_CHUNK_ROWS = 10_000


def score(model: Any, data: Path, target: str, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of `model` on the file `data`, and which rows those were.

    Parameters
    ----------
    model : FittedModel
        Asked for its outputs, so that the metrics do not depend on what the model
        was saved to return.
    """
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    classes = list(model.classes)
    rows = read_rows(data, model.contract, target, classes)
    if target not in rows.columns:
        raise ConfigError(
            f"the holdout has no column {target!r}; it has {', '.join(map(str, rows.columns))}",
            str(data),
        )
    if rows.empty:
        raise ConfigError("the holdout has no rows", str(data))
    outputs = model.outputs(rows.drop(columns=target))
    if "prediction" not in outputs:
        raise ConfigError("a holdout measures models of one target", str(data))
    columns = [f"probability_{label}" for label in classes]
    probabilities = outputs[columns] if columns and set(columns) <= set(outputs.columns) else None
    scored = Scored(rows[target], outputs["prediction"], probabilities, classes or None)
    values, problems = measure_all(scored, metrics)
    return {
        "metrics": values,
        "problems": problems,
        "n_rows": len(rows),
        "data_digest": digest,
        "model_digest": model.identity.digest,
    }


def read_rows(
    data: Path, contract: DataContract, target: str, classes: Sequence[Any] = ()
) -> pd.DataFrame:
    """Read a Parquet file, or a CSV file by the contract.

    Parameters
    ----------
    classes : sequence, optional
        What the text of a CSV file's target is read as: the label that is written
        like it; without classes a number.
    """
    if data.suffix == ".csv":
        rows = pd.concat(read_csv(data, contract, _CHUNK_ROWS))
        if target in rows:
            rows[target] = _labels(rows[target], classes)
        return rows
    try:
        return pd.read_parquet(data)
    except (OSError, ValueError) as error:
        raise ConfigError("the holdout is not readable as Parquet", str(data)) from error


def _labels(texts: pd.Series[Any], classes: Sequence[Any]) -> pd.Series[Any]:
    if not classes:
        return pd.to_numeric(texts, errors="coerce")
    written = {str(label): label for label in classes}
    return texts.map(lambda text: written.get(text, text))


def main(arguments: Sequence[str]) -> int:
    """Score, print the object, and return the exit code."""
    path, data, target, *metrics = arguments
    try:
        # The model's own code may print; stdout is for the one object.
        with contextlib.redirect_stdout(sys.stderr):
            from asfitted import load_model

            answer = score(load_model(path, record=False), Path(data), target, metrics)
    except AsfittedError as error:
        told = {"code": error.code, "what": error.what, "where": error.where, "mend": error.mend}
        print(json.dumps({"schema_version": 1, "error": told}))  # noqa: T201
        return error.exit_code
    print(json.dumps({"schema_version": 1, **answer}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
