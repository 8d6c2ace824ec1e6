"""Code that would be missing is found at save; code that would collide, at load."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import asfitted
from asfitted.artifact import code, layout
from asfitted.errors import CodeCollision, CodeNotShipped


@pytest.fixture(autouse=True)
def _forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a loaded model leaves: its paths, its modules, and who brought them."""
    monkeypatch.setattr(code, "_brought", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


STEP = """
from sklearn.base import BaseEstimator, TransformerMixin
class Step(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None): return self
    def transform(self, X): return X
def double(X): return X + X
"""


def module(folder: Path, name: str, text: str = STEP) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(text)
    importlib.invalidate_caches()
    return file


def imported(folder: Path, name: str, text: str = STEP) -> object:
    module(folder, name, text)
    sys.path.insert(0, str(folder))
    return importlib.import_module(name)


# What a pipeline needs.


def test_the_classes_and_functions_of_a_pipeline(tmp_path: Path) -> None:
    features = imported(tmp_path, "zz_features")
    pipeline = make_pipeline(
        features.Step(),  # type: ignore[attr-defined]
        FunctionTransformer(features.double),  # type: ignore[attr-defined]
        LogisticRegression(),
    )
    found = code.needed(pipeline)
    assert found["zz_features"] == {"Step", "double"}
    assert "LogisticRegression" in found["sklearn.linear_model._logistic"]
    assert "__main__" not in found


def test_a_lambda_travels_with_its_code() -> None:
    found = code.needed(FunctionTransformer(lambda X: X))
    assert __name__ not in found
    assert "sklearn.preprocessing._function_transformer" in found


def test_a_lambda_of_a_module_that_is_needed_anyhow(tmp_path: Path) -> None:
    features = imported(tmp_path, "zz_both", STEP + "triple = lambda X: 3 * X\n")
    step = features.Step()  # type: ignore[attr-defined]
    found = code.needed(make_pipeline(FunctionTransformer(features.triple), step))  # type: ignore[attr-defined]
    assert found["zz_both"] == {"Step"}


def test_a_class_of_a_script_is_refused_with_the_mend() -> None:
    script = f"""
{STEP}
from asfitted.artifact import code
from sklearn.preprocessing import FunctionTransformer
print(sorted(code.needed(FunctionTransformer(lambda X: X))))
print(sorted(code.needed(FunctionTransformer(double))))
try:
    code.needed([Step(), Step])
except Exception as error:
    print(type(error).__name__, str(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert "__main__" not in lines[0], done.stderr
    assert "__main__" not in lines[1]
    assert lines[2].startswith("CodeNotShipped Step")
    assert "defined in a notebook or script" in done.stdout
    assert "code_paths=['features.py']" in done.stdout


@pytest.mark.parametrize("thing", [threading.Lock(), (i for i in "ab")], ids=["lock", "generator"])
def test_what_cannot_be_pickled(thing: object) -> None:
    with pytest.raises(CodeNotShipped, match="cannot be pickled") as caught:
        code.needed(FunctionTransformer(kw_args={"thing": thing}))
    assert "locks" in caught.value.mend


# What is shipped.


def shipped(root: Path, *paths: Path) -> Path:
    root.mkdir()
    code.ship(root, paths)
    return root / layout.CODE


def test_ship_copies_files_packages_and_the_runtime(tmp_path: Path) -> None:
    file = module(tmp_path / "src", "zz_features")
    package = module(tmp_path / "src" / "zz_package", "__init__").parent
    module(package / "__pycache__", "junk")
    (package / "table.json").write_text("{}")
    there = shipped(tmp_path / "root", file, package)
    assert (there / "zz_features.py").read_text() == STEP
    assert (there / "zz_package" / "table.json").is_file()
    assert not list(there.rglob("__pycache__"))
    runtime = {p.name for p in (there / "asfitted").iterdir()}
    assert {"contract", "scoring", "serving", "artifact", "flavor.py", "_version.py"} <= runtime
    assert not runtime & {"cli", "registry"}
    assert (there / "asfitted" / "errors.py").read_bytes() == Path(asfitted.__file__).with_name(
        "errors.py"
    ).read_bytes()


def test_what_cannot_be_shipped(tmp_path: Path) -> None:
    one, two = module(tmp_path / "a", "zz_same"), module(tmp_path / "b", "zz_same")
    for i, (paths, said) in enumerate(
        [
            ((one, two), "'zz_same.py' twice"),
            ((tmp_path / "none.py",), "does not exist"),
            ((module(tmp_path / "a", "asfitted"),), "'asfitted.py' twice"),
            ((module(tmp_path / "asfitted", "x").parent,), "'asfitted' twice"),
        ]
    ):
        with pytest.raises(CodeNotShipped, match=said):
            shipped(tmp_path / f"root{i}", *paths)


# What must be installed.


def test_distributions_of_what_is_needed_and_imported(tmp_path: Path) -> None:
    text = STEP + "import yaml, os.path\nfrom joblib import hash\nfrom . import sibling\n"
    file = module(tmp_path / "src", "zz_features", text)
    shipped(tmp_path / "root", file)
    modules = {
        "zz_features": {"Step"},
        "sklearn.linear_model._logistic": {"LogisticRegression"},
        "builtins": {"getattr"},
        "collections.abc": {"Mapping"},
        "asfitted.contract.step": {"Conform"},
    }
    assert code.distributions(tmp_path / "root", modules) == {"scikit-learn", "pyyaml", "joblib"}


def test_a_module_that_would_not_be_there_is_named(tmp_path: Path) -> None:
    features = imported(tmp_path / "src", "zz_left_behind")
    found = code.needed(make_pipeline(features.Step(), LinearRegression()))  # type: ignore[attr-defined]
    shipped(tmp_path / "root")
    with pytest.raises(CodeNotShipped, match="Step: module 'zz_left_behind'") as caught:
        code.distributions(tmp_path / "root", found)
    file = str(tmp_path / "src" / "zz_left_behind.py")
    assert caught.value.where == file
    assert caught.value.mend == f"log_model(..., code_paths=[{file!r}])"


def test_a_folder_that_shadows_an_installed_package(tmp_path: Path) -> None:
    # The module of an installed name was in truth imported from elsewhere.
    imported(tmp_path / "src", "zz_shadow")
    shipped(tmp_path / "root")
    with pytest.raises(CodeNotShipped, match="zz_shadow"):
        code.distributions(tmp_path / "root", {"zz_shadow": {"Step"}})


def test_shipped_files_are_python(tmp_path: Path) -> None:
    shipped(tmp_path / "root", module(tmp_path / "src", "zz_broken", "def :"))
    with pytest.raises(CodeNotShipped, match="not Python"):
        code.distributions(tmp_path / "root", {})


# What is let in.


def model(root: Path, **modules: str) -> Path:
    for name, text in modules.items():
        module(root / layout.CODE, name, text)
    return root


def test_two_models_with_other_code_of_one_name(tmp_path: Path) -> None:
    one = model(tmp_path / "one", zz_features="x = 1")
    two = model(tmp_path / "two", zz_features="x = 2")
    code.admit(one, "flights/1")
    assert str(one / layout.CODE) in sys.path
    sys.path.insert(0, str(two / layout.CODE))  # as MLflow does before it asks
    with pytest.raises(CodeCollision) as caught:
        code.admit(two, "flights/2")
    assert "'zz_features' of flights/2" in caught.value.what
    assert "that flights/1 has brought" in caught.value.what
    assert str(two / layout.CODE) not in sys.path
    # The first goes on as before.
    code.admit(one, "flights/1")
    assert importlib.import_module("zz_features").x == 1


def test_one_code_in_two_models(tmp_path: Path) -> None:
    one = model(tmp_path / "one", zz_features="x = 1", zz_more="y = 1")
    two = model(tmp_path / "two", zz_features="x = 1")
    code.admit(one, "flights/1")
    code.admit(two, "flights/2")
    code.admit(one, "flights/1")
    assert sys.path.count(str(one / layout.CODE)) == 1


def test_a_refused_model_claims_no_name(tmp_path: Path) -> None:
    code.admit(model(tmp_path / "one", zz_b="x = 1"), "one")
    refused = model(tmp_path / "two", zz_a="x = 2", zz_b="x = 2")
    with pytest.raises(CodeCollision):
        code.admit(refused, "two")
    code.admit(model(tmp_path / "three", zz_a="x = 3"), "three")


def test_packages_collide_by_any_of_their_files(tmp_path: Path) -> None:
    for name, text in (("one", "x = 1"), ("same", "x = 1"), ("two", "x = 2")):
        module(tmp_path / name / layout.CODE / "zz_package", "__init__", "")
        module(tmp_path / name / layout.CODE / "zz_package", "inner", text)
    code.admit(tmp_path / "one", "one")
    code.admit(tmp_path / "same", "same")
    with pytest.raises(CodeCollision, match="'zz_package'"):
        code.admit(tmp_path / "two", "two")


def test_what_training_has_imported_counts(tmp_path: Path) -> None:
    imported(tmp_path / "src", "zz_features", "x = 1")
    code.admit(model(tmp_path / "same", zz_features="x = 1"), "same")
    code._brought.clear()
    with pytest.raises(CodeCollision) as caught:
        code.admit(model(tmp_path / "two", zz_features="x = 2"), "two")
    assert str(tmp_path / "src" / "zz_features.py") in caught.value.what


def test_what_is_no_module_does_not_collide(tmp_path: Path) -> None:
    for name in ("one", "two"):
        there = tmp_path / name / layout.CODE
        module(there / "__pycache__", "junk", name)
        module(there / "asfitted", "__init__", name)
        (there / "notes.txt").write_text(name)
        code.admit(tmp_path / name, name)
    assert not {"junk", "asfitted", "notes"} & set(code._brought)
