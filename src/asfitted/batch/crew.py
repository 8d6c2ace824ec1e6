"""Who works on the chunks of a job: this process, and others that it starts."""

from __future__ import annotations

import contextlib
import gc
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from asfitted import _processes
from asfitted.batch.job import MOST_IN_FLIGHT, hold_crew_lock
from asfitted.batch.parts import About
from asfitted.batch.refusals import Reasons
from asfitted.batch.source import Chunk
from asfitted.batch.worker import Worker
from asfitted.errors import RecordError
from asfitted.scoring import FittedModel

Result = tuple[About, Reasons]
Begin = Callable[[Chunk, int], Future[Result]]

# From here on it pays to start a process, which imports and loads the model once more.
WORTH_ROWS = 300_000
# So many chunks are begun for a process that is about to finish one.
_AHEAD = 2


@dataclass(frozen=True)
class _Setup:
    """What another process needs to be a `Worker`: it loads its own model, and records itself."""

    worker: Worker
    again: Callable[[], FittedModel]
    records: bool
    level: int


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
    if jobs is None and total < WORTH_ROWS:
        # One that was started ahead has nothing to import any more.
        return 2 if _processes.is_ahead() else 1
    return jobs or _processes.processors()


@contextlib.contextmanager
def crew(worker: Worker, jobs: int) -> Iterator[Begin]:
    """Give what begins a chunk.

    A chunk and the rows refused so far go in, as for `Worker.do`, and the future
    tells what became of it. It is done on the spot where the others have enough to do:
    this process is one of the `jobs`. The others load the model from the start on.
    """
    if jobs == 1:
        yield lambda chunk, refused: _done(worker.do(chunk, refused))
        return
    again = worker.model.again
    assert again is not None
    bare = replace(worker, model=None, recorder=None, job=replace(worker.job, lock=-1))  # type: ignore[arg-type]
    level = logging.getLogger().level
    # As bytes: it goes with each chunk, and is read once.
    setup = pickle.dumps(_Setup(bare, again, worker.recorder is not None, level))
    others = jobs - 1
    at_once = min(others + _AHEAD, MOST_IN_FLIGHT - 1)
    theirs: list[Future[Result]] = []

    def begin(chunk: Chunk, refused: int) -> Future[Result]:
        theirs[:] = [future for future in theirs if not future.done()]
        if len(theirs) == at_once:
            return _done(worker.do(chunk, refused))
        theirs.append(pool.submit(_do, setup, replace(chunk, conformed=None), refused))
        return theirs[-1]

    try:
        with _processes.pool(others) as pool:
            _processes.start(pool, others, _begin, setup)
            yield begin
    except BrokenProcessPool as error:
        raise RecordError(
            "a process of the job ended before its work was done",
            str(worker.job.folder),
            "the same command goes on where it was, with --jobs 1 where memory is short; "
            'a script is a file, and calls this below if __name__ == "__main__":',
        ) from error


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def _begin(pickled: bytes) -> Worker:
    """Return this process's worker; the first call makes it."""
    global _mine
    if _mine is None:
        setup: _Setup = pickle.loads(pickled)
        logging.basicConfig(format="%(levelname)s %(message)s", level=setup.level)
        hold_crew_lock(setup.worker.job.folder)
        model = setup.again()
        recorder = model.recorder if setup.records else None
        if recorder is not None:
            recorder = replace(recorder, source="batch")
        _mine = replace(setup.worker, model=model, recorder=recorder)
        # Else the collector walks through all modules and the model, chunk after chunk.
        gc.freeze()
    return _mine


def _do(setup: bytes, chunk: Chunk, refused: int) -> Result:
    return _begin(setup).do(chunk, refused)
