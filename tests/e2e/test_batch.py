"""``asfitted score`` as a process: killed, gone on with, and flat in memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import asfitted

if TYPE_CHECKING:
    from conftest import Site

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

# What the interpreter itself needs differs by some megabytes from run to run.
GROWTH_MB = 60

# Scores and prints the peak of the resident memory while it did. Not ru_maxrss:
# a child begins with that of its parent.
MEMORY = """
import re, sys
import asfitted
model = asfitted.load_model(sys.argv[1])
model.score_file(sys.argv[2], sys.argv[3], chunk_rows=2_000)
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def many(site: Site, n_rows: int, ending: str, folder: Path) -> Path:
    """Write `n_rows` of the model's rows."""
    rows = pd.read_parquet(site.folder / "rows.parquet")
    rows = rows.iloc[[k % len(rows) for k in range(n_rows)]].reset_index(drop=True)
    rows["order"] = [f"order-{k}" for k in range(n_rows)]
    file = folder / f"in-{n_rows}.{ending}"
    if ending == "csv":
        texts = rows["member"].map({True: "true", False: "false"})
        moments = rows["placed"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        rows.assign(member=texts, placed=moments).to_csv(file, index=False)
    else:
        rows.to_parquet(file)
    return file


def start(site: Site, folder: Path, source: Path, target: Path) -> subprocess.Popen[str]:
    command = ["-m", "asfitted", "score", site.model_uri, "--json"]
    command += ["--input", str(source), "--output", str(target)]
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=site.environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_killed_command_goes_on_where_it_was(site: Site, ending: str, tmp_path: Path) -> None:
    n_rows = 50_000
    source, target = many(site, n_rows, ending, tmp_path), tmp_path / f"out.{ending}"
    process = start(site, tmp_path, source, target)
    first = tmp_path / f".out.{ending}.job" / "part-00000000.parquet"
    while not first.exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        assert process.returncode is None, process.communicate()
    process.kill()
    process.communicate()
    assert not target.exists()
    assert 10_000 <= len(asfitted.read_log(tmp_path / "log")) < n_rows
    process = start(site, tmp_path, source, target)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    assert (said["rows"], said["answered"], said["refused"]) == (n_rows, n_rows, 0)
    assert 10_000 <= said["resumed_rows"] < n_rows
    got = pd.read_parquet(target) if ending == "parquet" else pd.read_csv(target)
    assert got["order"].tolist() == [f"order-{k}" for k in range(n_rows)]
    log = asfitted.read_log(tmp_path / "log")
    assert log["prediction_id"].tolist() == got["prediction_id"].tolist()
    assert set(log["source"]) == {"batch"}
    assert set(log["model_version"]) == {"1"}
    for k in (0, 3, n_rows - 1):
        expected = site.expected[k % 600]
        assert log["outputs"].iloc[k]["probability_yes"] == expected["probability_yes"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(site: Site, ending: str, tmp_path: Path) -> None:
    peaks_mb = []
    # The fewer are kept from the check to the scoring, the others are more than that.
    for n_rows in (60_000, 400_000):
        source = many(site, n_rows, ending, tmp_path)
        target = tmp_path / f"out-{n_rows}.{ending}"
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, site.model_uri, str(source), str(target)],
            cwd=tmp_path,
            env=site.environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks_mb.append(int(done.stdout.split()[-1]) / 1024)
        assert target.exists()
    assert peaks_mb[1] - peaks_mb[0] < GROWTH_MB, peaks_mb
