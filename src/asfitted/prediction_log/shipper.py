"""The shipper: move the journals of a folder to a sink, each record exactly once."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asfitted.errors import AsfittedError, StoreUnavailable, without_secrets
from asfitted.prediction_log.place import journal_files, make_folder
from asfitted.prediction_log.reader import warn
from asfitted.prediction_log.shipping_compaction import Compactor
from asfitted.prediction_log.shipping_journals import (
    READ_ERRORS,
    ends,
    look,
    next_rows,
    process_of,
    writer_of,
)
from asfitted.prediction_log.shipping_lock import REMOVAL_LOCK, FolderLock
from asfitted.prediction_log.shipping_removal import finish_removals, remove_shipped
from asfitted.prediction_log.shipping_sending import SEQUENCE_AT, Sending
from asfitted.prediction_log.shipping_state import Progress, ShippingState
from asfitted.prediction_log.sinks.protocol import Sink
from asfitted.prediction_log.sinks.urls import open_sink, public_name
from asfitted.prediction_log.tables import TABLES, Table
from asfitted.prediction_log.whole import Place, demand_sink

DAY_S = 86_400.0

# What one call to a sink may hold, besides its last row.
_MAX_BYTES = 8 * 2**20
# Calls for one journal until it is looked for shipped ones to delete: that must come to
# pass however much there is to ship.
_ROUNDS = 64

_log = logging.getLogger("asfitted.prediction_log")


class Shipper:
    """Moves journals to a sink: at least once, which the sink makes exactly once.

    Used by one thread; there is one per folder at a time, whatever the process.

    Parameters
    ----------
    folder : str or path
    sink : str
        Its URL.
    keep_shipped_s : float, default 7 days
        How long a journal that nobody writes any more stays after all of it is shipped.
    on_problem : callable, default logs a warning
        Called with a sentence when a journal cannot be read, or a row is put in
        quarantine.
    open_sink : callable
        Makes the sink of the URL.

    Attributes
    ----------
    shipped : int
        Rows that the sink took or that went to quarantine so far.
    linger_s : float
        The sink's, 0 until it is connected.

    Raises
    ------
    StoreUnavailable
        Where another shipper is at work on the folder, or its state cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sink: str,
        *,
        keep_shipped_s: float = 7 * DAY_S,
        on_problem: Callable[[str], None] = warn,
        open_sink: Callable[[str], Sink] = open_sink,
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.shipped, self.linger_s = 0, 0.0
        self._url, self._open, self._on_problem = sink, open_sink, on_problem
        self._keep_us = int(keep_shipped_s * 1_000_000)
        self._sink: Sink | None = None
        self._compactor = Compactor()
        # How a journal looked when all of it was shipped: unchanged, it is not opened again.
        self._looks: dict[str, tuple[int, ...]] = {}
        self._drained: set[str] = set()
        self._left: set[Path] = set()
        self._progress: dict[str, Progress] = {}
        self._problems: dict[str, str] = {}
        name = public_name(sink)
        with contextlib.ExitStack() as stack:
            try:
                make_folder(self.folder)
                self._lock = FolderLock(self.folder)
                stack.callback(self._lock.close)
                self._state = ShippingState(self.folder, name)
                stack.callback(self._state.close)
                finish_removals(self.folder, self._state)
            except (OSError, sqlite3.Error) as error:
                raise _unavailable(error, str(self.folder)) from error
            self._sending = Sending(self._state, on_problem)
            stack.callback(self._drop_sink)
            self._closing = stack.pop_all()

    def close(self) -> None:
        """Let go of the sink and of the folder; a second time does nothing."""
        self._closing.close()

    def __enter__(self) -> Shipper:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def is_lost(self) -> bool:
        """Whether its folder was moved away or deleted: another shipper is needed then."""
        return self._lock.is_gone()

    def ship(
        self,
        *,
        stop: threading.Event | None = None,
        full_only: bool = False,
        until: float | None = None,
    ) -> int:
        """Send all that is on record now, in the order of each journal.

        What is written meanwhile is for the next time: it comes to an end where rows are
        written as fast as the sink takes them.

        Parameters
        ----------
        stop : Event, optional
            Set, no further call is made.
        full_only : bool, default False
            Leave for later what does not fill a call.
        until : float, optional
            Of `time.monotonic`: no further call is made then.

        Returns
        -------
        int
            Rows that the sink took or that went to quarantine.

        Raises
        ------
        StoreUnavailable, ConfigError
            What the sink has taken is noted; the rest is as it was.
        """

        def ended() -> bool:
            return (stop is not None and stop.is_set()) or (
                until is not None and time.monotonic() >= until
            )

        try:
            if self.is_lost():
                raise StoreUnavailable("the log's folder was moved away", str(self.folder))
            sent, self._left = 0, set()
            # The looks before the ends: what is written after these changes the look.
            looks = self._changed()
            last = {path: _ends(path) for path in looks}
            busy = [(path, table) for path in looks for table in TABLES]
            while True:
                # While rows are taken out of the log none may be on its way to the sink.
                with contextlib.closing(FolderLock(self.folder, REMOVAL_LOCK)):
                    rows, busy = self._pass(busy, last, ended, full_only)
                    self._note_done(looks, busy)
                    self._remove_shipped()
                sent += rows
                if not busy or ended():
                    return sent
        except Exception as error:
            self._drop_sink()
            # A sink of somebody else's may raise anything, and the disk may be full here.
            failure = error if isinstance(error, AsfittedError) else None
            if failure is None:
                if not isinstance(error, (OSError, sqlite3.Error)):
                    trace = "".join(traceback.format_exception(error))
                    _log.error("the sink is broken\n%s", without_secrets(trace))
                failure = _unavailable(error, self._state.sink)
            with contextlib.suppress(sqlite3.Error):
                self._state.failed(failure.what)
            if failure is error:
                raise
            raise failure from error

    def _changed(self) -> dict[Path, tuple[int, ...]]:
        """Return the journals that are not as they were when all of them was shipped."""
        looks = {path: look(path) for path in journal_files(self.folder)}
        self._forget({path.name for path in looks})
        return {path: seen for path, seen in looks.items() if self._looks.get(path.name) != seen}

    def _forget(self, there: set[str]) -> None:
        """Keep nothing about journals that are there no more."""
        self._drained &= there
        for name in self._looks.keys() - there:
            del self._looks[name]
        for writer in self._progress.keys() - {writer_of(Path(name)) for name in there}:
            del self._progress[writer]

    def _pass(
        self,
        busy: list[tuple[Path, Table]],
        last: Mapping[Path, Mapping[Table, int]],
        ended: Callable[[], bool],
        full_only: bool,
    ) -> tuple[int, list[tuple[Path, Table]]]:
        """Go round what is `busy`; return how many rows were sent, and what is busy still.

        `last` says up to which number rows are sent, where that is known.
        """
        sent = 0
        sink = self._connected() if busy else None
        # One that a removal has deleted between two passes; should it come back, it is new.
        gone = {path for path, _ in busy if not path.exists()}
        self._left |= gone
        busy = [(path, table) for path, table in busy if path not in gone]
        process = {path: process_of(path) for path, _ in busy}
        for _ in range(_ROUNDS):
            again, served = [], dict[str, Path]()
            # One call each in turn: no process waits for another's backlog. Of one process
            # the oldest journal first, which can be deleted while the others are shipped.
            for place, (path, table) in enumerate(busy):
                if ended():
                    again += busy[place:]
                    break
                if served.get(process[path], path) != path:
                    again.append((path, table))
                    continue
                assert sink is not None
                end = last[path].get(table)
                rows, whole = self._step(sink, path, table, full_only, end)
                sent += rows
                if rows:
                    again.append((path, table))
                    if end is not None and self._progress[writer_of(path)].last(table) < end:
                        served[process[path]] = path
                elif not whole:
                    self._left.add(path)
            busy = again
        return sent, busy

    def _note_done(
        self, looks: Mapping[Path, tuple[int, ...]], busy: Sequence[tuple[Path, Table]]
    ) -> None:
        """Remember how the journals looked of which all was sent."""
        left = self._left | {path for path, _ in busy}
        for path, seen in looks.items():
            if path in left:
                self._looks.pop(path.name, None)
                self._drained.discard(path.name)
            else:
                self._drained.add(path.name)
                if seen:
                    self._looks[path.name] = seen

    def _step(
        self, sink: Sink, path: Path, table: Table, full_only: bool, end: int | None
    ) -> tuple[int, bool]:
        """Send one call's rows; return how many, and whether nothing is left behind."""
        writer = writer_of(path)
        progress = self._progress.get(writer) or self._state.progress_of(writer)
        rows, error = next_rows(
            path, table, progress.last(table), sink.batch_rows, _MAX_BYTES, up_to=end
        )
        self._note(path, error)
        if not rows or (full_only and len(rows) < sink.batch_rows):
            return 0, not rows and error is None
        self._sending.send(sink, table, writer, rows)
        last: int = rows[-1][SEQUENCE_AT[table]]
        # Only now: what the state says, the sink has.
        self._state.save(writer, table, last)
        self._progress[writer] = replace(progress, rows={**progress.rows, table: last})
        self.shipped += len(rows)
        return len(rows), False

    def retry_quarantined(self) -> int:
        """Send what is in quarantine once more; return how many rows the sink took.

        Raises
        ------
        StoreUnavailable, ConfigError
        """
        sink = self._connected()
        with contextlib.closing(FolderLock(self.folder, REMOVAL_LOCK)):
            return self._sending.retry(sink)

    def compact(self, stop: threading.Event) -> None:
        """Merge small files of the sink, now and then; a failure is logged."""
        if self._sink is not None:
            self._compactor.run(self._sink, stop.is_set)

    def _connected(self) -> Sink:
        demand_sink(Place(self.folder, self._url))
        if self._sink is None:
            self._sink = self._open(self._url)
            self.linger_s = self._sink.linger_s
        return self._sink

    def _drop_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            with contextlib.suppress(Exception):
                sink.close()

    def _note(self, path: Path, error: Exception | None) -> None:
        text = "" if error is None else f"{path}: {error}; what follows is not shipped"
        if text and self._problems.get(path.name) != text:
            self._on_problem(text)
        self._problems[path.name] = text

    def _remove_shipped(self) -> None:
        remove_shipped(self.folder, self._state, self._keep_us, self._drained, self._on_problem)


def _ends(path: Path) -> Mapping[Table, int]:
    # What keeps it from being read is told when its rows are.
    with contextlib.suppress(*READ_ERRORS):
        return ends(path) or {}
    return {}


def _unavailable(error: Exception, where: str) -> StoreUnavailable:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StoreUnavailable(f"the log cannot be shipped: {without_secrets(reason)}", where)
