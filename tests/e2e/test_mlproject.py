"""``mlflow run`` of working copies of this project, and the other example."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKING_COPY = ("MLproject", "conda.yaml", "registry_config.yaml", "src", "examples")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "data", "*.egg-info")
ROWS = 3_000  # enough for an AUC above 0.6, and quick
TIMEOUT_S = 600

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks its own store by a way that SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]


def working_copy(folder: Path, version: str) -> Path:
    """Copy the project, and let its code say who it is."""
    folder.mkdir()
    for name in WORKING_COPY:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NOT_COPIED)
        else:
            shutil.copy(source, folder / name)
    (folder / "src/asfitted/_version.py").write_text(f'__version__ = "{version}"\n')
    with (folder / "examples/flights/features.py").open("a") as features:
        features.write(f"# of working copy {version}\n")
    return folder


class Project:
    """Runs entry points, all with one store, one log and one root of environments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder}/mlflow.db"
        self.log = folder / "log"
        self.path = [str(Path(sys.executable).parent)]

    def environment(self) -> dict[str, str]:
        ours = ("ASFITTED_", "MLFLOW_", "PYTHON", "VIRTUAL_", "UV_", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **kept,
            "PATH": os.pathsep.join([*self.path, kept["PATH"]]),
            "MLFLOW_TRACKING_URI": self.store,
            "MLFLOW_ENV_ROOT": str(self.folder / "envs"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "ASFITTED_LOG": str(self.log),
            # An interpreter that is not here is not fetched in silence.
            "UV_PYTHON_DOWNLOADS": "never",
        }

    def run(self, copy: Path, entry: str, manager: str, **parameters: Any) -> str:
        command = [sys.executable, "-m", "mlflow", "run", str(copy), "-e", entry]
        command += ["--env-manager", manager]
        for name, value in parameters.items():
            command += ["-P", f"{name}={value}"]
        return self.python(command, self.folder)

    def python(self, command: list[str], folder: Path) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6_000:]
        return done.stdout

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.store, self.store)

    def model(self, version: str) -> Path:
        return Path(self.client.get_model_version_download_uri("flights", version))

    def trained_by(self, version: str) -> tuple[str, str]:
        """Return what the code said that trained a version: the library's and the example's."""
        import yaml

        flavors = yaml.safe_load((self.model(version) / "MLmodel").read_text())["flavors"]
        features = (self.model(version) / "code/features.py").read_text().splitlines()
        return flavors["asfitted"]["asfitted_version"], features[-1]


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    return Project(folder)


def test_train_and_score_with_the_environment_at_hand(project, tmp_path):
    copy = working_copy(tmp_path / "copy", "0.0.0+mine")
    said = project.run(copy, "train", "local", rows=ROWS)
    assert "registered as models:/flights/1" in said
    assert project.trained_by("1") == ("0.0.0+mine", "# of working copy 0.0.0+mine")

    run = project.client.get_run(project.client.get_model_version("flights", "1").run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["rows"] == str(ROWS)
    assert run.data.metrics["train_rows"] == ROWS
    assert run.data.metrics["baseline_roc_auc"] == 0.5
    assert run.data.metrics["roc_auc"] > 0.6
    assert run.data.metrics["log_loss"] < run.data.metrics["baseline_log_loss"]
    assert [file.path for file in project.client.list_artifacts(run.info.run_id)] == [
        "calibration.png"
    ]

    held_out = pd.read_parquet(holdout(copy))
    assert len(held_out) == 20_000
    assert set(held_out["scheduled_departure"].dt.month) == {10, 11, 12}
    assert not (project.folder / "log").exists(), "training and proving are no predictions"

    rows, answers = tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    held_out.drop(columns="late").head(100).to_parquet(rows)
    uri = "models:/flights/1"
    project.run(copy, "score", "local", model_uri=uri, input=rows, output=answers)
    assert pd.read_parquet(answers)["probability_1"].between(0, 1).sum() == 100
    assert len(list(project.log.glob("*.sqlite"))) == 1


@pytest.mark.parametrize("manager", ["uv", pytest.param("virtualenv", marks=pytest.mark.soak)])
def test_each_working_copy_runs_its_own_code_in_one_environment(project, tmp_path, manager):
    project.path += [str(pinned_interpreter().parent)]
    if f"mlflow=={metadata.version('mlflow')}\n" not in (ROOT / "conda.yaml").read_text():
        pytest.skip("this MLflow and that of conda.yaml cannot share a database file")
    if manager == "virtualenv" and shutil.which("pyenv") is None:
        pytest.skip("MLflow's virtualenv manager asks pyenv for the interpreter")
    mine, other = (working_copy(tmp_path / name, f"0.0.0+{name}") for name in ("mine", "other"))
    said = project.run(mine, "train", manager, rows=ROWS)
    assert "Creating a new environment" in said
    said = project.run(other, "train", manager, rows=ROWS, model="hgb", train_months=3)
    assert "already exists" in said
    assert project.trained_by("1") == ("0.0.0+mine", "# of working copy 0.0.0+mine")
    assert project.trained_by("2") == ("0.0.0+other", "# of working copy 0.0.0+other")
    # The gates ask the same whatever was trained.
    assert holdout(mine).read_bytes() == holdout(other).read_bytes()
    # What the model asks for is what conda.yaml pins, as far as it needs it.
    asked = (project.model("2") / "requirements.txt").read_text().split()
    pinned = (ROOT / "conda.yaml").read_text()
    assert [line for line in asked if f"- {line}\n" not in pinned] == []


def holdout(copy: Path) -> Path:
    return copy / "examples/flights/data/holdout.parquet"


def pinned_interpreter() -> Path:
    """Return the interpreter that conda.yaml pins, or skip: uv would have to fetch it."""
    wanted = "3.11.7"
    found = [shutil.which("python3.11"), sys.executable, shutil.which("python3")]
    found.append(str(Path.home() / f".pyenv/versions/{wanted}/bin/python3.11"))
    for python in filter(None, found):
        if Path(python).exists():
            said = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
            if said.split()[-1] == wanted:
                return Path(python)
    pytest.skip(f"no Python {wanted} on PATH")


@pytest.mark.soak
def test_demo(project, tmp_path):
    copy = working_copy(tmp_path / "copy", "0.0.0+mine")
    said = project.run(copy, "demo", "local")
    assert "5/5 read the prediction log" in said
    assert "flights@champion is version 1" in said
    assert "nonsense refused with 422" in said
    champion = project.client.get_model_version_by_alias("flights", "champion")
    assert str(champion.version) == "1"


def test_skew(project):
    said = project.python([sys.executable, str(ROOT / "examples/skew.py")], project.folder)
    assert "asfitted: 0 of 6 differ from training; answers to the one row: 1" in said
