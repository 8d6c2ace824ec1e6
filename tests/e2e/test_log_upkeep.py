"""While a server answers and ships: outcomes come in, a subject goes, and it all adds up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks import log_records

if TYPE_CHECKING:
    from conftest import Serve, Site

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def asfitted(folder: Path, *arguments: object) -> dict[str, Any]:
    """Run a command where the server runs; give the object that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "asfitted", *map(str, arguments), "--json"],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_outcomes_and_erasure_beside_a_server(site: Site, serve: Serve, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sink.sqlite"
    server = serve(tmp_path)
    config = {"schema_version": 1, "log": {"folder": str(server.log), "sink": url}}
    (tmp_path / "registry_config.yaml").write_text(json.dumps(config))
    rows = [{**row, "order": f"order-of-{n}", "note": f"subject {n}"}
            for n, row in enumerate(site.rows[:6])]  # fmt: skip
    for row in rows[:4]:
        assert server.ask({"dataframe_records": [row]})[0] == 200
    asfitted_ship = [sys.executable, "-m", "asfitted", "log", "ship"]
    subprocess.run(asfitted_ship, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    for row in rows[4:]:
        assert server.ask({"dataframe_records": [row]})[0] == 200

    # Two are in the sink, one in the journal that the server is writing.
    (tmp_path / "arrived.csv").write_text(
        "order,outcome\norder-of-1,yes\norder-of-2,no\norder-of-5,yes\norder-of-9,no\n"
    )
    said = asfitted(tmp_path, "outcome", "add", "arrived.csv", "--key", "order")
    assert (said["matched"], said["unknown"], said["written"]) == ([0, 1, 2], [3], 4)
    found = asfitted(tmp_path, "log", "query", "--outcomes")["records"]
    assert [one["outcome"] for one in found] == [None, "yes", "no", None, None, "yes"]

    for subject in (1, 5):
        said = asfitted(
            tmp_path, "log", "erase", "--key", f"order=order-of-{subject}", "--reason", "r", "--yes"
        )
        assert said["counts"] == {"outcomes": 1, "predictions": 1}
    assert server.ask({"dataframe_records": rows[:1]})[0] == 200
    left = b"".join(path.read_bytes() for path in (tmp_path / "sink.sqlite", *server.log.glob("*")))
    assert b"subject 1" not in left
    assert b"order-of-5" not in left
    assert b"subject 2" in left

    subprocess.run(asfitted_ship, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    notes = [one["inputs"].get("note") for one in log_records(server.log, url, Query())]
    assert notes == ["subject 0", None, "subject 2", "subject 3", "subject 4", None, "subject 0"]
    said = asfitted(tmp_path, "log", "stats", "--reconcile")
    assert (said["answered"], said["on_record"], said["missing"]) == (7, 7, 0)
