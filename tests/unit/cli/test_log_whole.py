"""Journals and sink are one log to whoever reads it, each record once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from asfitted import read_log
from asfitted.errors import ConfigError
from asfitted.prediction_log import Batch, Journal, uuid7
from asfitted.prediction_log.shipper import Shipper

START = datetime(2026, 11, 24, 10, 30, tzinfo=timezone.utc)


def put(folder: Path, *numbers: int) -> list[str]:
    with Journal(folder) as journal:
        return [
            journal.append(
                Batch(
                    request_id=f"r-{n}", batch_id=uuid7(), received_at=START,
                    scored_at=START + timedelta(minutes=n),
                    model_name="flights", model_version="3", model_digest="", contract_digest="",
                    inputs=[{"temp": n}], outputs=[{"prediction": n}], findings=[[]],
                    keys=[{"flight": n}], params={}, latency_us=7, source="serve",
                )
            )[0]
            for n in numbers
        ]  # fmt: skip


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """Records 1 and 2 in the sink only, 3 in both, 4 in a journal only."""
    folder, url = tmp_path / "log", f"sqlite:///{tmp_path / 'sink.sqlite'}"
    monkeypatch.chdir(tmp_path)
    Path("registry_config.yaml").write_text(
        "schema_version: 1\nlog: {folder: log, sink: 'sqlite:///sink.sqlite'}\n"
    )
    put(folder, 1, 2)
    with Shipper(folder, url, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
        shipper.ship()
    put(folder, 3)
    with Shipper(folder, url, on_problem=pytest.fail) as shipper:
        shipper.ship()
    put(folder, 4)
    return folder


def asked(out: str) -> list[str]:
    return [record["request_id"] for record in json.loads(out)["records"]]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ([], [1, 2, 3, 4]),
        (["--journals-only"], [3, 4]),
        (["--folder", "log"], [3, 4]),
        (["--sink", "sqlite:///sink.sqlite"], [1, 2, 3]),
        (["--folder", "log", "--sink", "sqlite:///sink.sqlite"], [1, 2, 3, 4]),
    ],
)
def test_what_is_named_is_what_is_read(run, log, where, found) -> None:
    for command in ("query", "tail"):
        code, out, err = run(command, "--json", *where)
        assert (code, err, asked(out)) == (0, "", [f"r-{n}" for n in found])
    assert asked(run("tail", "-n", 1, "--json", *where)[1]) == [f"r-{found[-1]}"]
    code, out, _ = run("query", "--key", "flight=1", "--json", *where)
    assert asked(out) == (["r-1"] if 1 in found else [])


def test_one_record_is_found_in_the_sink(run, log) -> None:
    first = read_log().loc[0, "prediction_id"]
    assert asked(run("show", first[-12:], "--json")[1]) == ["r-1"]
    code, out, err = run("show", first, "--journals-only")
    assert (code, out) == (2, "")
    assert str(log) in err


def test_read_log_reads_both(log) -> None:
    assert read_log()["request_id"].tolist() == ["r-1", "r-2", "r-3", "r-4"]
    assert read_log(limit=2, newest_first=True)["request_id"].tolist() == ["r-4", "r-3"]
    assert read_log(journals_only=True)["request_id"].tolist() == ["r-3", "r-4"]
    with pytest.raises(ConfigError, match="only journals are asked for"):
        read_log(sink="sqlite:///sink.sqlite", journals_only=True)
    with pytest.raises(ConfigError, match="no outcome"):
        read_log(refused=True, outcomes=True)


def test_a_folder_that_is_not_there_leaves_the_sink(log, monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_LOG", "nowhere")
    assert read_log()["request_id"].tolist() == ["r-1", "r-2", "r-3"]
    monkeypatch.setenv("ASFITTED_SINK", "")
    Path("registry_config.yaml").unlink()
    with pytest.raises(ConfigError, match="there is no prediction log"):
        read_log()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_tail_follows_from_both_on(log) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "asfitted", "log", "tail", "-n", "2", "-f", "--json"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        seen = [json.loads(process.stdout.readline())["record"]["request_id"] for _ in range(2)]
        put(log, 5)
        seen.append(json.loads(process.stdout.readline())["record"]["request_id"])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()
    assert seen == ["r-3", "r-4", "r-5"]
