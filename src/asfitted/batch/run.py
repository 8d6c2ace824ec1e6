"""A job from its first chunk to the output in its place."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from asfitted.batch import answering, parts
from asfitted.batch.crew import Begin, crew, size_of
from asfitted.batch.job import Job, on_disk, open_job
from asfitted.batch.refusals import Limit, Reasons, Refused, over
from asfitted.batch.source import Chunk, Source, find
from asfitted.batch.worker import Result, Worker, in_file
from asfitted.contract import Conformed
from asfitted.errors import ConfigError, ContractViolation, OutputViolation
from asfitted.prediction_log.record import to_microseconds
from asfitted.scoring import FittedModel

# The phase ("checking", "scoring"), the rows of a chunk, and all rows where known.
Progress = Callable[[str, int, int | None], None]

LOOK_ROWS = 1_000
# Of no more, and of no longer ones, what the check made of them is kept for scoring.
_KEPT_CELLS, _KEPT_BYTES = 2_500_000, 16 << 20


class Run:
    """One call of `score_file`, whose arguments these are.

    Attributes
    ----------
    job_id : str
        "" until there is a job.
    answered, refused, resumed : int
        Rows; `resumed` of them by an earlier process.
    """

    def __init__(
        self,
        model: FittedModel,
        source: Source,
        target: Path,
        refusals: Path,
        limit: Limit,
        chunk_rows: int,
        progress: Progress,
        keep: bool = False,
        jobs: int | None = 1,
    ) -> None:
        self.model, self.source = model, source
        self.target, self.refusals = target, refusals
        self.limit, self.chunk_rows, self.progress = limit, chunk_rows, progress
        # Of a job whose output has a way to go still: run again, it is all there.
        self.keep, self.jobs = keep, jobs
        recorder = model.recorder
        self.recorder = None if recorder is None else replace(recorder, source="batch")
        self.job_id = ""
        self.answered = self.refused = self.resumed = 0
        self._last: tuple[Reasons, Chunk] | None = None
        self._kept: list[Chunk] = []

    def all(self, overwrite: bool) -> None:
        """Do the whole job."""
        of = self._of()
        with on_disk(self.target):
            self.refusals.parent.mkdir(parents=True, exist_ok=True)
            job = open_job(self.target, of, to_microseconds(_now(), "now"))
        self.job_id = job.id
        finished = False
        try:
            if not overwrite and not job.is_placing:
                refuse_existing(self.target, self.refusals)
            with ExitStack() as stack:
                begin, total = None, job.checked
                if total is None:
                    known = self.source.known_rows()
                    if known is not None:
                        # While the rows are checked, the others load the model.
                        begin = stack.enter_context(self._crew(job, known))
                    total = job.checked = self._check()
                begin = begin or stack.enter_context(self._crew(job, total))
                self._score(job, total, begin)
            self._demand_unchanged(of["input"], total)
            if not overwrite and not job.is_placing:
                # Of another job, perhaps, that names the same file for its refusals.
                refuse_existing(self.target, self.refusals)
            self._place(job, overwrite)
            finished = True
        finally:
            # Before everything is checked there is nothing to go on from.
            job.release(remove=(finished and not self.keep) or job.checked is None)

    def look(self) -> None:
        """Check and score the first rows of each file; write nothing."""
        for file in self.source.files:
            chunks = Source(self.source.root, (file,)).chunks(self.model.contract, LOOK_ROWS)
            chunk = next(iter(chunks))
            answers = in_file(chunk, chunk.load(), lambda f: answering.answer(self.model, f))
            self._take(chunk, answers.reasons)
            self.answered += len(answers.outputs)
            self.progress("checking", chunk.n_rows, None)
        self._demand(self.answered + self.refused)

    def _of(self) -> dict[str, Any]:
        """Return what makes it the same job."""
        identity = self.model.identity
        log = None
        if self.recorder is not None:
            fields = dict(self.recorder.policy.fields)
            log = [str(self.recorder.journal.folder), sorted(fields.items())]
        return {
            "input": self.source.state(),
            # A model without a digest may be another one at each call.
            "model": [identity.name, identity.version, identity.digest or uuid.uuid4().hex],
            "log": log,
            "options": [self.chunk_rows, str(self.refusals)],
        }

    def _check(self) -> int:
        """Return the rows of all files, after the contract has seen each of them."""
        if self.recorder is not None:
            # Else that is known when all rows have been checked.
            self.recorder.can_record()
        rows, cells, received_at, total = 0, 0, _now(), self.source.known_rows()
        few = sum(size_bytes for _, size_bytes, _ in self.source.state()) <= _KEPT_BYTES
        few &= (total or 0) * len(self.model.contract.columns) <= _KEPT_CELLS
        try:
            for chunk in self._chunks():
                rows += chunk.n_rows
                frame = chunk.load()
                cells += frame.size
                reasons, conformed = in_file(chunk, frame, self._sieve)
                known = replace(chunk, conformed=None if reasons.errors else conformed)
                self._kept = [*self._kept, known] if few and cells <= _KEPT_CELLS else []
                self._take(chunk, reasons)
                self._demand(total)
                self.progress("checking", chunk.n_rows, total)
            self._demand(rows)
        except (ContractViolation, OutputViolation) as error:
            if self.recorder is not None:
                self.recorder.refused(error, rows, received_at, self.job_id)
            raise
        self.refused = 0
        return rows

    def _chunks(self) -> Iterator[Chunk]:
        return self.source.chunks(self.model.contract, self.chunk_rows)

    def _sieve(self, frame: pd.DataFrame) -> tuple[Reasons, Conformed]:
        return answering.sieve(self.model.contract, frame)

    def _crew(self, job: Job, total: int) -> AbstractContextManager[Begin]:
        worker = Worker(self.model, self.recorder, job, self.source, self.limit, total)
        return crew(worker, size_of(self.jobs, total, self.model))

    def _score(self, job: Job, total: int, begin: Begin) -> None:
        done = list(job.done.values())
        self.answered = sum(one.answered for one in done)
        self.refused = sum(one.refused for one in done)
        self.resumed = self.answered + self.refused
        self._last = None
        waiting: dict[int, tuple[Chunk, Future[Result]]] = {}
        for chunk in self._kept or self._chunks():
            if chunk.number in job.done:
                self.progress("scoring", chunk.n_rows, total)
                continue
            waiting[chunk.number] = chunk, begin(chunk, self.refused)
            for number in [n for n, (_, future) in waiting.items() if future.done()]:
                self._finish(job, total, *waiting.pop(number))
        for begun, future in waiting.values():
            self._finish(job, total, begun, future)

    def _finish(self, job: Job, total: int, chunk: Chunk, future: Future[Result]) -> None:
        job.done[chunk.number], reasons = future.result()
        self.answered += job.done[chunk.number].answered
        self._take(chunk, reasons)
        self._demand(total)
        self.progress("scoring", chunk.n_rows, total)

    def _demand_unchanged(self, state: list[list[Any]], total: int) -> None:
        root, rows = self.source.root, self.answered + self.refused
        # A file that came into the folder meanwhile is no less a change than a longer one.
        if self.source.state() != state or find(root) != self.source or rows != total:
            raise ConfigError("the input changed while it was read", str(root))

    def _place(self, job: Job, overwrite: bool) -> None:
        """Put the parts together; the output comes last, and is there when all is."""
        job.place()
        numbers = sorted(job.done)
        refused = [job.refused(number) for number in numbers if job.done[number].refused]
        if refused:
            parts.write_lines(self.refusals, lambda stream: _copy(refused, stream))
        elif overwrite:
            self.refusals.unlink(missing_ok=True)
        parts.write_output(self.target, [job.part(number) for number in numbers])

    def _take(self, chunk: Chunk, reasons: Reasons) -> None:
        self.refused += len(reasons.rows)
        if reasons.errors:
            self._last = reasons, chunk

    def _demand(self, total: int | None) -> None:
        """Refuse the job where more rows are refused than may be of `total`."""
        if self._last is None or self.limit.allows(self.refused, total):
            return
        reasons, chunk = self._last
        error: Refused = reasons.error(
            str(chunk.file), chunk.start, over(self.limit, self.refused, total)
        )
        raise error


def _now() -> datetime:
    return datetime.now(timezone.utc)


def refuse_existing(*files: Path) -> None:
    """Refuse outputs that are there.

    Raises
    ------
    ConfigError
    """
    for file in files:
        if file.exists():
            raise ConfigError(
                "the output is there already", str(file), "name another, or add --overwrite"
            )


def _copy(files: list[Path], stream: Any) -> None:
    for file in files:
        with file.open("rb") as part:
            shutil.copyfileobj(part, stream)
