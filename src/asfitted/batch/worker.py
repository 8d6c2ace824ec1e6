"""One chunk from its rows to its part, in this process or in one of a crew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from asfitted.batch import answering, parts
from asfitted.batch.job import Job
from asfitted.batch.refusals import Limit, Reasons, over
from asfitted.batch.source import Chunk, Source
from asfitted.errors import (
    AsfittedError,
    CheckFailed,
    ContractViolation,
    ModelFailed,
    OutputViolation,
)
from asfitted.prediction_log import Batch, FieldPolicy
from asfitted.prediction_log.record import to_microseconds
from asfitted.scoring import FittedModel, Recorder

_ASK = "call predict on it in a notebook: what it says may hold values, so it is not here"

Result = tuple[parts.About, Reasons]


@dataclass(frozen=True)
class Answered:
    """A chunk, its rows, its answers, and what is to be recorded of them, if anything."""

    chunk: Chunk
    frame: pd.DataFrame
    answers: answering.Answers
    batch: Batch | None


@dataclass(frozen=True)
class Worker:
    """What answers, records and writes the chunks of one job.

    The order of what is made durable, for each chunk: its record, its refused rows,
    its part. So a chunk whose part is there is finished; one without may be on record,
    and is looked for there, by its batch id, before it is recorded.

    Attributes
    ----------
    model : FittedModel
    recorder : Recorder or None
    job : Job
    source : Source
    limit : Limit
    total : int
        Rows of the whole job.
    """

    model: FittedModel
    recorder: Recorder | None
    job: Job
    source: Source
    limit: Limit
    total: int

    def answer(self, chunk: Chunk, refused: int) -> Answered:
        """Answer a chunk; nothing of it is on record yet.

        Parameters
        ----------
        chunk : Chunk
        refused : int
            Rows of the job that are refused so far.

        Raises
        ------
        ContractViolation, OutputViolation
            Where more rows of the job are refused than may be.
        """
        frame = chunk.load()
        answers = self._answers(chunk, frame)
        reasons = answers.reasons
        refused += len(reasons.rows)
        if reasons.errors and not self.limit.allows(refused, self.total):
            mend = over(self.limit, refused, self.total)
            raise reasons.error(str(chunk.file), chunk.start, mend)
        batch = None
        if self.recorder is not None:
            # Here, and not when it is recorded: it is Python's work, as answering is.
            contract, job = self.model.contract, self.job
            batch_id = job.batch_id(chunk.number)
            batch = answering.prepared(self.recorder, contract, answers, job.id, batch_id)
        return Answered(chunk, frame, answers, batch)

    def finish(self, answered: Answered) -> Result:
        """Record and write a chunk.

        Returns
        -------
        About, Reasons
            Of the part that is written, and of the rows that are refused.

        Raises
        ------
        RecordError, StoreUnavailable
        """
        chunk, frame, answers = answered.chunk, answered.frame, answered.answers
        reasons = answers.reasons
        ids, outputs = self._recorded(answered)
        if reasons.errors:
            policy = FieldPolicy() if self.recorder is None else self.recorder.policy
            name = self.source.name(chunk.file)
            lines = reasons.lines(frame, self.model.contract, policy, name, chunk.start)
            text = "".join(f"{line}\n" for line in lines).encode()
            file = self.job.refused(chunk.number)
            parts.write_lines(file, lambda stream: stream.write(text))
        table = parts.table(self.model.contract, ids, answers.conformed.keys, outputs)
        received_us = to_microseconds(answers.received_at, "received_at")
        about = parts.About(len(outputs), len(reasons.rows), received_us)
        parts.write_part(self.job.part(chunk.number), table, about)
        return about, reasons

    def _answers(self, chunk: Chunk, frame: pd.DataFrame) -> answering.Answers:
        def answer(rows: pd.DataFrame) -> answering.Answers:
            # Looking for a row on which the model fails, `in_file` asks for fewer.
            known = chunk.conformed if rows is frame else None
            return answering.answer(self.model, rows, known)

        answers: answering.Answers = in_file(chunk, frame, answer)
        return answers

    def _recorded(self, answered: Answered) -> tuple[list[str] | None, pd.DataFrame]:
        """Return (ids, outputs) of a chunk once it is on record, whoever recorded it."""
        recorder, answers, job = self.recorder, answered.answers, self.job
        if recorder is None:
            return None, answers.outputs
        number = answered.chunk.number
        batch_id, since_us = job.batch_id(number), job.since_us(number)
        search = job.may_be_recorded(number)
        known_since = since_us if search else None
        answering.record_refusals(recorder, answers, job.id, batch_id, known_since)
        found = answering.find_record(recorder, batch_id, since_us) if search else []
        if found:
            return answering.as_recorded(answers, found)
        return answering.record(recorder, answered.batch), answers.outputs


def in_file(chunk: Chunk, frame: pd.DataFrame, look: Callable[[pd.DataFrame], Any]) -> Any:
    """Return ``look(frame)``; an error about the table, or of the model's, names the file.

    Raises
    ------
    ContractViolation, OutputViolation, CheckFailed, ModelFailed
    """
    try:
        return look(frame)
    except (ContractViolation, OutputViolation) as error:
        raise type(error)(error.violations, str(chunk.file), error.mend) from error
    except CheckFailed as error:
        if error.__cause__ is None:
            raise
        what = f"the check {error.where} fails on a row ({type(error.__cause__).__name__})"
        raise CheckFailed(what, _row(chunk, frame, look), _ASK) from error
    except AsfittedError:
        raise
    except Exception as error:
        what = f"the model fails on a row that the contract allows ({type(error).__name__})"
        raise ModelFailed(what, _row(chunk, frame, look), _ASK) from error


def _row(chunk: Chunk, frame: pd.DataFrame, look: Callable[[pd.DataFrame], Any]) -> str:
    return f"{chunk.file}, row {chunk.start + _first_failing(frame, look)}"


def _first_failing(frame: pd.DataFrame, look: Callable[[pd.DataFrame], Any]) -> int:
    """Return the first row, or the first of a few, without which the rows before do not fail."""
    first, last = 0, len(frame)
    while last - first > 1:
        middle = (first + last) // 2
        try:
            look(frame.iloc[first:middle])
        except CheckFailed:
            last = middle
        except AsfittedError:
            first = middle
        except Exception:
            last = middle
        else:
            first = middle
    return first
