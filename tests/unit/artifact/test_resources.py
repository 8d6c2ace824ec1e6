"""One call reads a file in training, in its worker processes, and in a served model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import asfitted
from asfitted.artifact import layout, manifest
from asfitted.artifact.resources import VARIABLE, declared, of_model, resource, resources
from asfitted.errors import AsfittedError, ConfigError, ResourceNotShipped


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set before it is deleted, so that what a test declares is undone behind it.
    monkeypatch.setenv(VARIABLE, "{}")
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"{name}.csv" for name in ("planes", "ports", "other")}
    for name, file in made.items():
        file.write_text(name)
    return made


def test_as_a_call_it_holds(files: dict[str, Path]) -> None:
    resources(planes=files["planes"])
    resources(ports=str(files["ports"]))
    assert resource("planes").read_text() == "planes"
    assert resource("ports") == files["ports"]
    assert declared() == {"planes": files["planes"], "ports": files["ports"]}
    resources(planes=files["other"])
    assert resource("planes") == files["other"]


def test_as_a_context_it_ends(files: dict[str, Path]) -> None:
    with resources(planes=files["planes"]) as held:
        assert isinstance(held, resources)
        with resources(planes=files["other"], ports=files["ports"]):
            assert resource("planes") == files["other"]
            assert resource("ports") == files["ports"]
        assert resource("planes") == files["planes"]
        with pytest.raises(ResourceNotShipped):
            resource("ports")
    assert VARIABLE not in os.environ
    with pytest.raises(ZeroDivisionError), resources(planes=files["planes"]):
        raise ZeroDivisionError
    assert declared() == {}


def test_the_public_names_are_these() -> None:
    assert asfitted.resource is resource
    assert asfitted.resources is resources


def test_relative_paths_are_of_where_they_were_declared(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with resources(planes="planes.csv", folder="."):
        monkeypatch.chdir("/")
        assert resource("planes").read_text() == "planes"
        assert resource("folder") == tmp_path


def test_a_subprocess_sees_what_its_parent_declared(files: dict[str, Path]) -> None:
    code = "import asfitted; print(asfitted.resource('planes').read_text())"
    with resources(planes=files["planes"]):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "planes", done.stderr


def test_what_is_not_there(tmp_path: Path, files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="the resource 'planes' is not there") as caught:
        resources(ports=files["ports"], planes=tmp_path / "none.csv")
    assert str(tmp_path / "none.csv") in caught.value.where
    assert declared() == {}
    with pytest.raises(ResourceNotShipped, match="nobody declared the resource 'planes'") as gone:
        resource("planes")
    assert "asfitted.resources(planes=path)" in gone.value.mend


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_variable_that_somebody_has_broken(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match="not a JSON object") as caught:
        resource("planes")
    assert caught.value.where == VARIABLE


def test_a_model_sees_its_own_and_nothing_else(files: dict[str, Path]) -> None:
    with resources(planes=files["planes"], ports=files["ports"]):
        with of_model({"planes": files["other"]}):
            assert resource("planes") == files["other"]
            with pytest.raises(ResourceNotShipped, match="'ports' is not shipped") as caught:
                resource("ports")
            assert "shipped are planes" in caught.value.where
            with of_model({}), pytest.raises(ResourceNotShipped, match="not shipped"):
                resource("planes")
            assert resource("planes") == files["other"]
        assert resource("planes") == files["planes"]


def artifact(root: Path, text: str) -> Path:
    (root / layout.CODE).mkdir(parents=True)
    (root / layout.RESOURCES).mkdir()
    (root / layout.RESOURCES / "planes.csv").write_text(text)
    manifest.seal(root, {"planes": "resources/planes.csv"}, {})
    return root


def test_beside_the_code_of_a_model_that_mlflow_has_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]
) -> None:
    one = artifact(tmp_path / "one", "1")
    monkeypatch.setattr(sys, "path", [str(one / layout.CODE), *sys.path])
    assert resource("planes") == one / "resources" / "planes.csv"
    with pytest.raises(ResourceNotShipped):
        resource("ports")
    with resources(planes=files["planes"]):
        assert resource("planes") == files["planes"]
    same = artifact(tmp_path / "same", "1")
    monkeypatch.setattr(sys, "path", [str(same / layout.CODE), *sys.path])
    assert resource("planes").read_text() == "1"
    other = artifact(tmp_path / "other", "2")
    monkeypatch.setattr(sys, "path", [str(other / layout.CODE), *sys.path])
    with pytest.raises(AsfittedError, match="several loaded models bring different"):
        resource("planes")
    assert json.loads((other / layout.MANIFEST).read_text())["resources"]
