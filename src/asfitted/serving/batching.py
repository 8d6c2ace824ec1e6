"""What waits is scored together: no timer, no added latency when idle."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from time import perf_counter_ns

import pandas as pd

from asfitted.contract import Conformed, Finding
from asfitted.scoring import FittedModel
from asfitted.scoring.model import Answered
from asfitted.serving import metrics
from asfitted.wire.rows import Rows, merged

logger = logging.getLogger(__name__)

# A big request is scored in pieces of this many rows, and what came meanwhile is
# scored between two of them.
PIECE_ROWS = 1024


@dataclass
class Job:
    """One request on its way.

    Attributes
    ----------
    future : asyncio.Future
        Gets an `Answered`, or the error.
    """

    rows: Rows
    request_id: str
    future: asyncio.Future[Answered]
    received_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    started_ns: int = field(default_factory=perf_counter_ns)
    conformed: Conformed | None = None
    pieces: list[pd.DataFrame] = field(default_factory=list)
    done_rows: int = 0
    ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def left(self) -> int:
        """Rows that are not scored yet."""
        return self.rows.n_rows - self.done_rows

    def end(self) -> bool:
        """Claim the right to say how the request ends: its record, or its caller's patience.

        Whoever comes second gets False, so that log and caller agree.
        """
        with self._lock:
            first, self.ended = not self.ended, True
            return first

    def settle(self, result: Answered | BaseException) -> None:
        """Hand the result to the event loop."""
        self.future.get_loop().call_soon_threadsafe(_settle, self.future, result)


def _settle(future: asyncio.Future[Answered], result: Answered | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


class Batcher:
    """One thread that conforms, scores and records whatever waits.

    Parameters
    ----------
    model : FittedModel
        With a recorder.
    """

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="asfitted-scoring", daemon=True).start()

    def submit(self, rows: Rows, request_id: str) -> Job:
        """Put a request in line; its future gets what `FittedModel.answered` gives or raises."""
        job = Job(rows, request_id, asyncio.get_running_loop().create_future())
        self._waiting.put(job)
        return job

    def _run(self) -> None:
        working: list[Job] = []
        while True:
            fresh = [] if working else [self._waiting.get()]
            while not self._waiting.empty():
                fresh.append(self._waiting.get())
            try:
                if fresh:
                    with metrics.STAGES.labels("conform").time():
                        working += self._conform(fresh)
                if working:
                    with metrics.STAGES.labels("score").time():
                        self._score(_next(working))
                done = [job for job in working if job.left == 0]
                if done:
                    with metrics.STAGES.labels("record").time():
                        self._record(done)
            except Exception as error:
                # A bug of ours; the thread must outlive it, and nobody wait for ever.
                logger.exception("scoring failed")
                for job in [*working, *fresh]:
                    self._refuse(job, error)
            working = [job for job in working if not job.ended]

    def _conform(self, jobs: list[Job]) -> list[Job]:
        """Hold the rows of each request to the contract; refuse those that break it."""
        if len(jobs) > 1 and self._conform_together(jobs):
            return jobs
        for job in jobs:
            try:
                job.conformed = self.model.conform(job.rows.frame())
            except Exception as error:
                self._refuse(job, error)
        return [job for job in jobs if job.conformed is not None]

    def _conform_together(self, jobs: list[Job]) -> bool:
        """Conform several requests in one go; False where that says nothing about each."""
        shared = merged([job.rows for job in jobs])
        if shared is None:
            return False
        try:
            conformed = self.model.conform(shared.frame())
        except Exception:
            return False
        start = 0
        for job in jobs:
            stop = start + job.rows.n_rows
            job.conformed = Conformed(
                conformed.frame.iloc[start:stop],
                conformed.keys.iloc[start:stop],
                tuple(_between(finding, start, stop) for finding in conformed.findings),
            )
            start = stop
        return True

    def _score(self, batch: list[tuple[Job, pd.DataFrame]]) -> None:
        together = pd.concat([rows for _, rows in batch], ignore_index=True)
        metrics.BATCH_ROWS.observe(len(together))
        try:
            scored = self.model.score(together)
        except Exception as error:
            if len(batch) == 1:
                self._refuse(batch[0][0], error)
            else:
                # One of them is the cause; alone each says for itself.
                for one in batch:
                    self._score([one])
            return
        start = 0
        for job, rows in batch:
            job.pieces.append(scored.iloc[start : start + len(rows)])
            job.done_rows += len(rows)
            start += len(rows)

    def _record(self, jobs: list[Job]) -> None:
        """Put finished requests on record in one append, then answer them."""
        jobs = [job for job in jobs if job.end()]
        recorder = self.model.recorder
        if not jobs or recorder is None:
            return
        batch_id = uuid.uuid4().hex
        try:
            outputs = [pd.concat(job.pieces, ignore_index=True) for job in jobs]
            recorded = recorder.journal.append_all(
                [
                    recorder.batch(
                        self.model.contract,
                        job.conformed,  # type: ignore[arg-type]
                        scored,
                        job.received_at,
                        (perf_counter_ns() - job.started_ns) // 1000,
                        job.request_id,
                        batch_id,
                    )
                    for job, scored in zip(jobs, outputs, strict=True)
                ]
            )
        except Exception as error:
            # These have ended; nobody else would tell their callers.
            for job in jobs:
                job.settle(error)
            return
        for job, scored, ids in zip(jobs, outputs, recorded, strict=True):
            job.settle(Answered(scored, job.conformed.keys, ids))  # type: ignore[union-attr]

    def _refuse(self, job: Job, error: Exception) -> None:
        if not job.end():
            return
        if self.model.recorder is not None:
            self.model.recorder.refused(error, job.rows.n_rows, job.received_at, job.request_id)
        job.settle(error)


def _next(jobs: list[Job]) -> list[tuple[Job, pd.DataFrame]]:
    """Choose what to score now: the small ones first, then a piece of a big one."""
    room, chosen = PIECE_ROWS, []
    for job in sorted(jobs, key=lambda job: job.left):
        if room <= 0:
            break
        assert job.conformed is not None
        rows = job.conformed.frame.iloc[job.done_rows : job.done_rows + room]
        chosen.append((job, rows))
        room -= len(rows)
    return chosen


def _between(finding: Finding, start: int, stop: int) -> Finding:
    """Return the part of a finding that is about some rows, counted from the first of them."""
    inside = (finding.rows >= start) & (finding.rows < stop)
    received = None if finding.received is None else finding.received[inside]
    return Finding(finding.column, finding.rule, finding.rows[inside] - start, received)
