"""Batch jobs from and to a real S3: as on the disk, and killed they go on all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_rows import raw, read, recording, write
from test_resume import HERE, assert_same_as_calm, large

from asfitted import FittedModel, read_log
from asfitted.batch import score_file
from asfitted.batch.remote import Bucket
from asfitted.errors import ConfigError, ContractViolation, StoreUnavailable


@pytest.fixture
def client(s3) -> Any:
    return s3.client()


def upload(client: Any, bucket: str, key: str, file: Path) -> str:
    client.upload_file(str(file), bucket, key)
    return f"s3://{bucket}/{key}"


def download(client: Any, url: str, folder: Path) -> Path:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    file = folder / key.rpartition("/")[2]
    client.download_file(bucket, key, str(file))
    return file


def left(log: Path) -> list[str]:
    return [name for name in os.listdir(log) if name.startswith(".")]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_from_s3_to_s3_is_as_on_the_disk(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path, ending: str
) -> None:
    here = write(large(300), tmp_path / f"in.{ending}")
    source = upload(client, bucket, f"in/{here.name}", here)
    target = f"s3://{bucket}/out/scored.{ending}"
    said = score_file(recorded, source, target, max_refused=5, chunk_rows=100)
    assert (said.rows, said.answered, said.refused) == (300, 297, 3)
    assert (said.output, said.refused_file) == (target, f"s3://{bucket}/out/scored.refused.jsonl")
    found = read(download(client, target, tmp_path))
    assert found["prediction_id"].tolist() == read_log(log)["prediction_id"].tolist()
    on_disk = score_file(recorded, here, tmp_path / f"other.{ending}", max_refused=5)
    other = read(Path(on_disk.output)).drop(columns="prediction_id")
    assert found.drop(columns="prediction_id").equals(other)
    refused = download(client, said.refused_file, tmp_path)
    assert refused.read_bytes() == Path(on_disk.refused_file).read_bytes()
    assert left(log) == []


def test_a_log_folder_that_takes_no_work_folder(recorded, log: Path, tmp_path: Path) -> None:
    log.touch()
    with pytest.raises(StoreUnavailable, match="the disk refuses: Not a directory"):
        score_file(recorded, write(raw(), tmp_path / "in.csv"), "s3://bucket/out.csv")


def test_a_folder_from_s3_to_the_disk_and_from_the_disk_to_s3(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    a = write(raw(10), tmp_path / "a.csv")
    b = write(raw(20), tmp_path / "b.parquet")
    upload(client, bucket, "in/b/b.parquet", b)
    upload(client, bucket, "in/a.csv", a)
    upload(client, bucket, "in/_SUCCESS", a)
    upload(client, bucket, "inside.txt", a)
    for url in (f"s3://{bucket}/in", f"s3://{bucket}/in/"):
        said = score_file(recorded, url, tmp_path / "out.parquet", overwrite=True)
        assert (said.files, said.rows, said.output) == (2, 30, str(tmp_path / "out.parquet"))
        assert read(tmp_path / "out.parquet")["prediction_id"].is_unique
    said = score_file(recorded, b, f"s3://{bucket}/out.csv")
    assert (said.rows, said.refused_file) == (20, None)
    assert len(read(download(client, said.output, tmp_path))) == 20
    assert left(log) == []
    assert left(tmp_path) == []


def test_an_output_that_is_there_stays_unless_it_is_said(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    source = upload(client, bucket, "in.csv", write(large(300), tmp_path / "in.csv"))
    target = upload(client, bucket, "out/a.csv", write(raw(3), tmp_path / "old.csv"))
    with pytest.raises(ConfigError, match="there already") as caught:
        score_file(recorded, source, target, max_refused=5)
    assert caught.value.where == target
    assert not log.exists() or len(read_log(log)) == 0
    other = f"s3://{bucket}/b.csv"
    upload(client, bucket, "b.refused.jsonl", tmp_path / "old.csv")
    with pytest.raises(ConfigError, match="there already"):
        score_file(recorded, source, other, max_refused=5)
    assert score_file(recorded, source, other, max_refused=5, overwrite=True).refused == 3
    good = upload(client, bucket, "good.csv", write(raw(9), tmp_path / "good.csv"))
    assert score_file(recorded, good, other, overwrite=True).refused == 0
    # Refused rows of another job are none of this one.
    assert Bucket(f"s3://{bucket}/b.refused.jsonl").job() is None
    assert left(log) == []


def test_one_that_somebody_puts_there_meanwhile_is_not_overwritten(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    source = upload(client, bucket, "in.csv", write(raw(30), tmp_path / "in.csv"))
    target = f"s3://{bucket}/out.csv"

    def meanwhile(phase: str, rows: int, total: int | None) -> None:
        client.put_object(Bucket=bucket, Key="out.csv", Body=b"mine")

    with pytest.raises(ConfigError, match="there already"):
        score_file(recorded, source, target, progress=meanwhile)
    assert client.get_object(Bucket=bucket, Key="out.csv")["Body"].read() == b"mine"
    # Nothing is lost: what is on record is not scored again.
    client.delete_object(Bucket=bucket, Key="out.csv")
    said = score_file(recorded, source, target)
    assert said.resumed_rows == 30
    assert len(read_log(log)) == 30
    assert left(log) == []


class Killed(BaseException):
    """Stands for kill -9 at one exact point."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", [1, 2])
def test_killed_at_a_put_it_puts_once(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, point: int, after: bool,
) -> None:  # fmt: skip
    source = upload(client, bucket, "in.csv", write(large(300), tmp_path / "in.csv"))
    target = f"s3://{bucket}/out.csv"
    put: Callable[..., None] = Bucket.put
    calls: list[str] = []

    def dying(self: Bucket, *arguments: Any) -> None:
        calls.append(self.url)
        if len(calls) == point and not after:
            raise Killed
        put(self, *arguments)
        if len(calls) == point:
            raise Killed

    monkeypatch.setattr(Bucket, "put", dying)
    with pytest.raises(Killed):
        score_file(recorded, source, target, max_refused=5)
    monkeypatch.setattr(Bucket, "put", put)
    assert len(left(log)) == 1
    said = score_file(recorded, source, target, max_refused=5)
    assert (said.answered, said.refused, said.resumed_rows) == (297, 3, 300)
    found = read(download(client, target, tmp_path))
    assert found["prediction_id"].tolist() == read_log(log)["prediction_id"].tolist()
    assert left(log) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_job_killed_at_random_moments(client: Any, bucket: str, tmp_path: Path) -> None:
    source = upload(client, bucket, "in.parquet", write(large(), tmp_path / "in.parquet"))
    target, log = f"s3://{bucket}/out.parquet", tmp_path / "log"
    done = subprocess.run(
        [sys.executable, HERE / "batch_killed.py", source, target, log, "12", "7"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed, _ = map(int, done.stdout.split())
    assert killed >= 6, "most kills were to fall into the job"
    names = ("out.parquet", "out.refused.jsonl", "calm.parquet", "calm.refused.jsonl")
    for name in names:
        download(client, f"s3://{bucket}/{name}", tmp_path)
    assert_same_as_calm(
        tmp_path / "out.parquet", log, tmp_path / "calm.parquet", tmp_path / "calm_log"
    )
    assert left(log) == []


def test_an_input_that_changed_since_the_kill_begins_anew(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    source = upload(client, bucket, "in.csv", write(raw(30), tmp_path / "in.csv"))
    target = f"s3://{bucket}/out.csv"

    def full(*arguments: Any) -> None:
        raise StoreUnavailable("S3 does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(Bucket, "put", full)
        with pytest.raises(StoreUnavailable):
            score_file(recorded, source, target)
    upload(client, bucket, "in.csv", write(raw(20), tmp_path / "in.csv"))
    said = score_file(recorded, source, target)
    assert (said.rows, said.resumed_rows) == (20, 0)
    assert "input changed since" in caplog.text
    assert len(read(download(client, target, tmp_path))) == 20


def test_a_job_that_is_refused_names_the_object_and_leaves_nothing(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    source = upload(client, bucket, "in/a.csv", write(large(300), tmp_path / "a.csv"))
    for place in (source, f"s3://{bucket}/in"):
        with pytest.raises(ContractViolation) as caught:
            score_file(recorded, place, f"s3://{bucket}/out.csv")
        assert f"s3://{bucket}/in/a.csv" in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    assert left(log) == []
    assert Bucket(f"s3://{bucket}/out.csv").job() is None


def test_a_dry_run_leaves_nothing(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    source = upload(client, bucket, "in.csv", write(raw(30), tmp_path / "in.csv"))
    said = score_file(recorded, source, f"s3://{bucket}/out.csv", dry_run=True)
    assert (said.rows, said.output, said.dry_run) == (30, f"s3://{bucket}/out.csv", True)
    assert Bucket(f"s3://{bucket}/out.csv").job() is None
    assert not log.exists() or left(log) == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_dry_run_fetches_the_rows_that_it_looks_at(
    recorded: FittedModel, client: Any, bucket: str, tmp_path: Path, ending: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    noise = np.random.default_rng(0)
    frame = raw(30_000).assign(id=lambda rows: [f"\n{noise.bytes(99).hex()}" for _ in rows.index])
    frame.loc[[3, 1_200], "colour"] = "blue"
    here = write(frame, tmp_path / f"in.{ending}")
    source = upload(client, bucket, f"in/a.{ending}", here)
    upload(client, bucket, f"in/b.{ending}", write(raw(0), tmp_path / f"none.{ending}"))
    asked: list[int] = []
    get = Bucket._get

    def counting(self: Bucket, key: str, tag: str, start: int = 0, n: int | None = None) -> Any:
        found = get(self, key, tag, start, n)
        read = found["Body"].read

        def counted(amount: int | None = None) -> bytes:
            content: bytes = read(amount)
            asked.append(len(content))
            return content

        found["Body"].read = counted
        return found

    monkeypatch.setattr(Bucket, "_get", counting)
    for place in (source, f"s3://{bucket}/in"):
        said = score_file(recorded, place, tmp_path / "out.csv", max_refused=1, dry_run=True)
        assert (said.rows, said.answered, said.refused) == (1_000, 999, 1)
        assert 0 < sum(asked) < here.stat().st_size / 2
        asked.clear()
        with pytest.raises(ContractViolation, match=r"colour: 1 of 1000 .* \(rows 3\)") as caught:
            score_file(recorded, place, tmp_path / "out.csv", dry_run=True)
        assert source in str(caught.value)
        asked.clear()
    (tmp_path / "torn").write_bytes(here.read_bytes()[: -here.stat().st_size // 2])
    torn = upload(client, bucket, f"torn.{ending}", tmp_path / "torn")
    if ending == "parquet":
        with pytest.raises(ConfigError, match="not readable as Parquet") as unread:
            score_file(recorded, torn, tmp_path / "out.csv", dry_run=True)
        assert unread.value.where == torn


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_bucket_that_is_not_there_is_told_before_a_row_is_answered(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path, overwrite: bool
) -> None:
    here = write(raw(3), tmp_path / "in.csv")
    for dry_run in (False, True):
        options = {"overwrite": overwrite, "dry_run": dry_run}
        with pytest.raises(ConfigError, match="NoSuchBucket"):
            score_file(recorded, here, "s3://no-such-bucket/a.csv", **options)
    there = upload(client, bucket, "a.csv", here)
    if not overwrite:
        with pytest.raises(ConfigError, match="there already"):
            score_file(recorded, here, there, dry_run=True)
    assert not log.exists() or len(read_log(log)) == 0


def test_places_that_cannot_be(
    recorded: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    here = write(raw(3), tmp_path / "in.csv")
    inside = upload(client, bucket, "in/a.csv", here)
    upload(client, bucket, "texts/a.txt", here)
    out = f"s3://{bucket}/out.csv"
    cases: list[tuple[Any, Any, str | None, str]] = [
        (f"s3://{bucket}/none.csv", out, None, "not there"),
        (f"s3://{bucket}/texts", out, None, "no format"),
        ("s3://no-such-bucket/a.csv", out, None, "NoSuchBucket"),
        (inside, "s3://no-such-bucket/a.csv", None, "NoSuchBucket"),
        (here, f"s3://{bucket}/out.txt", None, "no format"),
        (here, out, f"s3://{bucket}/refused.txt", "no format"),
        (here, out, str(tmp_path / "refused.jsonl"), "belong together"),
        (f"s3://{bucket}/in", f"s3://{bucket}/in/out.csv", None, "part of the input"),
        (inside, inside, None, "part of the input"),
    ]
    for source, target, refused, match in cases:
        with pytest.raises(ConfigError, match=match) as caught:
            score_file(recorded, source, target, refused=refused)
        assert caught.value.where.startswith(("s3://", str(tmp_path)))
    assert not log.exists() or left(log) == []


def test_two_jobs_at_the_same_output_do_not_mix(
    model: FittedModel, log: Path, client: Any, bucket: str, tmp_path: Path
) -> None:
    source = upload(client, bucket, "in.csv", write(raw(30), tmp_path / "in.csv"))
    target = f"s3://{bucket}/out.csv"
    found: list[str] = []

    def second(phase: str, rows: int, total: int | None) -> None:
        with pytest.raises(ConfigError, match="another process") as caught:
            score_file(other, source, target)
        found.append(caught.value.what)

    one, other = recording(model, log), recording(model, log)
    try:
        assert score_file(one, source, target, progress=second).rows == 30
    finally:
        for each in (one, other):
            assert each.recorder is not None
            each.recorder.journal.close()
    assert found
