"""One chunk: conform, score, check, record; the rows that are refused set aside."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from time import perf_counter_ns
from typing import Any

import numpy as np
import pandas as pd

from asfitted.batch.refusals import Reasons
from asfitted.contract import Conformed, DataContract
from asfitted.errors import ContractViolation, OutputViolation, RecordError
from asfitted.prediction_log import Batch
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records
from asfitted.prediction_log.record import from_microseconds
from asfitted.prediction_log.sinks import log_records
from asfitted.scoring import FittedModel, Recorder

# How far the clock may have been set back between a record and the search for it.
_CLOCK_US = 60_000_000


@dataclass
class Answers:
    """What one chunk gave.

    Attributes
    ----------
    conformed : Conformed
        The rows that are answered.
    outputs : DataFrame of shape (n_answered, n_outputs)
    reasons : Reasons
        Of the rows that are refused, as positions in the chunk.
    received_at : aware datetime
    latency_us : int
    """

    conformed: Conformed
    outputs: pd.DataFrame
    reasons: Reasons
    received_at: datetime
    latency_us: int


def sieve(contract: DataContract, frame: pd.DataFrame) -> tuple[Reasons, Conformed]:
    """Return what the contract refuses of `frame`, and what it makes of the rest.

    Raises
    ------
    ContractViolation
        Where the table itself is refused, and not rows of it.
    """
    reasons, kept = Reasons(len(frame)), np.arange(len(frame))
    while True:
        try:
            return reasons, contract.conform(_some(frame, kept))
        except ContractViolation as error:
            kept = reasons.add(error, kept)


def answer(model: FittedModel, frame: pd.DataFrame, conformed: Conformed | None = None) -> Answers:
    """Return the answers of every row that has one; nothing is recorded yet.

    A row's answer does not depend on its neighbours, so those that are left get
    the same bits when they are scored again without the refused ones.

    Parameters
    ----------
    model : FittedModel
    frame : DataFrame of shape (n_rows, n_columns)
    conformed : Conformed, optional
        What the contract made of all of them, where that is known already.

    Raises
    ------
    ContractViolation, OutputViolation
        Where the table itself is refused, and not rows of it.
    """
    received_at, started = datetime.now(timezone.utc), perf_counter_ns()
    reasons, kept = Reasons(len(frame)), np.arange(len(frame))
    while True:
        try:
            conformed = conformed or model.contract.conform(_some(frame, kept))
            outputs = model.score(conformed.frame)
        except (ContractViolation, OutputViolation) as error:
            kept, conformed = reasons.add(error, kept), None
            continue
        latency_us = (perf_counter_ns() - started) // 1000
        return Answers(conformed, outputs, reasons, received_at, latency_us)


def _some(frame: pd.DataFrame, rows: np.ndarray[Any, Any]) -> pd.DataFrame:
    return frame if len(rows) == len(frame) else frame.iloc[rows]


def prepared(
    recorder: Recorder, contract: DataContract, answers: Answers, job_id: str, batch_id: str
) -> Batch | None:
    """Return the record of a chunk's answers, None where there are none."""
    if not len(answers.outputs):
        return None
    entries = recorder.entries(contract, answers.conformed, answers.outputs)
    return recorder.batch(
        contract, entries, answers.received_at, answers.latency_us, job_id, batch_id
    )


def record(recorder: Recorder, batch: Batch | None) -> list[str]:
    """Put the answers of a chunk on record, in one append; return their ids.

    Raises
    ------
    RecordError
    """
    return [] if batch is None else recorder.journal.append(batch)


def record_refusals(
    recorder: Recorder, answers: Answers, job_id: str, batch_id: str, since_us: int | None
) -> None:
    """Put on record that rows of a chunk were refused: one entry per kind of refusal.

    Parameters
    ----------
    recorder : Recorder
    answers : Answers
    job_id, batch_id : str
    since_us : int or None
        Where they may be on record already: a moment before which they were not.

    Raises
    ------
    RecordError
        Where that cannot be known.
    """
    for kind, violations in answers.reasons.errors.items():
        refusal_id = str(uuid.uuid5(uuid.UUID(batch_id), kind.code))
        if since_us is not None:
            since = from_microseconds(max(since_us - _CLOCK_US, 0))
            if _search(recorder, Query(since=since, prediction_id=refusal_id, table="refusals")):
                continue
        n_rows = len({row for said in violations for row in said.rows})
        recorder.refused(kind(violations), n_rows, answers.received_at, job_id, refusal_id)


def find_record(recorder: Recorder, batch_id: str, since_us: int) -> list[Record]:
    """Return what is on record of a chunk already, in the order of its rows.

    Raises
    ------
    RecordError
        Where that cannot be known.
    """
    since = from_microseconds(max(since_us - _CLOCK_US, 0))
    found = _search(recorder, Query(since=since, batch_id=batch_id))
    by_row = {one["row"]: one for one in found}
    return [by_row[row] for row in sorted(by_row)]


def _search(recorder: Recorder, query: Query) -> list[Record]:
    journal = recorder.journal
    folder = journal.folder if journal.folder.is_dir() else None

    def fail(problem: str) -> None:
        raise RecordError(
            f"whether a chunk is on record already cannot be known: {problem}",
            str(journal.folder),
            "move a damaged journal to another folder; a sink has to answer",
        )

    if journal.sink:
        # A journal that is wholly shipped may be deleted by now.
        return list(log_records(folder, journal.sink, query, on_problem=fail))
    return [] if folder is None else list(records(folder, query, on_problem=fail))


def as_recorded(answers: Answers, found: Sequence[Record]) -> tuple[list[str], pd.DataFrame]:
    """Return (ids, outputs) as they stand on record, which is what the caller gets.

    Raises
    ------
    RecordError
        Where other rows are on record than are answered now.
    """
    outputs = answers.outputs
    if [one["row"] for one in found] != list(range(len(outputs))):
        raise RecordError(
            f"{len(found)} rows of a chunk are on record, and {len(outputs)} are answered now",
            mend="remove the work folder beside the output to begin anew",
        )
    columns = {}
    for name in outputs.columns:
        # Of a row that was erased meanwhile the record says nothing any more.
        both = zip(found, outputs[name].tolist(), strict=True)
        given = [one["outputs"].get(name, now) for one, now in both]
        columns[name] = pd.Series(given, dtype=outputs[name].dtype)
    return [one["prediction_id"] for one in found], pd.DataFrame(columns)
