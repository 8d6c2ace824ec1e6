"""Who works on the chunks of a job: this process, and others that it starts."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

from joblib import cpu_count

import asfitted
from asfitted.batch.job import MOST_IN_FLIGHT, hold_crew_lock
from asfitted.batch.source import Chunk
from asfitted.batch.worker import Result, Worker
from asfitted.errors import RecordError
from asfitted.scoring import FittedModel

Begin = Callable[[Chunk, int], Future[Result]]

# From here on it pays to load the model once more for each process.
WORTH_ROWS = 300_000
# So many chunks are begun for a process that is about to finish one.
_AHEAD = 2

_HOME = str(Path(asfitted.__file__).parents[1])

_mine: Worker | None = None


def size_of(jobs: int | None, total: int, model: FittedModel) -> int:
    """Return how many processes work on a job of `total` rows.

    Parameters
    ----------
    jobs : int or None
        None for as many as there are processors, where the rows are worth it.
    total : int
    model : FittedModel
        One that came from no artifact cannot be loaded again.
    """
    # Windows has not the lock that a killed crew is waited for by.
    if model.again is None or sys.platform == "win32":
        return 1
    if jobs is None:
        # Of a container: those that it may use.
        jobs = cpu_count() if total >= WORTH_ROWS else 1
    return jobs


@contextlib.contextmanager
def crew(worker: Worker, jobs: int) -> Iterator[Begin]:
    """Give what begins a chunk.

    A chunk and the rows refused so far go in, as for `Worker.do`, and the future
    tells what became of it. It is answered on the spot where the others have enough to
    do: this process is one of the `jobs`. The others load the model from the start on.
    """
    if jobs == 1:
        with ThreadPoolExecutor(1) as recording:
            yield _Overlapping(worker, recording).begin
        return
    with _several(worker, jobs - 1) as begin:
        yield begin


class _Overlapping:
    """A process alone: it answers a chunk while the one before it is recorded.

    Most of the time of a record is SQLite's and the disk's. Where there are several
    processes, they keep the processors busy, and threads only get in each other's way.
    """

    def __init__(self, worker: Worker, recording: ThreadPoolExecutor) -> None:
        self._worker, self._recording = worker, recording
        self._last: Future[Result] | None = None
        self._refused = 0

    def begin(self, chunk: Chunk, refused: int) -> Future[Result]:
        # Those of a chunk that is being recorded are not counted yet.
        self._refused = max(self._refused, refused)
        answered = self._worker.answer(chunk, self._refused)
        self._refused += len(answered.answers.reasons.rows)
        if self._last is not None:
            self._last.result()
        self._last = self._recording.submit(self._worker.finish, answered)
        return self._last


@contextlib.contextmanager
def _several(worker: Worker, others: int) -> Iterator[Begin]:
    again = worker.model.again
    assert again is not None
    recorder = worker.recorder
    # Neither travels: each process loads its own, and writes a journal of its own.
    bare = replace(worker, model=None, recorder=None, job=replace(worker.job, lock=-1))  # type: ignore[arg-type]
    at_once = min(others + _AHEAD, MOST_IN_FLIGHT - 1)
    pool = ProcessPoolExecutor(
        others,
        # A fork would copy OpenMP's threads as they are at that moment, and hang.
        multiprocessing.get_context("spawn"),
        _begin,
        (bare, again, recorder is not None, logging.getLogger().level),
    )
    # A process takes over this one's path, on which the model's own code comes first,
    # with the Asfitted that saved it.
    sys.path.insert(0, _HOME)
    theirs: list[Future[Result]] = []

    def begin(chunk: Chunk, refused: int) -> Future[Result]:
        theirs[:] = [future for future in theirs if not future.done()]
        if len(theirs) == at_once:
            return _done(worker.do(chunk, refused))
        theirs.append(pool.submit(_do, replace(chunk, conformed=None), refused))
        return theirs[-1]

    try:
        with _no_interrupt():
            for _ in range(others):
                pool.submit(_ready)
        yield begin
    except BrokenProcessPool as error:
        raise RecordError(
            "a process of the job ended before its work was done",
            str(worker.job.folder),
            "the same command goes on where it was, with --jobs 1 where memory is short; "
            'a script is a file, and calls this below if __name__ == "__main__":',
        ) from error
    finally:
        sys.path.remove(_HOME)
        pool.shutdown(cancel_futures=True)


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all of them, from processes that start inside.

    They end with this one, which it reaches when it leaves here.
    """
    # Its start would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(worker: Worker, again: Callable[[], FittedModel], records: bool, level: int) -> None:
    global _mine
    sys.path.remove(_HOME)
    logging.basicConfig(format="%(levelname)s %(message)s", level=level)
    parent = multiprocessing.parent_process()
    assert parent is not None
    hold_crew_lock(worker.job.folder)
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    model = again()
    recorder = replace(model.recorder, source="batch") if records and model.recorder else None
    _mine = replace(worker, model=model, recorder=recorder)
    # Else the collector walks through all modules and the model, chunk after chunk.
    gc.freeze()


def _ready() -> None:
    """Do nothing, as the first thing: so a process begins before there is something to do."""


def _do(chunk: Chunk, refused: int) -> Result:
    assert _mine is not None
    return _mine.do(chunk, refused)


def _end_with(parent: int) -> None:
    """End this process when its parent was killed: nobody would know of its answers."""
    wait([parent])
    os._exit(1)
