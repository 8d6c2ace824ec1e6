"""The fresh process: loads every model of a folder and writes down what each one says."""

from __future__ import annotations

import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

import asfitted
from asfitted.artifact import golden
from asfitted.config import Config
from asfitted.scoring.loading import prove_golden
from asfitted.scoring.proof import prove


def companies(n_rows: int) -> list[np.ndarray[Any, Any]]:
    """Return rows alone, in batches of several sizes, and all of them shuffled."""
    rng = np.random.default_rng(5)
    alone = [np.array([row]) for row in rng.permutation(n_rows)[:8]]
    batches = [rng.permutation(n_rows)[:size] for size in (2, 5, 16, 63, 64, 65, 130)]
    return [*alone, *batches, rng.permutation(n_rows)]


def among_strangers(frame: pd.DataFrame, strangers: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    """Return ten rows scattered among others, and their positions."""
    places = np.sort(np.random.default_rng(6).permutation(len(strangers))[:10])
    mixed = strangers.copy()
    for column in mixed.columns:
        mixed[column] = mixed[column].astype(object)
    mixed.iloc[places] = frame.iloc[:10].astype(object).to_numpy()
    return mixed, places


def say(root: Path, frame: pd.DataFrame, strangers: pd.DataFrame) -> dict[str, Any]:
    model = asfitted.load_model(root)
    everyone = model.answered(frame)
    said: dict[str, Any] = {
        "outputs": everyone.outputs,
        "ids": everyone.prediction_ids,
        "predict": model.predict(frame),
        "companies": [(r, model.outputs(frame.iloc[r])) for r in companies(len(frame))],
        "whole_steps": model.scorer.whole_steps,
        "proof": prove(root, Config(schema_version=1)),
        "golden": spoilt_golden(model, root),
    }
    mixed, places = among_strangers(frame, strangers)
    said["strangers"] = model.outputs(mixed).iloc[places].reset_index(drop=True)
    try:
        model.predict(frame.assign(weight="heavy"))
    except asfitted.ContractViolation as error:
        said["refusal"] = error
    pyfunc = mlflow.pyfunc.load_model(str(root))
    said["pyfunc"] = pyfunc.predict(frame)
    plain = mlflow.sklearn.load_model(str(root))
    said["sklearn"] = {"predict": plain.predict(frame)}
    if hasattr(plain, "predict_proba"):
        said["sklearn"]["predict_proba"] = plain.predict_proba(frame)
    return said


def spoilt_golden(model: Any, root: Path) -> str:
    """Return the code of the error where one golden answer is another one."""
    inputs, expected, _ = golden.read(root)
    spoilt = expected.copy()
    name = spoilt.columns[0]
    values = spoilt[name].to_numpy().copy()
    numeric = values.dtype.kind in "fiu"
    values[7] = (
        np.nextafter(values[7], np.inf)
        if values.dtype.kind == "f"
        else values[7] + (1 if numeric else "!")
    )
    spoilt[name] = values
    folder = root.parent / f"{root.name}-spoilt"
    folder.mkdir()
    trained = golden.read_trained(root)
    golden.write(folder, model.contract.conform(inputs, keys=False).frame, spoilt, trained)
    try:
        prove_golden(model, folder)
    except asfitted.AsfittedError as error:
        return error.code
    return "nothing was noticed"


def main(folder: Path) -> None:
    frame, strangers, names = pickle.loads((folder / "rows.pkl").read_bytes())
    for name in names:
        try:
            said = say(folder / name, frame, strangers)
        except Exception:
            said = {"failed": traceback.format_exc()}
        (folder / f"{name}.said.pkl").write_bytes(pickle.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
