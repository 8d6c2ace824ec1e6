"""Who works on the chunks of a job: this process, and others that it starts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from joblib import cpu_count

from asfitted.batch.crew_other import CHUNKS_EACH, Other
from asfitted.batch.job import MOST_IN_FLIGHT
from asfitted.batch.source import Chunk
from asfitted.batch.worker import Result, Worker
from asfitted.scoring import FittedModel

Begin = Callable[[Chunk, int], Future[Result]]

# From here on it pays to load the model once more for each process.
WORTH_ROWS = 300_000


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

    A chunk and the rows refused so far go in, as for `Worker.answer`, and the future
    tells what became of it. It is answered on the spot where the others have enough to
    do: this process is one of the `jobs`. The others load the model from the start on.
    """
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(ThreadPoolExecutor(1))
        here = Here(worker, recording)
        others: list[Other] = []
        for _ in range(jobs - 1):
            others.append(Other(worker))
            # Whatever happens, it does not outlive the job.
            stack.callback(others[-1].end)
        stack.callback(_dismiss, others)

        done = worker.job.done.values()
        left = worker.total - sum(one.answered + one.refused for one in done)

        def begin(chunk: Chunk, refused: int) -> Future[Result]:
            nonlocal left
            chunks_left = left // max(chunk.n_rows, 1)
            left -= chunk.n_rows
            waiting = sum(len(other.waiting) for other in others)
            # Of the last chunks this process does its part, rather than wait for the others.
            free = [other for other in others if other.is_free and len(other.waiting) < chunks_left]
            if not free or waiting + CHUNKS_EACH > MOST_IN_FLIGHT:
                return here.begin(chunk, refused)
            return min(free, key=lambda other: len(other.waiting)).begin(chunk, refused)

        yield begin


def _dismiss(others: Sequence[Other]) -> None:
    """Tell all of them, before the first is waited for."""
    for other in others:
        other.dismiss()


class Here:
    """A process answers a chunk while the one before it is recorded.

    Most of the time of a record is SQLite's and the disk's.

    Parameters
    ----------
    worker : Worker
    recording : ThreadPoolExecutor
        Of one thread.
    """

    def __init__(self, worker: Worker, recording: ThreadPoolExecutor) -> None:
        self._worker, self._recording = worker, recording
        self._last: Future[Result] | None = None
        self._refused = 0

    def begin(self, chunk: Chunk, refused: int) -> Future[Result]:
        """Answer a chunk, and begin to record it once the one before it is done.

        Raises
        ------
        AsfittedError
            Of this chunk's answers, or of the one before it.
        """
        # Those of a chunk that is being recorded are not counted yet.
        self._refused = max(self._refused, refused)
        answered = self._worker.answer(chunk, self._refused)
        self._refused += len(answered.answers.reasons.rows)
        if self._last is not None:
            self._last.result()
        self._last = self._recording.submit(self._worker.finish, answered)
        return self._last
