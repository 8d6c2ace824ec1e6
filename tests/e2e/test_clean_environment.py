"""The model carries all it needs: plain MLflow serves it where nothing else is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import asfitted

if TYPE_CHECKING:
    from conftest import Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

N_ROWS = 100
ALONE = (1, 3, 4, 23)
# Pure Python, and nothing that is tried here depends on its version.
PACKAGE, OTHER_VERSION = "threadpoolctl", "3.6.0"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for environments, which are too large to be kept."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def uv(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def clean_environment(site: Site, folder: Path) -> Path:
    """Install what the model asks for, and nothing else; return the interpreter."""
    python = folder / "venv" / "bin" / "python"
    uv("venv", "--python", sys.executable, str(folder / "venv"))
    requirements = site.artifact / "requirements.txt"
    uv("pip", "install", "--python", str(python), "-r", str(requirements))
    look = "import importlib.util; print(importlib.util.find_spec('asfitted'))"
    done = subprocess.run([python, "-I", "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None", "asfitted comes with the model, not with an index"
    return python


def pinned(site: Site) -> str:
    lines = (site.artifact / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines)[PACKAGE]


def assert_serves(site: Site, server: Server) -> list[list[dict[str, str]]]:
    """It answers as before saving, and each answer is on record; return their findings."""
    rows = site.rows[:N_ROWS]
    status, answers = server.ask(site.payload("dataframe_split", rows))
    assert status == 200, answers
    assert site.bits(answers) == site.bits(site.expected[:N_ROWS])
    for i in ALONE:
        status, answers = server.ask(site.payload("dataframe_records", [site.rows[i]]))
        assert status == 200, answers
        assert site.bits(answers) == site.bits([site.expected[i]])
    found = asfitted.read_log(server.log)
    sent = site.put_on_record([*rows, *(site.rows[i] for i in ALONE)])
    on_record = zip(found["inputs"], found["keys"], strict=True)
    assert list(map(json.dumps, on_record)) == list(map(json.dumps, sent))
    assert set(found["source"]) == {"serve"}
    assert set(found["model_name"]) == {"shop"}
    assert set(found["model_version"]) == {"1"}
    findings: list[list[dict[str, str]]] = found["findings"].tolist()
    return findings


def marks(findings: list[list[dict[str, str]]]) -> list[list[dict[str, str]]]:
    return [[each for each in row if each["rule"] == "environment"] for row in findings]


def test_only_the_requirements(site: Site, serve: Serve, folder: Path) -> None:
    python = clean_environment(site, folder)
    server = serve(folder, python=python)
    assert not any(marks(assert_serves(site, server)))


def test_one_other_version(site: Site, serve: Serve, folder: Path) -> None:
    python = clean_environment(site, folder)
    other = f"{PACKAGE}=={OTHER_VERSION}"
    uv("pip", "install", "--python", str(python), "--no-deps", other)
    differs = f"{PACKAGE} {OTHER_VERSION} instead of {pinned(site)}"

    def site_of(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    refused = serve(site_of("refused"), python=python, ready=False)
    refused.assert_exits()
    assert f"this environment is not the one of the training: {differs}" in refused.said()
    assert "mend:  pip install -r" in refused.said()
    assert not list(refused.log.glob("*.sqlite"))

    variables = {"SERVING_MODEL_CONFIG": json.dumps({"allow_versions": [PACKAGE]})}
    by_variable = serve(site_of("by_variable"), python=python, variables=variables)
    by_config = site_of("by_config")
    config = f"schema_version: 1\nenvironment:\n  allow:\n    {PACKAGE}: tried in a test\n"
    (by_config / "registry_config.yaml").write_text(config)
    mark = {
        "rule": "environment",
        "package": PACKAGE,
        "what": f"{OTHER_VERSION} instead of {pinned(site)}",
    }
    for server in (by_variable, serve(by_config, python=python)):
        assert f"{PACKAGE} {mark['what']}, as was allowed by name" in server.said()
        findings = assert_serves(site, server)
        assert marks(findings) == [[mark]] * len(findings)


@pytest.mark.parametrize("manager", ["uv", pytest.param("virtualenv", marks=pytest.mark.soak)])
def test_environment_managers(site: Site, serve: Serve, folder: Path, manager: str) -> None:
    """MLflow builds the environment itself; one root each, lest one take the other's."""
    variables = {"MLFLOW_ENV_ROOT": str(folder / "environments")}
    server = serve(folder, arguments=["--env-manager", manager], variables=variables)
    (built,) = (folder / "environments").glob("**/bin/python")
    look = [built, "-I", "-c", "import importlib.util as u; print(u.find_spec('asfitted'))"]
    done = subprocess.run(look, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None", "the server runs in an environment of its own"
    assert not any(marks(assert_serves(site, server)))
