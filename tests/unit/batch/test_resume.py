"""A job that ends in the middle goes on where it was: each row once in output and log."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from batch_rows import raw, read, recording, refusals_on_record, write

from asfitted import FittedModel, read_log
from asfitted.batch import answering, parts, score_file
from asfitted.batch.job import open_job
from asfitted.errors import ConfigError, RecordError, StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.removing import erase
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.whole import Place

HERE = Path(__file__).parent
CONTENT = ["inputs", "outputs", "findings", "keys", "row", "source", "model_digest"]


def large(n: int = 2_000) -> pd.DataFrame:
    """Return rows of which some are refused."""
    frame = raw(n)
    frame.loc[::137, "colour"] = "blue"
    return frame


def content(log: Path) -> list[str]:
    """Return what is on record, in the order of the rows, without ids and times."""
    records = read_log(log).to_dict("records")
    return [json.dumps([one[name] for name in CONTENT]) for one in records]


def answers(target: Path) -> pd.DataFrame:
    return read(target).drop(columns="prediction_id")


def assert_same_as_calm(target: Path, log: Path, calm: Path, calm_log: Path) -> None:
    """Output and log are those of a job that nobody disturbed."""
    assert answers(target).equals(answers(calm))
    refused, calm_refused = (
        file.with_name(f"{file.stem}.refused.jsonl") for file in (target, calm)
    )
    assert refused.read_bytes() == calm_refused.read_bytes()
    assert content(log) == content(calm_log)
    on_record = read_log(log)
    assert on_record["prediction_id"].tolist() == read(target)["prediction_id"].tolist()
    assert on_record["prediction_id"].is_unique
    assert refusals_on_record(log)["n_rows"].tolist() == (
        refusals_on_record(calm_log)["n_rows"].tolist()
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_job_killed_at_random_moments(ending: str, tmp_path: Path) -> None:
    source = write(large(), tmp_path / f"in.{ending}")
    target, log = tmp_path / f"out.{ending}", tmp_path / "log"
    done = subprocess.run(
        [sys.executable, HERE / "batch_killed.py", source, target, log, "20", "7"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed, _ = map(int, done.stdout.split())
    assert killed >= 10, "most kills were to fall into the job"
    assert_same_as_calm(target, log, tmp_path / f"calm.{ending}", tmp_path / "calm_log")
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


class Killed(BaseException):
    """Stands for kill -9 at one exact point."""


# Each is killed before and after: what was durable then, and what was not.
POINTS = [
    (answering, "record_refusals", 1),
    (answering, "record_refusals", 3),
    (answering, "record", 1),
    (answering, "record", 2),
    (parts, "write_lines", 2),
    (parts, "write_part", 1),
    (parts, "write_part", 6),
    (parts, "write_output", 1),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("module", "name", "call"), POINTS)
def test_a_job_killed_at_each_step(
    model: FittedModel,
    module: Any,
    name: str,
    call: int,
    after: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, log = write(large(600), tmp_path / "in.parquet"), tmp_path / "log"
    target, calm = tmp_path / "out.parquet", tmp_path / "calm.parquet"
    options: dict[str, Any] = {"chunk_rows": 100, "max_refused": "50%"}
    score_file(recording(model, tmp_path / "calm_log"), source, calm, **options)
    real: Callable[..., Any] = getattr(module, name)
    calls = 0

    def killed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < call:
            return real(*args, **kwargs)
        if after:
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Killed):
            score_file(recording(model, log), source, target, **options)
    said = score_file(recording(model, log), source, target, **options)
    assert said.rows == 600
    assert_same_as_calm(target, log, calm, tmp_path / "calm_log")


def test_what_is_on_record_is_what_the_output_says(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this machine would answer otherwise than the one that recorded."""
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"
    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_part", _kill)
        with pytest.raises(Killed):
            score_file(recording(model, log), source, target)
    score = FittedModel.score

    def otherwise(self: FittedModel, conformed: pd.DataFrame) -> pd.DataFrame:
        outputs = score(self, conformed)
        return outputs.assign(probability_1=outputs["probability_1"] + 1e-16)

    monkeypatch.setattr(FittedModel, "score", otherwise)
    said = score_file(recording(model, log), source, target)
    assert said.resumed_rows == 0
    on_record = read_log(log)
    assert len(on_record) == 25
    assert [one["probability_1"] for one in on_record["outputs"]] == (
        read(target)["probability_1"].tolist()
    )


def _kill(*args: Any, **kwargs: Any) -> Any:
    raise Killed


def _interrupted(
    model: FittedModel, log: Path, source: Path, target: Path, patch: pytest.MonkeyPatch
) -> None:
    """Leave a job of which one chunk is finished and the next one on record."""
    calls = 0
    real = parts.write_part

    def second(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return _kill() if calls == 2 else real(*args, **kwargs)

    recorded = recording(model, log)
    with patch.context() as inner:
        inner.setattr(parts, "write_part", second)
        with pytest.raises(Killed):
            score_file(recorded, source, target, chunk_rows=10)
    # As a process that is gone leaves it.
    assert recorded.recorder is not None
    recorded.recorder.journal.close()


def test_another_input_or_model_is_another_job_and_says_so(
    model: FittedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, log = write(raw(), tmp_path / "in.csv"), tmp_path / "log"
    for number, (what, change) in enumerate(
        {
            "input": lambda: write(raw(24), source),
            "options": lambda: None,
            "log": lambda: None,
        }.items()
    ):
        target = tmp_path / f"{number}.csv"
        write(raw(), source)
        _interrupted(model, log, source, target, monkeypatch)
        assert (tmp_path / f".{number}.csv.job").is_dir()
        change()
        caplog.clear()
        said = score_file(
            recording(model, tmp_path / "other" if what == "log" else log),
            source,
            target,
            chunk_rows=5 if what == "options" else 10,
        )
        assert said.resumed_rows == 0
        (told,) = caplog.messages
        assert f"; {what} changed since, so a new one begins" in told
        assert len(read(target)) == said.answered == (24 if what == "input" else 25)


def test_the_same_job_says_what_was_done_already(
    model: FittedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"
    _interrupted(model, log, source, target, monkeypatch)
    assert len(read_log(log)) == 20
    said = score_file(recording(model, log), source, target, chunk_rows=10)
    assert (said.rows, said.answered, said.resumed_rows) == (25, 25, 10)
    assert read_log(log)["prediction_id"].tolist() == read(target)["prediction_id"].tolist()
    assert caplog.messages == []


def test_what_was_shipped_and_deleted_meanwhile_is_not_recorded_again(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"
    url = f"sqlite:///{tmp_path}/sink.sqlite"

    def shipped() -> FittedModel:
        one = recording(model, log)
        assert one.recorder is not None
        recorder = replace(one.recorder, journal=Journal(log, sink=url))
        return FittedModel(model.pipeline, identity=one.identity, recorder=recorder)

    first = shipped()
    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_part", _kill)
        with pytest.raises(Killed):
            score_file(first, source, target, chunk_rows=10)
    assert first.recorder is not None
    first.recorder.journal.close()
    with Shipper(log, url, keep_shipped_s=0) as shipper:
        assert shipper.ship() == 10
    assert list(log.glob("journal-*")) == []
    shutil.rmtree(log)
    assert score_file(shipped(), source, target, chunk_rows=10).answered == 25
    on_record = read_log(log, sink=url)
    assert len(on_record) == 25
    assert on_record["prediction_id"].tolist() == read(target)["prediction_id"].tolist()


def test_a_row_that_was_erased_meanwhile_is_answered_and_stays_erased(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"
    _interrupted(model, log, source, target, monkeypatch)
    assert erase(Place(log, None), {"id": "r15"}, reason="r", wait_s=0).counts == {"predictions": 1}
    said = score_file(recording(model, log), source, target, chunk_rows=10)
    assert (said.answered, said.resumed_rows) == (25, 10)
    score_file(recording(model, tmp_path / "calm"), source, tmp_path / "calm.csv")
    assert answers(target).equals(answers(tmp_path / "calm.csv"))
    on_record = read_log(log)
    assert on_record["prediction_id"].tolist() == read(target)["prediction_id"].tolist()
    assert [n for n, keys in enumerate(on_record["keys"]) if not keys] == [15]


def test_a_part_that_somebody_took_away_is_made_anew(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"
    _interrupted(model, log, source, target, monkeypatch)
    (tmp_path / ".out.csv.job" / "part-00000000.parquet").unlink()
    score_file(recording(model, log), source, target, chunk_rows=10)
    assert len(read_log(log)) == 25
    assert read_log(log)["prediction_id"].tolist() == read(target)["prediction_id"].tolist()


def test_a_journal_that_cannot_be_read_keeps_the_job_from_going_on(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"
    _interrupted(model, log, source, target, monkeypatch)
    broken = log / "journal-20000101T000000-x.sqlite"
    broken.write_bytes(b"nonsense" * 1_000)
    with pytest.raises(RecordError, match="cannot be known"):
        score_file(recording(model, log), source, target, chunk_rows=10)
    broken.unlink()
    assert score_file(recording(model, log), source, target, chunk_rows=10).answered == 25
    assert len(read_log(log)) == 25


def test_two_processes_do_not_write_one_output(model: FittedModel, tmp_path: Path) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv"
    job = open_job(target, {}, 0)
    with pytest.raises(ConfigError, match="another process is writing this output"):
        score_file(model, source, target)
    job.release(remove=True)
    assert score_file(model, source, target).answered == 25


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_no_torn_output_and_can_be_gone_on_from(
    model: FittedModel, tmp_path: Path
) -> None:
    """The limit holds for any one file: first the journal, then the output do not fit."""
    source, target, log = tmp_path / "in.parquet", tmp_path / "out.csv", tmp_path / "log"
    write(large(4_000), source)
    options: dict[str, Any] = {"chunk_rows": 400, "max_refused": "50%"}
    calm = tmp_path / "calm.csv"
    score_file(recording(model, tmp_path / "calm_log"), source, calm, **options)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    errors: list[int] = []
    recorded = recording(model, log)
    for limit in (1_500_000, calm.stat().st_size // 2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            score_file(recorded, source, target, **options)
        except (RecordError, StoreUnavailable) as error:
            errors.append(error.exit_code)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not target.exists()
    assert errors == [4, 4]
    said = score_file(recorded, source, target, **options)
    assert said.resumed_rows > 0
    assert_same_as_calm(target, log, calm, tmp_path / "calm_log")


def test_a_part_that_does_not_fit_is_no_part(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, log = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "log"

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parts.pq, "write_table", full)
        with pytest.raises(StoreUnavailable, match="No space left") as caught:
            score_file(recording(model, log), source, target)
    assert "run the same command again" in caught.value.mend
    assert sorted(os.listdir(tmp_path / ".out.csv.job")) == ["checked.json", "job.json"]
    assert score_file(recording(model, log), source, target).answered == 25
    assert len(read_log(log)) == 25


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
def test_an_output_that_is_being_put_together_touches_nothing_that_is_there(
    model: FittedModel,
    ending: str,
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / f"out.{ending}"
    target.write_text("before")
    torn: list[str] = []

    def half(file: Path, of: Any) -> None:
        file.write_text("half")
        torn.append(target.read_text())
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(parts, f"_write_{ending}", half)
        with pytest.raises((Killed, StoreUnavailable)):
            score_file(model, source, target, overwrite=True)
    assert torn == ["before"]
    assert target.read_text() == "before"
