"""What MLflow does with a model beside us: its input example, its autologging, MLServer."""

from __future__ import annotations

import json
import logging
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import conformance_steps
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model
from mlflow.models.utils import load_serving_example
from mlflow.utils import autologging_utils
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

import asfitted
from asfitted import _mlflow
from asfitted.artifact import golden, layout, manifest
from asfitted.config import LOG_VARIABLE, Config, Log
from asfitted.errors import ArtifactDamaged, LoadRefused
from asfitted.prediction_log.fields import KEY_VARIABLE

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [order, shop]
columns:
  order: {kind: text, pattern: "[A-Z]{6}"}
  price: {kind: number}
  weight: {kind: number, missing: pass}
  visits: {kind: integer, missing: pass}
  floors: {kind: integer}
  member: {kind: boolean, missing: pass}
  paid: {kind: boolean}
  colour: {kind: category, categories: [NA, red, blue], missing: pass}
  zone: {kind: category, categories: [1, 2, 3], missing: pass}
  note: {kind: text, missing: {fill: ""}}
  placed: {kind: datetime, zone: America/New_York, missing: pass}
  name: {kind: text}
  salary: {kind: number}
  shop: {kind: integer, min: 3}
""")
CONFIG = Config(schema_version=1, log=Log(fields={"name": "drop", "salary": "hash"}))
N_ROWS = 60


def make_rows() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "order": ["SECRET"] * N_ROWS,
            "price": rng.normal(50, 20, N_ROWS),
            "weight": rng.gamma(2.0, 2.0, N_ROWS),
            "visits": rng.integers(0, 9, N_ROWS).astype(object),
            "floors": rng.integers(0, 9, N_ROWS),
            "member": rng.choice([True, False], N_ROWS).astype(object),
            "paid": rng.choice([True, False], N_ROWS),
            "colour": rng.choice(["NA", "red", "blue"], N_ROWS).astype(object),
            "zone": rng.choice([1, 2, 3], N_ROWS).astype(object),
            "note": rng.choice(["2013-01-01", "null", "5"], N_ROWS).astype(object),
            "placed": pd.date_range(
                "2025-03-01", periods=N_ROWS, freq="7h1us", unit="us", tz="UTC"
            ),
            "name": ["Ada Secret"] * N_ROWS,
            "salary": rng.normal(98765.4321, 1.0, N_ROWS),
            "shop": 4711,
        }
    )
    # The first rows are the example: each misses something, the second everything.
    may_miss = ["weight", "visits", "member", "colour", "zone", "note", "placed"]
    for at, name in enumerate(may_miss):
        frame.loc[at % 5 :: 9, name] = None
        frame.loc[1, name] = None
    return frame


ROWS = make_rows()
TARGET = np.where(ROWS["price"] > 50, "yes", "no")


def fitted() -> Pipeline:
    """Answer otherwise where a single bit of what is conformed is another one."""
    steps = asfitted.Conform(CONTRACT), conformance_steps.Fingerprint()
    return make_pipeline(*steps).fit(ROWS, ROWS["price"])


OPTIONS: dict[str, Any] = {
    "reference": ROWS,
    "config": CONFIG,
    "code_paths": [conformance_steps.__file__],
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))
    monkeypatch.setenv(KEY_VARIABLE, "a key of the tests")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved") / "model"
    asfitted.save_model(fitted(), root, **OPTIONS)
    return root


@pytest.fixture
def store(tmp_path: Path) -> str:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    return uri


@pytest.fixture
def autolog(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_mlflow, "_warned", set())
    mlflow.sklearn.autolog(silent=True)
    yield
    mlflow.sklearn.autolog(disable=True)


# --- the input example -------------------------------------------------------------


def golden_rows(root: Path) -> tuple[pd.DataFrame, Any]:
    inputs, outputs, _ = golden.read(root)
    frame = CONTRACT.conform(inputs, keys=False).frame
    return frame.iloc[:5], outputs["prediction"].to_numpy()[:5]


def test_mlflow_reads_it_and_every_loader_answers_it(artifact: Path) -> None:
    model = Model.load(str(artifact))
    example = model.load_input_example(str(artifact))
    assert list(example.columns) == list(CONTRACT.columns)
    inputs, answers = golden_rows(artifact)
    assert inputs.isna().any().any()
    conformed = CONTRACT.conform(example)
    pd.testing.assert_frame_equal(conformed.frame, inputs, check_exact=True)
    loaded = asfitted.load_model(artifact, config=CONFIG, record=False)
    assert loaded.predict(example).tobytes() == answers.tobytes()
    pyfunc = mlflow.pyfunc.load_model(str(artifact))
    assert pyfunc.predict(pyfunc.input_example).tobytes() == answers.tobytes()


def test_the_serving_form_says_the_same(artifact: Path) -> None:
    text = load_serving_example(str(artifact))
    assert text == Model.load(str(artifact)).get_serving_input(str(artifact))
    plain = json.loads((artifact / layout.INPUT_EXAMPLE).read_text())
    assert json.loads(text) == {"dataframe_split": plain}


def test_no_secret_and_no_key_of_anybody_stands_in_it(artifact: Path) -> None:
    for name in (layout.INPUT_EXAMPLE, layout.SERVING_EXAMPLE):
        text = (artifact / name).read_text()
        for secret in ("Ada", "9876", "SECRET", "4711"):
            assert secret not in text
    example = Model.load(str(artifact)).load_input_example(str(artifact))
    assert set(example["order"]) == {"000000"} or set(example["order"]) == {"AAAAAA"}
    assert set(example["shop"]) == {3}
    assert set(example["name"]) == {""}
    assert set(example["salary"]) == {0}


@pytest.mark.parametrize("name", [layout.INPUT_EXAMPLE, layout.SERVING_EXAMPLE])
def test_the_manifest_covers_it(artifact: Path, name: str) -> None:
    file = artifact / name
    before = file.read_bytes()
    file.write_bytes(before + b" ")
    try:
        with pytest.raises(ArtifactDamaged, match=f"{name} was changed"):
            manifest.verify(artifact)
    finally:
        file.write_bytes(before)
    manifest.verify(artifact)


def test_a_logged_model_has_it_and_nothing_went_on_record(store: str, tmp_path: Path) -> None:
    info = asfitted.log_model(fitted(), "shop", registered_model_name="shop", **OPTIONS)
    assert not (tmp_path / "log").exists()
    for uri in (info.model_uri, "models:/shop/1"):
        model = mlflow.models.get_model_info(uri)
        assert model.saved_input_example_info["type"] == "dataframe"
        example = Model.load(uri).load_input_example(uri)
        assert asfitted.load_model(uri, config=CONFIG).predict(example).shape == (5,)


# --- autologging -------------------------------------------------------------------


def everything(store: str) -> Any:
    """Return what MLflow's store holds of runs, but for their ids and times."""
    runs = mlflow.MlflowClient(store).search_runs(["0"])
    return [
        (r.info.status, r.data.metrics, r.data.params, r.data.tags, len(r.inputs.dataset_inputs))
        for r in runs
    ]


def logged(store: str) -> list[str]:
    found = mlflow.MlflowClient(store).search_logged_models(experiment_ids=["0"])
    return sorted(model.name for model in found)


@pytest.mark.filterwarnings("ignore:.*")
def test_saving_under_autologging_logs_nothing(
    store: str, autolog: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = ROWS[["price", "weight"]].fillna(0)
    contract = asfitted.DataContract.infer(frame)
    alone = LogisticRegression().fit(frame, TARGET)
    whole = make_pipeline(asfitted.Conform(contract), LogisticRegression()).fit(frame, TARGET)
    before, models = everything(store), logged(store)
    assert len(before) == 2
    assert len(models) == 2
    # MLflow watches what an estimator is asked that was fitted by itself.
    reused = Pipeline([("conform", asfitted.Conform(contract)), ("model", alone)])
    for name, pipeline in (("reused", reused), ("whole", whole)):
        asfitted.save_model(pipeline, tmp_path / name, reference=frame)
        with caplog.at_level(logging.WARNING, "asfitted"):
            asfitted.log_model(pipeline, name, reference=frame)
    assert everything(store) == before
    assert logged(store) == sorted([*models, "reused", "whole"])
    (warning,) = [r.getMessage() for r in caplog.records if "autolog()" in r.getMessage()]
    assert "mlflow.sklearn.autolog(log_models=False)" in warning
    # It is on again.
    alone.predict(frame[:7])
    assert everything(store) != before


def test_who_is_warned(store: str, autolog: None) -> None:
    """Asks MLflow's own register of what is autologged, which is no documented interface."""
    assert _mlflow.autologged() == ["sklearn"]
    mlflow.sklearn.autolog(log_models=False, silent=True)
    assert _mlflow.autologged() == []
    mlflow.lightgbm.autolog(silent=True)
    assert _mlflow.autologged() == ["lightgbm"]
    mlflow.lightgbm.autolog(disable=True)
    assert _mlflow.autologged() == []


@pytest.mark.parametrize("name", ["get_autologging_config", "disable_autologging"])
def test_a_mlflow_without_that_register(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(autologging_utils, name)
    assert _mlflow.autologged() == []
    with _mlflow.without_autologging():
        pass


# --- MLServer ----------------------------------------------------------------------


def test_mlserver_is_refused_in_whichever_thread_it_loads(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``mlserver_mlflow`` is the runtime that ``--enable-mlserver`` starts."""
    monkeypatch.setitem(sys.modules, "mlserver_mlflow", types.ModuleType("mlserver_mlflow"))
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(mlflow.pyfunc.load_model, str(artifact))
    error = load.exception()
    assert type(error) is LoadRefused
    assert "--enable-mlserver" in error.where
    assert "asfitted serve" in error.mend
    # Whoever calls the model itself is asked by nobody else.
    asfitted.load_model(artifact, config=CONFIG, record=False)
