"""A job whose files are in S3: its inputs are copied here, its outputs there at the end.

All happens in a work folder, by default in that of the log, which has to outlive a
killed job in any case. There the job is as any other, and what is different is only
that its folder goes after the outputs are where they belong: run again after a kill, it
is found whole, and puts again what is not there yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from asfitted import _s3
from asfitted.batch.job import locked_folder, on_disk, remove_folder
from asfitted.batch.parts import write_lines
from asfitted.batch.remote_head import write_head
from asfitted.batch.source import demand_format
from asfitted.errors import ConfigError

_COPIED = "copied.json"
# What of an object says which job put it there.
_JOB = "asfitted-job"


class Bucket:
    """The bucket of a URL, and a client for it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name, prefix = _s3.place_of(url)
        self.key = prefix.rstrip("/")
        self.client = _s3.client(url)

    def inputs(self) -> dict[str, tuple[str, str]]:
        """Return (key, tag) by the path that each input shall have, that of one file its name.

        Raises
        ------
        ConfigError
            Where there is none, or one is of no known format.
        """
        with _s3.errors(self.url):
            pages = self.client.get_paginator("list_objects_v2")
            found = {
                each["Key"]: each["ETag"]
                for page in pages.paginate(Bucket=self.name, Prefix=self.key)
                for each in page.get("Contents", [])
            }
        if self.key in found:
            files = {PurePosixPath(self.key).name: (self.key, found[self.key])}
        else:
            start = f"{self.key}/" if self.key else ""
            files = {
                key[len(start) :]: (key, tag)
                for key, tag in found.items()
                if key.startswith(start) and not key.endswith("/")
            }
        files = {path: each for path, each in files.items() if not _passed_over(path)}
        if not files:
            raise ConfigError("the input is not there", self.url)
        for path in files:
            demand_format(Path(path), named=f"s3://{self.name}/{files[path][0]}")
            if any(part in {"", ".", ".."} for part in path.split("/")):
                raise ConfigError("a key that is no path of a file", f"{self.url}: {path}")
        return files

    def copy(self, key: str, tag: str, target: Path, rows: int | None = None) -> None:
        """Write an object to a file, whole or not at all; or a file of its first `rows`.

        Raises
        ------
        ConfigError
            Where it is another one than was listed.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with _s3.errors(self.url):
            if rows is not None:
                write_head(partial(self._get, key, tag), f"s3://{self.name}/{key}", target, rows)
                return
            body = self._get(key, tag)["Body"]
            write_lines(target, lambda stream: shutil.copyfileobj(body, stream))

    def _get(self, key: str, tag: str, start: int = 0, n_bytes: int | None = None) -> Any:
        """Return the object from a byte on, of so many bytes at most, as boto3 has it."""
        some = {} if n_bytes is None else {"Range": f"bytes={start}-{start + n_bytes - 1}"}
        try:
            return self.client.get_object(Bucket=self.name, Key=key, IfMatch=tag, **some)
        except self.client.exceptions.ClientError as error:
            if _s3.status_of(error) not in {404, 412}:
                raise
            raise ConfigError("an input changed or went", f"s3://{self.name}/{key}") from error

    def job(self) -> str | None:
        """Return the job that put the object there: "" for nobody's, None where there is none."""
        with _s3.errors(self.url):
            try:
                found = self.client.head_object(Bucket=self.name, Key=self.key)
            except self.client.exceptions.ClientError as error:
                if _s3.status_of(error) != 404:
                    raise
                # A HEAD does not say whether there is a bucket.
                self.client.list_objects_v2(Bucket=self.name, Prefix=self.key, MaxKeys=1)
                return None
        return str(found["Metadata"].get(_JOB, ""))

    def put(self, file: Path, job_id: str, overwrite: bool) -> None:
        """Put a file there; a second time, by the same job, does nothing.

        Raises
        ------
        ConfigError
            Where somebody else's is there, and it shall not be overwritten.
        """
        condition = {} if overwrite else {"IfNoneMatch": "*"}
        with _s3.errors(self.url), file.open("rb") as stream:
            try:
                self.client.put_object(
                    Bucket=self.name, Key=self.key, Body=stream, Metadata={_JOB: job_id},
                    **condition,
                )  # fmt: skip
            except self.client.exceptions.ClientError as error:
                if _s3.status_of(error) != 412:
                    raise
                if self.job() != job_id:
                    raise self.taken() from error

    def delete(self) -> None:
        """Delete the object; one that is gone already is no error."""
        with _s3.errors(self.url):
            self.client.delete_object(Bucket=self.name, Key=self.key)

    def taken(self) -> ConfigError:
        """Return the error of an output that is there."""
        return ConfigError(
            "the output is there already", self.url, "name another, or add --overwrite"
        )


class Workspace:
    """The folder of a job between S3 and here.

    Attributes
    ----------
    folder : Path
    target : Path
        Where the answers are written: the output itself, or what is put to S3 then.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self.target = self.output(target) if _s3.is_s3(target) else Path(target)

    def output(self, url: str) -> Path:
        """Return where the output of a URL is written first."""
        return self.folder / "output" / PurePosixPath(url).name

    @property
    def has_begun(self) -> bool:
        """Whether there is a job that can go on."""
        return self.target.with_name(f".{self.target.name}.job").exists()

    def source(self, url: str, rows: int | None = None) -> Path:
        """Return the copy of the inputs, or of their first `rows`; anew where one has changed."""
        bucket = Bucket(url)
        files, copied, home = bucket.inputs(), self.folder / _COPIED, self.folder / "input"
        tags = json.loads(json.dumps(files))
        if not (copied.exists() and json.loads(copied.read_text(encoding="utf-8")) == tags):
            copied.unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
            for path, (key, tag) in files.items():
                bucket.copy(key, tag, home / path, rows)
            text = json.dumps(files).encode()
            write_lines(copied, lambda stream: stream.write(text))
        is_file = [key for key, _ in files.values()] == [bucket.key]
        return home / next(iter(files)) if is_file else home


@contextlib.contextmanager
def workspace(
    home: Path, source: str, target: str, refused: str | None, *, temporary: bool
) -> Iterator[Workspace]:
    """Give the work folder of a job; it stays where the job can go on.

    Raises
    ------
    ConfigError
        Where another process is at the same job.
    StoreUnavailable
    """
    if temporary:
        with tempfile.TemporaryDirectory() as name:
            yield Workspace(Path(name), target)
        return
    mark = hashlib.sha256(json.dumps([source, target, refused]).encode()).hexdigest()[:16]
    folder = home / f".score-{mark}"
    with on_disk(folder):
        lock = locked_folder(folder)
    work = Workspace(folder, target)
    try:
        folder.chmod(0o700)
        yield work
        remove_folder(folder)
    except Exception:
        if not work.has_begun:
            remove_folder(folder)
        raise
    finally:
        os.close(lock)


def refuse_own_input(source: str, *targets: str) -> None:
    """Refuse an output that would be one of the inputs when the job is run again."""
    for target in targets:
        if f"{target}/".startswith(f"{source.rstrip('/')}/"):
            raise ConfigError(
                "the output would be part of the input", target, "write it somewhere else"
            )


def _passed_over(path: str) -> bool:
    return any(part[:1] in {".", "_"} for part in path.split("/"))
