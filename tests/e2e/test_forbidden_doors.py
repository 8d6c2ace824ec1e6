"""Where the operator forbids pickles or model code, no door runs a byte of them."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfitted.artifact import layout, manifest
from asfitted.artifact.permissions import CODE, PICKLE

if TYPE_CHECKING:
    from conftest import Site

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

REFUSED = 3
CONFIG = """
schema_version: 1
models:
  hostile-{name}:
    alias: champion
    gates:
      - gate: proof
"""
LOAD = "import sys, {module}; {module}.load_model(sys.argv[1])"

# Where the exit code is ours to choose.
OURS = {
    "prove": ("asfitted", "prove", "{root}"),
    "score": ("asfitted", "score", "{root}", "--input", "{rows}", "--output", "out.parquet"),
    "score by several": (
        *("asfitted", "score", "{root}", "--input", "{rows}", "--output", "out.parquet"),
        *("--jobs", "2"),
    ),
    "serve": ("asfitted", "serve", "{root}", "--env-manager", "local", "--port", "0"),
    "promote": ("asfitted", "promote", "hostile-{name}", "1"),
}
MLFLOWS = {
    "models serve": (
        *("mlflow", "models", "serve", "-m", "{root}", "--env-manager", "local"),
        *("-h", "127.0.0.1", "-p", "0"),
    ),
    "models serve by several": (
        *("mlflow", "models", "serve", "-m", "{root}", "--env-manager", "local"),
        *("-h", "127.0.0.1", "-p", "0", "-w", "2"),
    ),
    "models predict": (
        *("mlflow", "models", "predict", "-m", "{root}", "--env-manager", "local"),
        *("-t", "csv", "-i", "{csv}"),
    ),
    "deployments": (
        *("mlflow", "deployments", "run-local", "-t", "asfitted", "-m", "{root}"),
        *("--name", "hostile", "-C", "env-manager=local", "-C", "port=0"),
    ),
}
LOADERS = {"load_model": "asfitted", "pyfunc": "mlflow.pyfunc"}


class Mark:
    """Leaves a mark where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def hostile(site: Site, name: str, folder: Path) -> Path:
    """Return a copy of the model whose pickle and whose module leave a mark in `folder`."""
    root = site.copy(f"hostile-{name}", folder / "model")
    (root / layout.PICKLE).write_bytes(pickle.dumps(Mark(folder / "unpickled")))
    module = root / layout.CODE / "shop_calendar.py"
    module.write_text(f"import pathlib; pathlib.Path({str(folder / 'imported')!r}).touch()\n")
    content = manifest.read(root)
    manifest.seal(root, content["resources"], content["versions"])
    return root


def marks(folder: Path) -> list[str]:
    return [name for name in ("unpickled", "imported") if (folder / name).exists()]


def commands(site: Site, root: Path, name: str) -> dict[str, list[str]]:
    rows = site.folder / "rows.parquet"
    csv = site.as_csv(root.parent / "rows.csv", site.rows[:2])
    found = {
        door: ["-m", *(part.format(root=root, rows=rows, csv=csv, name=name) for part in parts)]
        for door, parts in {**OURS, **MLFLOWS}.items()
    }
    for door, module in LOADERS.items():
        found[door] = ["-c", LOAD.format(module=module), str(root)]
    return found


def run_all(
    site: Site, folder: Path, doors: dict[str, list[str]], variables: dict[str, str]
) -> dict[str, tuple[int, str]]:
    """Run all commands at once; return how each one ended and what it said."""
    started = {}
    for door, arguments in doors.items():
        own = folder / door.replace(" ", "-")
        own.mkdir()
        environment = {**site.environment(own), "ASFITTED_CONFIG": str(folder / "config.yaml")}
        started[door] = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=own,
            # MLflow copies the folder while others would write bytecode into it.
            env={**environment, **variables, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    ended = {}
    for door, process in started.items():
        try:
            said, _ = process.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        ended[door] = (process.returncode, said)
    return ended


@pytest.mark.parametrize(("name", "variable"), [("pickle", PICKLE), ("code", CODE)])
def test_every_door_refuses_before_anything_runs(
    site: Site, tmp_path: Path, name: str, variable: str
) -> None:
    root = hostile(site, name, tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG.format(name=name))
    ended = run_all(site, tmp_path, commands(site, root, name), {variable: "false"})
    assert marks(tmp_path) == []
    for door, (code, said) in ended.items():
        assert f"{variable} is false" in said, f"{door}: {said}"
        if door in OURS:
            assert code == REFUSED, f"{door}: {said}"
        elif door != "models serve by several":
            # uvicorn ends that one as if it had been asked to stop.
            assert code != 0, f"{door}: {said}"
    assert site.client.get_registered_model(f"hostile-{name}").aliases == {}


def test_where_nothing_is_forbidden_the_marks_are_left(site: Site, tmp_path: Path) -> None:
    """So that the test above can fail."""
    root = hostile(site, "allowed", tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG.format(name="allowed"))
    run_all(site, tmp_path, {"prove": ["-m", "asfitted", "prove", str(root)]}, {})
    assert "unpickled" in marks(tmp_path)
