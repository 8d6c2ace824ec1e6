"""Promotion through the real command line, on SQLite and on a real remote tracking server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

# Version 1 knows what matters, 2 is a little better, 3 has learnt from shuffled labels.
TRAIN = """
import mlflow, numpy as np, pandas as pd, asfitted
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

rng = np.random.default_rng(7)
X = pd.DataFrame({"a": rng.normal(size=1200), "b": rng.normal(size=1200)})
y = (X["a"] + 0.5 * X["b"] + rng.normal(size=1200) > 0).astype(int)
train, holdout = slice(0, 600), slice(600, 1200)
X[holdout].assign(late=y[holdout]).to_parquet("holdout.parquet")

contract = asfitted.DataContract.infer(X[train])
shuffled = pd.Series(rng.permutation(y[train]))
for labels, strength in [(y[train], 0.001), (y[train], 1.0), (shuffled, 1.0)]:
    pipeline = make_pipeline(asfitted.Conform(contract), LogisticRegression(C=strength))
    pipeline.fit(X[train], labels)
    with mlflow.start_run():
        mlflow.log_metric("val_auc", 0.7)
        asfitted.log_model(pipeline, name="m", reference=X[train], registered_model_name="m")
"""

CONFIG = """
schema_version: 1
models:
  m:
    gates:
      - gate: proof
      - {gate: metric, metric: roc_auc, max_drop: 0.02,
         holdout: {data: holdout.parquet, target: late}}
  logged:
    alias: champion
    gates:
      - gate: proof
      - {gate: metric, metric: val_auc, min: 0.6, max_drop: 0, greater_is_better: true}
"""


@dataclass
class Site:
    """A folder with a configuration, and the MLflow that it talks to."""

    folder: Path
    uri: str

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ASFITTED_")}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**environment, "MLFLOW_TRACKING_URI": self.uri, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    def asfitted(self, *arguments: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.python("-m", "asfitted", *arguments)
        assert done.returncode == exits, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, exits: int = 0) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.asfitted(*arguments, "--json", exits=exits).stdout)
        assert answer["schema_version"] == 1
        return answer

    @cached_property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri, self.uri)

    def champion(self) -> str | None:
        found = self.client.get_registered_model("m").aliases.get("champion")
        return None if found is None else str(found)


@dataclass
class Server:
    """A tracking server that proxies its artifacts."""

    process: subprocess.Popen[bytes]
    uri: str

    @classmethod
    def start(cls, folder: Path) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "server", "--serve-artifacts", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--host", "127.0.0.1"]
        command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port)]
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        server = cls(process, f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 120
        while not server.answers():
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        return server

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        if self.process.poll() is None:
            # Its own session: the group is the server and its worker, nothing else.
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=60)


def trained(folder: Path, uri: str) -> Site:
    site = Site(folder, uri)
    (folder / "registry_config.yaml").write_text(CONFIG)
    done = site.python("-c", TRAIN)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    started = Server.start(folder)
    yield started
    started.stop()


def the_story(site: Site) -> None:
    """Promote, refuse, promote, roll back; each on record."""
    first = site.json("promote", "m", "1", "--to", "champion")
    assert first["passed"]
    assert first["previous"] is None
    assert "no current holder" in first["reason"]
    assert site.champion() == "1"

    refused = site.asfitted("promote", "m", "3", "--to", "champion", exits=3)
    assert "metric roc_auc" in refused.stdout
    assert "above max_drop 0.02" in refused.stderr
    assert "GateRefused" in refused.stderr
    assert site.champion() == "1"

    moved = site.asfitted("promote", "m", "2", "--to", "champion")
    assert "m@champion went from version 1 to version 2" in moved.stdout
    assert site.champion() == "2"

    back = site.json("rollback", "m")
    assert (back["version"], back["previous"], back["digest"]) == ("1", "2", first["digest"])
    assert site.champion() == "1"
    nothing = site.asfitted("rollback", "m", exits=2)
    assert "no way back" in nothing.stderr

    rows = site.json("history", "m")["decisions"][::-1]
    told = [(row["action"], row["version"], row["previous"], row["state"]) for row in rows]
    assert told == [
        ("promote", "1", None, "moved"),
        ("promote", "3", "1", "refused"),
        ("promote", "2", "1", "moved"),
        ("rollback", "1", "2", "moved"),
    ]
    assert all(row["who"] and row["digest"] for row in rows)
    shown = site.asfitted("history", "m", "--limit", "1").stdout
    assert "rollback" in shown
    assert "3 older ones" in shown

    # The run keeps what was decided on, numbers and all.
    metrics = site.client.get_run(rows[1]["run_id"]).data.metrics
    assert metrics["challenger/roc_auc"] < metrics["champion/roc_auc"]
    kept = site.client.download_artifacts(rows[1]["run_id"], "evidence.json", str(site.folder))
    evidence = json.loads(Path(kept).read_text())
    (measured,) = evidence["champion"]["measurements"].values()
    assert measured["source"] == "600 rows of holdout.parquet"
    assert measured["model_digest"] == first["digest"]


def test_sqlite(tmp_path: Path) -> None:
    site = trained(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    the_story(site)
    assert not (tmp_path / "prediction_log").exists(), "evidence is no prediction"

    none = site.asfitted("promote", "none", "1", "--to", "champion", exits=2)
    assert "models:\n  none:\n    gates:\n      - gate: proof" in none.stderr
    unknown = site.asfitted("promote", "m", "9", "--to", "champion", exits=2)
    assert "there are 1, 2, 3" in unknown.stderr

    # A version of another name, with the metric that its run has.
    site.client.copy_model_version("models:/m/1", "logged")
    logged = site.json("promote", "logged", "latest")
    assert logged["alias"] == "champion"
    assert "0.7 with no current holder to compare with [logged in run" in logged["reason"]

    # Version 2 went back to 1; now 1's files are changed where MLflow keeps them.
    site.asfitted("promote", "m", "2", "--to", "champion")
    changed = damage(site, "1")
    damaged = site.asfitted("rollback", "m", exits=3)
    assert "files:" in damaged.stderr
    assert site.champion() == "2"
    changed.unlink()
    gone = site.asfitted("promote", "m", "1", "--to", "champion", exits=3)
    assert "files:" in gone.stderr
    assert [row["state"] for row in site.json("history", "m")["decisions"][:2]] == ["refused"] * 2


def damage(site: Site, version: str) -> Path:
    """Change the golden examples of a version in the artifact store; return their file."""
    folder = Path(site.client.get_model_version_download_uri("m", version))
    file = folder / "golden.parquet"
    file.write_bytes(file.read_bytes() + b"!")
    return file


def test_a_remote_server(tmp_path: Path, server: Server) -> None:
    site = trained(tmp_path, server.uri)
    the_story(site)
    server.stop()
    for command in (
        ["promote", "m", "2", "--to", "champion"],
        ["rollback", "m"],
        ["history", "m"],
    ):
        down = site.asfitted(*command, exits=4)
        assert "StoreUnavailable" in down.stderr
        assert "MLFLOW_TRACKING_URI" in down.stderr
