"""Pipelines put together by chance, of honest and dishonest parts: refused, or served as trained.

Each is either refused at save, or every row's served answer is that of ``pipeline.predict`` of
the raw frame: alone, in any company, and over HTTP beside strangers.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conformance_dishonest as steps
import numpy as np
import pandas as pd
import pytest
import uvicorn
from conformance_dishonest import CONTRACT, NUMBERS
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import asfitted
from asfitted.errors import AsfittedError
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.save._prove import prove_model
from asfitted.scoring import Identity, Recorder
from asfitted.serving.app import App

# What scikit-learn says of bins, names and constants of such pipelines is not the matter.
pytestmark = pytest.mark.filterwarnings("ignore")

TRAIN, SERVED = steps.orders(900, seed=1), steps.orders(120, seed=2, rare=4)
TARGET = steps.target(TRAIN)


@dataclass(frozen=True)
class Drawn:
    """A fitted pipeline, and what of it is dishonest."""

    pipeline: Any
    dishonest: tuple[str, ...]


def _center(X: Any) -> Any:
    return np.asarray(X) - np.asarray(X).mean(axis=0)


def _ranks(X: Any) -> Any:
    return pd.DataFrame(np.asarray(X)).rank().to_numpy()


def _largest(X: Any) -> Any:
    return np.asarray(X) / np.abs(np.asarray(X)).max(axis=0)


def _ratio(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(amount=X["amount"] / X["shop"])


def _median(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(weight=X["weight"].fillna(X["weight"].median()).fillna(0.0))


def _in_group(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(amount=X.groupby("customer")["amount"].rank())


def _previous(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(weight=X["weight"].ffill().fillna(0.0))


HONEST_FRAMES = [_ratio, "conform", None]
DISHONEST_FRAMES = [_median, _in_group, _previous]
HONEST_ARRAYS = [
    StandardScaler(),
    PCA(3),
    KBinsDiscretizer(7, encode="onehot-dense", strategy="uniform"),
    None,
]
DISHONEST_ARRAYS = [_center, _ranks, _largest]
ESTIMATORS = [
    LogisticRegression(max_iter=2000),
    DecisionTreeClassifier(max_depth=5, random_state=0),
    RandomForestClassifier(8, random_state=0),
    GaussianNB(),
]


def drawn(seed: int) -> Drawn | None:
    """Return the pipeline of a seed; None where it cannot be fitted."""
    rng = np.random.default_rng(seed)
    dishonest: list[str] = []

    def pick(honest: list[Any], others: list[Any], share: float) -> Any:
        if rng.random() < share:
            part = others[rng.integers(len(others))]
            dishonest.append(part.__name__)
            return FunctionTransformer(part)
        part = honest[rng.integers(len(honest))]
        if part == "conform":
            return asfitted.Conform(CONTRACT)
        if part is None:
            return None
        return FunctionTransformer(part) if callable(part) else clone(part)

    frames = [pick(HONEST_FRAMES, DISHONEST_FRAMES, 0.15) for _ in range(2)]
    parts: list[Any] = [
        ("cat", asfitted.Dummies(), ["colour"]),
        ("num", SimpleImputer(strategy="constant", fill_value=20.0), NUMBERS),
        ("hours", FunctionTransformer(steps.hours), ["sold"]),
    ]
    if rng.random() < 0.2:
        step = steps.LOOKS_BESIDE[rng.integers(len(steps.LOOKS_BESIDE))]
        dishonest.append(step.__name__)
        parts.append(("own", FunctionTransformer(step), [*CONTRACT.features]))
    arrays = [pick(HONEST_ARRAYS, DISHONEST_ARRAYS, 0.1) for _ in range(2)]
    estimator = clone(ESTIMATORS[rng.integers(len(ESTIMATORS))])
    # What leaves rows without a number would fail in fit.
    inner = [ColumnTransformer(parts), SimpleImputer(), *arrays]
    kept = [step for step in [asfitted.Conform(CONTRACT), *frames, *inner] if step is not None]
    kind = rng.integers(5)
    named = [(f"step{i}", step) for i, step in enumerate([*kept, estimator])]
    pipeline: Any = Pipeline(named)
    if kind == 1:
        pipeline = steps.Cautious(named)
    elif kind == 2:
        pipeline = FixedThresholdClassifier(Pipeline(named), threshold=0.4, pos_label="big")
    elif kind == 3:
        pipeline = CalibratedClassifierCV(Pipeline(named), cv=2, ensemble=False)
    elif kind == 4:
        pipeline = make_pipeline(asfitted.Conform(CONTRACT), Pipeline(named))
    try:
        return Drawn(pipeline.fit(TRAIN, TARGET), tuple(dishonest))
    except ValueError:
        return None


@contextmanager
def serving(app: App) -> Iterator[str]:
    """Serve on a free port of this machine, by the server that MLflow starts."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        server.should_exit = True
        thread.join()


def posted(url: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the answers for rows, over HTTP."""
    records = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us"))
    request = urllib.request.Request(
        url,
        json.dumps({"dataframe_records": records}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return list(json.loads(response.read())["predictions"])


def wrong_rows(given: Any, frame: pd.DataFrame, said: list[dict[str, Any]]) -> list[int]:
    """Return the rows that are answered otherwise than the pipeline answers the raw frame."""
    labels, scores = given.predict(frame), given.predict_proba(frame)
    names = [f"probability_{label}" for label in given.classes_]
    served = pd.DataFrame(said)
    near = np.isclose(served[names].to_numpy(), scores, rtol=1e-7, atol=1e-9).all(axis=1)
    same = served["prediction"].to_numpy() == labels
    return np.flatnonzero(~(near & same)).tolist()


def assert_refused_or_served_as_trained(seed: int, folder: Path) -> str:
    """Hold the pipeline of a seed to the promise; return what became of it."""
    made = drawn(seed)
    if made is None:
        return "cannot be fitted"
    given = made.pipeline
    try:
        found = prove_model(given, TRAIN, lambda *_: None)
    except AsfittedError as error:
        if made.dishonest:
            return "refused"
        pytest.fail(f"seed {seed}: honest, and refused: {error}")
    with Journal(folder / f"log-{seed}") as journal:
        recorder = Recorder(journal, FieldPolicy(), Identity("m", "1", "d" * 64), "serve")
        model = asfitted.FittedModel(
            given,
            predict_fn="both",
            whole_steps=found.scorer.whole_steps,
            shortcuts=found.shortcuts,
            recorder=recorder,
        )
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(len(SERVED))
        sizes = [1] * 24 + [2, 3, 7, 16, 68]
        batches = np.split(shuffled, np.cumsum(sizes))
        with serving(App(model, None)) as url, ThreadPoolExecutor(8) as callers:
            frames = [SERVED.iloc[rows].reset_index(drop=True) for rows in batches if len(rows)]
            answers = list(callers.map(lambda frame: posted(url, frame), frames))
            said: list[Any] = [None] * len(SERVED)
            for rows, several in zip([b for b in batches if len(b)], answers, strict=True):
                for row, one in zip(rows.tolist(), several, strict=True):
                    said[row] = one
        wrong = wrong_rows(given, SERVED, said)
    assert not wrong, f"seed {seed}, {made.dishonest}: rows {wrong[:5]} are served otherwise"
    return "served"


@pytest.mark.parametrize("start", range(0, 32, 8))
def test_pipelines_put_together_by_chance(start, tmp_path) -> None:
    became = [
        assert_refused_or_served_as_trained(seed, tmp_path) for seed in range(start, start + 8)
    ]
    assert "served" in became
    assert "refused" in became


@pytest.mark.soak
def test_thousands_of_pipelines_put_together_by_chance(tmp_path) -> None:
    became = [assert_refused_or_served_as_trained(seed, tmp_path) for seed in range(1000, 4000)]
    assert became.count("served") > 500
    assert became.count("refused") > 500
