"""A disk that forgets what was not synced: what a journal does to its files, and every end of it.

`Recorder` notes each write, sync, name and length that `JournalFile` gives to the file
system while it runs, and may let one of them fail. `Disk` plays a part of that back and
says what the files may be after a power cut: of what was not synced since, each write is
kept, lost, or torn at its sectors, in any order; names too, until their folder is synced.

The journal runs on the SQLite of apsw, whose file system can be written in Python; what
is left is read with Python's own SQLite, as ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import random
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from asfitted.prediction_log import journal_file

SECTOR_BYTES = (512, 4096)
# Few, so that the write-ahead log is moved into the file and begun anew often.
LOG_PAGES = 12


@dataclass(frozen=True)
class Op:
    """What was done to the file, or the folder, `path`.

    ``kind`` is one of write, truncate, sync, failed sync, link, folder (a new one), unlink,
    sync folder; or told, for what the caller of the journal was told by then.
    """

    kind: str
    path: str = ""
    offset: int = 0
    data: bytes = b""
    told: Any = None


class Recorder:
    """Notes what happens to the files below `root`; the n-th of `fails` may fail.

    Parameters
    ----------
    root : Path
    fault : str or None
        ``sync`` lets a sync fail with EIO, ``full`` a write with ENOSPC, of which the
        first half was done.
    at : int
        How many of that kind succeed before.
    lasting : bool
        Whether all that follow fail as well, until `mend`.
    """

    def __init__(self, root: Path, fault: str | None = None, at: int = 0, lasting: bool = False):
        self.root, self.ops = root, list[Op]()
        self.fault, self._left, self._lasting = fault, at, lasting
        self.has_failed = False
        self._paths: dict[int, str] = {}

    def relative(self, path: Any) -> str | None:
        text = os.path.relpath(path, self.root)
        return None if text.startswith("..") else text

    def note(self, kind: str, path: Any, **rest: Any) -> None:
        name = self.relative(path)
        if name is not None:
            self.ops.append(Op(kind, name, **rest))

    def told(self, what: Any) -> None:
        self.ops.append(Op("told", told=what))

    def mend(self) -> None:
        self.fault = None

    def _fails(self, fault: str) -> bool:
        if fault != self.fault:
            return False
        self._left -= 1
        fails = self._left < 0 if self._lasting else self._left == -1
        self.has_failed = self.has_failed or fails
        return fails

    def sync(self, path: Any, really: Callable[[], None]) -> bool:
        """Sync, or fail to; return whether it was done."""
        if self._fails("sync"):
            self.note("failed sync", path)
            return False
        really()
        self.note("sync folder" if os.path.isdir(path) else "sync", path)
        return True

    def write(self, path: Any, offset: int, data: bytes, really: Callable[[bytes], None]) -> bool:
        """Write, or only a half; return whether it was all."""
        whole = not self._fails("full")
        done = data if whole else data[: len(data) // 2]
        really(done)
        self.note("write", path, offset=offset, data=done)
        return whole

    @contextlib.contextmanager
    def recording(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Let new journals go through here, and what Python itself does to their files."""
        with _sqlite_through(self) as driver, monkeypatch.context() as patched:
            patched.setattr(journal_file, "sqlite3", driver)
            # Zeros, for every end of the disk: fewer of them show as much.
            patched.setattr(journal_file, "_WAL_STEP_BYTES", 3 * 4096)
            for name in ("open", "close", "write", "fsync", "ftruncate", "unlink", "mkdir"):
                patched.setattr(os, name, getattr(self, f"_{name}")(getattr(os, name)))
            yield

    def _open(self, real: Any) -> Any:
        def wrapped(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            is_new = not os.path.lexists(path)
            descriptor = real(path, flags, *rest, **named)
            if is_new:
                self.note("link", path)
            self._paths[descriptor] = os.fspath(path)
            return descriptor

        return wrapped

    def _close(self, real: Any) -> Any:
        def wrapped(descriptor: int) -> None:
            self._paths.pop(descriptor, None)
            real(descriptor)

        return wrapped

    def _write(self, real: Any) -> Any:
        def wrapped(descriptor: int, data: bytes) -> int:
            path = self._paths.get(descriptor)
            if path is None:
                return int(real(descriptor, data))
            done, end = [], os.fstat(descriptor).st_size
            self.write(path, end, data, lambda part: done.append(real(descriptor, part)))
            return sum(done)

        return wrapped

    def _fsync(self, real: Any) -> Any:
        def wrapped(descriptor: int) -> None:
            if not self.sync(self._paths[descriptor], lambda: real(descriptor)):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        return wrapped

    def _ftruncate(self, real: Any) -> Any:
        def wrapped(descriptor: int, size: int) -> None:
            real(descriptor, size)
            self.note("truncate", self._paths[descriptor], offset=size)

        return wrapped

    def _unlink(self, real: Any) -> Any:
        def wrapped(path: Any, **named: Any) -> None:
            real(path, **named)
            self.note("unlink", path)

        return wrapped

    def _mkdir(self, real: Any) -> Any:
        def wrapped(path: Any, *rest: Any, **named: Any) -> None:
            real(path, *rest, **named)
            self.note("folder", path)

        return wrapped


def _sqlite_error(kind: type[apsw.Error], number: int, text: str) -> apsw.Error:
    error = kind(text)
    error.extendedresult = number
    return error


@contextlib.contextmanager
def _sqlite_through(recorder: Recorder) -> Iterator[Any]:
    """Give what `journal_file` uses of the module sqlite3, on a file system that notes."""

    class File(apsw.VFSFile):
        def __init__(self, name: Any, flags: Any) -> None:
            # A temporary file has no name, and is nobody's after a crash.
            path = name.filename() if isinstance(name, apsw.URIFilename) else name
            self.path = path or os.devnull
            is_new = not os.path.exists(self.path)
            super().__init__("", name, flags)
            if is_new:
                recorder.note("link", self.path)

        def xWrite(self, data: bytes, offset: int) -> None:
            def really(part: bytes) -> None:
                super(File, self).xWrite(part, offset)

            if not recorder.write(self.path, offset, bytes(data), really):
                raise _sqlite_error(apsw.FullError, apsw.SQLITE_FULL, "disk is full")

        def xSync(self, flags: int) -> None:
            if not recorder.sync(self.path, lambda: super(File, self).xSync(flags)):
                number = apsw.SQLITE_IOERR_FSYNC
                raise _sqlite_error(apsw.IOError, number, "disk I/O error")

        def xTruncate(self, size: int) -> None:
            super().xTruncate(size)
            recorder.note("truncate", self.path, offset=size)

    class FileSystem(apsw.VFS):
        def __init__(self) -> None:
            self.name = f"recorded-{id(recorder)}"
            super().__init__(self.name, "")

        def xOpen(self, name: Any, flags: Any) -> File:
            return File(name, flags)

        def xDelete(self, path: str, sync_folder: bool) -> None:
            super().xDelete(path, sync_folder)
            recorder.note("unlink", path)

    class Connection:
        """Reports what SQLite reports: apsw also raises what SQLite has passed over."""

        def __init__(self, path: Any, **_: Any) -> None:
            self._of_apsw = apsw.Connection(str(path), vfs=file_system.name)
            self._of_apsw.set_wal_hook(self._committed)
            self._log_pages = 0

        def _committed(self, _connection: Any, _name: str, pages: int) -> int:
            self._log_pages = pages
            return apsw.SQLITE_OK

        def execute(self, sql: str, parameters: Any = ()) -> Any:
            rows = self._of_apsw.execute(sql, parameters).fetchall()
            if self._log_pages >= LOG_PAGES:
                self._log_pages = 0
                with contextlib.suppress(apsw.Error):  # as SQLite's own hook does
                    self._of_apsw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            return types.SimpleNamespace(fetchone=lambda: rows[0])

        def executemany(self, sql: str, rows: Any) -> None:
            self._of_apsw.executemany(sql, rows)

        def rollback(self) -> None:
            if self._of_apsw.in_transaction:
                self._of_apsw.execute("ROLLBACK")

        def close(self) -> None:
            with contextlib.suppress(apsw.Error):
                self._of_apsw.close()

    class Driver:
        Error = OperationalError = apsw.Error

        @staticmethod
        def connect(path: Any, **options: Any) -> Connection:
            return Connection(path, **options)

    # SQLite syncs a folder by itself, with no method of a VFS: it opens it, and syncs.
    folder_opener = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    unix = apsw.VFS(f"unix-{id(recorder)}", "unix")
    address = unix.xGetSystemCall("openDirectory")
    assert address is not None
    really_open = folder_opener(address)

    @folder_opener
    def open_folder(path: bytes, descriptor: int) -> int:
        recorder.note("sync folder", os.path.dirname(path.decode()))
        result: int = really_open(path, descriptor)
        return result

    file_system = FileSystem()
    unix.xSetSystemCall("openDirectory", ctypes.cast(open_folder, ctypes.c_void_p).value)
    try:
        yield Driver
    finally:
        unix.xSetSystemCall("openDirectory", address)
        file_system.unregister()
        unix.unregister()


@dataclass
class _File:
    is_folder: bool
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)


# The contents of all files by their path; None for a folder.
End = dict[str, "bytes | None"]
# What becomes of one write that was not synced.
Fate = Callable[[bytearray, Op], None]


def kept(content: bytearray, op: Op) -> None:
    """The whole of it is on the disk."""
    if op.kind == "truncate":
        _resize(content, op.offset)
    else:
        _put(content, op.offset, op.data)


def lost(content: bytearray, op: Op) -> None:
    """Nothing of it is."""


def torn(rng: random.Random) -> Fate:
    """Some sectors of it are; what a lost one would have made longer may be anything."""
    sector, rest = rng.choice(SECTOR_BYTES), rng.choice(("short", "zeros", "garbage"))

    def fate(content: bytearray, op: Op) -> None:
        if op.kind == "truncate":
            if rng.random() < 0.5:
                kept(content, op)
            return
        start, end = op.offset, op.offset + len(op.data)
        while start < end:
            stop = min(end, (start // sector + 1) * sector)
            data = op.data[start - op.offset : stop - op.offset]
            if rng.random() < 0.5:
                _put(content, start, data)
            elif stop > len(content) and rest != "short":
                new = stop - max(start, len(content))
                _put(content, stop - new, bytes(new) if rest == "zeros" else rng.randbytes(new))
            start = stop

    return fate


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


class Disk:
    """What is on the disk after some of the `Op` of a recording.

    A name belongs to one file after the other; until its folder is synced, any of them
    may be the one that is there. Of files in a folder that is lost, nothing is left.
    """

    def __init__(self, ops: list[Op], rng: random.Random) -> None:
        self._rng = rng
        self._files: list[_File] = []
        self._now: dict[str, int | None] = {}
        self._durable: dict[str, int | None] = {}
        self._renamed: dict[str, list[int | None]] = {}
        for op in ops:
            self._do(op)

    def _do(self, op: Op) -> None:
        if op.kind in {"link", "folder", "unlink"}:
            number = None
            if op.kind != "unlink":
                number = len(self._files)
                self._files.append(_File(op.kind == "folder"))
            self._now[op.path] = number
            self._renamed.setdefault(op.path, []).append(number)
        elif op.kind == "sync folder":
            for path in [p for p in self._renamed if (os.path.dirname(p) or ".") == op.path]:
                self._durable[path] = self._renamed.pop(path)[-1]
        elif op.kind != "told":
            number = self._now.get(op.path)
            if number is None:
                return  # a file that lost its name
            file = self._files[number]
            if op.kind in {"write", "truncate"}:
                file.pending.append(op)
                return
            # After a sync that failed the kernel calls all pages clean, whatever became
            # of them: no later sync will write them.
            share = 1.0 if op.kind == "sync" else self._rng.choice((0.0, 0.5, 1.0))
            for each in file.pending:
                fate = kept if self._rng.random() < share else lost
                fate(file.durable, each)
            file.pending.clear()

    def pending(self) -> int:
        """How many things there are of which it is not decided whether they happened."""
        names = sum(len(each) for each in self._renamed.values())
        return names + sum(len(file.pending) for file in self._files)

    def every_end(self) -> Iterator[End]:
        """All combinations of kept and lost; only where few things are `pending`."""
        names = list(self._renamed)
        writes = [len(file.pending) for file in self._files]
        for chosen in itertools.product(*(range(len(self._renamed[n]) + 1) for n in names)):
            for fates in itertools.product((kept, lost), repeat=sum(writes)):
                left = iter(fates)
                of_files = [[next(left) for _ in range(count)] for count in writes]
                yield self._end(dict(zip(names, chosen, strict=True)), of_files)

    def whole(self) -> End:
        """Nothing is lost: what kill -9 leaves."""
        names = {name: len(each) for name, each in self._renamed.items()}
        return self._end(names, [[kept] * len(file.pending) for file in self._files])

    def some_end(self) -> End:
        """One of the ways in which things may be kept, lost or torn."""
        rng = self._rng
        names = {name: rng.randint(0, len(each)) for name, each in self._renamed.items()}
        if rng.random() < 0.5:  # a file system that keeps names in order
            names = {name: len(each) for name, each in self._renamed.items()}
        # All, none, and everything between: a fair coin would never lose all of many.
        share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        of_files = [
            [kept if rng.random() < share else rng.choice((lost, torn(rng))) for _ in file.pending]
            for file in self._files
        ]
        return self._end(names, of_files)

    def _end(self, names: dict[str, int], fates: list[list[Fate]]) -> End:
        paths = dict(self._durable)
        for name, count in names.items():
            if count:
                paths[name] = self._renamed[name][count - 1]
        end: End = {}
        for path, number in paths.items():
            # A folder that was not made while this was recorded was there before.
            is_nowhere = paths.get(os.path.dirname(path), 0) is None or (
                os.path.dirname(path) in self._now and os.path.dirname(path) not in paths
            )
            if number is None or is_nowhere:
                continue
            file = self._files[number]
            content = bytearray(file.durable)
            for op, fate in zip(file.pending, fates[number], strict=True):
                fate(content, op)
            end[path] = None if file.is_folder else bytes(content)
        return end


def put(end: End, root: Path) -> None:
    """Make the folders and files of `end` below `root`."""
    for path in sorted(end):  # a folder before what is in it
        content = end[path]
        if content is None:
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(content)
