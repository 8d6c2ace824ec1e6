"""What reaches standard output is whole, or the exit code says that it is not."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tracemalloc
from datetime import datetime, timezone
from pathlib import Path

import pytest

from asfitted.cli import log_output, main
from asfitted.prediction_log import Batch, Journal, uuid7

ROWS = 2_000
NOW = datetime(2026, 11, 24, 10, 30, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output") / "log"
    with Journal(folder) as journal:
        journal.append(
            Batch(
                request_id="job",
                batch_id=uuid7(),
                received_at=NOW,
                scored_at=NOW,
                model_name="flights",
                model_version="3",
                model_digest="sha256:" + "ab" * 32,
                contract_digest="sha256:" + "cd" * 32,
                inputs=[{"carrier": "UA", "distance": 100 + n} for n in range(ROWS)],
                outputs=[{"prediction": 1, "probability_0": 0.2, "probability_1": 0.8}] * ROWS,
                findings=[[]] * ROWS,
                keys=[{"flight": n} for n in range(ROWS)],
                params={},
                latency_us=7001,
                source="batch",
            )
        )
    return folder


def asfitted(folder: Path, form: str, **more: object) -> subprocess.Popen[str]:
    arguments = ["log", "query", "--limit", str(ROWS), form, "--folder", str(folder)]
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "asfitted", *arguments],
        stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.parametrize("form", ["--csv", "--json", "--table"])
def test_a_full_disk_is_no_shorter_answer(log, tmp_path, form, unbuffered) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with (tmp_path / "out").open("w") as out:
        run = asfitted(
            log, form, stdout=out, env=env,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        )  # fmt: skip
        said = run.communicate()[1]
    assert run.returncode == 4
    assert "the output cannot be written: File too large" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("form", ["--csv", "--json", "--table"])
def test_a_reader_that_has_enough_is_no_bug(log, form) -> None:
    run = asfitted(log, form, stdout=subprocess.PIPE)
    assert run.stdout is not None
    run.stdout.read(10)
    run.stdout.close()
    assert run.stderr is not None
    with run.stderr:
        assert run.stderr.read() == ""
    assert run.wait() == 141


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_the_whole_log_is_printed_and_not_held(log, capfd, monkeypatch, form) -> None:
    monkeypatch.setattr(log_output, "_IN_MEMORY_BYTES", 1)
    tracemalloc.start()
    try:
        with pytest.raises(SystemExit):
            main(["log", "query", form, "--columns", "distance", "--folder", str(log)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    out = capfd.readouterr().out
    distances = (
        [row["distance"] for row in json.loads(out)["records"]]
        if form == "--json"
        else [int(line) for line in out.split()[1:]]
    )
    assert distances == [100 + n for n in range(ROWS)]
    # A record in memory takes some 5 KB.
    assert peak < ROWS * 1_000


def test_no_room_to_keep_the_answer_meanwhile(log, monkeypatch, capsys) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_output, "spooled", full)
    with pytest.raises(SystemExit) as caught:
        main(["log", "query", "--json", "--folder", str(log)])
    assert caught.value.code == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "TMPDIR" in err


@pytest.mark.parametrize("form", ["--csv", "--table"])
def test_a_letter_that_the_output_cannot_hold_is_no_bug(log, tmp_path, form) -> None:
    with Journal(tmp_path / "log") as journal:
        journal.append(
            Batch("r", "b", NOW, NOW, "flights", "3", "", "", [{"ward": "Ü"}], [{}], [[]], [{}],
                  {}, 1, "serve")
        )  # fmt: skip
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = asfitted(tmp_path / "log", form, stdout=subprocess.PIPE, env=env)
    out, err = run.communicate()
    assert run.returncode == 2
    assert "Traceback" not in err
    assert "PYTHONIOENCODING=utf-8" in err
    assert "Ü" not in out
