"""A dataset's files in a folder of a disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.place import sync_folder
from asfitted.prediction_log.sinks.store import Entry, settled

_LOCK = ".asfitted-lock"
_TEMPORARY = ".writing-"


class DiskStore:
    """A `Store` on one machine, or on a file system with `flock`.

    Parameters
    ----------
    root : Path
        Created with the first file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.where = str(self.root)

    def folders(self, folder: str) -> list[str]:
        """See `Store.folders`."""
        with self._errors():
            return [each.name for each in self._listed(folder) if each.is_dir()]

    def files(self, folder: str) -> list[Entry]:
        """See `Store.files`."""
        with self._errors():
            return settled(
                lambda: [
                    self._entry(folder, each) for each in self._listed(folder) if not each.is_dir()
                ]
            )

    @staticmethod
    def _entry(folder: str, each: os.DirEntry[str]) -> Entry:
        name = f"{folder}/{each.name}"
        try:
            about = each.stat()
        except FileNotFoundError:
            # Merged since it was listed: not to be left out, or its rows would be.
            return Entry(name, "", 0)
        return Entry(name, f"{about.st_ino}-{about.st_mtime_ns}", about.st_size)

    def _listed(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as entries:
                found = [each for each in entries if not each.name.startswith(".")]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda each: each.name)

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        with self._errors():
            try:
                return (self.root / name).read_bytes()
            except FileNotFoundError:
                return None

    def put(self, name: str, content: bytes) -> bool:
        """See `Store.put`; to be called inside of `writing` or `alone`."""
        path = self.root / name
        with self._errors():
            if path.exists():
                return False
            _make_folder(path.parent)
            _remove_unfinished(path.parent)
            _write_whole(path, content)
        return True

    def replace(self, entry: Entry, content: bytes) -> None:
        """See `Store.replace`."""
        path = self.root / entry.name
        with self._errors():
            _remove_unfinished(path.parent)
            _write_whole(path, content)

    def delete(self, entry: Entry) -> None:
        """See `Store.delete`."""
        path = self.root / entry.name
        with self._errors():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See `Store.writing`; others wait."""
        with self._errors():
            _make_folder(self.root)
            descriptor = os.open(self.root / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[], None]]:
        """See `Store.alone`; others wait, and a killed process lets go at once."""
        with self.writing():
            yield lambda: None

    def close(self) -> None:
        """Nothing stays open between two calls."""

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreUnavailable(
                f"the sink does not take records: {reason}", self.where
            ) from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, after a power cut too, or not at all."""
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed writer left in a partition; nobody may be writing there."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink()


def _make_folder(folder: Path) -> None:
    """Create a folder of the dataset so that a power cut cannot undo it.

    With the user's own mask: unlike journals, a dataset is there for others to read.
    """
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
