"""The work folder of a job: what makes a killed one go on where it was."""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asfitted.batch.parts import About, read_about, write_lines
from asfitted.errors import ConfigError, StoreUnavailable

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

# Of the work folder: another number, and the job begins anew.
JOB_FORMAT = 0
# Of all the processes of a job; what is begun later waits for what is begun.
MOST_IN_FLIGHT = 64
_CREW_LOCK = "crew.lock"
_PATIENCE_S = 60.0
_JOB, _CHECKED, _PLACING = "job.json", "checked.json", "placing.json"


@dataclass
class Job:
    """A job at work in its folder; `open_job` gives one.

    Attributes
    ----------
    folder : Path
        ``.<output>.job`` beside the output.
    id : str
        New with every job, kept when it is resumed.
    created_us : int
        Microseconds since 1970 in UTC.
    resumed : bool
        Whether another process has been at it before.
    done : dict of int to About
        The chunks whose part is complete.
    """

    folder: Path
    id: str
    created_us: int
    resumed: bool
    lock: int
    done: dict[int, About] = field(default_factory=dict)

    def batch_id(self, chunk: int) -> str:
        """Return the id under which a chunk is on record, whoever records it."""
        return uuid.uuid5(uuid.UUID(self.id), str(chunk)).hex

    def part(self, chunk: int) -> Path:
        """Return the file of a chunk's answers."""
        return self.folder / f"part-{chunk:08d}.parquet"

    def refused(self, chunk: int) -> Path:
        """Return the file of a chunk's refused rows; it is there before the part is."""
        return self.folder / f"part-{chunk:08d}.refused"

    def may_be_recorded(self, chunk: int) -> bool:
        """Whether a chunk without a part may be on record.

        One that was under way when the job was killed can be, or one whose part
        somebody took away.
        """
        return self.resumed and chunk <= max(self.done, default=-1) + MOST_IN_FLIGHT

    def since_us(self, chunk: int) -> int:
        """Return a moment before which a chunk was not recorded."""
        before = self.done.get(chunk - 1)
        return before.received_us if before is not None else self.created_us

    @property
    def checked(self) -> int | None:
        """How many rows the first pass found, None before it was through."""
        said = _read(self.folder / _CHECKED)
        return None if said is None else int(said["rows"])

    @checked.setter
    def checked(self, rows: int) -> None:
        _write(self.folder / _CHECKED, {"rows": rows})

    @property
    def is_placing(self) -> bool:
        """Whether everything is answered, and the output may be in its place already."""
        return (self.folder / _PLACING).exists()

    def place(self) -> None:
        """Say that everything is answered."""
        _write(self.folder / _PLACING, {})

    def release(self, *, remove: bool) -> None:
        """Let go of the folder, and remove it, with what it holds."""
        if remove:
            remove_folder(self.folder)
        os.close(self.lock)


def open_job(target: Path, of: Mapping[str, Any], now_us: int) -> Job:
    """Return the job that answers `of` into `target`: the one that was begun, or a new one.

    Parameters
    ----------
    target : Path
        Its folder is made where it is not there.
    of : mapping
        JSON-able: what makes it the same job. Where anything of it differs from
        what was begun, that is thrown away, and a warning says what differs.
    now_us : int

    Raises
    ------
    ConfigError
        Where another process is at it.
    StoreUnavailable
    """
    folder = target.with_name(f".{target.name}.job")
    lock = locked_folder(folder)
    try:
        _wait_for_crew(folder)
        _sweep(folder)
        begun = _read(folder / _JOB)
        if begun is not None:
            differing = _differing(begun, of)
            if not differing:
                job = Job(folder, begun["id"], begun["created_us"], True, lock)
                for part in folder.glob("part-*.parquet"):
                    job.done[int(part.stem.removeprefix("part-"))] = read_about(part)
                return job
            _log.warning(
                "%s holds a job that was not finished; %s changed since, so a new one begins",
                folder,
                ", ".join(differing),
            )
        # job.json first: without it, the rest is nobody's.
        for file in sorted(folder.iterdir(), key=lambda file: file.name != _JOB):
            file.unlink()
        id = str(uuid.uuid4())
        _write(folder / _JOB, {"format": JOB_FORMAT, "id": id, "created_us": now_us, "of": of})
        return Job(folder, id, now_us, False, lock)
    except BaseException:
        os.close(lock)
        raise


def _differing(begun: Mapping[str, Any], of: Mapping[str, Any]) -> list[str]:
    if begun["format"] != JOB_FORMAT:
        return ["its format"]
    was, now = begun["of"], json.loads(json.dumps(of))
    return [name for name in {**was, **now} if was.get(name) != now.get(name)]


@contextmanager
def on_disk(place: Path) -> Iterator[None]:
    """Say in our words what the system refuses inside.

    Raises
    ------
    StoreUnavailable
    """
    try:
        yield
    except OSError as error:
        where = str(error.filename or place)
        raise StoreUnavailable(f"the disk refuses: {error.strerror or error}", where) from error


def locked_folder(folder: Path) -> int:
    """Make `folder` and lock it; the lock goes with the process, however that ends."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have finished, and removed it, in between.
            with suppress(FileNotFoundError):
                if os.stat(folder).st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConfigError(
                "another process is writing this output", str(folder), "wait until it has finished"
            ) from error
        os.close(descriptor)


def hold_crew_lock(folder: Path) -> None:
    """Hold a lock, which others may hold as well, for as long as this process lives."""
    descriptor = os.open(folder / _CREW_LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _wait_for_crew(folder: Path) -> None:
    """Wait until the processes of a job that was killed have ended, as they do at once."""
    lock = folder / _CREW_LOCK
    if fcntl is None or not lock.exists():
        return
    descriptor = os.open(lock, os.O_RDWR)
    until = time.monotonic() + _PATIENCE_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConfigError(
                        "processes of the job before are still at work", str(folder), "end them"
                    ) from None
            time.sleep(0.05)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a work folder; killed in between, it is no job any more."""
    gone = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.gone")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for gone in folder.parent.glob(f"{glob.escape(folder.name)}.*.gone"):
        shutil.rmtree(gone, ignore_errors=True)
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return said
    except FileNotFoundError:
        return None


def _write(file: Path, content: Mapping[str, Any]) -> None:
    write_lines(file, lambda stream: stream.write(json.dumps(content).encode()))
