"""Several processes work on one job: each row once, whoever of them is killed."""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batch_rows import fitted, raw, read, refusals_on_record, write

import asfitted
from asfitted import FittedModel, read_log
from asfitted.batch import crew_other, score_file
from asfitted.batch.crew import WORTH_ROWS, size_of
from asfitted.batch.crew_process import _take, _Teller
from asfitted.batch.run import Run
from asfitted.batch.source import Chunk
from asfitted.batch.worker import Answered, Result, Worker
from asfitted.config import LOG_VARIABLE, Config, Log
from asfitted.errors import (
    ConfigError,
    ContractViolation,
    OutputViolation,
    RecordError,
    Violation,
)
from asfitted.scoring.loading import open_artifact

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="one process there")

HERE = Path(__file__).parent
CONTENT = ["inputs", "outputs", "findings", "keys", "row", "source", "model_digest", "batch_id"]


class _Stays(Exception):
    """One that cannot be pickled."""

    def __reduce__(self) -> str:
        raise TypeError("it stays")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crew") / "model"
    asfitted.save_model(fitted().pipeline, folder, reference=raw(), name="shop")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = raw(2_000)
    frame.loc[::137, "colour"] = "blue"
    return write(frame, tmp_path_factory.mktemp("rows") / "in.parquet")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chunk for each of so many files that two processes are long at it."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(600):
        write(raw(5), folder / f"{number:03}.csv")
    return folder


def opened(artifact: Path, log: Path) -> FittedModel:
    config = Config(schema_version=1, log=Log(folder=str(log)))
    return open_artifact(artifact, config, source="batch")


def content(log: Path) -> list[str]:
    """Return what is on record without ids and times, in an order of its own."""
    records = read_log(log).to_dict("records")
    kept = [name for name in CONTENT if name != "batch_id"]
    return sorted(json.dumps([one[name] for name in kept]) for one in records)


def assert_same(target: Path, log: Path, alone: Path, alone_log: Path) -> None:
    answers, expected = (read(file).drop(columns="prediction_id") for file in (target, alone))
    pd.testing.assert_frame_equal(answers, expected)
    refused, wanted = (f.with_name(f"{f.stem}.refused.jsonl") for f in (target, alone))
    assert refused.read_bytes() == wanted.read_bytes()
    assert content(log) == content(alone_log)
    ids = read_log(log)["prediction_id"]
    assert ids.is_unique
    assert set(ids) == set(read(target)["prediction_id"])
    refusals = [refusals_on_record(one)["n_rows"].tolist() for one in (log, alone_log)]
    assert sorted(refusals[0]) == sorted(refusals[1])


@pytest.fixture(scope="module")
def alone(artifact: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of it: ``out.parquet`` and ``log``."""
    folder = tmp_path_factory.mktemp("alone")
    options = {"chunk_rows": 40, "max_refused": "50%"}
    score_file(opened(artifact, folder / "log"), source, folder / "out.parquet", **options)  # type: ignore[arg-type]
    return folder


def run(artifact: Path, source: Path, folder: Path, *victims: str) -> list[tuple[str, int]]:
    script, target, log = HERE / "batch_crew.py", folder / "out.parquet", folder / "log"
    done = subprocess.run(
        [sys.executable, script, artifact, source, target, log, *victims],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(who, int(status)) for who, status in map(str.split, done.stdout.splitlines())]


def test_two_processes_do_what_one_does(artifact, source, alone, tmp_path) -> None:
    assert run(artifact, source, tmp_path) == []
    assert_same(tmp_path / "out.parquet", tmp_path / "log", alone / "out.parquet", alone / "log")
    assert read_log(tmp_path / "log")["writer"].nunique() == 2
    assert not (tmp_path / ".out.parquet.job").exists()


def test_a_chunk_is_answered_while_the_one_before_it_is_recorded(
    artifact, tmp_path, monkeypatch
) -> None:
    second, answer, finish = threading.Event(), Worker.answer, Worker.finish
    overlapped = []

    def answering(self: Worker, chunk: Chunk, refused: int) -> Answered:
        if chunk.number == 1:
            second.set()
        return answer(self, chunk, refused)

    def finishing(self: Worker, answered: Answered) -> Result:
        if answered.chunk.number == 0:
            overlapped.append(second.wait(60))
        return finish(self, answered)

    monkeypatch.setattr(Worker, "answer", answering)
    monkeypatch.setattr(Worker, "finish", finishing)
    source, target = write(raw(), tmp_path / "in.parquet"), tmp_path / "out.parquet"
    said = score_file(opened(artifact, tmp_path / "log"), source, target, chunk_rows=10)
    assert overlapped == [True]
    assert read_log(tmp_path / "log")["prediction_id"].tolist() == (
        read(target)["prediction_id"].tolist()
    )
    assert said.answered == 25


def test_what_cannot_be_recorded_ends_the_job(artifact, tmp_path, monkeypatch) -> None:
    def finishing(self: Worker, answered: Answered) -> Result:
        raise RecordError("no room")

    monkeypatch.setattr(Worker, "finish", finishing)
    source, target = write(raw(), tmp_path / "in.parquet"), tmp_path / "out.parquet"
    with pytest.raises(RecordError, match="no room"):
        score_file(opened(artifact, tmp_path / "log"), source, target, chunk_rows=10)
    assert not target.exists()


def test_a_job_whose_processes_are_killed_goes_on(artifact, source, alone, tmp_path) -> None:
    victims = ("parent", "crew", "parent", "crew", "parent")
    exits = run(artifact, source, tmp_path, *victims)
    assert exits[-1] == ("end", 0)
    # Who sees one of the crew go says so; the parent's own end nobody can tell.
    assert {status for who, status in exits if who == "crew"} <= {1, 0}
    assert [status for who, status in exits if who == "parent"].count(-9) >= 2
    assert_same(tmp_path / "out.parquet", tmp_path / "log", alone / "out.parquet", alone / "log")


def begun(artifact: str, source: Path, target: Path) -> subprocess.Popen[str]:
    """Return the command, at work with another process."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "asfitted", "score", artifact, "--jobs", "2"),
            *("--input", source, "--output", target, "--max-refused", "50%"),
        ],
        env={**os.environ, LOG_VARIABLE: str(target.parent / "log")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Held from the moment on that another process loads the model.
    lock = target.with_name(".out.parquet.job") / "crew.lock"
    while not lock.exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_an_interrupt_ends_all_of_them_in_silence(artifact, many, tmp_path) -> None:
    target = tmp_path / "out.parquet"
    process = begun(artifact, many, target)
    # As a terminal sends Ctrl-C: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.split("\n\n") == [
        "run again, the same command goes on from what is done",
        "Aborted.\n",
    ]
    assert not target.exists()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_warns_of_a_leak_after_a_kill(artifact, many, tmp_path, sent) -> None:
    process = begun(artifact, many, tmp_path / "out.parquet")
    process.send_signal(sent)
    # Until the last of them has ended.
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-sent, "")


def test_a_script_needs_no_main_guard(artifact, source, tmp_path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys, asfitted\n"
        "print('once')\n"
        "model = asfitted.load_model(sys.argv[1])\n"
        "model.score_file(*sys.argv[2:], max_refused='50%', chunk_rows=40, jobs=2)\n"
    )
    command = [sys.executable, "script.py", artifact, source, "out.parquet"]
    environment = {**os.environ, LOG_VARIABLE: str(tmp_path / "log")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    ids = read_log(tmp_path / "log")["prediction_id"]
    assert sorted(ids) == sorted(read(tmp_path / "out.parquet")["prediction_id"])


def test_a_process_that_cannot_load_the_model_is_not_needed(
    artifact, source, alone, tmp_path, monkeypatch, caplog
) -> None:
    gone, listen = threading.Event(), crew_other.Other._listen

    def listening(self: crew_other.Other) -> None:
        listen(self)
        gone.set()

    monkeypatch.setattr(crew_other.Other, "_listen", listening)
    monkeypatch.setattr(crew_other, "_START", "raise SystemExit(3)")
    check = Run._check
    monkeypatch.setattr(Run, "_check", lambda self: gone.wait(60) and check(self))
    target, log = tmp_path / "out.parquet", tmp_path / "log"
    score_file(
        opened(artifact, log), source, target, jobs=2, chunk_rows=40, max_refused="50%"
    )  # fmt: skip
    assert_same(target, log, alone / "out.parquet", alone / "log")
    assert caplog.messages == ["a further process ended before it had loaded the model"]


def test_a_process_that_cannot_be_started(artifact, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="a further process cannot be started: No such file"):
        score_file(opened(artifact, tmp_path), source, tmp_path / "out.csv", jobs=2)
    assert not list(tmp_path.glob(".out.csv*"))


class _Raced(queue.Queue[Any]):
    """One of which another thread takes what is there, between a look and the taking."""

    def empty(self) -> bool:
        return False


def test_what_waits_is_left_when_there_is_to_be_no_more() -> None:
    theirs, ours = Pipe(duplex=False)
    work = _Raced()
    ours.send(("a chunk", 0))
    ours.send(None)
    taking = threading.Thread(target=_take, args=(theirs, work), daemon=True)
    taking.start()
    taking.join(20)
    assert not taking.is_alive()
    assert (work.get(timeout=20), work.qsize()) == (None, 0)


@pytest.mark.parametrize("error", [RecordError("no room"), OSError(28, "full"), _Stays()])
def test_an_error_comes_from_another_process(error) -> None:
    ours, theirs = Pipe()
    future: Future[Result] = Future()
    future.set_exception(error)
    _Teller(theirs).done(7, future)
    number, said = ours.recv()
    assert number == 7
    wanted = RecordError if isinstance(error, _Stays) else type(error)
    assert type(said) is wanted
    assert ("_Stays" if isinstance(error, _Stays) else str(error)) in str(said)


def test_how_many_there_are(artifact, tmp_path, monkeypatch) -> None:
    model = opened(artifact, tmp_path)
    monkeypatch.setattr("asfitted.batch.crew.cpu_count", lambda: 3)
    assert size_of(None, WORTH_ROWS, model) == 3
    assert size_of(None, WORTH_ROWS - 1, model) == 1
    assert size_of(5, 10, model) == 5
    assert size_of(5, 10, fitted()) == 1  # it came from no artifact
    with pytest.raises(ConfigError, match="0 processes"):
        score_file(model, tmp_path, tmp_path / "out.csv", jobs=0)


@pytest.mark.parametrize("kind", [ContractViolation, OutputViolation])
def test_a_refusal_comes_whole_from_another_process(kind) -> None:
    error = kind([Violation("a", "min", "below", (1, 2), 9)], "in.csv", "mend it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.violations) == (str(error), error.violations)
    assert np.array_equal(again.violations[0].rows, (1, 2))
