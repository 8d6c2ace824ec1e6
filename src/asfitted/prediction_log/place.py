"""Where the prediction log lies, and what its files are called."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import time
from datetime import datetime, timezone
from pathlib import Path

LOG_VARIABLE = "ASFITTED_LOG"
FOLDER_NAME = "prediction_log"
SUFFIX = ".sqlite"

_PATTERN = f"journal-*{SUFFIX}"
_ROTATION = "rotate"
# More than a new journal needs before its first row: header, schema, WAL, index.
_PROBE_BYTES = 128 * 1024
_made_here: set[str] = set()


def default_folder() -> Path:
    """Return the folder of the log where no configuration names one.

    Returns
    -------
    Path
        What the environment variable ``ASFITTED_LOG`` says, otherwise
        ``prediction_log`` in the current directory.
    """
    return Path(os.environ.get(LOG_VARIABLE) or FOLDER_NAME)


def new_writer() -> str:
    """Return the id of a new writer: when, on which host, which process.

    The microseconds sort the files of one process in the order in which it began them;
    the random end tells apart containers that share host name and process id.
    """
    host = re.sub(r"[^A-Za-z0-9.]+", "_", socket.gethostname())[:40] or "host"
    now = datetime.now(timezone.utc)
    writer = f"{now:%Y%m%dT%H%M%S%f}-{host}-{os.getpid()}-{secrets.token_hex(4)}"
    _made_here.add(writer)
    return writer


def made_here(writer: str) -> bool:
    """Whether this process, or one that it was forked from, may have the file of `writer` open."""
    return writer in _made_here


def closed_here(writer: str) -> None:
    """Note that this process has closed the file of `writer`, in whatever state."""
    _made_here.discard(writer)


def journal_path(folder: Path, writer: str) -> Path:
    """Return the journal of `writer` in `folder`."""
    return folder / f"journal-{writer}{SUFFIX}"


def journal_files(folder: Path) -> list[Path]:
    """Return the journals of `folder`, oldest name first."""
    return sorted(folder.glob(_PATTERN))


def request_rotation(folder: Path) -> None:
    """Ask whoever writes a journal in `folder` to close it and begin another.

    A server does so within a second or two, another process with its next record. A
    journal that nobody writes can be taken rows out of.

    Raises
    ------
    OSError
    """
    marker = folder / _ROTATION
    marker.touch(mode=0o600)
    # Two requests within a tick of the file system's clock are two.
    os.utime(marker, ns=(time.time_ns(), time.time_ns() + secrets.randbelow(1_000_000)))


def rotation_mark(folder: Path) -> int:
    """Return a number that differs once a rotation was asked for."""
    try:
        # Before every commit: a join of texts takes a third of the time of a path's.
        return os.stat(os.path.join(folder, _ROTATION)).st_mtime_ns
    except OSError:
        return 0


def beside(path: Path, ending: str) -> Path:
    """Return the file that SQLite keeps beside `path`: ``-wal``, ``-shm`` or ``-journal``."""
    return path.with_name(path.name + ending)


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def make_folder(folder: Path) -> None:
    """Create `folder`, readable by this user only, so that a power cut cannot undo it.

    Raises
    ------
    OSError
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        try:
            sync_folder(each.parent)
        except OSError:
            # Left there, it would be taken for durable the next time.
            with contextlib.suppress(OSError):
                each.rmdir()
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: an fsync of a file does not do that for its name."""
    if os.name == "nt":  # no handle of a folder can be synced there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prove_writable(folder: Path) -> None:
    """Write a file in `folder` durably and remove it; create the folder first if need be.

    Raises
    ------
    OSError
    """
    make_folder(folder)
    probe = folder / f".probe-{secrets.token_hex(8)}"
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        if os.write(descriptor, bytes(_PROBE_BYTES)) < _PROBE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        probe.unlink()
    sync_folder(folder)
