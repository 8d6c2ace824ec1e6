"""``asfitted score``: what it prints, and how it shows its progress."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from asfitted import Conform, DataContract, FittedModel, read_log
from asfitted._progress import Lines, showing
from asfitted.cli import main
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.scoring import Identity, Recorder

CONTRACT = DataContract.from_yaml("""
schema_version: 1
keys: [id]
columns:
  id: {kind: text}
  a: {kind: number, max: 90}
""")


def rows(n: int = 50) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"k{i}" for i in range(n)], "a": np.arange(float(n))})


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FittedModel:
    """What the command loads, whatever the URI: loading has tests of its own."""
    pipeline = make_pipeline(Conform(CONTRACT), LogisticRegression())
    pipeline.fit(rows(), np.arange(50) % 2)
    identity = Identity("shop", "3", "d" * 64)
    recorder = Recorder(Journal(tmp_path / "log"), FieldPolicy(), identity, "batch")
    model = FittedModel(pipeline, identity=identity, recorder=recorder)
    asked: list[Any] = []
    monkeypatch.setattr("asfitted._mlflow.fetch", lambda uri: asked.append(uri) or tmp_path)
    monkeypatch.setattr(
        "asfitted.scoring.loading.open_artifact", lambda root, config, **options: model
    )
    return model


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["score", "models:/shop@champion", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_it_prints_that_no_row_is_lost(
    model: FittedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(100).to_parquet(tmp_path / "in.parquet")
    code, out, _ = run(
        capsys,
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / "out.csv"),
        *("--max-refused", "9%"),
    )
    assert code == 0
    first, second = out.splitlines()
    assert first == (
        f"100 rows = 91 answered + 9 refused, by shop version 3 into {tmp_path / 'out.csv'}"
    )
    assert second == f"refused rows: {tmp_path / 'out.refused.jsonl'}"
    assert len(read_log(tmp_path / "log")) == 91


def test_json_is_one_versioned_object(
    model: FittedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(100).to_csv(tmp_path / "in.csv", index=False)
    code, out, _ = run(
        capsys,
        *("--input", tmp_path / "in.csv", "--output", tmp_path / "out.parquet"),
        *("--refused", tmp_path / "no.jsonl", "--max-refused", "9", "--json"),
    )
    said = json.loads(out)
    assert code == 0
    assert said.pop("seconds") > 0
    assert said.pop("job_id") == read_log(tmp_path / "log")["request_id"].iloc[0]
    assert said == {
        "schema_version": 1,
        "files": 1,
        "rows": 100,
        "answered": 91,
        "refused": 9,
        "output": str(tmp_path / "out.parquet"),
        "refused_file": str(tmp_path / "no.jsonl"),
        "resumed_rows": 0,
        "dry_run": False,
        "model": {"name": "shop", "version": "3", "digest": "d" * 64},
    }


def test_what_the_models_own_code_prints_is_no_result(
    model: FittedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    score = FittedModel.score

    def chatty(self: FittedModel, conformed: pd.DataFrame) -> pd.DataFrame:
        print("from Python")
        subprocess.run([sys.executable, "-c", "print('from a process')"], check=True)
        return score(self, conformed)

    monkeypatch.setattr(FittedModel, "score", chatty)
    rows().to_csv(tmp_path / "in.csv", index=False)
    code, out, err = run(
        capfd, "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", "--json"
    )
    assert code == 0
    assert json.loads(out)["answered"] == 50
    assert "from Python" in err
    assert "from a process" in err


def test_a_dry_run_says_so(
    model: FittedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows().to_csv(tmp_path / "in.csv", index=False)
    code, out, _ = run(
        capsys, "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", "--dry-run"
    )
    assert (code, out) == (
        0,
        "dry run, nothing written: 50 rows = 50 answered + 0 refused by shop version 3\n",
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


def test_exit_codes(
    model: FittedModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    rows().to_csv(good, index=False)
    rows(100).to_csv(bad, index=False)
    out = tmp_path / "out.csv"
    usage: list[tuple[object, ...]] = [
        ("--input", tmp_path / "none.csv", "--output", out),
        ("--input", good, "--output", tmp_path / "out.txt"),
        ("--input", good, "--output", good),
        ("--input", good, "--output", out, "--max-refused", "many"),
        ("--input", "s3:///rows.csv", "--output", out),
        ("--input", good),
    ]
    for arguments in usage:
        assert run(capsys, *arguments)[0] == 2, arguments
    code, _, err = run(capsys, "--input", bad, "--output", out)
    assert code == 3
    assert "a: 9 of 100 values above 90" in err
    assert "--max-refused" in err
    assert not out.exists()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("asfitted.batch.parts.pq.write_table", full)
        code, _, err = run(capsys, "--input", good, "--output", out)
    assert code == 4
    assert "No space left" in err
    assert run(capsys, "--input", good, "--output", out)[0] == 0
    assert len(read_log(tmp_path / "log")) == 50
    code, _, err = run(capsys, "--input", good, "--output", out)
    assert code == 2
    assert "--overwrite" in err
    assert run(capsys, "--input", good, "--output", out, "--overwrite")[0] == 0


def test_lines_come_every_some_seconds_with_speed_and_time_left() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = Lines(Console(file=stream, width=40), every_s=10, clock=lambda: now[0])
    for second, phase, total in [
        (2.0, "checking", None),
        (4.0, "checking", None),  # here it began to score
        (9.0, "scoring", 10_000),
        (14.0, "scoring", 10_000),
        (15.0, "scoring", 10_000),
        (24.0, "scoring", 10_000),
    ]:
        now[0] = second
        lines.advance(phase, 1_000, total)
    assert stream.getvalue().splitlines() == [
        "scoring 2,000 of 10,000 rows, 200 rows/s, 40 s left",
        "scoring 4,000 of 10,000 rows, 200 rows/s, 30 s left",
    ]


def test_a_terminal_gets_bars() -> None:
    stream = io.StringIO()
    with showing(Console(file=stream, force_terminal=True, width=120)) as advance:
        advance("checking", 500, None)
        advance("scoring", 250, 1_000)
    assert "checking" in stream.getvalue()
    assert "250/1000" in stream.getvalue()


def test_nothing_is_shown_of_a_short_job_off_a_terminal() -> None:
    stream = io.StringIO()
    with showing(Console(file=stream)) as advance:
        advance("scoring", 10, 10)
    assert stream.getvalue() == ""
