"""What waits is scored together: no timer, no added latency when idle."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import accumulate
from time import perf_counter_ns

import numpy as np
import pandas as pd
import threadpoolctl

from asfitted.contract import Conformed, Finding
from asfitted.errors import ContractViolation
from asfitted.prediction_log import Journal
from asfitted.scoring import FittedModel, outputs
from asfitted.scoring.recording import Recorder
from asfitted.serving import metrics
from asfitted.serving.replies import Reply, refusal, success
from asfitted.wire.rows import Rows, merged

logger = logging.getLogger(__name__)

# A request of more rows is scored in pieces of this many, and what came meanwhile
# is scored between two of them.
PIECE_ROWS = 1024
# Turns of the event loop without a new request after which it counts as idle; a
# hundred take less than a millisecond.
_QUIET_TURNS = 100
# Big requests are read, held to the contract and recorded beside the scoring thread.
_BESIDE = 2


@dataclass
class Job:
    """One request on its way.

    Attributes
    ----------
    future : asyncio.Future
        Gets the reply. Never an error: its traceback would hold the request's frames,
        and they the future, until the garbage collector comes by.
    """

    rows: Rows
    request_id: str
    future: asyncio.Future[Reply]
    received_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    started_ns: int = field(default_factory=perf_counter_ns)
    ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self) -> bool:
        """Claim the right to say how the request ends: its record, or its caller's patience.

        Whoever comes second gets False, so that log and caller agree.
        """
        with self._lock:
            first, self.ended = not self.ended, True
            return first


@dataclass
class Group:
    """Requests whose rows are one conformed table.

    Attributes
    ----------
    jobs : list of Job
        In the order of their rows.
    conformed : Conformed
    pieces : list of DataFrame
        Outputs so far.
    """

    jobs: list[Job]
    conformed: Conformed
    pieces: list[pd.DataFrame] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return len(self.conformed.frame)

    @property
    def left(self) -> int:
        """Rows that are not scored yet."""
        return self.n_rows - sum(map(len, self.pieces))

    def spans(self) -> Iterator[tuple[Job, int, int]]:
        """Yield each request with its first row and the row after its last."""
        ends = accumulate(job.rows.n_rows for job in self.jobs)
        for job, stop in zip(self.jobs, ends, strict=True):
            yield job, stop - job.rows.n_rows, stop

    def alone(self) -> Iterator[Group]:
        """Yield each request as a group of its own."""
        for job, start, stop in self.spans():
            whole = self.conformed
            findings = tuple(_between(finding, start, stop) for finding in whole.findings)
            part = Conformed(whole.frame.iloc[start:stop], whole.keys.iloc[start:stop], findings)
            yield Group([job], part)


class Batcher:
    """One thread that conforms, scores and records whatever waits.

    Parameters
    ----------
    model : FittedModel
        With a recorder.
    """

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        self._waiting: queue.SimpleQueue[Job | Group] = queue.SimpleQueue()
        self._beside = ThreadPoolExecutor(_BESIDE, "asfitted-big")
        # A writer of its own: a large commit would keep the small ones waiting.
        self._big_recorder = model.recorder and replace(
            model.recorder, journal=model.recorder.journal.another()
        )
        # Looking for OpenMP while another thread imports may wait for ever: the interpreter
        # and the system's loader wait for each other.
        pools = threadpoolctl.ThreadpoolController()
        threading.Thread(
            target=self._run, args=(pools,), name="asfitted-scoring", daemon=True
        ).start()

    @property
    def journals(self) -> list[Journal]:
        """Those that answers are recorded in."""
        return [r.journal for r in (self.model.recorder, self._big_recorder) if r is not None]

    def submit(self, rows: Rows, request_id: str) -> Job:
        """Put a request in line; its future gets the reply once that is on record."""
        job = Job(rows, request_id, asyncio.get_running_loop().create_future())
        if rows.n_rows > PIECE_ROWS:
            self._beside.submit(self._begin_big, job)
        else:
            self._waiting.put(job)
        return job

    def _run(self, pools: threadpoolctl.ThreadpoolController) -> None:
        # Of this thread only. For each tree of a boosting model OpenMP wakes its threads and
        # waits for them, which for a few rows takes ten times as long as the tree.
        pools.limit(limits=1, user_api="openmp")
        big: list[Group] = []
        callers = 0
        while True:
            fresh = [] if big else [self._waiting.get()]
            if callers > 1 and fresh and isinstance(fresh[0], Job):
                self._let_in(fresh[0].future.get_loop(), callers - 1)
            while not self._waiting.empty():
                fresh.append(self._waiting.get())
            big += [group for group in fresh if isinstance(group, Group)]
            try:
                for jobs in _together([job for job in fresh if isinstance(job, Job)]):
                    with metrics.STAGES.labels("conform").time():
                        groups = self._conformed(jobs)
                    for group in groups:
                        self._score(group)
                if big:
                    # The one that ends first, so that all end as early as they can.
                    self._score(min(big, key=lambda group: group.left))
            except Exception as error:
                # A bug of ours; the thread must outlive it, and nobody wait for ever.
                logger.exception("scoring failed")
                for one in [*fresh, *big]:
                    for job in one.jobs if isinstance(one, Group) else [one]:
                        self._refuse(job, error)
            callers = len(fresh) + self._waiting.qsize()
            big = [group for group in big if group.left and not group.jobs[0].ended]

    def _let_in(self, loop: asyncio.AbstractEventLoop, callers: int) -> None:
        """Let the event loop send what is answered and read what has come.

        Callers that were answered together ask again together: without this, the first
        of them would be scored alone while the others knock. It ends when as many wait as
        asked last time, or the loop is idle; a single caller never gets here.
        """
        ready = threading.Event()

        def turn(seen: int, quiet: int) -> None:
            waiting = self._waiting.qsize()
            quiet = 0 if waiting > seen else quiet + 1
            if waiting < callers and quiet < _QUIET_TURNS:
                loop.call_soon(turn, waiting, quiet)
            else:
                ready.set()

        loop.call_soon_threadsafe(turn, 0, 0)
        ready.wait(timeout=1)

    def _begin_big(self, job: Job) -> None:
        for group in self._conformed([job]):
            self._waiting.put(group)

    def _conformed(self, jobs: list[Job]) -> list[Group]:
        """Hold the rows to the contract; refuse the requests that break it, and only them."""
        try:
            rows = merged([job.rows for job in jobs]) if len(jobs) > 1 else jobs[0].rows
            return [Group(jobs, rows.conform(self.model.contract))]
        except Exception as error:
            if len(jobs) == 1:
                self._refuse(jobs[0], error)
                return []
            blamed = _blamed(error, jobs)
        others = [job for job in jobs if job not in blamed]
        alone = [group for job in blamed for group in self._conformed([job])]
        return alone + (self._conformed(others) if others else [])

    def _score(self, group: Group) -> None:
        """Score a group, or the next piece of it; record and answer it when it is whole."""
        start = group.n_rows - group.left
        rows = group.conformed.frame
        if group.n_rows > PIECE_ROWS:
            rows = rows.iloc[start : start + PIECE_ROWS]
        metrics.BATCH_ROWS.observe(len(rows))
        try:
            with metrics.STAGES.labels("score").time():
                group.pieces.append(self.model.score(rows))
        except Exception as error:
            if len(group.jobs) == 1:
                self._refuse(group.jobs[0], error)
                return
            # One of them is the cause; alone each says for itself.
            for one in group.alone():
                self._score(one)
            return
        if group.n_rows > PIECE_ROWS and not group.left:
            self._beside.submit(self._record, group, self._big_recorder)
        elif not group.left:
            self._record(group, self.model.recorder)

    def _record(self, group: Group, recorder: Recorder | None) -> None:
        """Put requests on record in one append, then answer them."""
        contract = self.model.contract
        ending = [(job, start, stop) for job, start, stop in group.spans() if job.end()]
        if not ending or recorder is None:
            return
        try:
            with metrics.STAGES.labels("record").time():
                pieces = group.pieces
                scored = pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)
                entries = recorder.entries(contract, group.conformed, scored)
                batch_id = uuid.uuid4().hex
                recorded = recorder.put(
                    [
                        recorder.batch(
                            contract,
                            entries.part(start, stop),
                            job.received_at,
                            (perf_counter_ns() - job.started_ns) // 1000,
                            job.request_id,
                            batch_id,
                            job.rows.params,
                        )
                        for job, start, stop in ending
                    ]
                )
            unrecorded = sum(
                j.rows.n_rows for (j, *_), ids in zip(ending, recorded, strict=True) if not ids
            )
            if unrecorded:
                metrics.UNRECORDED.inc(unrecorded)
            listed = outputs.listed(scored, self.model.predict_fn)
        except Exception as error:
            # These have ended; nobody else would tell their callers.
            _settle([(job, refusal(error, job.request_id)) for job, _, _ in ending])
            return
        _settle(
            [
                (job, success(listed[start:stop], ids if _wants_ids(job) else None))
                for (job, start, stop), ids in zip(ending, recorded, strict=True)
            ]
        )

    def _refuse(self, job: Job, error: Exception) -> None:
        if not job.end():
            return
        if self.model.recorder is not None:
            self.model.recorder.refused(error, job.rows.n_rows, job.received_at, job.request_id)
        _settle([(job, refusal(error, job.request_id))])


def _wants_ids(job: Job) -> bool:
    return bool(job.rows.params.get("return_ids"))


def _settle(ended: Sequence[tuple[Job, Reply]]) -> None:
    """Hand the replies to the event loop, all at once."""
    ended[0][0].future.get_loop().call_soon_threadsafe(_resolve, ended)


def _resolve(ended: Sequence[tuple[Job, Reply]]) -> None:
    for job, reply in ended:
        if not job.future.done():
            job.future.set_result(reply)


def _together(jobs: list[Job]) -> Iterator[list[Job]]:
    """Yield the requests that can be one table: of the same columns, and not too many rows."""
    open_groups: dict[frozenset[str], list[Job]] = {}
    for job in jobs:
        if job.ended:
            continue
        if job.rows.typed is not None:
            yield [job]
            continue
        names = frozenset(job.rows.columns)
        group = open_groups.setdefault(names, [])
        if sum(other.rows.n_rows for other in group) + job.rows.n_rows > PIECE_ROWS:
            yield group
            open_groups[names] = group = []
        group.append(job)
    yield from (group for group in open_groups.values() if group)


def _blamed(error: Exception, jobs: list[Job]) -> list[Job]:
    """Return the requests that `error` is about; all of them where it does not say."""
    violations = error.violations if isinstance(error, ContractViolation) else ()
    if not violations or not all(v.rows for v in violations):
        return jobs
    starts = [0, *accumulate(job.rows.n_rows for job in jobs)]
    rows = np.unique([row for v in violations for row in v.rows])
    return [
        job
        for job, start, stop in zip(jobs, starts, starts[1:], strict=False)
        if np.searchsorted(rows, start) < np.searchsorted(rows, stop)
    ]


def _between(finding: Finding, start: int, stop: int) -> Finding:
    """Return the part of a finding that is about some rows, counted from the first of them."""
    inside = (finding.rows >= start) & (finding.rows < stop)
    received = None if finding.received is None else finding.received[inside]
    return Finding(finding.column, finding.rule, finding.rows[inside] - start, received)
