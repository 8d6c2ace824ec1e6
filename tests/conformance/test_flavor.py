"""Every way in which a save or a load cannot be right fails, and says what, where and the mend."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import asfitted
from asfitted.artifact import environment, layout, manifest
from asfitted.config import CONFIG_VARIABLE, LOG_VARIABLE, Config, Log, Model
from asfitted.errors import (
    ArtifactDamaged,
    AsfittedError,
    CodeNotShipped,
    ContractViolation,
    EnvironmentMismatch,
    FormatTooNew,
    GoldenMismatch,
    NotConformed,
    ResourceNotShipped,
    SaveRefused,
)
from asfitted.prediction_log import read_log

pytestmark = [
    # MLflow's own import, and its own calls of SQLAlchemy and pandas.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [id]
columns:
  id: {kind: text}
  a: {kind: number}
  b: {kind: number, missing: pass}
  c: {kind: category, categories: [x, y], missing: {fill: x}}
""")
NUMBERS = ("num", SimpleImputer(), ["a", "b"])


def make_rows(n_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"k{i}" for i in range(n_rows)],
            "a": rng.normal(size=n_rows),
            "b": rng.normal(size=n_rows),
            "c": rng.choice(["x", "y"], n_rows),
        }
    )
    frame.loc[::5, "b"] = np.nan
    return frame


ROWS = make_rows()
TARGET = np.where(ROWS["a"] > 0, "yes", "no")


def pipe(*transformers: Any, estimator: Any = None) -> Pipeline:
    return make_pipeline(
        asfitted.Conform(CONTRACT),
        ColumnTransformer([("cat", asfitted.Dummies(), ["c"]), *transformers]),
        LogisticRegression() if estimator is None else estimator,
    )


def fitted() -> Pipeline:
    return pipe(NUMBERS).fit(ROWS, TARGET)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration is found by chance, and each test has its own log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model; to be copied by whoever changes it."""
    root = tmp_path_factory.mktemp("saved") / "model"
    asfitted.save_model(
        fitted(), root, reference=ROWS, name="shop", config=Config(schema_version=1)
    )
    return root


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "model"))


def seal(root: Path) -> None:
    """Make what was changed look as if it had been saved so."""
    content = manifest.read(root)
    manifest.seal(root, content["resources"], content["versions"])


def refused(
    kind: type[AsfittedError], call: Any, what: str, where: str = "", mend: str = ""
) -> AsfittedError:
    """Return the error, of exactly this kind, with what, where and mend as they should be."""
    with pytest.raises(kind) as error:
        call()
    said = error.value
    assert type(said) is kind
    assert re.search(what, said.what), said.what
    assert re.search(where, said.where), said.where
    assert re.search(mend, said.mend), said.mend
    assert said.mend
    return said


# --- what cannot be saved ---------------------------------------------------------


def save(pipeline: Any, root: Path, reference: Any = ROWS, **options: Any) -> Any:
    return lambda: asfitted.save_model(pipeline, root, reference=reference, **options)


def test_a_pipeline_that_does_not_begin_with_conform(tmp_path) -> None:
    root = tmp_path / "model"
    numeric = ROWS[["a"]]
    bare = make_pipeline(StandardScaler(), LogisticRegression()).fit(numeric, TARGET)
    refused(NotConformed, save(bare, root), "with StandardScaler", "Pipeline", "asfitted.Conform")
    alone = LogisticRegression().fit(numeric, TARGET)
    refused(NotConformed, save(alone, root), "with LogisticRegression", "LogisticRegression", "fit")
    late = make_pipeline(FunctionTransformer(), asfitted.Conform(CONTRACT), LogisticRegression())
    refused(NotConformed, save(late, root), "with FunctionTransformer", "", "Conform")
    empty = make_pipeline(asfitted.Conform(CONTRACT))
    refused(NotConformed, save(empty, root), "no step after Conform", "", "estimator")
    assert not root.exists()


def test_a_pipeline_that_is_not_fitted(tmp_path) -> None:
    refused(SaveRefused, save(pipe(NUMBERS), tmp_path / "m"), "not fitted", "Pipeline", r"\.fit\(")
    search = GridSearchCV(pipe(NUMBERS), {})
    with pytest.raises(SaveRefused):
        save(search, tmp_path / "m")()


def test_a_reference_that_is_not_the_training_frame(tmp_path) -> None:
    root, where = tmp_path / "model", "reference, the raw training frame"
    lacking = ROWS.drop(columns=["a", "b"])
    refused(
        ContractViolation,
        save(fitted(), root, lacking),
        "a: the column is not there\n  b",
        where,
        "raw|fitted on",
    )
    refused(
        ContractViolation, save(fitted(), root, ROWS.to_numpy()), "DataFrame", where, "DataFrame"
    )
    refused(
        SaveRefused, save(fitted(), root, ROWS.iloc[:0]), "has no rows", where, "training frame"
    )
    with pytest.raises(ContractViolation, match="c: 60 of 60 values are not among the categories"):
        save(fitted(), root, ROWS.assign(c="q"))()
    assert not root.exists()


def test_a_predict_fn_or_a_format_that_does_not_exist(tmp_path) -> None:
    root = tmp_path / "model"
    refused(
        SaveRefused, save(fitted(), root, predict_fn="classes"), "predict_fn", "", "predict_proba"
    )
    regression = pipe(NUMBERS, estimator=LinearRegression()).fit(ROWS, ROWS["a"])
    refused(
        SaveRefused, save(regression, root, predict_fn="both"), "no probabilities", "", "predict"
    )
    refused(SaveRefused, save(fitted(), root, serialization_format="onnx"), "'onnx'", "", "skops")
    assert not root.exists()


def test_a_key_that_is_called_as_an_output_of_the_model(tmp_path) -> None:
    root, rows = tmp_path / "model", ROWS.rename(columns={"id": "probability_no"})
    contract = asfitted.DataContract.infer(rows, keys=["probability_no"])
    columns = ColumnTransformer([("cat", asfitted.Dummies(), ["c"]), NUMBERS])
    pipeline = make_pipeline(asfitted.Conform(contract), columns, LogisticRegression())
    refused(
        SaveRefused, save(pipeline.fit(rows, TARGET), root, rows),
        "outputs of the model: probability_no", "keys", "rename",
    )  # fmt: skip
    assert not root.exists()


def test_a_folder_that_is_not_empty(tmp_path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    (root / "mine.txt").write_text("precious")
    refused(SaveRefused, save(fitted(), root), "not empty", str(root), "new folder")
    assert (root / "mine.txt").read_text() == "precious"


def test_paths_that_are_not_there(tmp_path) -> None:
    root, gone = tmp_path / "model", tmp_path / "gone.py"
    refused(
        CodeNotShipped, save(fitted(), root, code_paths=[gone]), "does not exist", "gone.py", "path"
    )
    refused(
        ResourceNotShipped,
        save(fitted(), root, resources={"p": gone}),
        "'p' is not there",
        "gone",
        "path",
    )
    (tmp_path / "twice").mkdir()
    for path in (tmp_path / "one.py", tmp_path / "twice" / "one.py"):
        path.write_text("")
    with pytest.raises(CodeNotShipped, match=r"'one\.py' twice"):
        save(fitted(), root, code_paths=[tmp_path / "one.py", tmp_path / "twice" / "one.py"])()
    (tmp_path / "asfitted.py").write_text("")
    with pytest.raises(CodeNotShipped, match=r"asfitted\.py"):
        save(fitted(), root, code_paths=[tmp_path / "asfitted.py"])()
    assert not root.exists()


def test_code_that_is_not_python(tmp_path) -> None:
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(CodeNotShipped, match="not Python") as error:
        save(fitted(), tmp_path / "model", code_paths=[tmp_path / "broken.py"])()
    assert error.value.where.endswith("broken.py")
    assert not (tmp_path / "model").exists()


def unpicklable() -> Pipeline:
    pipeline = fitted()
    pipeline.lock_ = threading.Lock()
    return pipeline


def test_a_step_that_cannot_travel(tmp_path) -> None:
    call = save(unpicklable(), tmp_path / "m")
    refused(CodeNotShipped, call, "cannot pickle '_thread.lock'", "", "connections")
    assert not (tmp_path / "m").exists()


def test_a_model_that_answers_in_this_process_only(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(asfitted, "_set_by_the_notebook", 2.0, raising=False)
    step = FunctionTransformer(lambda X: X * asfitted._set_by_the_notebook)
    model = pipe(NUMBERS, ("f", step, ["a"])).fit(ROWS, TARGET)
    call = save(model, tmp_path / "m")
    refused(SaveRefused, call, "in a fresh process .* does not prove itself", "", "")
    assert not (tmp_path / "m").exists()


SCRIPT = '''
import json, os, sys
import numpy as np, pandas as pd, asfitted
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
os.environ["ASFITTED_LOG"] = "log"
rows = pd.read_pickle("rows.pkl")
open("own_steps.py", "w").write("""
import asfitted
from sklearn.base import BaseEstimator, TransformerMixin
class Times(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self
    def transform(self, X):
        return X * float(asfitted.resource("factor").read_text())
""")
open("factor.txt", "w").write("2.5")
sys.path.insert(0, ".")
import own_steps
class Homeless(own_steps.Times):
    def transform(self, X):
        return X
contract = asfitted.DataContract.from_yaml(open("contract.yaml").read())
def fit(step):
    prep = ColumnTransformer([("own", step, ["a"])])
    pipeline = make_pipeline(asfitted.Conform(contract), prep, LogisticRegression())
    return pipeline.fit(rows, rows["a"] > 0)
said = {}
def attempt(name, step, **options):
    try:
        asfitted.save_model(step, f"saved-{name}", reference=rows, name=name, **options)
        said[name] = None
    except asfitted.AsfittedError as error:
        said[name] = [type(error).__name__, error.what, error.where, error.mend]
    said[f"{name} left"] = os.path.exists(f"saved-{name}")
attempt("main", fit(Homeless()), resources={})
with asfitted.resources(factor="factor.txt"):
    own = fit(own_steps.Times())
    attempt("no code", own)
    attempt("no resource", own, code_paths=["own_steps.py"], resources={})
    attempt("skops", own, code_paths=["own_steps.py"], serialization_format="skops")
    attempt("declared", own, code_paths=["own_steps.py"])
    said["answers"] = asfitted.FittedModel(own).outputs(rows).to_numpy(dtype=object).tolist()
open("another.txt", "w").write("-4.0")
with asfitted.resources(factor="another.txt"):
    own = fit(own_steps.Times())
    attempt("another", own, code_paths=["own_steps.py"])
    said["others"] = asfitted.FittedModel(own).outputs(rows).to_numpy(dtype=object).tolist()
print(json.dumps(said))
'''

LOADER = """
import json, sys
import pandas as pd, asfitted
rows = pd.read_pickle("rows.pkl")
said = {}
first, second = (asfitted.load_model(f"saved-{name}") for name in ("declared", "another"))
for name, model in (("answers", first), ("others", second)):
    said[name] = model.outputs(rows).to_numpy(dtype=object).tolist()
for name in ("same", "other", "nested"):
    try:
        asfitted.load_model(f"saved-{name}")
        said[name] = None
    except asfitted.AsfittedError as error:
        said[name] = [type(error).__name__, error.what, error.where, error.mend]
said["path"] = [p for p in sys.path if p.endswith("saved-other/code")]
print(json.dumps(said))
"""


def run(text: str, folder: Path) -> dict[str, Any]:
    (folder / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with own steps in which a script has saved what it could."""
    folder = tmp_path_factory.mktemp("workshop")
    ROWS.to_pickle(folder / "rows.pkl")
    CONTRACT.save(folder / "contract.yaml")
    return folder, run(SCRIPT, folder)


@pytest.mark.parametrize(
    ("name", "kind", "what", "where", "mend"),
    [
        (
            "main",
            "CodeNotShipped",
            "Homeless is defined in a notebook or script",
            "__main__",
            "code_paths",
        ),
        (
            "no code",
            "CodeNotShipped",
            "module 'own_steps' would not be there",
            r"own_steps\.py",
            "code_paths=",
        ),
        (
            "no resource",
            "ResourceNotShipped",
            "'factor' is not shipped",
            "shipped are none",
            "resources=",
        ),
        ("skops", "SaveRefused", r"own_steps\.Times", "", "cloudpickle"),
    ],
)
def test_steps_of_the_users_own_that_cannot_be_shipped(
    workshop, name, kind, what, where, mend
) -> None:
    said = workshop[1][name]
    assert said[0] == kind
    for pattern, text in zip((what, where, mend), said[1:], strict=True):
        assert re.search(pattern, text), text
    assert not workshop[1][f"{name} left"]


def test_what_is_shipped_whole_is_saved(workshop) -> None:
    folder, said = workshop
    assert said["declared"] is None
    root = folder / "saved-declared"
    assert (root / "resources" / "factor.txt").read_text() == "2.5"
    assert (root / "code" / "own_steps.py").is_file()


def test_a_second_model_with_other_code_of_the_same_name(workshop) -> None:
    """In a process of its own: what a process has imported it does not forget."""
    folder, saved = workshop
    root = folder / "saved-declared"
    for name, text in (("other", "\n# another version\n"), ("same", ""), ("nested", "")):
        other = Path(shutil.copytree(root, folder / f"saved-{name}"))
        with (other / "code" / "own_steps.py").open("a") as stream:
            stream.write(text)
        if name == "nested":
            # A package in the place of the module, and another one that nobody else has.
            (other / "code" / "own_steps.py").unlink()
            (other / "code" / "own_steps").mkdir()
            shutil.copy(
                root / "code" / "own_steps.py", other / "code" / "own_steps" / "__init__.py"
            )
        seal(other)
    # The original is gone: the model reads its own code and its own resource.
    for left in ("own_steps.py", "factor.txt", "another.txt"):
        (folder / left).unlink()
    said = run(LOADER, folder)
    assert said["answers"] == saved["answers"] != saved["others"] == said["others"]
    assert said["same"] is None
    for name in ("other", "nested"):
        kind, what, where, mend = said[name]
        assert kind == "CodeCollision"
        assert "'own_steps' of declared" in what
        assert "that declared" in what
        assert where.endswith(f"saved-{name}/code")
        assert "process of its own" in mend
    assert said["path"] == []


# --- what is saved ----------------------------------------------------------------


def test_the_files(artifact) -> None:
    names = {path.name for path in artifact.iterdir()}
    assert names == {
        "MLmodel", "model.skops", "contract.yaml", "golden.parquet", "requirements.txt",
        "conda.yaml", "python_env.yaml", "code", "manifest.json",
        "input_example.json", "serving_input_example.json",
    }  # fmt: skip
    runtime = {path.name for path in (artifact / "code" / "asfitted").iterdir()}
    assert {"contract", "scoring", "artifact", "prediction_log", "flavor.py"} <= runtime
    assert not runtime & {"cli", "registry"}
    assert [p for p in artifact.rglob("*") if p.name == "__pycache__"] == []
    assert asfitted.DataContract.load(artifact / "contract.yaml") == CONTRACT


def test_the_environment_is_said_three_times_alike(artifact) -> None:
    pins = (artifact / "requirements.txt").read_text().split()
    conda = yaml.safe_load((artifact / "conda.yaml").read_text())
    python_env = yaml.safe_load((artifact / "python_env.yaml").read_text())
    python = ".".join(map(str, sys.version_info[:3]))
    assert conda["dependencies"] == [f"python={python}", "pip", {"pip": pins}]
    assert python_env["python"] == python
    assert python_env["dependencies"] == ["-r requirements.txt"]
    pinned = dict(line.split("==") for line in pins)
    assert len(pinned) == len(pins)
    for name in ("mlflow", "scikit-learn", "pandas", "numpy", "scipy", "skops"):
        assert pinned[name] == metadata.version(name)
    assert not {"asfitted", "pytest", "hypothesis", "ruff"} & set(pinned)


def test_the_signature_names_the_columns_and_says_which_may_be_absent(artifact) -> None:
    from mlflow.models import Model

    signature = Model.load(str(artifact)).signature
    assert {c.name: c.required for c in signature.inputs} == {
        "id": True,
        "a": True,
        "b": False,
        "c": False,
    }
    assert [str(c.type) for c in signature.outputs] == ["DataType.string"]


def test_the_search_is_unwrapped(tmp_path) -> None:
    search = GridSearchCV(pipe(NUMBERS), {"logisticregression__C": [0.1, 1.0]}, cv=2)
    search.fit(ROWS, TARGET)
    asfitted.save_model(search, tmp_path / "model", reference=ROWS, predict_fn="both")
    model = asfitted.load_model(tmp_path / "model", record=False)
    assert isinstance(model.pipeline, Pipeline)
    assert model.predict(ROWS)["prediction"].tolist() == search.predict(ROWS).tolist()
    from mlflow.models import Model

    outputs = Model.load(str(tmp_path / "model")).signature.outputs
    assert [c.name for c in outputs] == ["prediction", "probability_no", "probability_yes"]


def test_a_loaded_model_records_unless_it_is_told_not_to(artifact, tmp_path) -> None:
    asfitted.load_model(artifact, record=False).predict(ROWS)
    assert not (tmp_path / "log").exists()
    asfitted.load_model(artifact).predict(ROWS)
    log = read_log(tmp_path / "log")
    assert set(log["model_name"]) == {"shop"}
    assert set(log["model_version"]) == {""}
    assert set(log["model_digest"]) == {manifest.read(artifact)["digest"]}


# --- what cannot be loaded --------------------------------------------------------


def load(root: Path, **options: Any) -> Any:
    return lambda: asfitted.load_model(root, record=False, **options)


def test_each_missing_damaged_or_extra_file(copy) -> None:
    load(copy)()
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) > 40
    for path in files:
        name = path.relative_to(copy).as_posix()
        before = path.read_bytes()
        if name == "MLmodel":
            changed = before.replace(b"whole_steps: 1", b"whole_steps: 2")
        elif name == "manifest.json":
            changed = before.replace(b'"format": 0', b'"format": -1')
        else:
            changed = before + b"\n"
        assert changed != before
        for content, said in (
            (changed, "was changed|not readable|not what|digest"),
            (None, "missing"),
        ):
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            with pytest.raises(ArtifactDamaged, match=said) as error:
                load(copy)()
            assert name in str(error.value), f"{name}: {error.value}"
            assert error.value.mend
            path.write_bytes(before)
    for extra in ("more.txt", "code/more.py", "resources/more.csv", "model.pkl"):
        path = copy / extra
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        refused(ArtifactDamaged, load(copy), f"{extra} is not in the manifest", str(copy), "fetch")
        path.unlink()
    load(copy)()


def test_what_mlflow_writes_beside_the_model_is_no_damage(copy) -> None:
    for name in sorted(layout.BY_MLFLOW - {"metadata", "registered_model_meta"}):
        (copy / name).write_text("{}")
    (copy / "registered_model_meta").write_text("model_name: shop\nmodel_version: '7'\n")
    with (copy / "MLmodel").open("a") as stream:
        stream.write("run_id: abc\n")
    model = load(copy)()
    assert (model.identity.name, model.identity.version) == ("shop", "7")


def test_a_folder_that_is_no_artifact(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    error = refused(
        ArtifactDamaged, load(tmp_path / "empty"), "manifest.json is missing", "empty", "flavor"
    )
    assert (error.code, error.exit_code) == ("artifact_damaged", 3)
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_artifact_of_a_newer_format(copy) -> None:
    content = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(
        json.dumps({**content, "format": layout.FORMAT + 1, "asfitted": "9.1"})
    )
    error = refused(
        FormatTooNew,
        load(copy),
        f"has format {layout.FORMAT + 1}",
        str(copy),
        r"Asfitted 9\.1 or newer",
    )
    assert (error.code, error.exit_code) == ("format_too_new", 3)


def test_another_model_under_the_same_seal(copy, tmp_path) -> None:
    other = pipe(NUMBERS).fit(ROWS, TARGET[::-1])
    asfitted.save_model(other, tmp_path / "other", reference=ROWS)
    shutil.copy(tmp_path / "other" / "model.skops", copy / "model.skops")
    seal(copy)
    error = refused(
        GoldenMismatch, load(copy), r"\d+ of \d\d+ golden examples", str(copy), "train anew"
    )
    assert (error.code, error.exit_code) == ("golden_mismatch", 3)


def test_another_contract_under_the_same_seal(copy) -> None:
    text = (copy / "contract.yaml").read_text().replace("[x, y]", "[y, x]")
    (copy / "contract.yaml").write_text(text)
    seal(copy)
    with pytest.raises(ArtifactDamaged, match="not the contract of the pipeline"):
        load(copy)()


def test_a_model_that_cannot_be_read(copy) -> None:
    (copy / "model.skops").write_bytes(b"not a zip")
    seal(copy)
    with pytest.raises(ArtifactDamaged, match="the pipeline cannot be read"):
        load(copy)()


# --- another environment ----------------------------------------------------------


@pytest.fixture
def elsewhere(copy: Path) -> Path:
    """An artifact that was trained on another numpy and with a package that is not here."""
    file = copy / "requirements.txt"
    pinned = metadata.version("numpy")
    text = file.read_text().replace(f"numpy=={pinned}\n", "numpy==1.0.1\n")
    file.write_text(text + "no-such-package==3.2\n")
    seal(copy)
    return copy


SAID = "numpy {} instead of 1.0.1; no-such-package nothing instead of 3.2"


def test_versions_that_differ_are_refused(elsewhere) -> None:
    said = SAID.format(metadata.version("numpy"))
    error = refused(
        EnvironmentMismatch,
        load(elsewhere),
        re.escape(said),
        str(elsewhere),
        "pip install -r .*allow_versions",
    )
    assert error.what.endswith(said), "nothing else differs"


def test_versions_that_differ_in_this_process(artifact, monkeypatch) -> None:
    real = environment._version
    monkeypatch.setattr(environment, "_version", lambda n: "0.1" if n == "scipy" else real(n))
    said = f"scipy 0.1 instead of {real('scipy')}$"
    error = refused(EnvironmentMismatch, load(artifact), said, "", "pip")
    assert error.what.count(" instead of ") == 1


def test_another_python(copy) -> None:
    file = copy / "python_env.yaml"
    file.write_text(file.read_text().replace(".".join(map(str, sys.version_info[:3])), "3.9.1"))
    seal(copy)
    refused(EnvironmentMismatch, load(copy), r"python 3\.\d+\.\d+ instead of 3\.9\.1", "", "uv")
    permitted = load(copy, allow_versions=["python"])()
    assert len(permitted.predict(ROWS)) == len(ROWS)


def test_a_permission_for_one_package_is_none_for_another(elsewhere) -> None:
    error = refused(
        EnvironmentMismatch,
        load(elsewhere, allow_versions=["numpy"]),
        "training: no-such-package",
        "",
        "pip",
    )
    assert error.what.count(" instead of ") == 1, "numpy is permitted"


def _by_argument(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return asfitted.load_model(root, allow_versions=["NumPy", "no_such.package"])


def _by_config(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    Path("registry_config.yaml").write_text(
        "schema_version: 1\nenvironment:\n  allow: {numpy: tried, no-such-package: never used}\n"
    )
    return asfitted.load_model(root)


def _by_config_under_mlflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    Path("elsewhere.yaml").write_text(
        "schema_version: 1\nenvironment:\n  allow: {numpy: tried, no-such-package: never used}\n"
    )
    monkeypatch.setenv(CONFIG_VARIABLE, "elsewhere.yaml")
    import mlflow

    return mlflow.pyfunc.load_model(str(root))


def _by_model_config(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import mlflow

    allowed = {"allow_versions": ["numpy", "no-such-package"]}
    return mlflow.pyfunc.load_model(str(root), model_config=allowed)


def _by_model_config_as_text(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import mlflow

    return mlflow.pyfunc.load_model(
        str(root), model_config={"allow_versions": "numpy,no-such-package"}
    )


@pytest.mark.parametrize(
    "allow",
    [_by_argument, _by_config, _by_config_under_mlflow, _by_model_config, _by_model_config_as_text],
)
def test_versions_that_differ_by_permission(
    allow, elsewhere, tmp_path, monkeypatch, caplog
) -> None:
    with caplog.at_level(logging.WARNING, "asfitted"):
        model = allow(elsewhere, monkeypatch)
    here = metadata.version("numpy")
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("asfitted")]
    assert f"answering with numpy {here} instead of 1.0.1, as was allowed by name" in lines
    assert "answering with no-such-package nothing instead of 3.2, as was allowed by name" in lines
    model.predict(ROWS.iloc[1:3])
    for findings in read_log(tmp_path / "log")["findings"]:
        assert findings == [
            {"rule": "environment", "package": "numpy", "what": f"{here} instead of 1.0.1"},
            {"rule": "environment", "package": "no-such-package", "what": "nothing instead of 3.2"},
        ]


def test_mlflow_refuses_as_well(elsewhere) -> None:
    import mlflow

    with pytest.raises(EnvironmentMismatch, match="numpy"):
        mlflow.pyfunc.load_model(str(elsewhere))
    with pytest.raises(EnvironmentMismatch, match="no-such-package"):
        mlflow.pyfunc.load_model(str(elsewhere), model_config={"allow_versions": ["numpy"]})


# --- in MLflow --------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty MLflow, with an experiment whose artifacts lie in the test's folder."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("shop", (tmp_path / "artifacts").as_uri())
    )
    return mlflow.MlflowClient()


def holds(client: Any) -> tuple[int, int, int]:
    ids = [e.experiment_id for e in client.search_experiments()]
    return (
        len(client.search_runs(ids)),
        len(client.search_logged_models(experiment_ids=ids)),
        len(client.search_registered_models()),
    )


def test_a_refused_log_model_leaves_nothing_in_mlflow(store, tmp_path) -> None:
    for pipeline, reference in (
        (pipe(NUMBERS), ROWS),
        (fitted(), ROWS.drop(columns="a")),
        (unpicklable(), ROWS),
        (
            pipe(NUMBERS, ("c", FunctionTransformer(lambda X: X - X.mean()), ["a"])).fit(
                ROWS, TARGET
            ),
            ROWS,
        ),
    ):
        with pytest.raises(AsfittedError):
            asfitted.log_model(pipeline, "shop", reference=reference, registered_model_name="shop")
        assert holds(store) == (0, 0, 0)
    assert not (tmp_path / "artifacts").exists()


def test_a_logged_model_is_registered_and_answers_under_its_version(store, tmp_path) -> None:
    info = asfitted.log_model(
        fitted(), "shop", reference=ROWS, registered_model_name="shop", tags={"team": "a"}
    )
    assert holds(store)[1:] == (1, 1)
    model = asfitted.load_model("models:/shop/1")
    assert (model.identity.name, model.identity.version) == ("shop", "1")
    expected = asfitted.FittedModel(fitted()).predict(ROWS).tolist()
    assert model.predict(ROWS).tolist() == expected
    assert asfitted.load_model(info.model_uri).predict(ROWS).tolist() == expected
    store.set_registered_model_alias("shop", "champion", "1")
    import mlflow

    served = mlflow.pyfunc.load_model("models:/shop@champion")
    assert served.predict(ROWS).tolist() == expected
    assert read_log(tmp_path / "log", model="shop", version="1")["row"].max() == len(ROWS) - 1


def test_a_model_asked_for_by_run_or_id_has_its_name_and_field_policy(store, tmp_path) -> None:
    import mlflow

    with mlflow.start_run() as run:
        info = asfitted.log_model(fitted(), "m", reference=ROWS, registered_model_name="shop")
    config = Config(
        schema_version=1,
        log=Log(folder=str(tmp_path / "private")),
        models={"shop": Model(fields={"a": "drop"})},
    )
    for uri in (f"runs:/{run.info.run_id}/m", f"models:/{info.model_id}"):
        model = asfitted.load_model(uri, config=config)
        assert (model.identity.name, model.identity.version) == ("shop", "")
        assert model.recorder is not None
        assert model.recorder.policy.fields == {"a": "drop"}
