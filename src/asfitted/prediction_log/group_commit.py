"""One commit for all who wait: the file of a process, written by whichever thread comes first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from asfitted.prediction_log.gap import Gap
from asfitted.prediction_log.journal_file import JournalFile, Rows
from asfitted.prediction_log.sink_writer import SinkWriter
from asfitted.prediction_log.tables import Table


class _Waiting:
    """What one caller wants written, and what became of it."""

    __slots__ = ("calls", "done", "error", "table")

    def __init__(self, table: Table, calls: Sequence[Rows]) -> None:
        self.table = table
        self.calls = calls
        self.done = False
        self.error: BaseException | None = None


class GroupCommit:
    """Writes rows from any number of threads; see `Journal`, whose durable half it is.

    Parameters
    ----------
    begin : callable
        Opens the next file, or what stands in its place, for so many rows at first.

    Attributes
    ----------
    commits : int
        Durable transactions so far.
    file : JournalFile, SinkWriter or None
    """

    def __init__(self, begin: Callable[[int], JournalFile | SinkWriter]) -> None:
        self._begin = begin
        self.commits = 0
        self.file: JournalFile | SinkWriter | None = None
        self.queue: list[_Waiting] = []
        self.writing = False
        self._gap: Gap | None = None
        self._closer: weakref.finalize[Any, Any] | None = None
        self._condition = threading.Condition()
        _all.add(self)

    def write(self, table: Table, calls: Sequence[Rows]) -> BaseException | None:
        """Make the rows of some calls durable, together with those of all who wait.

        Returns
        -------
        BaseException or None
            What kept the commit from being one; none of its rows is on record then. Not
            raised, since it is the same one for all who waited.
        """
        mine = _Waiting(table, calls)
        with self._condition:
            self.queue.append(mine)
            while self.writing and not mine.done:
                self._condition.wait()
            if not mine.done:
                # Nobody writes: this thread does, for all who wait.
                self.writing = True
                group, self.queue = self.queue, []
        if not mine.done:
            self._write_group(group)
        return mine.error

    def declare(self, gap: Gap) -> None:
        """Let the next commit that succeeds take `gap` along."""
        with self._condition:
            self._gap = Gap.joined(self._gap, gap)

    def tend(self) -> None:
        """Put a gap on record, and close a file that is due; never raises."""
        self._record_gap()
        with self._condition:
            if not self.writing and self.file is not None and self.file.is_due():
                self._close_file()

    def close(self) -> None:
        """Close the file, with everything in it; a later write opens a new one."""
        self._record_gap()
        with self._condition:
            while self.writing:
                self._condition.wait()
            self._close_file()

    def _record_gap(self) -> None:
        if self._gap is not None:
            # Whatever is committed takes the gap along; what is not, leaves it.
            self.write("removals", [])

    def _close_file(self) -> None:
        if self._closer is not None:
            self._closer()
        self.file = self._closer = None

    def _write_group(self, group: Sequence[_Waiting]) -> None:
        error: BaseException | None = None
        try:
            self._commit(group)
        except BaseException as failure:
            error = failure
            if not isinstance(failure, Exception):
                raise
        finally:
            with self._condition:
                self.writing = False
                for each in group:
                    each.error, each.done = error, True
                self._condition.notify_all()

    def _commit(self, group: Sequence[_Waiting]) -> None:
        with self._condition:
            gap, self._gap = self._gap, None
        try:
            if self.file is not None and self.file.is_gone():
                # Deleted, or moved away: what is written there, nobody would find.
                self._give_up()
            elif self.file is not None and self.file.is_due():
                self._close_file()
            if self.file is None:
                self.file = self._begin(sum(len(call) for each in group for call in each.calls))
                # Also at the exit of a process that never calls close.
                self._closer = weakref.finalize(self, self.file.close)
            calls: dict[Table, list[Rows]] = {}
            for each in group:
                calls.setdefault(each.table, []).extend(each.calls)
            if gap is not None:
                calls.setdefault("removals", []).append([gap.row()])
            self.file.write(calls)
            self.commits += 1
        except BaseException:
            if gap is not None:
                with self._condition:
                    self._gap = Gap.joined(gap, self._gap)
            # After a failed fsync the kernel may call the lost pages clean: a second
            # try on the same file would succeed and mean nothing.
            self._give_up()
            raise

    def _give_up(self) -> None:
        if self.file is not None and self._closer is not None:
            self._closer.detach()
            self.file.abandon()
        self.file = self._closer = None

    def _after_fork(self) -> None:
        if self.file is not None and self.file.connection is not None:
            # Closing the parent's connection here would undo, in the WAL index that
            # both share, what the parent is about to commit. So it is never closed,
            # not even at the end of the interpreter.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.file.connection))
        if self._closer is not None:
            self._closer.detach()
        self.file = self._closer = None
        # Other threads of the parent may have held the lock, or have been waiting.
        self._condition = threading.Condition()
        self.queue = []
        self.writing = False
        self._gap = None  # the parent's to declare


_all: weakref.WeakSet[GroupCommit] = weakref.WeakSet()


def _after_fork() -> None:
    for one in _all:
        with contextlib.suppress(Exception):
            one._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
