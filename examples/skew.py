"""The same row, the same kind of pipeline, two servers: which one answers as in training?

::

    python examples/skew.py

A column of categories has missing values, which the pipeline imputes. A row whose
category is missing is sent to the real scoring server, once for a model saved with
plain ``mlflow.sklearn`` and once for one saved with Asfitted: as each JSON format
that MLflow knows, alone and beside another row. Ends with 1 if Asfitted's answers
are not those of training.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import requests
from rich.console import Console
from rich.table import Table
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import asfitted

STARTS_WITHIN_S = 180
# Training scores all rows at once, which moves the last bits; skew is far beyond.
ROUNDING = 1e-9

console = Console(highlight=False)


def data() -> tuple[pd.DataFrame, pd.Series]:
    """Return 2,000 rows, a tenth of them without colour, and what to predict."""
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green", "blue"], 2_000, p=[0.45, 0.4, 0.15]).astype(object)
    size = rng.normal(10, 3, 2_000)
    chance = pd.Series(colour).map({"red": 0.6, "green": 0.05, "blue": 0.1})
    bought = (rng.random(2_000) < chance).astype("int64")
    colour[rng.random(2_000) < 0.1] = np.nan
    return pd.DataFrame({"colour": pd.Series(colour, dtype=object), "size": size}), bought


def pipeline(first: list[Any], categories: Any) -> Pipeline:
    """Return the textbook pipeline: impute, one-hot, logistic regression."""
    colour = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(categories=categories, handle_unknown="ignore"),
    )
    columns = [("colour", colour, ["colour"]), ("size", StandardScaler(), ["size"])]
    return make_pipeline(*first, ColumnTransformer(columns), LogisticRegression())


def save(X: pd.DataFrame, y: pd.Series, folder: Path) -> dict[str, tuple[Pipeline, Path]]:
    """Train and save both; return each pipeline and where its model lies."""
    plain = pipeline([], "auto").fit(X, y)
    contract = asfitted.DataContract.infer(X)
    ours = pipeline([asfitted.Conform(contract)], contract.categories(["colour"])).fit(X, y)
    paths = {name: folder / name for name in ("mlflow.sklearn", "asfitted")}
    mlflow.sklearn.save_model(
        plain,
        paths["mlflow.sklearn"],
        signature=mlflow.models.infer_signature(X, plain.predict_proba(X)),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
    )
    asfitted.save_model(ours, paths["asfitted"], reference=X, predict_fn="predict_proba")
    return {
        "mlflow.sklearn": (plain, paths["mlflow.sklearn"]),
        "asfitted": (ours, paths["asfitted"]),
    }


def bodies(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows in each JSON format of the scoring server."""
    columns = list(rows[0])
    return {
        "dataframe_split": {
            "dataframe_split": {"columns": columns, "data": [list(r.values()) for r in rows]}
        },
        "dataframe_records": {"dataframe_records": rows},
        "inputs": {"inputs": {name: [row[name] for row in rows] for name in columns}},
    }


@contextlib.contextmanager
def serve(model: Path) -> Iterator[str]:
    """Run ``mlflow models serve`` while the block does; give its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = model.with_suffix(".log")
    command = ["models", "serve", "-m", str(model), "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=model.parent,
            env={**os.environ, "PATH": path, "ASFITTED_LOG": str(model.parent / "log")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait(url, server, log)
        yield url
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers a ping."""
    begun = time.monotonic()
    while time.monotonic() - begun < STARTS_WITHIN_S and server.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{url}/ping", timeout=5).ok:
                return
        time.sleep(0.2)
    raise SystemExit(f"{' '.join(map(str, server.args))} does not answer:\n{log.read_text()}")


def ask(url: str, body: dict[str, Any]) -> float | str:
    """Return the probability of class 1 for the first row, or the refusal."""
    response = requests.post(f"{url}/invocations", json=body, timeout=60)
    if response.status_code != 200:
        return f"{response.status_code}"
    first = response.json()["predictions"][0]
    return float(first["probability_1"] if isinstance(first, dict) else first[1])


Answers = dict[tuple[str, str], dict[str, float | str]]


def serve_and_ask(folder: Path) -> tuple[dict[str, float], Answers]:
    """Return what each pipeline says in training, and what each server says."""
    X, y = data()
    row, other = {"colour": None, "size": 10.0}, {"colour": "red", "size": 8.0}
    companies = {"alone": [row], "beside another row": [row, other]}
    trained: dict[str, float] = {}
    answers: Answers = {}
    for name, (model, path) in save(X, y, folder).items():
        frame = pd.concat([pd.DataFrame([row | {"colour": np.nan}]), X], ignore_index=True)
        trained[name] = float(model.predict_proba(frame)[0, 1])
        console.print(f"serving the {name} model …")
        with serve(path) as url:
            for company, rows in companies.items():
                for form, body in bodies(rows).items():
                    answers.setdefault((company, form), {})[name] = ask(url, body)
    return trained, answers


def main() -> int:
    """Print the table; 1 if Asfitted does not answer as in training."""
    # So that a terminated run takes its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # MLflow warns of the pickle that this script itself has asked for.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="asfitted-skew-") as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        trained, answers = serve_and_ask(Path(folder))
    said = ", ".join(f"{probability:.4f} with {name}" for name, probability in trained.items())
    console.print(f"\nP(bought) of a row without colour: in training {said}; served:\n")
    show(answers, trained)
    for name in trained:
        given = [each[name] for each in answers.values()]
        skewed = sum(differs(answer, trained[name]) for answer in given)
        console.print(
            f"{name}: {skewed} of {len(given)} differ from training; "
            f"answers to the one row: {len(set(given))}"
        )
    ours = {each["asfitted"] for each in answers.values()}
    return int(len(ours) > 1 or any(differs(answer, trained["asfitted"]) for answer in ours))


def differs(answer: float | str, trained: float) -> bool:
    """Return whether an answer is another one than training's."""
    return isinstance(answer, str) or abs(answer - trained) > ROUNDING


def show(answers: Answers, trained: dict[str, float]) -> None:
    """Print one line per way of asking; what differs from training is marked."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    for title in ("the row is sent", "as", *trained):
        table.add_column(title, no_wrap=True)
    for (company, form), by_name in answers.items():
        cells = []
        for name, answer in by_name.items():
            text = answer if isinstance(answer, str) else f"{answer:.4f}"
            wrong = differs(answer, trained[name])
            cells.append(f"[red]{text}  ✗ differs[/]" if wrong else f"{text}  ✓")
        table.add_row(company, form, *cells)
    console.print(table)
    console.print()


if __name__ == "__main__":
    sys.exit(main())
