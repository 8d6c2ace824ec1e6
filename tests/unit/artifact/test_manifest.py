"""Every file of an artifact is what was saved, or the load says which is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from asfitted.artifact import layout, manifest
from asfitted.errors import ArtifactDamaged, FormatTooNew

MLMODEL = {
    "flavors": {"asfitted": {"code": "code", "predict_fn": "predict"}},
    "signature": {"inputs": "[]"},
    "run_id": "1",
    "model_uuid": "a",
    "utc_time_created": "2020-01-01",
    "model_size_bytes": 10,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "model.skops": "model",
        "contract.yaml": "columns: {}",
        "code/features.py": "x = 1\n",
        "resources/planes.csv": "a\n",
        "MLmodel": yaml.safe_dump(MLMODEL),
    }.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    manifest.seal(tmp_path, {"planes": "resources/planes.csv"}, {"numpy": "2"})
    return tmp_path


def test_what_was_sealed_verifies(root: Path) -> None:
    content = manifest.verify(root)
    assert content == manifest.read(root)
    assert set(content["files"]) == {
        "model.skops",
        "contract.yaml",
        "code/features.py",
        "resources/planes.csv",
        "MLmodel",
    }
    assert content["resources"] == {"planes": "resources/planes.csv"}
    assert content["format"] == layout.FORMAT
    assert len(content["digest"]) == 64


def test_the_root_digest_is_of_everything(root: Path) -> None:
    first = manifest.read(root)["digest"]
    assert manifest.seal(root, {"planes": "resources/planes.csv"}, {"numpy": "2"}) == first
    assert manifest.seal(root, {}, {"numpy": "2"}) != first
    assert manifest.seal(root, {"planes": "resources/planes.csv"}, {"numpy": "3"}) != first
    (root / "code" / "features.py").write_text("x = 2\n")
    assert manifest.seal(root, {"planes": "resources/planes.csv"}, {"numpy": "2"}) != first


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda r: (r / "model.skops").write_text("modem"), "model.skops was changed"),
    "one bit": (lambda r: (r / "contract.yaml").write_text("columns: {} "), "contract.yaml was"),
    "emptied": (lambda r: (r / "model.skops").write_bytes(b""), "model.skops was changed"),
    "missing": (lambda r: (r / "code/features.py").unlink(), "code/features.py is missing"),
    "extra": (lambda r: (r / "code/evil.py").write_text(""), "code/evil.py is not in the manifest"),
    "extra above": (lambda r: (r / "conda.yaml").write_text(""), "conda.yaml is not in the man"),
    "hidden": (lambda r: (r / "code/.hidden").write_text(""), "code/.hidden is not in"),
    "a pyc": (lambda r: (r / "code/features.pyc").write_text(""), "features.pyc is not in"),
    "a folder": (
        lambda r: ((r / "model.skops").unlink(), (r / "model.skops").mkdir()),
        "model.skops is missing",
    ),
    "a link": (
        lambda r: (r / "code/link.py").symlink_to(r / "model.skops"),
        "code/link.py is not in the manifest",
    ),
    "no MLmodel": (lambda r: (r / "MLmodel").unlink(), "MLmodel is missing"),
    "torn MLmodel": (lambda r: (r / "MLmodel").write_text("a: ["), "MLmodel was changed"),
    "binary MLmodel": (lambda r: (r / "MLmodel").write_bytes(b"\xff"), "MLmodel was changed"),
    "empty MLmodel": (lambda r: (r / "MLmodel").write_text(""), "MLmodel was changed"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_named(root: Path, damage: str) -> None:
    do, said = DAMAGE[damage]
    do(root)
    with pytest.raises(ArtifactDamaged, match=said) as caught:
        manifest.verify(root)
    assert caught.value.where == str(root)


def test_all_damage_is_said_and_five_shown(root: Path) -> None:
    for i in range(7):
        (root / f"extra{i}").write_text("")
    with pytest.raises(ArtifactDamaged, match=r"extra0 .*extra4 .*and 2 more"):
        manifest.verify(root)


def rewrite(root: Path, **changed: object) -> None:
    (root / "MLmodel").write_text(yaml.safe_dump({**MLMODEL, **changed}), encoding="utf-8")


def test_mlflow_may_write_mlmodel_again(root: Path) -> None:
    rewrite(root, run_id="2", model_uuid="b", utc_time_created="2021", model_size_bytes=11)
    rewrite(root, run_id="2", model_id="m-1", mlflow_version="3", env_vars=None, metadata={})
    manifest.verify(root)
    reordered = yaml.safe_dump(dict(reversed(MLMODEL.items())), sort_keys=False)
    (root / "MLmodel").write_text(reordered)
    manifest.verify(root)


@pytest.mark.parametrize(
    "changed",
    [
        {"flavors": {"asfitted": {"code": "code", "predict_fn": "predict_proba"}}},
        {"flavors": {"asfitted": {"code": "evil", "predict_fn": "predict"}}},
        {"flavors": {**MLMODEL["flavors"], "python_function": {"loader_module": "os"}}},  # type: ignore[dict-item]
        {"flavors": {}},
        {"signature": {"inputs": "[1]"}},
        {"signature": None},
    ],
    ids=str,
)
def test_but_not_what_is_executed(root: Path, changed: dict[str, object]) -> None:
    rewrite(root, **changed)
    with pytest.raises(ArtifactDamaged, match="MLmodel was changed"):
        manifest.verify(root)


@pytest.mark.parametrize(
    "name",
    [
        "registered_model_meta",
        "environment_variables.txt",
        "metadata/MLmodel",
        "code/__pycache__/features.cpython-311.pyc",
        "__pycache__/x.pyc",
    ],
)
def test_what_mlflow_and_python_add_is_no_damage(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("added")
    manifest.verify(root)


def test_but_only_where_they_add_it(root: Path) -> None:
    (root / "code" / "registered_model_meta").write_text("added")
    with pytest.raises(ArtifactDamaged, match="code/registered_model_meta is not"):
        manifest.verify(root)


def edit(root: Path, **changed: object) -> None:
    file = root / layout.MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


@pytest.mark.parametrize(
    "changed",
    [{"files": {}}, {"files": []}, {"resources": {}}, {"versions": {}}, {"digest": "0" * 64},
     {"asfitted": "9"}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_was_edited(root: Path, changed: dict[str, object]) -> None:
    edit(root, **changed)
    for read in (manifest.read, manifest.verify):
        with pytest.raises(ArtifactDamaged, match=r"manifest\.json was changed"):
            read(root)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"format": 0, "files": {}}'])
def test_a_manifest_that_is_none(root: Path, text: str) -> None:
    (root / layout.MANIFEST).write_text(text)
    with pytest.raises(ArtifactDamaged, match="missing or not readable") as caught:
        manifest.verify(root)
    assert "logged by another flavor" in caught.value.mend


def test_a_torn_or_absent_manifest(root: Path) -> None:
    file = root / layout.MANIFEST
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"\xff" + whole, whole[:-3]):
        file.write_bytes(content)
        with pytest.raises(ArtifactDamaged, match="missing or not readable"):
            manifest.verify(root)
    file.unlink()
    with pytest.raises(ArtifactDamaged, match="missing or not readable"):
        manifest.verify(root)


@pytest.mark.parametrize("newer", [layout.FORMAT + 1, 99, "1", None, 0.5])
def test_a_format_of_the_future(root: Path, newer: object) -> None:
    edit(root, format=newer, asfitted="9.9")
    with pytest.raises(FormatTooNew, match="reads up to") as caught:
        manifest.verify(root)
    assert "Asfitted 9.9 or newer" in caught.value.mend
