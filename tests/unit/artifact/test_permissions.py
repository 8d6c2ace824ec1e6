"""What the operator's two variables forbid, and what they leave alone."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import asfitted
from asfitted.artifact import layout, permissions, serialize
from asfitted.contract import Conform, DataContract
from asfitted.errors import AsfittedError, CodeNotAllowed, ConfigError, LoadRefused, SaveRefused

PICKLE, CODE = permissions.PICKLE, permissions.CODE
FRAME = pd.DataFrame({"n": [1.5, 2.5, 3.5]})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Look like an artifact that brings nothing but skops and the runtime."""
    (tmp_path / layout.CODE / "asfitted").mkdir(parents=True)
    (tmp_path / layout.CODE / "__pycache__").mkdir()
    (tmp_path / layout.SKOPS).touch()
    DataContract.infer(FRAME).save(tmp_path / layout.CONTRACT)
    return tmp_path


def as_pickle(root: Path) -> None:
    (root / layout.SKOPS).rename(root / layout.PICKLE)


def refusal(call: Any, *arguments: Any) -> AsfittedError:
    with pytest.raises(LoadRefused) as caught:
        call(*arguments)
    assert isinstance(caught.value, CodeNotAllowed)
    assert caught.value.exit_code == 3
    return caught.value


@pytest.mark.parametrize("value", ["true", "1", "TRUE", None])
def test_nothing_is_forbidden_by_default(
    root: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    for variable in (PICKLE, CODE):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    as_pickle(root)
    (root / layout.CODE / "features.py").touch()
    permissions.check_load(root)
    permissions.check_pyfunc(root)
    permissions.check_save(root)


@pytest.mark.parametrize("variable", [PICKLE, CODE])
@pytest.mark.parametrize("value", ["false", "False", "0"])
def test_a_pickle_is_forbidden_by_either(
    root: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    permissions.check_load(root)
    as_pickle(root)
    error = refusal(permissions.check_load, root)
    assert "is a pickle" in error.what
    assert f"{variable} is false" in error.what
    assert error.where == str(root / layout.PICKLE)
    assert "skops" in error.mend
    assert f"set {variable} to true" in error.mend


def test_pickles_alone_forbid_no_code(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As MLflow means it: what lies in code/ is the other variable's affair."""
    monkeypatch.setenv(PICKLE, "false")
    (root / layout.CODE / "features.py").touch()
    permissions.check_load(root)
    permissions.check_pyfunc(root)


@pytest.mark.parametrize("name", ["features.py", "features", "features.so", "sitecustomize.pyc"])
def test_modules_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(CODE, "false")
    permissions.check_load(root)
    (root / layout.CODE / name).touch()
    error = refusal(permissions.check_load, root)
    assert name in error.what
    assert f"{CODE} is false" in error.what
    assert f"set {CODE} to true" in error.mend


@pytest.mark.parametrize("section", ["row_checks", "output"])
def test_functions_that_the_contract_names(
    root: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    """An installed function that the model names is called by the model's will all the same."""
    monkeypatch.setenv(CODE, "false")
    said = {
        "row_checks": "row_checks: [{function: statistics:mean}]",
        "output": "output: {checks: [{function: statistics:mean}]}",
    }
    text = (root / layout.CONTRACT).read_text() + said[section] + "\n"
    (root / layout.CONTRACT).write_text(text)
    assert "statistics:mean" in refusal(permissions.check_load, root).what


def test_the_pyfunc_loader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE, "false")
    error = refusal(permissions.check_pyfunc, root)
    assert "pyfunc" in error.what
    assert "asfitted.load_model" in error.mend


def test_an_asfitted_that_a_model_has_brought(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CODE, "false")
    other = tmp_path / "other" / layout.CODE
    shutil.copytree(Path(asfitted.__file__).parent, other / "asfitted")
    monkeypatch.setattr(asfitted, "__file__", str(other / "asfitted" / "__init__.py"))
    # A folder that is called code is no artifact yet.
    permissions.check_load(root)
    (other.parent / layout.MLMODEL).touch()
    error = refusal(permissions.check_load, root)
    assert "a copy that a model has brought along" in error.what
    assert error.where == str(other / "asfitted")


@pytest.mark.parametrize("variable", [PICKLE, CODE])
@pytest.mark.parametrize("value", ["", "no", "off", "2", " false"])
def test_a_value_that_says_nothing_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match="neither true nor false") as caught:
        permissions.check_load(root)
    assert variable in caught.value.where


@pytest.mark.parametrize("variable", [PICKLE, CODE])
@pytest.mark.parametrize("wanted", [None, "cloudpickle"])
def test_no_pickle_is_saved_that_could_not_be_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    wanted: str | None,
) -> None:
    step = FunctionTransformer(abs)
    fitted = make_pipeline(Conform(DataContract.infer(FRAME)), step, LinearRegression())
    fitted.fit(FRAME, [1, 2, 3])
    monkeypatch.setenv(variable, "false")
    with caplog.at_level(logging.INFO), pytest.raises(SaveRefused, match="as a pickle") as caught:
        serialize.dump(fitted, tmp_path, wanted)
    why = "not known to be safe are" if wanted is None else "cloudpickle was asked for"
    assert why in caught.value.what
    assert f"{variable} is false" in caught.value.what
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(variable, "true")
    assert serialize.dump(fitted, tmp_path, wanted)[0] == "cloudpickle"


def test_what_would_not_be_loaded_is_not_saved(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE, "false")
    permissions.check_save(root)
    (root / layout.CODE / "features.py").touch()
    with pytest.raises(SaveRefused, match=r"no process would load the model.*features\.py"):
        permissions.check_save(root)
