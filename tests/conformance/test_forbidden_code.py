"""What the operator's two variables leave alone, in process: skops, and saving it."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import asfitted
from asfitted.artifact import layout, manifest
from asfitted.artifact.permissions import CODE, PICKLE
from asfitted.config import LOG_VARIABLE, Config
from asfitted.errors import CodeNotAllowed, SaveRefused

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

ROWS = pd.DataFrame({"a": np.arange(40) / 7, "b": np.arange(40)[::-1] / 3})
VARIABLES = pytest.mark.parametrize("variable", [PICKLE, CODE])


def fitted(*steps: Any) -> Pipeline:
    contract = asfitted.DataContract.infer(ROWS)
    pipeline = make_pipeline(
        asfitted.Conform(contract), *steps, StandardScaler(), LinearRegression()
    )
    return pipeline.fit(ROWS, ROWS["a"] - ROWS["b"])


def save(root: Path, *steps: Any, **options: Any) -> Path:
    config = Config(schema_version=1)
    asfitted.save_model(fitted(*steps), root, reference=ROWS, config=config, **options)
    return root


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("saved") / "model")


class Mark:
    """Leaves a mark where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.fixture
def hostile(artifact: Path, tmp_path: Path) -> Path:
    """A sound model whose pipeline is a pickle that leaves the mark ``unpickled``."""
    root = Path(shutil.copytree(artifact, tmp_path / "hostile"))
    (root / layout.SKOPS).unlink()
    (root / layout.PICKLE).write_bytes(pickle.dumps(Mark(tmp_path / "unpickled")))
    text = (root / layout.MLMODEL).read_text()
    text = text.replace("serialization_format: skops", "serialization_format: cloudpickle")
    (root / layout.MLMODEL).write_text(text.replace(layout.SKOPS, layout.PICKLE))
    content = manifest.read(root)
    manifest.seal(root, content["resources"], content["versions"])
    return root


@VARIABLES
def test_a_skops_model_is_loaded(
    artifact: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = asfitted.load_model(artifact).predict(ROWS)
    monkeypatch.setenv(variable, "false")
    assert asfitted.load_model(artifact).predict(ROWS).tobytes() == expected.tobytes()
    if variable == PICKLE:
        given = mlflow.pyfunc.load_model(str(artifact)).predict(ROWS)
        assert given.tobytes() == expected.tobytes()
        return
    # MLflow's loader takes the name of the module from the model, whichever it is.
    with pytest.raises(CodeNotAllowed, match="a pyfunc model names the module"):
        mlflow.pyfunc.load_model(str(artifact))


@VARIABLES
def test_a_pickle_is_not_read(
    hostile: Path, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "false")
    for load in (asfitted.load_model, mlflow.pyfunc.load_model):
        with pytest.raises(CodeNotAllowed, match=f"{variable} is false"):
            load(str(hostile))
    assert not (tmp_path / "unpickled").exists()
    monkeypatch.setenv(variable, "true")
    with pytest.raises(asfitted.AsfittedError):
        asfitted.load_model(hostile)
    assert (tmp_path / "unpickled").exists()


def test_mlflow_refuses_the_pickle_as_sklearn_flavor(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PICKLE, "false")
    with pytest.raises(MlflowException, match="disallowed"):
        mlflow.sklearn.load_model(str(hostile))
    assert not (tmp_path / "unpickled").exists()


def test_a_further_process_of_a_batch_job_asks_again(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(artifact, tmp_path / "model"))
    (root / layout.CODE / "zz_unused.py").touch()
    content = manifest.read(root)
    manifest.seal(root, content["resources"], content["versions"])
    again = asfitted.load_model(root).again
    assert again is not None
    assert again().identity.digest == manifest.read(root)["digest"]
    monkeypatch.setenv(CODE, "false")
    with pytest.raises(CodeNotAllowed, match=r"zz_unused\.py"):
        again()


@VARIABLES
def test_what_is_saved_where_the_variables_hold(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof in a fresh process runs the runtime that this process has just copied."""
    monkeypatch.setenv(variable, "false")
    root = save(tmp_path / "plain")
    assert asfitted.load_model(root).predict(ROWS).shape == (40,)
    with pytest.raises(SaveRefused, match=rf"(?s)as a pickle.*{variable} is false"):
        save(tmp_path / "pickle", FunctionTransformer(abs))
    assert not (tmp_path / "pickle").exists()


def test_own_modules_are_not_saved_where_no_code_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zz_features.py").write_text("RATE = 1\n")
    for variable in (PICKLE, CODE):
        monkeypatch.setenv(variable, "false")
        root = tmp_path / variable
        if variable == PICKLE:
            save(root, code_paths=["zz_features.py"])
            assert (root / layout.CODE / "zz_features.py").is_file()
            continue
        with pytest.raises(SaveRefused, match=r"modules of its own: zz_features\.py"):
            save(root, code_paths=["zz_features.py"])
        assert not root.exists()
    assert "zz_features" not in sys.modules
