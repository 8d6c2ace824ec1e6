"""``examples/hostile.py``, which sends the corpus to plain MLflow and to Asfitted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "hostile.py"


def counts(said: str, name: str) -> dict[str, int]:
    line = re.search(rf"^{re.escape(name)}, of (\d+): (.*)$", said, re.MULTILINE)
    assert line, said
    return {
        "all": int(line[1]),
        **{outcome: int(n) for outcome, n in re.findall(r"(\w+) (\d+)(?:, |$)", line[2])},
    }


def test_asfitted_answers_right_or_refuses_and_plain_mlflow_does_not(tmp_path: Path) -> None:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("ASFITTED_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        env={**kept, "MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4_000:]}"
    ours, plain = counts(done.stdout, "asfitted"), counts(done.stdout, "mlflow.sklearn")
    bad = ("wrong", "no", "5xx", "hung", "leaks", "large")
    assert [ours[outcome] for outcome in bad] == [0] * len(bad)
    assert ours["right"] + ours["refused"] == ours["all"] == plain["all"] > 300
    assert plain["wrong"] > 0
    assert list(tmp_path.iterdir()) == []
